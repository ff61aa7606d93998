"""`render_markdown`: the report as Markdown. Text from outside stands in code spans and fences that it cannot end, or is escaped.

Safe in CommonMark and in GitHub's flavour: no HTML, link, image, mention, formula or table comes out of a model's answer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence

from tunelab.report import numbers
from tunelab.report.content import (
    ComparisonPart,
    ConfigPart,
    Content,
    Estimate,
    GroupPart,
    Notebook,
    NotePart,
    PairPart,
    PlanPart,
    SideBySide,
    TokenRow,
    TrainingPart,
)
from tunelab.report.text import runs_of, shown_pieces, visible

_SPECIAL = re.compile(r"[\\`*_{}\[\]<>#|~$&]")
# At the start of a line these begin a list, a rule or a heading's underline.
_OPENING = re.compile(r"^(\d*)([-+=.)])")
# GitHub makes a link of these without being asked, backslashes or not; in a code span it does not.
_LINKS = re.compile(r"\S*(?:://|www\.|@|mailto:|xmpp:)\S*", re.IGNORECASE)
_BARS = "▁▂▃▄▅▆▇█"
_CURVE_WIDTH = 60
_CURVE_ROWS = 12
_SIGNS = {"gain": "▲", "loss": "▼", "unsure": "◆"}
_TITLES = {"task": "The task", "general": "General prompts"}


def render_markdown(content: Content) -> str:
    """The whole report, every answer in full; it ends with a line end."""
    parts = [f"# {escaped(content.headline)}", f"{escaped(content.title)}; {escaped(content.made)}, tunelab {escaped(content.tunelab)}",
             *(escaped(sentence) for sentence in content.summary if sentence != content.headline)]
    if content.training.status != "finished":
        parts.append(f"**The run is {escaped(content.training.status)}.** {escaped(content.training.reason)}".rstrip())
    if content.comparison is not None:
        parts += _comparison(content.comparison)
    parts += _training(content.training)
    if content.plan is not None:
        parts += _plan(content.plan)
    parts += [*_rows(content.rows), *_config(content.config), *_notes(content.notes), *_provenance(content)]
    return "\n\n".join(part for part in parts if part) + "\n"


def render_comparison_markdown(content: SideBySide) -> str:
    """A comparison alone, every answer in full."""
    return "\n\n".join(part for part in (f"# {escaped(content.headline)}", escaped(content.title), *_comparison(content.comparison)) if part) + "\n"


def render_notebook_markdown(content: Notebook) -> str:
    """The lab notebook alone."""
    made = f"{escaped(content.made)}, tunelab {escaped(content.tunelab)}"
    return "\n\n".join((f"# {escaped(content.title)}", made, *_notes(content.notes))) + "\n"


def escaped(text: str) -> str:
    """Text on one line with every character that could mean something escaped; what a reader might turn into a link is code."""
    flat = " ".join(visible(text).split())
    out, at = [], 0
    for match in _LINKS.finditer(flat):
        out += [_backslashed(flat[at : match.start()]), code(match.group())]
        at = match.end()
    return _OPENING.sub(r"\1\\\2", "".join(out) + _backslashed(flat[at:]))


def code(text: str) -> str:
    """A code span that its text cannot end, on one line; line ends are shown as "↵"."""
    flat = visible(text).replace("\n", "↵").replace("\t", "⇥")
    if not flat.strip():
        return "(empty)"
    ticks = "`" * (_longest_run(flat) + 1)
    space = " " if flat[0] in "` " or flat[-1] in "` " else ""
    return f"{ticks}{space}{flat}{space}{ticks}"


def fenced(text: str, language: str = "") -> str:
    """A block that its text cannot end: the fence is longer than any run of backticks in it."""
    shown = visible(text)
    ticks = "`" * max(3, _longest_run(shown) + 1)
    return f"{ticks}{language}\n{shown}{'' if shown.endswith(chr(10)) else chr(10)}{ticks}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numeric: int = 0) -> str:
    """A table of cells that are Markdown already; the last `numeric` columns are set to the right. Empty without rows."""
    lines = [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]
    if not lines:
        return ""
    rule = ["---"] * (len(head) - numeric) + ["---:"] * numeric
    return "\n".join([f"| {' | '.join(head)} |", f"| {' | '.join(rule)} |", *lines])


def _comparison(part: ComparisonPart) -> list[str]:
    out = [block for group in part.groups for block in _group(part, group)]
    if part.warnings:
        out += ["### Read this with care", "\n".join(f"- {escaped(one)}" for one in part.warnings)]
    if part.observations:
        out += ["### What stands out", "\n".join(
            f"- {escaped(one.text)}" + (f" ({', '.join(code(prompt) for prompt in one.prompt_ids)})" if one.prompt_ids else "")
            for one in part.observations)]
    for group in part.groups:
        pairs = part.of(group)
        if pairs:
            out += [f"## {_title(group)}: every answer", *(block for pair in pairs for block in _pair(pair))]
    return out


def _group(part: ComparisonPart, group: GroupPart) -> list[str]:
    measured = ((f"Base, {code(part.base)}", group.base, numbers.percent), (f"Tuned, {code(part.tuned)}", group.tuned, numbers.percent),
                ("Difference", group.difference, numbers.points))
    counts = (("won", group.won), ("lost", group.lost), ("both", group.both), ("neither", group.neither), ("not graded", group.not_graded))
    chance = f"; McNemar's exact p: {numbers.p_value(group.p_value)}" if group.p_value is not None else ""
    return [f"## {_title(group)}", f"{_SIGNS[group.tone]} **{escaped(group.short)}**",
            escaped(group.sentence) if group.sentence != group.short else "",
            table(("", escaped(group.measure), f"{numbers.percent(group.level)} interval"),
                  ((name, words(value.value), _interval(value, words)) for name, value, words in measured if value is not None), 2),
            f"{numbers.count(group.n)} prompts graded on both sides: {', '.join(f'{value} {name}' for name, value in counts)}{chance}."]


def _interval(value: Estimate, words: Callable[[float], str]) -> str:
    return f"{words(value.low)} to {words(value.high)}"


def _pair(pair: PairPart) -> list[str]:
    out = [f"### {escaped(pair.outcome)}: {code(pair.id)}"]
    if pair.before:
        out += ["Before the prompt:", fenced(pair.before)]
    out += ["Prompt:", fenced(pair.prompt)]
    if pair.expected is not None:
        out += ["Expected:", fenced(pair.expected)]
    for name, text, passed, reason, stop in (("Base", pair.base, pair.base_passed, pair.base_reason, pair.base_stop),
                                             ("Tuned", pair.tuned, pair.tuned_passed, pair.tuned_reason, pair.tuned_stop),
                                             *((one.name.capitalize(), one.text, one.passed, one.reason, one.stop) for one in pair.more)):
        judged = "not judged" if passed is None else "✓ passed" if passed else "✗ failed"
        ended = {"length": ", cut at the limit", "error": ", error"}.get(stop, "")
        out += [f"{name}: {judged}{ended}" + (f", {escaped(reason)}" if reason else ""), fenced(text) if text else "(nothing)"]
    return out


def _training(part: TrainingPart) -> list[str]:
    facts = [("Steps", numbers.count(len(part.steps))), ("Tokens", numbers.count(part.tokens)),
             ("Tokens trained on", numbers.count(part.supervised)), ("Time in steps", numbers.duration(part.seconds))]
    if part.tokens_per_second is not None:
        facts.append(("Tokens per second", numbers.figures(part.tokens_per_second)))
    out = ["## The run", table(("", ""), facts, 1)]
    if not part.steps:
        return [*out, "No step was taken, so there is no loss curve."]
    losses = [step.loss for step in part.steps]
    size = max(1, math.ceil(len(part.steps) / _CURVE_ROWS))
    shown = [*part.steps[::size], *([part.steps[-1]] if (len(part.steps) - 1) % size else [])]
    return [
        *out, f"Loss from {numbers.loss(losses[0])} to {numbers.loss(losses[-1])}, in nats per trained token (preferences: per pair):",
        fenced(_sparkline(losses)),
        table(("Step", "Loss", "Learning rate", "Gradient norm"),
              ((numbers.count(step.step), numbers.loss(step.loss), numbers.figures(step.lr), numbers.figures(step.grad_norm))
               for step in shown), 3),
        table(("After step", "Held-out loss"), ((numbers.count(one.step), numbers.loss(one.loss)) for one in part.evaluations), 1)]


def _sparkline(values: Sequence[float]) -> str:
    """A curve in one line of text: means of equal stretches; "×" for a stretch without a finite value."""
    size = max(1, math.ceil(len(values) / _CURVE_WIDTH))
    blocks = [[one for one in values[start : start + size] if math.isfinite(one)] for start in range(0, len(values), size)]
    means = [sum(block) / len(block) if block else math.nan for block in blocks]
    finite = [mean for mean in means if math.isfinite(mean)]
    low = min(finite, default=0.0)
    spread = (max(finite, default=0.0) - low) or 1.0
    return "".join(_BARS[min(7, int((mean - low) / spread * 8))] if math.isfinite(mean) else "×" for mean in means)


def _plan(part: PlanPart) -> list[str]:
    rows = ((escaped(row.what), numbers.by_unit(row.predicted, row.unit), numbers.by_unit(row.measured, row.unit), numbers.times(row.ratio))
            for row in part.rows)
    out = ["## The plan against what happened", table(("What", "Predicted", "Measured", "Measured / predicted"), rows, 3)]
    if part.memory:
        out += ["### Predicted memory at its peak",
                table(("Part", "Size"), ((escaped(one.name), numbers.size(one.bytes)) for one in part.memory), 1)]
    if part.assumptions:
        out += ["### What the plan took for granted", "\n".join(f"- {escaped(one)}" for one in part.assumptions)]
    return out


def _rows(rows: Sequence[TokenRow]) -> list[str]:
    if not rows:
        return []
    out = ["## What it was trained on",
           "The model learns to write what stands between ⟦ and ⟧ and only reads the rest; ↵ is a line end, · a trailing space."]
    for row in rows:
        marked = ((state in ("trained", "end_of_turn_trained"), text) for state, text in runs_of(shown_pieces(row.pieces)))
        text = "".join(f"⟦{text}⟧" if trained else text for trained, text in marked).replace("⟧⟦", "")
        counts = f": {numbers.count(row.trained)} of {numbers.count(row.tokens)} tokens trained" if row.tokens else ""
        out += [f"{code(row.origin)}{counts}", fenced(text)]
    return out


def _config(part: ConfigPart) -> list[str]:
    out = ["## The config, explained", code(part.file), fenced(part.text, "yaml")]
    for heading, settings in part.in_order():
        cells = ((code(one.name), code(one.value), str(one.line) if one.line is not None else "" if one.written else "default",
                  escaped(one.says), escaped(one.here)) for one in settings)
        if settings:
            out += [f"### {heading}", table(("Setting", "Value", "Line", "What it is", "In this run"), cells)]
    if part.findings:
        out += ["### Findings", "\n".join(
            f"- **{escaped(one.severity)} {escaped(one.code)}**{f', line {one.line}' if one.line is not None else ''}: {escaped(one.message)}"
            + (f" Edit: {code(one.fix)}" if one.fix else "") for one in part.findings)]
    return out


def _notes(notes: Sequence[NotePart]) -> list[str]:
    """The models of the lab notebook. A person's words are a quotation, line by line: their Markdown could end what stands around it."""
    if not notes:
        return []
    out = ["## Models looked at"]
    for number, one in enumerate(notes, 1):
        out.append(f"### Model {number}: {escaped(one.name)}")
        for field in one.fields:
            words = _quoted(field.text) if field.edited else fenced(field.text, "text") if "\n" in field.text else escaped(field.text)
            apart = "\n\n" if "\n" in words or field.edited else " "
            out.append(f"**{escaped(field.label)}:**{apart}{words}")
            if field.evidence:
                out.append("\n".join(f"- {escaped(place)}" for place in field.evidence))
        if one.notes:
            out += ["**Notes:**", _quoted(one.notes)]
    return out


