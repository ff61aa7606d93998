"""An exported model in a terminal: how near it is to what it was made from."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from tunelab.cli.output import plain
from tunelab.export.verification import Difference
from tunelab.planning.here import size
from tunelab.report.numbers import percent
from tunelab.workflow.export import Exported
from tunelab.workflow.export_gguf import ExportedGguf
from tunelab.workflow.export_ollama import ExportedOllama


def show_exported(out: Console, result: Exported) -> None:
    """Print the verification, what else there is to say, and where the model lies."""
    found = result.verification
    table = Table("", "KL, nats/token", "logits: largest", "mean", "same top token", box=None, pad_edge=False)
    _row(table, "merged | base + adapter", found.merged)
    _row(table, "base | base + adapter", found.effect)
    if found.trained is not None:
        _row(table, f"merged | {result.origin['quantised']} + adapter", found.trained)
    out.print(table)
    out.print(f"{found.prompts} prompts ({found.prompts_from}), {found.merged.positions:,} positions, computed in {found.compute}; "
              f"greedy answers equal: {found.greedy_same} of {found.greedy}")
    changed, moved = result.origin["changed"], result.origin["moved"]
    out.print(f"stored in {found.dtype}: of {moved:,} weights that the adapter moves, rounding leaves {changed:,} moved ({percent(changed / moved)})")
    out.print(f"base: {plain(str(result.origin['base']))}; licence: {plain(str(result.origin['license']))}")
    _notes(out, result.notes)
    out.print(f"Written: {result.folder}", style="bold green")


def show_gguf(out: Console, result: ExportedGguf) -> None:
    """Print how a GGUF file differs from its run, in numbers and in answers."""
    found, origin = result.verification, result.origin
    effect = f", where training changed the base by {found.effect:.2e}" if found.effect is not None else ""
    out.print(f"divergence from the run: {found.kl:.2e} nats a position on average ({found.max_kl:.2e} at most){effect}")
    out.print(f"log-probabilities of likely tokens: {found.max_logprob:.2e} apart at most; likeliest token the same at {percent(found.same_top)} of "
              f"{found.positions} positions")
    share = percent(found.greedy_equal / found.greedy_tokens) if found.greedy_tokens else "none"
    out.print(f"greedy answers: {found.greedy_same} of {found.greedy} equal; tokens equal up to the first difference: {found.greedy_equal} of "
              f"{found.greedy_tokens} ({share})")
    out.print(f"texts split into the same tokens: {found.texts_equal} of {found.texts}; asked: {found.prompts} prompts ({found.prompts_from})")
    out.print(f"base: {plain(str(origin['base']))}; licence: {plain(str(origin['license']))}")
    _notes(out, result.notes)
    formats = ", ".join(f"{count} tensors {kind}" for kind, count in result.kinds.items())
    out.print(f"Written: {result.path} ({size(result.bytes)}; {formats})", style="bold green")


def show_ollama(out: Console, result: ExportedOllama) -> None:
    """Print the GGUF, and what became of it in Ollama."""
    show_gguf(out, result.gguf)
    made = result.ollama
    _notes(out, made.notes)
    out.print(f"Written: {made.path}", style="bold green")
    if made.created is not None:
        proven = "; what it is fed is what training fed it" if not made.created.unproven else ""
        name = plain(made.created.name)
        name = plain(made.created.name)
        out.print(f"In Ollama: {name} ({made.created.digest[:12]}){proven}. Try it: ollama run {name}", style="bold green")


def _notes(out: Console, notes: Sequence[str]) -> None:
    for note in notes:
        out.print(f"note: {plain(note)}", style="yellow")


def _row(table: Table, name: str, one: Difference) -> None:
    table.add_row(name, f"{one.kl:.2e}", f"{one.max_abs:.2e}", f"{one.mean_abs:.2e}", percent(one.same_top))
