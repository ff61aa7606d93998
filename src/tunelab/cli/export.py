"""export: a fine-tuned model taken elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunelab.cli.output import Json, console, print_json
from tunelab.errors import UsageError

TO = ("merged: one model that needs no adapter, in the Hugging Face format. gguf: one file for llama.cpp. adapter-gguf: the LoRA alone, for the base's "
      "GGUF. ollama or ollama:NAME: a GGUF and its Modelfile, and the model in Ollama where that runs.")
STORE = "How to store the weights. merged: fp32, bf16, fp16; gguf, ollama: f32, f16, bf16, q8_0, q6_k, q5_1, q5_0, q4_k_m, q4_1, q4_0."
BASE = "Another base than the run or the adapter names: ORG/NAME or a folder; for adapter-gguf also the base's GGUF, to verify on."


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, of a PEFT adapter or of a whole model.", show_default=False)],
    to: Annotated[str, typer.Option("--to", help=TO, show_default=False)],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A new or empty folder; for GGUF a file.", show_default="in RUN")] = None,
    store: Annotated[str | None, typer.Option("--quantize", "--dtype", help=STORE, show_default="as in the base; GGUF: f16")] = None,
    checkpoint: Annotated[int | None, typer.Option("--checkpoint", min=0, help="Take the checkpoint of this step, not the finished result.")] = None,
    base: Annotated[str | None, typer.Option("--base", help=BASE)] = None,
    as_json: Json = False,
) -> None:
    """Take the result elsewhere, and prove that it still says the same.

    An adapter is merged into the base's original weights, computed in 32 bits and rounded once. The run's model and the exported one, through
    the engine that will run it, are then asked the same; an export that does not say the same is removed, and the command fails.

    Examples: `tunelab export lab/run --to merged`, `tunelab export lab/run --to gguf --quantize q8_0`, `tunelab export lab/run --to ollama:mine`
    """
    from tunelab.cli.progress import export_watch
    from tunelab.cli.show.export import show_exported, show_gguf, show_ollama

    kind, _, name = to.partition(":")
    if kind not in ("merged", "gguf", "adapter-gguf", "ollama") or (name and kind != "ollama"):
        raise UsageError(f"There is no export to {to!r}.", where="--to", next_step="Choose one: merged, gguf, adapter-gguf, ollama, ollama:NAME")
    if kind == "adapter-gguf" and store is not None:
        raise UsageError("An adapter is stored as it is: --quantize is for whole models.", where="--quantize", next_step="Leave it out.")
    with export_watch(quiet=as_json) as watch:
        if kind == "merged":
            from tunelab.workflow.export import merge

            merged = merge(run, out=out, dtype=store, checkpoint=checkpoint, base=base, watch=watch)
        elif kind == "gguf":
            from tunelab.workflow.export_gguf import to_gguf

            file = to_gguf(run, out=out, quantize=store or "f16", checkpoint=checkpoint, base=base, watch=watch)
        elif kind == "adapter-gguf":
            from tunelab.workflow.export_gguf import to_adapter_gguf

            file = to_adapter_gguf(run, out=out, checkpoint=checkpoint, base=base, watch=watch)
        else:
            from tunelab.workflow.export_ollama import export_ollama

            served = export_ollama(run, name, out=out, quantize=store or "f16", checkpoint=checkpoint, base=base, watch=watch)
    if as_json:
        print_json(merged if kind == "merged" else served if kind == "ollama" else file)
    elif kind == "merged":
        show_exported(console(), merged)
    elif kind == "ollama":
        show_ollama(console(), served)
    else:
        show_gguf(console(), file)


def add_to(app: typer.Typer) -> None:
    """Register the verb of this file."""
    app.command()(export)
