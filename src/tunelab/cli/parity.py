"""parity: does a server feed the model what training fed it?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunelab.cli.output import Json, console, print_json


def parity(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The output_dir of a run.", show_default=False)],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="ollama:NAME, openai:URL#MODEL, gguf:PATH, or hf: and a folder.", show_default=False)],
    prompts: Annotated[list[str] | None, typer.Option("--prompts", "-p", help="As for compare; default: the rows that the run held out.")] = None,
    as_json: Json = False,
) -> None:
    """Is the prompt that a server feeds its model the one of training, token for token? Exit code 1 when not.

    Example: `tunelab parity lab/run gguf:lab/model.gguf`
    """
    from tunelab.cli.show.parity import show_parity
    from tunelab.workflow.parity import check_parity

    found = check_parity(run, target, prompts or ())
    if as_json:
        print_json({"same": found.same, "run": found.run, "target": found.target, "notes": found.notes, "prompts": found.prompts})
    else:
        show_parity(console(), found)
    if not found.same:
        raise typer.Exit(1)


def add_to(app: typer.Typer) -> None:
    """Register the verb of this file."""
    app.command()(parity)
