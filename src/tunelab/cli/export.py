"""export: a fine-tuned model taken elsewhere."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tunelab.cli.output import Json, console, print_json


class Target(StrEnum):
    """What --to takes."""

    MERGED = "merged"


class Dtype(StrEnum):
    """What --dtype takes."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, or of a PEFT adapter.", show_default=False)],
    to: Annotated[Target, typer.Option("--to", help="merged: one model that needs no adapter, in the Hugging Face format.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A new or empty folder.", show_default="RUN/merged")] = None,
    dtype: Annotated[Dtype | None, typer.Option("--dtype", help="How to store the weights.", show_default="each as in the base")] = None,
    checkpoint: Annotated[int | None, typer.Option("--checkpoint", min=0, help="Take the checkpoint of this step, not the finished result.")] = None,
    base: Annotated[str | None, typer.Option("--base", help="Another base than the run or the adapter names: ORG/NAME or a folder.")] = None,
    as_json: Json = False,
) -> None:
    """Take the result elsewhere, and prove that it still says the same.

    The adapter is merged into the base's original weights, computed in 32 bits and rounded once. Base + adapter and the merged model are
    then asked the same prompts; a merged model that does not say the same is removed, and the command fails.

    Examples: `tunelab export lab/run --to merged`, `tunelab export lab/run --to merged --dtype bf16 --out my-model`
    """
    from tunelab.cli.progress import export_watch
    from tunelab.cli.show.export import show_exported
    from tunelab.workflow.export import merge

    with export_watch(quiet=as_json) as watch:
        result = merge(run, out=out, dtype=dtype.value if dtype else None, checkpoint=checkpoint, base=base, watch=watch)
    if as_json:
        print_json(result)
    else:
        show_exported(console(), result)


def add_to(app: typer.Typer) -> None:
    """Register the verb of this file."""
    app.command()(export)
