"""Predicted against measured peak memory of real runs on a CPU: `tunelab train` on small configs, each in a process of its own.

Run with `python bench/memory.py` (about ten minutes on two cores; memory does not depend on what else runs, time does) or name some of the
configs. Models: the embedded SmolLM2-135M, which the constants of `planning.heap` were fitted to, and two with random weights and other
shapes, which they were not. With `--keep FOLDER` the runs stay there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LINES = Path(__file__).parent.parent / "src" / "tunelab" / "workflow" / "lab_files" / "train.jsonl"
LORA = {"adapter": "lora", "lora_r": 16, "lora_alpha": 32, "lora_target_linear": True}
FEW = {"adapter": "lora", "lora_r": 8, "lora_alpha": 16, "lora_target_modules": ["q_proj", "v_proj"]}
PACKED = {"sample_packing": True}
GC = {"gradient_checkpointing": True}
CONFIGS: dict[str, dict[str, Any]] = {
    "lora r16 packed 512": {**LORA, **PACKED, "sequence_len": 512},
    "lora r16 packed 1024": {**LORA, **PACKED, "sequence_len": 1024},
    "lora r64 packed 256": {**LORA, **PACKED, "lora_r": 64, "sequence_len": 256},
    "lora r8 q,v packed 512": {**FEW, **PACKED, "sequence_len": 512},
    "lora r16 packed 512, dropout": {**LORA, **PACKED, "sequence_len": 512, "lora_dropout": 0.05},
    "lora r16 packed 128": {**LORA, **PACKED, "sequence_len": 128},
    "lora r16 packed 256, 4 accumulated": {**LORA, **PACKED, "sequence_len": 256, "gradient_accumulation_steps": 4},
    "lora r16 unpacked, 4 rows": {**LORA, "sequence_len": 512, "micro_batch_size": 4, "long": True},
    "lora r16 padded, 2 rows of 512": {**LORA, "sequence_len": 512, "micro_batch_size": 2, "pad_to_sequence_len": True},
    "lora r16 packed 512, evaluated": {**LORA, **PACKED, "sequence_len": 512, "val_set_size": 0.2, "eval_steps": 1, "eval_batch_size": 2},
    "lora r16 packed 512, loss on prompts": {**LORA, **PACKED, "sequence_len": 512, "train_on_inputs": True},
    "lora r8 q,v and the embedding, 256": {**FEW, **PACKED, "sequence_len": 256, "lora_modules_to_save": ["embed_tokens"]},
    "lora r16 packed 512, checkpointing": {**LORA, **PACKED, **GC, "sequence_len": 512},
    "lora r16 packed 1024, checkpointing": {**LORA, **PACKED, **GC, "sequence_len": 1024},
    "lora r8 q,v packed 512, checkpointing": {**FEW, **PACKED, **GC, "sequence_len": 512},
    "full packed 128": {**PACKED, "sequence_len": 128},
    "full packed 512": {**PACKED, "sequence_len": 512},
    "full packed 512, sgd": {**PACKED, "sequence_len": 512, "optimizer": "sgd"},
    "full packed 256, adamw_torch": {**PACKED, "sequence_len": 256, "optimizer": "adamw_torch"},
    "full packed 256, 2 accumulated": {**PACKED, "sequence_len": 256, "gradient_accumulation_steps": 2},
    "full packed 512, checkpointing": {**PACKED, **GC, "sequence_len": 512},
    "lora r16 packed 512, 6 steps": {**LORA, **PACKED, "sequence_len": 512, "max_steps": 6},
    "held out: qwen3 114M, lora r16 packed 512": {**LORA, **PACKED, "sequence_len": 512, "model": "qwen3"},
    "held out: qwen3 114M, lora r16 packed 512, checkpointing": {**LORA, **PACKED, **GC, "sequence_len": 512, "model": "qwen3"},
    "held out: qwen3 114M, full packed 512": {**PACKED, "sequence_len": 512, "model": "qwen3"},
    "held out: llama 228M, lora r8 q,v packed 512": {**FEW, **PACKED, "sequence_len": 512, "model": "llama"},
    "held out: llama 228M, lora r32 packed 512": {**LORA, **PACKED, "lora_r": 32, "sequence_len": 512, "model": "llama"},
    "held out: llama 228M, full packed 256": {**PACKED, "sequence_len": 256, "model": "llama"},
}
SHAPES: dict[str, dict[str, Any]] = {
    "qwen3": {"hidden_size": 768, "intermediate_size": 2304, "num_hidden_layers": 10, "num_attention_heads": 12, "num_key_value_heads": 4,
              "head_dim": 64, "tie_word_embeddings": True},
    "llama": {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 11, "num_attention_heads": 16, "num_key_value_heads": 4,
              "tie_word_embeddings": False},
}


def main() -> None:
    """Print a Markdown table, a line as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of the names of configs; all without")
    parser.add_argument("--keep", type=Path, help="a folder to keep the runs in")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        _write_data(folder)
        print("| config | predicted | measured | error |\n|---|---:|---:|---:|", flush=True)
        errors = [_line(folder, name, config) for name, config in CONFIGS.items() if not options.names or any(part in name for part in options.names)]
    print(f"\n{len(errors)} runs: median error {statistics.median(map(abs, errors)):.1%}, most under {-min(errors):.1%}, most over {max(errors):.1%}")


