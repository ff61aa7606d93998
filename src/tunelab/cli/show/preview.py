"""Rows token by token in a terminal; colour, underline and a legend say what happens to each token, and marks do where there is no colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tunelab.cli.output import plain
from tunelab.data.gate import GateProblem
from tunelab.report.build import token_rows
from tunelab.report.content import Piece, State, TokenRow
from tunelab.report.preview import beside, figures_of_pairs, left_out, most_frequent
from tunelab.report.text import shown_pieces
from tunelab.workflow.preview import Previewed

STYLES: Mapping[State, str] = {
    "context": "dim",
    "trained": "bold green underline",
    "end_of_turn_trained": "bold black on green",
    "end_of_turn_untrained": "bold white on red",
    "truncated": "strike red",
    "padding": "dim italic",
    "pack_border": "bold cyan",
}
_WORDS: Mapping[State, str] = {
    "context": "only read", "trained": "trained", "end_of_turn_trained": "✓end of turn, trained", "end_of_turn_untrained": "✗end of turn, not trained",
    "truncated": "cut off", "padding": "padding", "pack_border": "another row begins"}
_MARKS: Mapping[State, tuple[str, str]] = {"trained": ("⟦", "⟧"), "truncated": ("⟪", "⟫"), "padding": ("[", "]")}
"""What stands around a stretch of tokens where there is no colour."""
_ALWAYS: tuple[State, ...] = ("context", "trained", "end_of_turn_trained", "end_of_turn_untrained")
_BAR = 30


def show_preview(out: Console, result: Previewed) -> None:
    """Print the rows and the figures over all of them."""
    coloured = out.color_system is not None and not out.no_color
    rows = token_rows(result.rows)
    used = {piece.state for row in rows for piece in row.pieces}
    out.print(_legend([state for state in _WORDS if state in _ALWAYS or state in used], coloured))
    for group in beside(rows):
        if len(group) == 1:
            _row(out, group[0], coloured, "packed row" if result.packed else "row")
        else:
            _side_by_side(out, group, coloured)
    if result.can_pack and not result.packed:
        out.print("\nThe config lays rows out together or fills them up: --packed shows them so.", style="dim")
    _statistics(out, result)
    for problem in result.problems:
        show_problem(out, problem)


def show_problem(out: Console, problem: GateProblem) -> None:
    """Print what the gate has found, and the edit."""
    style = "bold red" if problem.stops else "bold yellow"
    out.print(Text.assemble((f"{'problem' if problem.stops else 'warning'} [{problem.code}]: ", style), plain(problem.message)))
    out.print(Text(f"  edit: {plain(problem.fix)}"))


def _legend(states: Sequence[State], coloured: bool) -> Text:
    text = Text("Legend: ")
    for state in states:
        before, after = ("", "") if coloured else _MARKS.get(state, ("", ""))
        text.append(f"{before}{_WORDS[state]}{after}", STYLES[state])
        text.append("   ")
    return text.append("↵ line end  · space  ⇥ tab", "dim")


def _side_by_side(out: Console, group: Sequence[TokenRow], coloured: bool) -> None:
    """The two answers of a pair, each behind its prompt, in two columns."""
    out.print(Text(f"\npair {group[0].number}, {plain(group[0].origin)}", "bold"))
    for why in group[0].why:
        out.print(Text(f"  {why}", "yellow"))
    table = Table(box=SIMPLE, expand=True, padding=(0, 1), show_edge=False)
    for row in group:
        table.add_column(f"{row.side}: {row.tokens:,} tokens, {row.trained:,} trained", ratio=1, overflow="fold")
    table.add_row(*(_tokens(row, coloured) for row in group))
    out.print(table)


def _row(out: Console, row: TokenRow, coloured: bool, noun: str) -> None:
    number = f"{noun} {row.number}, " if row.number is not None else ""
    number += f"{row.side}, " if row.side else ""
    trained = "not trained on" if row.number is None and row.why else f"{row.trained:,} trained"
    out.print(Text(f"\n{number}{plain(row.origin)}: {row.tokens:,} tokens, {trained}", "bold"))
    for why in row.why:
        out.print(Text(f"  {why}", "yellow"))
    out.print(_tokens(row, coloured))


def _tokens(row: TokenRow, coloured: bool) -> Text:
    text, pieces = Text(), shown_pieces(row.pieces)
    for index, piece in enumerate(pieces):
        shown = _shown(piece)
        if not coloured and piece.state in _MARKS:
            before, after = _MARKS[piece.state]
            shown = before * _starts(pieces, index) + shown + after * _ends(pieces, index)
        style = STYLES[piece.state]
        text.append(shown, f"{style} italic" if piece.special and piece.state == "context" else style)
    return text


def _shown(piece: Piece) -> str:
    text = plain(piece.text)
    if piece.state == "padding":
        return f"{text} × {len(piece.ids):,}" if len(piece.ids) > 1 else text
    if piece.state == "pack_border":
        return f"\n── {plain(piece.origin)} ──\n{text}"
    return {"end_of_turn_trained": "✓", "end_of_turn_untrained": "✗"}.get(piece.state, "") + text


def _starts(pieces: Sequence[Piece], index: int) -> bool:
    return index == 0 or pieces[index - 1].state != pieces[index].state


def _ends(pieces: Sequence[Piece], index: int) -> bool:
    return index + 1 == len(pieces) or pieces[index + 1].state != pieces[index].state


def _statistics(out: Console, result: Previewed) -> None:
    figures, counts = result.statistics, result.counts
    if result.pairs is not None:
        out.print(f"\n{counts.read:,} rows read, {result.pairs.rows:,} kept for training, {counts.held_out:,} held out, "
                  + ", ".join(f"{rows:,} {why}" for why, rows in left_out(counts)))
        out.print(", ".join(f"{label[0].lower()}{label[1:]} {words}" for label, _, words in figures_of_pairs(result.pairs)))
        return
    out.print(f"\n{counts.read:,} rows read, {figures.rows:,} kept for training, {counts.held_out:,} held out, "
              + ", ".join(f"{rows:,} {why}" for why, rows in left_out(counts)))
    out.print(f"{figures.tokens:,} tokens, {figures.supervised:,} trained ({figures.share:.0%}); row length {figures.shortest:,}-{figures.longest:,}, "
              f"median {figures.median:,g}, 95 % under {figures.p95:,}; {figures.duplicates:,} duplicate rows, {figures.end_never_trained:,} whose end "
              f"is never trained, {figures.open_end:,} that stop in the middle")
    if figures.languages:
        out.print(f"languages of the trained text, by script and common words in {figures.language_rows:,} rows: "
                  + ", ".join(f"{name} {share:.0%}" if share >= 0.005 else f"{name} under 1%" for name, share in most_frequent(figures.languages)))
    if result.turns is not None and result.turns.rows:
        turns = result.turns
        roles = ", ".join(f"{count:,} {plain(role)}" for role, count in list(turns.roles.items())[:12])
        out.print(f"raw rows: {turns.rows:,}; turns: {roles or 'none'}; {turns.empty_answers:,} rows with an empty answer"
                  + (f", first {plain(str(turns.empty_places[0]))}" if turns.empty_places else ""))
    widest = max((bucket.count for bucket in figures.histogram), default=1) or 1
    for bucket in figures.histogram:
        filled = max(bool(bucket.count), round(_BAR * bucket.count / widest))
        trained = round(filled * bucket.supervised / bucket.tokens) if bucket.tokens else 0
        out.print(Text.assemble(f"  {bucket.lower:>6,}-{bucket.upper:<6,} ", ("█" * trained, "green"), ("▒" * (filled - trained), "dim"),
                                " " * (_BAR - filled), f" {bucket.count:,}"))
    out.print("  tokens         █ trained, ▒ only read; rows", style="dim")
