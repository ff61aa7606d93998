"""What the card claims to have measured: its model-index, the Trainer's list of results, and tables with this model's own numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tunelab.hub.card import Block, Card, plain_text
from tunelab.hub.evidence import Evidence
from tunelab.hub.record import ModelRecord


@dataclass(frozen=True, slots=True)
class EvaluationClaim:
    """One number: `metric` ("accuracy"), `value` as written, `dataset` and `split` ("" when not said)."""

    metric: str
    value: str
    dataset: str
    evidence: Evidence
    split: str = ""


MAX_CLAIMS = 200
_ACHIEVES = re.compile(r"achieves the following results?|following results on the (?:evaluation|test|validation) set", re.IGNORECASE)
_RESULT = re.compile(r"^[ \t]*(?:[-*][ \t]+)?(?P<metric>[A-Za-z][\w @./()-]{0,60}?)[ \t]*:[ \t]*(?P<value>[-+]?\d[\d.,]*(?:e[-+]?\d+)?[ \t]*%?)[ \t]*$", re.MULTILINE | re.IGNORECASE)
_METRIC = re.compile(
    r"\b(?:acc(?:uracy)?(?:_norm)?|f1(?:[- ](?:score|macro|micro|weighted))?|macro[- ]?f1|micro[- ]?f1|precision|recall|bleu|sacrebleu|chrf(?:\+\+)?|rouge[- ]?(?:[12l]|lsum)?|r-[12l]|wer|cer|meteor|ter|comet|"
    r"bert[- ]?score|perplexity|ppl|loss|em|exact[- ]match|mcc|matthews|auc|roc[- ]?auc|map|mrr|ndcg(?:@\d+)?|spearman\w*|pearson\w*|mse|rmse|mae|pass@\d+|elo|win[- ]?rate|score|average|avg)\b", re.IGNORECASE)
_BENCHMARK = re.compile(
    r"\b(?:mmlu(?:[- ]pro)?|hellaswag|arc(?:[- ][ce]\w*)?|winogrande|piqa|truthfulqa|gsm[- ]?8k|math|human[- ]?eval\+?|mbpp\+?|mt[- ]?bench|alpaca[- ]?eval|boolq|openbookqa|obqa|agieval|bbh|"
    r"big[- ]?bench\w*|drop|ceval|c-eval|cmmlu|gpqa|ifeval|musr|lambada|triviaqa|nq|race|squad\w*|commonsenseqa|csqa|siqa|eq[- ]?bench|arena[- ]hard|livecodebench|jglue|kmmlu|xnli|mgsm|bfcl|aime\w*)\b", re.IGNORECASE)
_VALUE = re.compile(r"[-+~≈]?\s*\d+(?:[.,]\d+)?\s*(?:%|±\s*\d+(?:\.\d+)?)?\Z")
_LOG = re.compile(r"training loss|^step$|^epoch$", re.IGNORECASE)
_DATA = re.compile(r"\b(?:data(?:set)?s?|test ?sets?|corpus|split|benchmark|task|language)\b", re.IGNORECASE)
_WORDS = re.compile(r"[^\W_]+")
_OWN = re.compile(r"\bours?\b|our model|this model|fine-?tuned|\(ours\)", re.IGNORECASE)


def read_evaluation(record: ModelRecord) -> tuple[EvaluationClaim, ...]:
    """The claims, in the order of the card; of a number that is said twice the first."""
    found: dict[tuple[str, str, str], EvaluationClaim] = {}
    for claim in (*_in_index(record.card), *_in_body(record)):
        key = (_plain(claim.metric), claim.value, _plain(claim.dataset))
        if not any(one[:2] == key[:2] and (not key[2] or one[2] == key[2]) for one in found):
            found[key] = claim
        if len(found) >= MAX_CLAIMS:
            break
    return tuple(found.values())


def _plain(name: str) -> str:
    return "".join(_WORDS.findall(name.casefold()))


def _list(value: Any) -> list[Any]:
    return value[:MAX_CLAIMS] if isinstance(value, list) else [value] if isinstance(value, dict) else []


def _text(value: Any) -> str:
    return str(value).strip() if isinstance(value, (str, int, float)) and not isinstance(value, bool) else ""


def _in_index(card: Card) -> Iterator[EvaluationClaim]:
    """model-index: results of models; whatever has another form than the Hub's is left out."""
    for number, model in enumerate(_list(card.front.get("model-index"))):
        for place, result in enumerate(_list(model.get("results") if isinstance(model, dict) else None)):
            if not isinstance(result, dict):
                continue
            data = result.get("dataset")
            data = data if isinstance(data, dict) else {"name": data}
            for index, metric in enumerate(_list(result.get("metrics"))):
                if not isinstance(metric, dict):
                    continue
                path = ("model-index", number, "results", place, "metrics", index)
                name = _text(metric.get("name")) or _text(metric.get("type"))
                value = metric.get("value")
                written = card.written((*path, "value")) if isinstance(value, float) else ""
                value = _text(value if not isinstance(value, list) else (value or [""])[0])
                line = card.line(*path, "value") or card.line(*path) or card.line("model-index")
                if name and value[:1] in "+-.0123456789" and any(one.isdigit() for one in value[:3]):
                    yield EvaluationClaim(name, written if _is_same(written, value) else value, _text(data.get("name")) or _text(data.get("type")),
                                          Evidence("card metadata", card.quote(line), card.file, line), _text(data.get("split")))