def _line(folder: Path, name: str, config: dict[str, Any]) -> float:
    predicted, measured = _run(folder, name, dict(config))
    error = predicted / measured - 1
    print(f"| {name} | {predicted / 1e6:,.0f} MB | {measured / 1e6:,.0f} MB | {error:+.1%} |", flush=True)
    return error


def _run(folder: Path, name: str, config: dict[str, Any]) -> tuple[int, int]:
    """Train in a fresh process and read what its record promised and what it measured."""
    run = folder / name.replace(" ", "-").replace(",", "").replace(":", "")
    shutil.rmtree(run, ignore_errors=True)
    data = folder / ("long.jsonl" if config.pop("long", False) else "short.jsonl")
    model = _model(folder, config.pop("model", None))
    settings = {"base_model": str(model), "datasets": [{"path": str(data), "type": "chat_template"}], "learning_rate": 0.0005, "max_steps": 2,
                "seed": 1, "output_dir": str(run), **config}
    path = folder / f"{run.name}.yml"
    path.write_text(json.dumps(settings), encoding="utf-8")
    command = [sys.executable, "-c", "from tunelab.cli.main import main; main()", "train", str(path)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    record = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    shutil.rmtree(run, ignore_errors=True)
    return record["plan"]["memory"]["total"], record["measured"]["peak_memory_bytes"]


def _write_data(folder: Path) -> None:
    """Short conversations, and long ones of eight turns made of them."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in LINES.read_text(encoding="utf-8").splitlines()]
    turns = [[message for message in row["messages"] if message["role"] != "system"] for row in rows]
    long = [{"messages": [message for turn in turns[start:start + 8] for message in turn]} for start in range(0, 320, 8)]
    for name, kept in (("short", rows[:200]), ("long", long)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")


def _model(folder: Path, kind: str | None) -> Path:
    """The embedded model, or one of random weights with its tokenizer."""
    from tunelab.training.embedded import materialise

    embedded = folder / "embedded"
    materialise(embedded)
    if kind is None:
        return embedded
    place = folder / kind
    if not (place / "model.safetensors").exists():
        import torch
        from transformers import AutoModelForCausalLM
        from transformers.models.auto.configuration_auto import CONFIG_MAPPING

        torch.manual_seed(0)
        config = CONFIG_MAPPING[kind](vocab_size=49152, bos_token_id=1, eos_token_id=2, pad_token_id=2, **SHAPES[kind])
        AutoModelForCausalLM.from_config(config).save_pretrained(place)
        for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            shutil.copy(embedded / file, place / file)
    return place


if __name__ == "__main__":
    main()
