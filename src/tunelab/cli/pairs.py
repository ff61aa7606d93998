"""pairs: which models could be compared?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunelab.cli.output import Json, console, print_json


def pairs(
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Look for runs here and below.", show_default=False)] = Path(),
    cache: Annotated[Path | None, typer.Option("--cache", help="A Hugging Face cache.", show_default="its own place")] = None,
    as_json: Json = False,
) -> None:
    """A base model and what was made from it, from Ollama, the Hugging Face cache and runs; does the one really derive from the other?

    Examples: `tunelab pairs`, `tunelab pairs outputs`
    """
    from tunelab.cli.show.pairs import show_pairs
    from tunelab.workflow.pairs import suggest_pairs

    found = suggest_pairs(folder, cache=cache)
    if as_json:
        print_json({"pairs": [{"base": one.base, "tuned": one.tuned, "derives": one.derives, "evidence": one.evidence, "found": one.found,
                               "task": one.task, "missing": one.missing, "command": one.command} for one in found.pairs], "notes": found.notes})
    else:
        show_pairs(console(), found)


def add_to(app: typer.Typer) -> None:
    """Register the verb of this file."""
    app.command()(pairs)
