"""lab: the whole loop on the embedded model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunelab.cli.output import Json, print_json


def lab(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write the lab.")] = Path("lab"),
    quick: Annotated[bool, typer.Option("--quick", help="A few steps and prompts only: shows the way, not the result.")] = False,
    as_json: Json = False,
) -> None:
    """The whole loop on the embedded model: explain, check, plan, preview, train, compare, report.

    Run it again to go on where it was stopped. Examples: `tunelab lab`, `tunelab lab my-lab --quick`
    """
    from tunelab.cli.show.lab import lab_watch
    from tunelab.workflow.lab import lab as run

    with lab_watch(quiet=as_json) as watch:
        result = run(folder, quick=quick, watch=watch)
    if as_json:
        print_json(result)


def add_to(app: typer.Typer) -> None:
    """Register the verb of this file."""
    app.command()(lab)
