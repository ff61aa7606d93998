"""runs: the list of runs, and several of them side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from tunelab.cli.output import Json, console, print_json


class ListByDefault(TyperGroup):
    """`tunelab runs` and `tunelab runs FOLDER` mean `tunelab runs list`."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Put the name of the default command before what is none."""
        helps = set(ctx.help_option_names)
        if not args or (args[0] not in self.commands and args[0] not in helps):
            args = ["list", *args]
        return list(super().parse_args(ctx, args))


runs = typer.Typer(cls=ListByDefault, no_args_is_help=False, help="Which runs are there, and how do they compare? `tunelab runs [FOLDER]` lists them.")


@runs.command("list")
def list_runs(
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Look here and below.", show_default=False)] = Path(),
    as_json: Json = False,
) -> None:
    """Every run below a folder: base model, method, status, steps, losses, speed, size.

    Examples: `tunelab runs`, `tunelab runs outputs`
    """
    from tunelab.cli.show.runs import show_runs
    from tunelab.workflow.runs import list_runs as run

    found = run(folder)
    if as_json:
        print_json(found)
    else:
        show_runs(console(), folder, found)


@runs.command()
def compare(
    paths: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Folders of runs.", show_default=False)],
    html: Annotated[Path | None, typer.Option("--html", help="Write a one-file page instead.")] = None,
    as_json: Json = False,
) -> None:
    """Runs side by side: curves over each other, measurements, and what their configs mean differently.

    Examples: `tunelab runs compare outputs/a outputs/b`, `tunelab runs compare a b c --html runs.html`
    """
    from tunelab.cli.show.runs import show_comparison
    from tunelab.workflow.runs import compare_runs, write_comparison

    compared = compare_runs(paths)
    if html is not None:
        write_comparison(compared, html)
        console().print(f"Written: {html}")
    elif as_json:
        print_json(compared)
    else:
        show_comparison(console(), compared)


def add_to(app: typer.Typer) -> None:
    """Register the verbs of this file."""
    app.add_typer(runs, name="runs")
