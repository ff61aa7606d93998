"""doctor: what a run suffers from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from tunelab.cli.output import Json, console, print_json
from tunelab.config.finding import Severity


def doctor(
    run: Annotated[str | None, typer.Argument(metavar="[RUN|CODE]", help="The output_dir of a run, or an ailment such as TD103; all ailments when "
                                              "left out.", show_default=False)] = None,
    checksums: Annotated[bool, typer.Option(help="Read every checkpoint to see whether it is whole.")] = True,
    as_json: Json = False,
) -> None:
    """What became of a run, what is wrong with it, and what is the edit?

    Works on finished, running, stopped, killed and half-deleted runs. Exit code 0: nothing grave; 1: an error was found.

    Examples: `tunelab doctor lab/run`, `tunelab doctor TD301`, `tunelab doctor`
    """
    from tunelab.cli.show.doctor import show_ailments, show_examined
    from tunelab.workflow.doctor import ailments
    from tunelab.workflow.doctor import doctor as examine

    if run is None or re.fullmatch(r"TD\d+", run, re.IGNORECASE):
        found = ailments(run)
        if as_json:
            print_json(found if run is None else found[0])
        else:
            show_ailments(console(), found)
        return
    result = examine(Path(run), checksums=checksums)
    if as_json:
        print_json(result)
    else:
        show_examined(console(), result)
    raise typer.Exit(int(any(one.severity is Severity.ERROR for one in result.findings)))


def add_to(app: typer.Typer) -> None:
    """Register the verb of this file."""
    app.command()(doctor)
