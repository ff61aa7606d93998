"""Models' sheets in a terminal: one in full with the places that say so, several of them one below the other, many as a table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tunelab.cli.output import plain
from tunelab.config.finding import Severity
from tunelab.hub.evidence import Answer, Candidate, Evidence
from tunelab.hub.fields.example import Example
from tunelab.report.numbers import count, percent
from tunelab.report.sheets import FIELDS, KINDS, MORE, Shown, ShownConfig, answers
from tunelab.workflow.hub_show import Sheets

IN_FULL = 8
"""So many sheets are printed in full; more are a table."""
_PLACES, _RIVALS, _CLAIMS, _EXAMPLE = 3, 3, 12, 1200
_COLOURS = {"error": "bold red", "warning": "bold yellow", "note": "bold cyan"}
_LABEL = 16


def show_sheets(out: Console, sheets: Sheets) -> None:
    """Print what was read, then what could not be read."""
    if len(sheets.models) > IN_FULL:
        _table(out, sheets.models)
    else:
        for index, one in enumerate(sheets.models):
            if index:
                out.print()
            _sheet(out, one)
    for failure in sheets.failures:
        out.print(Text(f"\nnot read: {plain(str(failure))}", style="bold red"))


def _sheet(out: Console, shown: Shown) -> None:
    sheet = shown.sheet
    kind = KINDS.get(sheet.kind.value or "", sheet.kind.value or "")
    facts = [kind, f"{count(sheet.record.downloads)} downloads" if sheet.record.downloads is not None else "",
             f"gated: {sheet.record.gated}" if sheet.record.gated else ""]
    out.print(Text.assemble((plain(sheet.name), "bold cyan"), "  ", (plain(", ".join(one for one in facts if one)), "dim")))
    out.print(Text(plain(sheet.record.link or shown.place), style="dim"))
    grid = Table.grid(padding=(0, 1))
    grid.add_column(min_width=_LABEL, no_wrap=True)
    grid.add_column(ratio=1, overflow="fold")
    for label, answer in answers(sheet, FIELDS):
        grid.add_row(Text(label, "bold"), _answer(answer))
    grid.add_row(Text("Example", "bold"), _examples(sheet.examples))
    grid.add_row("", "")
    for label, answer in answers(sheet, MORE):
        grid.add_row(Text(label, "bold"), _answer(answer))
    grid.add_row(Text("Hyper-params", "bold"), _hyperparameters(shown))
    grid.add_row(Text("Claims", "bold"), _claims(shown))
    out.print(Padding(grid, (0, 0, 0, 2)))
    if shown.config is not None:
        _config(out, shown.config)
    _warnings(out, shown)


def _answer(answer: Answer) -> Text:
    text = Text()
    for one in answer.stated:
        _candidate(text, one, "bold")
    if not answer.stated:
        text.append("not stated\n", "italic dim")
    rivals = answer.candidates[len(answer.stated):]
    for one in rivals[:_RIVALS]:
        text.append("or perhaps ", "dim")
        _candidate(text, one, "")
    if len(rivals) > _RIVALS:
        text.append(f"and {len(rivals) - _RIVALS} more, less sure\n", "dim")
    text.rstrip()
    return text


def _candidate(text: Text, one: Candidate, style: str) -> None:
    text.append(plain(one.value), style).append(f"  {percent(round(one.confidence, 2))}\n", "green" if style else "dim")
    for evidence in one.evidence[:_PLACES if style else 1]:
        text.append(f"  {_place(evidence)}\n", "dim")
    if style and len(one.evidence) > _PLACES:
        text.append(f"  and {len(one.evidence) - _PLACES} more places\n", "dim")
    if one.note:
        text.append(f"  {plain(one.note)}\n", "yellow")


def _place(one: Evidence) -> str:
    return f"{plain(one.place)}: {plain(one.quote)}"


def _examples(examples: Sequence[Example]) -> Text:
    if not examples:
        return Text("not stated", "italic dim")
    best = examples[0]
    text = Text.assemble(("prompt", "bold"), (f"  {percent(round(best.confidence, 2))}  {plain(best.evidence.place)}{', ' if best.template else ''}"
                                              f"{plain(best.template)}\n", "dim"), _cut(best.prompt), "\n", ("output\n", "bold"))
    text.append(_cut(best.output)) if best.output is not None else text.append("not shown", "italic dim")
    if len(examples) > 1:
        text.append(f"\nand {len(examples) - 1} more", "dim")
    return text


def _cut(words: str) -> str:
    shown = plain(words.strip("\n"))
    return shown if len(shown) <= _EXAMPLE else f"{shown[:_EXAMPLE]} … ({len(words):,} characters)"


def _hyperparameters(shown: Shown) -> Text:
    text = Text()
    for name, answer in shown.sheet.hyperparameters.items():
        for one in answer.stated:
            text.append(f"{plain(name)} = {plain(one.value)}", "bold").append(f"  {plain(one.evidence[0].place)}\n" if one.evidence else "\n", "dim")
    text.rstrip()
    return text if text.plain else Text("not stated", "italic dim")


def _claims(shown: Shown) -> Text:
    claims = shown.sheet.evaluation
    text = Text()
    for one in claims[:_CLAIMS]:
        about = f" on {one.dataset}{f', {one.split}' if one.split else ''}" if one.dataset else ""
        text.append(f"{plain(one.metric)}{plain(about)}: ").append(plain(one.value), "bold").append(f"  {plain(one.evidence.place)}\n", "dim")
    if len(claims) > _CLAIMS:
        text.append(f"and {len(claims) - _CLAIMS} more", "dim")
    text.rstrip()
    return text if text.plain else Text("none", "italic dim")


def _config(out: Console, config: ShownConfig) -> None:
    """The key lines of the card's Axolotl config, and what check would say."""
    out.print(Text(f"  The Axolotl config on the card, line {config.line}", "bold"))
    if config.problem:
        out.print(Text(f"    not readable: {plain(config.problem)}", "yellow"))
        return
    for one in config.settings:
        line = Text.assemble(f"    {one.line:>4} ", (one.name, "bold cyan"), (f" = {plain(one.shown)}", "bold"), (f"  {one.here or one.says}", "dim"))
        out.print(line, no_wrap=True, overflow="ellipsis")
    bad = [one for one in config.findings if one.severity in (Severity.ERROR, Severity.WARNING)]
    words = f"{config.errors} error{'s' if config.errors != 1 else ''}, {len(bad) - config.errors} warnings"
    out.print(Text(f"    check: {words if bad else 'no error, no warning'}", "red" if config.errors else "green"))
    for finding in bad[:6]:
        out.print(Text(f"      {finding.severity} {finding.code}, line {finding.line}: {plain(finding.message)}", "dim"))


