"""Rows token by token in a terminal; colour, underline and a legend say what happens to each token."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from tunelab.cli.output import plain
from tunelab.workflow.preview import Previewed

STYLES = {
    "context": "dim",
    "trained": "bold green underline",
    "end_of_turn_trained": "bold black on green",
    "end_of_turn_untrained": "bold white on red",
}


def show_preview(out: Console, result: Previewed) -> None:
    """Print the rows and the figures over all of them."""
    out.print(Text.assemble("Legend: ", ("only read", STYLES["context"]), "  ", ("trained", STYLES["trained"]), "  ",
                            (" end of turn, trained ", STYLES["end_of_turn_trained"]), "  ",
                            (" end of turn, never trained ", STYLES["end_of_turn_untrained"])))
    for row in result.rows:
        out.print(f"\n{plain(str(row.origin))}: {len(row.tokens)} tokens, {row.supervised} trained", style="bold")
        text = Text()
        for token in row.tokens:
            shown = plain(token.text.replace("\n", "↵\n")) if token.text else ""
            text.append(shown, STYLES[str(token.state)])
        out.print(text)
    _statistics(out, result)
    for problem in result.problems:
        out.print(f"problem: {problem.message}", style="bold red")
        out.print(f"  edit: {problem.fix}")


def _statistics(out: Console, result: Previewed) -> None:
    figures, counts = result.statistics, result.counts
    out.print(f"\n{counts.read:,} rows read, {figures.rows:,} kept for training, {counts.held_out:,} held out, {counts.too_long:,} too long, "
              f"{counts.too_short:,} too short, {counts.without_label:,} with nothing to train on")
    out.print(f"{figures.tokens:,} tokens, {figures.supervised:,} trained ({figures.share:.0%}); row length {figures.shortest}-{figures.longest}, "
              f"median {figures.median:g}, 95 % under {figures.p95:g}; {figures.duplicates:,} duplicate rows")
    widest = max((bucket.count for bucket in figures.histogram), default=1) or 1
    for bucket in figures.histogram:
        out.print(f"  {bucket.lower:>6}-{bucket.upper:<6} {'█' * round(30 * bucket.count / widest):<30} {bucket.count:,}")
