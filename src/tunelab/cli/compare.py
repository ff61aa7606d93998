"""compare: the same prompts to two models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunelab.cli.output import Json, console, print_json


def compare(
    base: Annotated[str, typer.Argument(metavar="BASE", help="hf:ORG/NAME, a model folder, run:FOLDER, or scripted:FILE.", show_default=False)],
    tuned: Annotated[str, typer.Argument(metavar="TUNED", help="The same forms; usually run:FOLDER.", show_default=False)],
    prompts: Annotated[Path, typer.Option("--prompts", "-p", help="JSONL with messages or prompt (and grader), or text with a prompt a line.")],
    general: Annotated[Path | None, typer.Option("--general", "-g", help="More prompts, to see whether anything else got worse.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The comparison file; run again with the same file to go on.")] = Path("comparison.jsonl"),
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1, help="Cut an answer after this many tokens.")] = 128,
    as_json: Json = False,
) -> None:
    """The same prompts to both: the answers, the differences, and did fine-tuning help?

    Example: `tunelab compare lab/base-model run:lab/run --prompts lab/held_out.jsonl --out lab/comparison.jsonl`
    """
    from tunelab.cli.progress import answer_watch
    from tunelab.cli.show.comparison import show_comparison
    from tunelab.workflow.compare import compare as run

    with answer_watch(quiet=as_json) as watch:
        result = run(base, tuned, prompts=prompts, general=general, out=out, max_new_tokens=max_new_tokens, watch=watch)
    if as_json:
        print_json(result)
    else:
        show_comparison(console(), result)


def add_to(app: typer.Typer) -> None:
    """Register the verb of this file."""
    app.command()(compare)