def _is_same(written: str, value: str) -> bool:
    try:
        return float(written) == float(value)
    except ValueError:
        return False


def _in_body(record: ModelRecord) -> Iterator[EvaluationClaim]:
    card, expects = record.card, False
    own = _WORDS.findall(record.name.rpartition("/")[2].casefold())
    title = next((block.plain for block in card.blocks if block.kind == "heading"), "")
    names = {_plain("".join(own)), _plain(title)} - {"", "readme"}
    for block in card.blocks:
        if block.kind == "table":
            yield from _in_table(block, card, names)
        if block.kind == "heading":
            expects = False
        elif _ACHIEVES.search(block.text):
            expects = True
        if expects and block.kind in ("item", "paragraph"):
            for found in _RESULT.finditer(block.text):
                line = min(block.line + block.text.count("\n", 0, found.start("metric")), block.end)
                yield EvaluationClaim(found.group("metric").strip(), found.group("value").strip(), "", Evidence("card text", card.quote(line), card.file, line))


def _in_table(block: Block, card: Card, names: set[str]) -> Iterator[EvaluationClaim]:
    """Its own row of a table of models, or the column beside a column of metrics; tables of steps are logs."""
    rows = [[plain_text(cell).strip() for cell in row] for row in block.rows[:60]]
    if len(rows) < 2 or len(rows[0]) < 2 or any(_LOG.search(head) for head in rows[0]):
        return
    heads, below = rows[0], rows[1:]
    column = next((index for index, head in enumerate(heads) if index and _is_own(head, names)), 1 if len(heads) == 2 else None)
    if column is not None and any(_is_measure(row[0]) for row in below):
        for number, row in enumerate(below, start=1):
            if column < len(row) and _VALUE.fullmatch(row[column]) and _is_measure(row[0]):
                yield _claim(row[0], row[column], "", block, number, card)
        return
    own = next((number for number, row in enumerate(below, start=1) if _is_own(row[0], names)), 1 if len(rows) == 2 else None)
    of_data = bool(_DATA.search(heads[0]))
    for number in range(1, len(rows)) if of_data else [own] if own else []:
        for head, value in zip(heads[1:], rows[number][1:], strict=False):
            if _VALUE.fullmatch(value) and _is_measure(head):
                yield _claim(head, value, rows[number][0] if of_data else "", block, number, card)


def _is_measure(name: str) -> bool:
    return bool(_METRIC.search(name) or _BENCHMARK.search(name))


def _claim(metric: str, value: str, dataset: str, block: Block, row: int, card: Card) -> EvaluationClaim:
    line = min(block.line + row + (1 if row else 0), block.end)
    return EvaluationClaim(metric, value, dataset, Evidence("card text", card.quote(line), card.file, line))


def _is_own(cell: str, names: set[str]) -> bool:
    plain = _plain(cell)
    return bool(_OWN.search(cell)) or (len(plain) >= 3 and any(plain == name or (len(plain) >= 6 and (name.startswith(plain) or plain.startswith(name))) for name in names))