def _warnings(out: Console, shown: Shown) -> None:
    """What the cross-check finds, what the base model is, what is wrong with the card."""
    for finding in shown.sheet.findings:
        out.print(Text.assemble("  ", (f"{finding.severity} {finding.code}", _COLOURS.get(finding.severity, "")), f"  {plain(finding.message)}"))
        for evidence in finding.evidence[:4]:
            out.print(Text(f"      {_place(evidence)}", "dim"))
    if shown.base is not None and shown.base.sentence:
        out.print(Text.assemble("  ", ("note", _COLOURS["note"]), f"  {plain(shown.base.sentence)}"))
    for problem in shown.sheet.problems:
        out.print(Text.assemble("  ", ("card", "bold yellow"), f"  {plain(problem)}"))


def _table(out: Console, models: Sequence[Shown]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name, ratio in (("model", 5), ("kind", 2), ("base model", 4), ("task", 3), ("data sets", 4)):
        table.add_column(name, overflow="ellipsis", no_wrap=True, ratio=ratio)
    for name in ("example", "findings"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in models:
        sheet = one.sheet
        cells = [_short(answer) for answer in (sheet.kind, sheet.base_model, sheet.task, sheet.datasets)]
        example = "-" if not sheet.examples else "prompt, output" if sheet.examples[0].output is not None else "prompt"
        table.add_row(Text(plain(sheet.name), "cyan"), *cells, example, str(len(sheet.findings) or "-"))
    out.print(table)
    out.print(Text(f"{len(models):,} models. One of them in full: tunelab hub show MODEL; all of it for machines: --json or --jsonl", "dim"))


def _short(answer: Answer) -> Text:
    return Text(plain(", ".join(answer.values))) if answer.stated else Text("not stated", "italic dim")
