"""report: one page of all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunelab.cli.output import Json, console, print_json


def report(
    run: Annotated[Path | None, typer.Argument(metavar="RUN", help="The output_dir of a run; without one: the notebook alone.",
                                                  show_default=False)] = None,
    comparison: Annotated[Path | None, typer.Option("--comparison", "-c", help="A comparison file to include.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The folder for report.html, report.md and report.json; default: the run's.")] = None,
    notebook: Annotated[Path | None, typer.Option(
        "--notebook", help="The lab notebook to include (tunelab hub note); default: notebook, where there is one.", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """One report of a run, its comparison and the models in the lab notebook, each number linked to where it came from.

    Examples: `tunelab report lab/run --comparison lab/comparison.jsonl --out lab`, `tunelab report --notebook notebook`
    """
    from tunelab.workflow.report import report as build

    result = build(run, comparison=comparison, out=out, notebook=notebook)
    if as_json:
        print_json(result)
    else:
        console().print(f"Written: {result.html}, {result.markdown} and {result.json}")


def add_to(app: typer.Typer) -> None:
    """Register the verb of this file."""
    app.command()(report)
