"""report: one page of all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunelab.cli.output import Json, console, print_json


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The output_dir of a run.", show_default=False)],
    comparison: Annotated[Path | None, typer.Option("--comparison", "-c", help="A comparison file to include.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The folder for report.html, report.md and report.json; default: the run's.")] = None,
    as_json: Json = False,
) -> None:
    """One report of a run and its comparison, each number linked to where it came from.

    Example: `tunelab report lab/run --comparison lab/comparison.jsonl --out lab`
    """
    from tunelab.workflow.report import report as build

    result = build(run, comparison=comparison, out=out)
    if as_json:
        print_json(result)
    else:
        console().print(f"Written: {result.html}, {result.markdown} and {result.json}")


def add_to(app: typer.Typer) -> None:
    """Register the verb of this file."""
    app.command()(report)
