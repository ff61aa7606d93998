"""export: a fine-tuned model taken elsewhere."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tunelab.cli.output import Json, console, print_json
from tunelab.errors import UsageError


class Target(StrEnum):
    """What --to takes."""

    MERGED = "merged"
    GGUF = "gguf"
    ADAPTER_GGUF = "adapter-gguf"
    OLLAMA = "ollama"


class Dtype(StrEnum):
    """What --dtype takes."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class Quantize(StrEnum):
    """What --quantize takes."""

    F32 = "f32"
    F16 = "f16"
    BF16 = "bf16"
    Q8_0 = "q8_0"
    Q6_K = "q6_k"
    Q5_1 = "q5_1"
    Q5_0 = "q5_0"
    Q4_K_M = "q4_k_m"
    Q4_1 = "q4_1"
    Q4_0 = "q4_0"


TO = ("merged: one model that needs no adapter, in the Hugging Face format. gguf: one file for llama.cpp. adapter-gguf: the LoRA alone, for its base's "
      "GGUF. ollama: a GGUF and its Modelfile, and the model in Ollama where that runs.")


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, of a PEFT adapter, or (for GGUF) of a whole model.", show_default=False)],
    to: Annotated[Target, typer.Option("--to", help=TO)],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A new or empty folder; for GGUF a new file.", show_default="in RUN")] = None,
    dtype: Annotated[Dtype | None, typer.Option("--dtype", help="merged: how to store the weights.", show_default="each as in the base")] = None,
    quantize: Annotated[Quantize | None, typer.Option("--quantize", "-q", help="gguf, ollama: how to store the weights.", show_default="f16")] = None,
    checkpoint: Annotated[int | None, typer.Option("--checkpoint", min=0, help="Take the checkpoint of this step, not the finished result.")] = None,
    base: Annotated[str | None, typer.Option("--base", help="Another base than the run or the adapter names: ORG/NAME or a folder.")] = None,
    base_gguf: Annotated[Path | None, typer.Option("--base-gguf", help="adapter-gguf: the base's GGUF, to verify on; else one is written for it.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="ollama: what the model is called.", show_default="made of RUN")] = None,
    as_json: Json = False,
) -> None:
    """Take the result elsewhere, and prove that it still says the same.

    An adapter is merged into the base's original weights, computed in 32 bits and rounded once. The run's model and the exported one, through
    the engine that will run it, are then asked the same; an export that does not say the same is removed, and the command fails.

    Examples: `tunelab export lab/run --to merged`, `tunelab export lab/run --to gguf --quantize q8_0`, `tunelab export lab/run --to ollama --name mine`
    """
    from tunelab.cli.progress import export_watch
    from tunelab.cli.show.export import show_exported, show_gguf, show_ollama

    for option, value, targets in (("--dtype", dtype, ("merged",)), ("--quantize", quantize, ("gguf", "ollama")),
                                   ("--base-gguf", base_gguf, ("adapter-gguf",)), ("--name", name, ("ollama",))):
        if value is not None and to not in targets:
            raise UsageError(f"{option} is for --to {' and '.join(targets)}, not for --to {to.value}.", where=option, next_step="Leave it out.")
    kind = quantize.value if quantize else "f16"
    result: object
    with export_watch(quiet=as_json) as watch:
        if to == Target.MERGED:
            from tunelab.workflow.export import merge

            result = merged = merge(run, out=out, dtype=dtype.value if dtype else None, checkpoint=checkpoint, base=base, watch=watch)
        elif to == Target.GGUF:
            from tunelab.workflow.export_gguf import to_gguf

            result = file = to_gguf(run, out=out, quantize=kind, checkpoint=checkpoint, base=base, watch=watch)
        elif to == Target.ADAPTER_GGUF:
            from tunelab.workflow.export_gguf import to_adapter_gguf

            result = file = to_adapter_gguf(run, out=out, base_gguf=base_gguf, checkpoint=checkpoint, base=base, watch=watch)
        else:
            from tunelab.workflow.export_ollama import export_ollama

            result = served = export_ollama(run, name or "", out=out, quantize=kind, checkpoint=checkpoint, base=base, watch=watch)
    if as_json:
        print_json(result)
    elif to == Target.MERGED:
        show_exported(console(), merged)
    elif to == Target.OLLAMA:
        show_ollama(console(), served)
    else:
        show_gguf(console(), file)


def add_to(app: typer.Typer) -> None:
    """Register the verb of this file."""
    app.command()(export)