def _quoted(text: str) -> str:
    return "\n".join(f"> {escaped(line)}  " if line.strip() else ">" for line in text.split("\n")) if text else "(nothing)"


def _provenance(content: Content) -> list[str]:
    out = ["## Where it all comes from"]
    compared = content.comparison.settings if content.comparison else ()
    for heading, facts in (("Base weights", tuple((content.origin or {}).items())), ("How the models were compared", compared),
                           ("Machine", content.training.machine), ("Versions", content.training.versions)):
        if facts:
            out += [f"### {heading}", table(("", ""), ((escaped(name), escaped(value)) for name, value in facts))]
    if content.sources:
        out += ["### Files", table(("File", "Path", "What it holds"),
                                   ((escaped(one.label), code(one.path), escaped(one.says)) for one in content.sources))]
    return out


def _title(group: GroupPart) -> str:
    return _TITLES.get(group.group) or escaped(group.group)


def _backslashed(text: str) -> str:
    return _SPECIAL.sub(lambda match: "\\" + match.group(), text)


def _cell(markdown: str) -> str:
    """A cell's text: a bar ends the cell, in code spans too, unless an odd number of backslashes stands before it."""
    return re.sub(r"(\\*)\|", lambda match: match.group() if len(match.group(1)) % 2 else match.group(1) + "\\|", markdown)


def _longest_run(text: str) -> int:
    """The length of the longest run of backticks."""
    return max((len(run) for run in re.findall("`+", text)), default=0)
