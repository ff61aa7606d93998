"""`starter`: a commented config to begin with, for a model, a method and a kind of hardware.

The comments are the catalogue's words. The numbers are those that the plan finds to fit: batch and length by memory, learning rate by
method (LoRA: Hu et al. 2021, section 5, and QLoRA, Dettmers et al. 2023, table 9, use 1e-4 to 3e-4; full fine-tuning takes a tenth).
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import yaml

from tunelab.config.catalogue import entry


class Method(StrEnum):
    """What is trained."""

    LORA = "lora"
    QLORA = "qlora"
    FULL = "full"
    DPO = "dpo"


class Hardware(StrEnum):
    """Where it is to run: a CPU, one GPU by its memory, or several GPUs."""

    CPU = "cpu"
    GPU_8GB = "gpu-8gb"
    GPU_16GB = "gpu-16gb"
    GPU_24GB = "gpu-24gb"
    GPU_80GB = "gpu-80gb"
    MULTI_GPU = "multi-gpu"


@dataclass(frozen=True, slots=True)
class _Room:
    sequence_len: int
    micro_batch_size: int
    accumulation: int
    bf16: bool | str
    checkpointing: bool


_ROOMS: Mapping[Hardware, _Room] = {
    Hardware.CPU: _Room(512, 1, 8, "auto", False),
    Hardware.GPU_8GB: _Room(1024, 1, 16, "auto", True),
    Hardware.GPU_16GB: _Room(2048, 1, 16, "auto", True),
    Hardware.GPU_24GB: _Room(2048, 2, 8, "auto", True),
    Hardware.GPU_80GB: _Room(4096, 4, 4, "auto", True),
    Hardware.MULTI_GPU: _Room(4096, 2, 4, "auto", True),
}
_WIDTH = 110


def starter(model: str, method: Method, hardware: Hardware, data: str, output: str) -> str:
    """The text of the config. It passes `check`; what this machine or version cannot run is said there as blocked."""
    parts = [f"# Fine-tuning {model}: {_METHODS[method]}, for {_PLACES[hardware]}.",
             "# Read it with `tunelab explain`, check it with `tunelab check`, and see what it costs with `tunelab plan`."]
    for title, settings in _sections(model, method, hardware, data, output):
        parts.append(f"\n# --- {title} ---")
        parts.extend(_setting(name, value) for name, value in settings.items())
    return "\n".join(parts) + "\n"


_METHODS = {Method.LORA: "a LoRA adapter beside frozen weights", Method.QLORA: "a LoRA adapter on 4-bit weights",
            Method.FULL: "all weights are trained", Method.DPO: "preference training (DPO) of a LoRA adapter"}
_PLACES = {Hardware.CPU: "a CPU", Hardware.GPU_8GB: "one GPU with 8 GB", Hardware.GPU_16GB: "one GPU with 16 GB",
           Hardware.GPU_24GB: "one GPU with 24 GB", Hardware.GPU_80GB: "one GPU with 80 GB", Hardware.MULTI_GPU: "several GPUs"}


def _sections(model: str, method: Method, hardware: Hardware, data: str, output: str) -> Iterator[tuple[str, dict[str, Any]]]:
    room, adapter = _ROOMS[hardware], method is not Method.FULL
    preference = method is Method.DPO
    yield "What is fine-tuned", {"base_model": model, **({"load_in_4bit": True} if method is Method.QLORA else {})}
    row = {"path": data, "type": "chat_template.default" if preference else "chat_template"}
    yield "What it is trained on", {
        **({"rl": "dpo", "rl_beta": 0.1} if preference else {}), "datasets": [row], "val_set_size": 0.05, "dataset_prepared_path": "last_run_prepared"}
    packing = not preference
    yield "How rows become batches", {
        "sequence_len": room.sequence_len, **({"sample_packing": True} if packing else {}),
        **({"pad_to_sequence_len": hardware is not Hardware.CPU} if packing else {}), "micro_batch_size": room.micro_batch_size,
        "gradient_accumulation_steps": room.accumulation}
    if adapter:
        yield "What is trained: LoRA matrices beside frozen weights", {
            "adapter": "qlora" if method is Method.QLORA else "lora", "lora_r": 16, "lora_alpha": 32, "lora_dropout": 0.0 if preference else 0.05,
            "lora_target_linear": True}
    yield "How it is trained", {
        "num_epochs": 1 if preference else 3, "optimizer": "adamw_torch_fused",
        "learning_rate": 0.000005 if preference else 0.0002 if adapter else 0.00002, "lr_scheduler": "cosine", "warmup_ratio": 0.05,
        "weight_decay": 0.0, "max_grad_norm": 1.0}
    yield "On what", {
        "bf16": room.bf16, "gradient_checkpointing": room.checkpointing,
        "attn_implementation": "sdpa" if hardware is Hardware.CPU else "flash_attention_2",
        **({"deepspeed": "deepspeed_configs/zero2.json"} if hardware is Hardware.MULTI_GPU else {})}
    yield "What is kept", {"output_dir": output, "evals_per_epoch": 2, "saves_per_epoch": 1, "save_total_limit": 2, "logging_steps": 1, "seed": 42}


def _setting(name: str, value: Any) -> str:
    """One setting under its explanation."""
    key = entry(name)
    assert key is not None, f"{name} is no setting"
    said = key.setting.says + (f" Typical: {key.setting.typical}." if key.setting.typical else "")
    comment = "\n".join(f"# {line}" for line in textwrap.wrap(said, _WIDTH))
    if isinstance(value, list):
        text: str = yaml.safe_dump({name: value}, sort_keys=False, width=1000, allow_unicode=True).rstrip()
        return f"{comment}\n{text.replace(chr(10) + '- ', chr(10) + '  - ').replace(chr(10) + '  t', chr(10) + '    t')}"
    return f"{comment}\n{name}: {_scalar(value)}"


def _scalar(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.12f}".rstrip("0").removesuffix(".") if value else "0"
    text: str = yaml.safe_dump(value, width=1000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
