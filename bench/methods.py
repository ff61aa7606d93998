"""The lab's config by each method, a few steps each in a process of its own: peak memory beside the plan's, and tokens per second.

Run with `python bench/methods.py` (about four minutes on two cores, alone) or name some of the methods.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from tunelab.training.embedded import materialise
from tunelab.workflow.lab import write_lab_files

STEPS = 6
FULL = dict.fromkeys(("adapter", "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules"))
METHODS: dict[str, dict[str, Any]] = {
    "LoRA (the lab)": {},
    "DoRA": {"peft_use_dora": True},
    "PiSSA": {"peft_init_lora_weights": "pissa"},
    "QLoRA NF4": {"adapter": "qlora", "load_in_4bit": True},
    "QLoRA NF4, checkpointing": {"adapter": "qlora", "load_in_4bit": True, "gradient_checkpointing": True},
    "LoftQ": {"adapter": "qlora", "load_in_4bit": True, "peft": {"loftq_config": {"loftq_bits": 4}}},
    "LoRA on 8 bits": {"load_in_8bit": True},
    "full": {**FULL, "learning_rate": 1e-4},
    "the upper third": {**FULL, "learning_rate": 1e-4, "unfrozen_parameters": ["model.layers.2[0-9].+"]},
}


def main() -> None:
    """Print a Markdown table, a line as soon as it is measured."""
    wanted = sys.argv[1:]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        materialise(folder / "base-model")
        settings = yaml.safe_load(write_lab_files(folder, quick=False).read_text(encoding="utf-8"))
        print("| method | trained | planned peak | measured peak | error | tokens/s |\n|---|---:|---:|---:|---:|---:|", flush=True)
        for method, changes in METHODS.items():
            if not wanted or any(part in method for part in wanted):
                print(_line(folder, method, {**settings, "evals_per_epoch": None, "saves_per_epoch": None, "val_set_size": 0, **changes}), flush=True)


def _line(folder: Path, method: str, settings: dict[str, Any]) -> str:
    run = folder / "methods-run"
    shutil.rmtree(run, ignore_errors=True)
    path = folder / "method.yml"
    kept = {key: value for key, value in settings.items() if value is not None}
    path.write_text(json.dumps({**kept, "max_steps": STEPS, "output_dir": str(run)}), encoding="utf-8")
    command = [sys.executable, "-c", "from tunelab.cli.main import main; main()", "train", str(path)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    record = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    planned, measured = record["plan"]["memory"]["total"], record["measured"]["peak_memory_bytes"]
    assert record["plan"]["trainable"] == record["measured"]["trainable_parameters"]
    return (f"| {method} | {record['plan']['trainable']:,} | {planned / 1e6:,.0f} MB | {measured / 1e6:,.0f} MB | {planned / measured - 1:+.1%} "
            f"| {record['measured']['tokens_per_second']:,.0f} |")


if __name__ == "__main__":
    main()
