"""Configs, machines and model shapes for the tests of planning: read from real files, nothing is patched."""

from __future__ import annotations

import json
from pathlib import Path

from tunelab.config import Config, Reading, read_config
from tunelab.config.finding import errors_of
from tunelab.facts.machine import Gpu, Machine
from tunelab.facts.shapes import ModelShapes, read_shapes

LAPTOP = Machine("Linux", 4, 16_000_000_000, 12_000_000_000, cpu_name="Some CPU")
FAST_CPU = Machine("Linux", 32, 64_000_000_000, 60_000_000_000, bf16_fast=True, cpu_name="Some new CPU")
T4 = Machine("Linux", 8, 32_000_000_000, 30_000_000_000, (Gpu("Tesla T4", 16_106_127_360, 7.5),))
A100 = Machine("Linux", 8, 64_000_000_000, 60_000_000_000, (Gpu("NVIDIA A100", 42_949_672_960, 8.0),), bf16_fast=True)

BASE = {"base_model": "base_model: org/model", "datasets": "datasets: [{path: data/train.jsonl, type: chat_template}]",
        "learning_rate": "learning_rate: 0.0002"}

SMOL = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
        "num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 64, "vocab_size": 49152, "max_position_embeddings": 8192,
        "tie_word_embeddings": True, "dtype": "bfloat16"}
"""config.json of SmolLM2-135M, as far as shapes depend on it."""


def read(folder: Path, text: str) -> Config:
    """A config of `text` and whatever of BASE it does not write."""
    reading = read_anything(folder, text)
    assert not errors_of(reading.findings), reading.findings
    return reading.config


def read_anything(folder: Path, text: str) -> Reading:
    """The same for a text that may be wrong."""
    path = folder / "config.yml"
    missing = [line for key, line in BASE.items() if not any(one.startswith(f"{key}:") for one in text.splitlines())]
    path.write_text("\n".join([*missing, text]) + "\n", encoding="utf-8")
    return read_config(path)


def smol_shapes(folder: Path) -> ModelShapes:
    """The shapes of SmolLM2-135M, computed from its config.json."""
    (folder / "config.json").write_text(json.dumps(SMOL), encoding="utf-8")
    return read_shapes(folder)
