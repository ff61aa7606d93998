"""The checks on chat templates, made by printing small conversations with them, and on the special tokens that a prompt style is made of."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

from tunelab.data.formats.context import Context
from tunelab.data.gate.problem import GateProblem, Look
from tunelab.data.prepare import context_of
from tunelab.errors import TunelabError

_QUESTION, _ANSWER = "zzquestionzz", "zzanswerzz"
_END_WITHIN = 4
"""So near after an answer the token that ends its turn is looked for, when rows are labelled."""
_SPECIAL = re.compile(r"<\|[^|<>\s]{1,40}\|>|<｜[^｜<>\s]{1,40}｜>|<(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>|</?s>")
_LOOKED_AT = 20


@dataclass(frozen=True, slots=True)
class TemplateProblem:
    """A problem and the dataset whose template has it."""

    dataset: int
    problem: GateProblem


@dataclass(frozen=True, slots=True)
class _Printed:
    """What a template prints: a question and an answer (`whole`), the question alone, and the question with the beginning of an answer."""

    whole: str
    question: str
    prompt: str

    @property
    def ending(self) -> str:
        """What stands after the answer."""
        return self.whole[self.whole.index(_ANSWER) + len(_ANSWER):]

    @property
    def before_answer(self) -> str:
        """What training puts between the prompt of inference and the answer; only of use when the prompt is a beginning of the whole."""
        return self.whole[len(self.prompt):self.whole.index(_ANSWER)]


def problems(look: Look) -> Iterator[TemplateProblem]:
    """Every fault of the templates and prompt styles that the datasets use; one that two datasets share is said once."""
    seen: set[tuple[str, str]] = set()
    for index, dataset in enumerate(look.datasets):
        if not (look.found.dataset == index).any():
            continue
        chat = look.config is not None and dataset.type_name.startswith("chat_template")
        printed = _printed(context_of(look.config, dataset, index, look.tokenizer)) if chat and look.config is not None else None
        found = [*_template_end(look, index, printed), *_generation_prompt(look, index, printed)] if printed is not None else []
        for problem in (*found, *_missing_tokens(look, index, printed)):
            if (problem.code, problem.message) not in seen:
                seen.add((problem.code, problem.message))
                yield TemplateProblem(index, problem)


def _printed(context: Context) -> _Printed | None:
    """None for a template that will not print a plain question and answer; then it says nothing about where they begin and end."""
    question, answer = {"role": "user", "content": _QUESTION}, {"role": "assistant", "content": _ANSWER}
    if context.template is None:
        return None
    render = partial(context.tokenizer.render, template=context.template, variables=context.variables)
    try:
        printed = _Printed(render([question, answer]), render([question]), render([question], add_generation_prompt=True))
    except TunelabError:
        return None
    return printed if printed.whole.count(_ANSWER) == 1 else None


def _template_end(look: Look, index: int, printed: _Printed) -> Iterator[GateProblem]:
    rows, name = look.found.dataset == index, look.tokenizer.eos_token
    after = look.tokenizer.encode(printed.ending, special=False)[:_END_WITHIN]
    count = int(rows.sum())
    if (rows & look.found.trains_end).any():
        closing = next((token for token in after if token in look.ends), None)
        if closing is not None and look.tokenizer.eos_id not in after and closing not in _stops_at(look):
            token = look.tokenizer.backend.id_to_token(closing)
            yield GateProblem("template_end", f"The chat template ends an answer with {token!r}, which is trained, but the model's files name "
                                              f"{repr(name) if name else 'nothing'} as the token to stop at: most programs would run on.",
                              f'special_tokens: {{eos_token: "{token}"}}', count, count, False, look.places(rows))
        return
    if not look.ends or not look.ends.isdisjoint(after):
        return
    token = next((one for one in _SPECIAL.findall(printed.ending) if look.tokenizer.token_id(one) is not None), None)
    ending = printed.ending.strip()
    what = f"ends an answer with {ending!r}" if ending else "prints nothing after an answer"
    fix = (f'special_tokens: {{eos_token: "{token}"}}' if token is not None else
           "End the assistant's turn in the template with {{ eos_token }}, or use another one (chat_template)")
    yield GateProblem("template_end", f"The chat template {what}, and the token that ends a text is {name!r}: in none of {count:,} rows is an end "
                                      "trained, and the model would not learn to stop.", fix, count, count, True, look.places(rows))


def _stops_at(look: Look) -> frozenset[int]:
    """The tokens at which generation stops, as the base model's files say, beside the tokenizer's EOS."""
    found: set[int] = set()
    for file in ("generation_config.json", "config.json"):
        try:
            number = json.loads((look.tokenizer.folder / file).read_text(encoding="utf-8")).get("eos_token_id")
        except (OSError, ValueError, AttributeError):
            continue
        found |= {one for one in (number if isinstance(number, list) else [number]) if isinstance(one, int)}
    return frozenset(found)


def _generation_prompt(look: Look, index: int, printed: _Printed) -> Iterator[GateProblem]:
    rows = look.found.dataset == index
    count, header = int(rows.sum()), printed.before_answer.strip()
    if not printed.whole.startswith(printed.prompt):
        shown = printed.whole[printed.whole.index(_QUESTION) + len(_QUESTION):printed.whole.index(_ANSWER)]
        asked = printed.prompt[printed.prompt.index(_QUESTION) + len(_QUESTION):] if _QUESTION in printed.prompt else printed.prompt
        yield GateProblem("generation_prompt", f"In training the chat template puts {shown!r} before an answer, and at inference {asked!r}: the "
                                               "model is asked in another form than it is trained in.",
                          "Let add_generation_prompt print exactly what stands before an assistant's content", count, count, False, look.places(rows))
    elif printed.prompt == printed.question and header:
        yield GateProblem("generation_prompt", f"The chat template ignores add_generation_prompt: at inference nothing marks where the answer begins, "
                                               f"and the model would have to write {header!r} itself, on which it is not trained.",
                          f"Add to the template's end: {{% if add_generation_prompt %}}{{{{ {printed.before_answer!r} }}}}{{% endif %}}",
                          count, count, True, look.places(rows))


def _missing_tokens(look: Look, index: int, printed: _Printed | None) -> Iterator[GateProblem]:
    rows = look.found.dataset == index
    used = _SPECIAL.findall(printed.whole + printed.prompt) if printed is not None else _in_every_row(look, rows.nonzero()[0].tolist())
    missing = [token for token in dict.fromkeys(used) if look.tokenizer.token_id(token) is None]
    if missing:
        count = int(rows.sum())
        pieces = len(look.tokenizer.encode(missing[0], special=False))
        names = ", ".join(f'"{token}"' for token in missing)
        yield GateProblem("missing_tokens", f"{names}: the {'template' if printed is not None else 'prompt style'} writes "
                                            f"{'this token' if len(missing) == 1 else 'these tokens'}, and the vocabulary does not have "
                                            f"{'it' if len(missing) == 1 else 'them'}; {missing[0]} becomes {pieces} pieces of ordinary text.",
                          f"Use the model's own template (chat_template: tokenizer_default), or add them: special_tokens: "
                          f"{{additional_special_tokens: [{names}]}} with lora_modules_to_save: [embed_tokens, lm_head]",
                          count, count, True, look.places(rows))


def _in_every_row(look: Look, rows: Sequence[int]) -> list[str]:
    """What looks like a special token in every one of the first rows: the prompt style's own words, not the data's."""
    texts = [look.tokenizer.decode([int(token) for token in look.sample(index).input_ids]) for index in islice(rows, _LOOKED_AT)]
    found = [dict.fromkeys(_SPECIAL.findall(text)) for text in texts]
    return [token for token in found[0] if all(token in others for others in found)] if found else []
