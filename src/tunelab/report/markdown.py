"""The report as Markdown. What came from a model, a dataset or a config is either inside a fence that it cannot close, or escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from tunelab.report import numbers
from tunelab.report.content import ComparisonPart, Content, Estimate, GroupPart, PairPart, TokenRow
from tunelab.report.text import one_line, visible

_SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~&:@])")
_MARKS = {"context": "", "trained": "**", "end_of_turn_trained": "**", "end_of_turn_untrained": "~~"}


def render_markdown(content: Content) -> str:
    """The whole report."""
    parts = [f"# {_inline(content.title)}", f"**{_inline(content.headline)}**", *(_inline(sentence) for sentence in content.summary),
             f"Made {content.made} with tunelab {content.tunelab}."]
    if content.comparison:
        parts.extend(_comparison(content.comparison))
    parts.extend(_training(content))
    if content.rows:
        parts.append("## What was trained on")
        parts.append("Trained tokens are bold; everything else is only read.")
        parts.extend(_row(row) for row in content.rows)
    parts.extend(_config(content))
    parts.extend(_provenance(content))
    return "\n\n".join(parts) + "\n"


def fenced(text: str, language: str = "") -> str:
    """A fenced block longer than any run of backticks in the text."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{visible(text)}\n{fence}"


def _inline(text: str) -> str:
    """Text on one line in which no character means anything to Markdown or HTML."""
    return _SPECIAL.sub(r"\\\1", " ".join(visible(text).split()))


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    columns = list(head)
    lines = [" | ".join(columns), " | ".join("---" for _ in columns), *(" | ".join(row) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)


def _comparison(part: ComparisonPart) -> Iterator[str]:
    yield "## Did it help?"
    for group in part.groups:
        yield f"**{_inline(group.group)}: {_inline(group.verdict)}.** {_inline(group.sentence)}"
        yield _rates(group)
    for warning in part.warnings:
        yield f"Warning: {_inline(warning)}"
    if part.observations:
        yield "\n".join(f"- {_inline(one.text)}" for one in part.observations)
    for group in part.groups:
        yield f"## Answers side by side: {_inline(group.group)}"
        for pair in part.of(group):
            yield from _pair(pair)


def _rates(group: GroupPart) -> str:
    def shown(name: str, estimate: Estimate | None, signed: bool = False) -> list[str]:
        words = numbers.points if signed else numbers.percent
        if estimate is None:
            return [name, numbers.NONE, numbers.NONE]
        return [name, words(estimate.value), f"{words(estimate.low)} to {words(estimate.high)}"]

    return _table((group.measure, "measured", f"{group.level:.0%} interval"),
                  (shown("base", group.base), shown("tuned", group.tuned), shown("tuned minus base", group.difference, signed=True)))


def _pair(pair: PairPart) -> Iterator[str]:
    yield f"### {_inline(one_line(pair.prompt, 80))} ({_inline(pair.outcome)})"
    if pair.before:
        yield fenced(pair.before)
    yield fenced(pair.prompt)
    if pair.expected is not None:
        yield f"Expected:\n\n{fenced(pair.expected)}"
    for side, answer, stop, reason in (("Base", pair.base, pair.base_stop, pair.base_reason),
                                       ("Tuned", pair.tuned, pair.tuned_stop, pair.tuned_reason)):
        cut = " (cut at the token limit)" if stop == "length" else ""
        why = f": {_inline(reason)}" if reason else ""
        yield f"{side}{cut}{why}\n\n{fenced(answer)}"


def _training(content: Content) -> Iterator[str]:
    training = content.training
    yield "## The run"
    yield f"Status: {_inline(training.status)}. {_inline(training.reason)}".strip()
    if training.steps:
        shown = training.steps[:: max(1, len(training.steps) // 12)]
        rows = [*shown, *([training.steps[-1]] if shown[-1] != training.steps[-1] else [])]
        yield _table(("step", "loss", "learning rate", "gradient norm"),
                     ((str(one.step), numbers.loss(one.loss), f"{one.lr:.2e}", numbers.figures(one.grad_norm)) for one in rows))
    if training.evaluations:
        yield _table(("after step", "evaluation loss"), ((str(one.step), numbers.loss(one.loss)) for one in training.evaluations))
    if content.plan:
        yield "## The plan against what happened"
        yield _table(("", "predicted", "measured", "measured / predicted"),
                     ((row.what, numbers.by_unit(row.predicted, row.unit), numbers.by_unit(row.measured, row.unit), numbers.times(row.ratio))
                      for row in content.plan.rows))
        if content.plan.memory:
            yield _table(("memory, predicted", "size"), ((part.name, numbers.size(part.bytes)) for part in content.plan.memory))
        yield "\n".join(f"- {_inline(one)}" for one in content.plan.assumptions)


def _row(row: TokenRow) -> str:
    """Tokens one after another; marks stand at the edges of words, where Markdown sees them."""
    text = []
    for piece in row.pieces:
        mark = _MARKS[piece.state]
        shown = _inline(piece.text.replace("\n", " ↵ "))
        lead, tail = (" " if piece.text[:1].isspace() else ""), (" " if piece.text[-1:].isspace() else "")
        text.append(f"{lead}{mark}{shown}{mark}{tail}" if shown else lead)
    joined = "".join(text).replace("****", "").replace("~~~~", "")
    return f"{_inline(row.origin)}, {row.tokens} tokens, {row.trained} trained:\n\n> {joined}"


def _config(content: Content) -> Iterator[str]:
    config = content.config
    yield "## The config explained"
    yield fenced(config.text, "yaml")
    if config.settings:
        yield _table(("setting", "value", "what it is", "in this run"),
                     ((_inline(one.name), _inline(one_line(one.value)), _inline(one.says), _inline(one.here)) for one in config.settings))
    if config.findings:
        yield "What check says:"
        yield "\n".join(f"- {_inline(one.severity)} {_inline(one.code)}{f', line {one.line}' if one.line else ''}: {_inline(one.message)}"
                        for one in config.findings)


def _provenance(content: Content) -> Iterator[str]:
    yield "## Where it comes from"
    if content.origin:
        yield _table(("base weights", ""), ((_inline(name), _inline(value)) for name, value in content.origin.items()))
    facts = (*content.training.machine, *content.training.versions)
    if facts:
        yield _table(("made with", ""), ((_inline(name), _inline(value)) for name, value in facts))
    if content.sources:
        yield _table(("file", "holds"), ((_inline(source.path), _inline(source.says)) for source in content.sources))
