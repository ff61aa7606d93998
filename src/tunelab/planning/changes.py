"""`silent_changes`: what Axolotl makes of a plain config without a word, and what tunelab does there.

These hold on ordinary configs, so `check` would repeat them for everybody; `explain` tells them once, at the end. Changes that are
out of the ordinary are rules (docs/axolotl-rules says which).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tunelab.config.config import Config
from tunelab.facts.machine import Machine
from tunelab.planning.precision import precision


@dataclass(frozen=True, slots=True)
class SilentChange:
    """`key` is what is changed, `axolotl` what Axolotl 0.21.0 makes of it, `tunelab` what a run here does."""

    key: str
    axolotl: str
    tunelab: str


def silent_changes(config: Config, machine: Machine) -> tuple[SilentChange, ...]:
    """Everything that holds for this config and is not in its text."""
    return (*_numbers(config, machine), *_rows(config), *_steps(config), *_speed(config))


def _numbers(config: Config, machine: Machine) -> Iterator[SilentChange]:
    raw = config.raw
    if raw.get("bf16", "auto") == "auto":
        yield SilentChange("bf16", "auto becomes true on a GPU that has it, and fp16: true where neither is there and fp16 is unset.",
                           f"auto is {precision(config, machine)} on this machine; fp16 only when it is written.")
    if raw.get("tf32", "auto") == "auto":
        yield SilentChange("tf32", "auto becomes true on a GPU that has it.", "the same.")
    if raw.get("seed") is None:
        yield SilentChange("seed", "No seed when the key is not written: shards, order and split differ from one preparation to the next; an "
                           "explicit null means 42.", "42 in both cases.")
    if raw.truthy("gradient_checkpointing") and raw.get("gradient_checkpointing_kwargs.use_reentrant") is None:
        yield SilentChange("gradient_checkpointing_kwargs", "use_reentrant becomes false (true under ZeRO-3).", "always non-reentrant.")
    if raw.truthy("adapter") and raw.get("lora_dropout") is None:
        yield SilentChange("lora_dropout", "null becomes 0.0.", "the same.")


def _rows(config: Config) -> Iterator[SilentChange]:
    raw = config.raw
    if raw.truthy("sample_packing"):
        if raw.get("pad_to_sequence_len") is None:
            yield SilentChange("pad_to_sequence_len", "becomes true when rows are packed: the rest of each packed row is padding.",
                               "no padding unless it is written; padding never carries loss.")
        if raw.get("eval_sample_packing") is None:
            yield SilentChange("eval_sample_packing", "becomes true as well.", "the same.")
    if any(dataset.get("type") == "chat_template" and dataset.get("chat_template") is None for _, dataset in raw.items("datasets")):
        top = raw.text("chat_template") or "tokenizer_default"
        yield SilentChange("datasets[].chat_template", f"entries without one get {top}.", "the same.")


def _steps(config: Config) -> Iterator[SilentChange]:
    raw = config.raw
    if raw.get("eval_batch_size") is None:
        yield SilentChange("eval_batch_size", "takes micro_batch_size.", "the same.")
    for key, count in (("saves_per_epoch", "save_steps"), ("evals_per_epoch", "eval_steps")):
        if raw.truthy(key):
            yield SilentChange(count, f"1 / ({key} x num_epochs), as a share of all steps.", "counted within each epoch, so that each ends with one.")


def _speed(config: Config) -> Iterator[SilentChange]:
    raw = config.raw
    if not any(raw.written(key) for key in ("dataloader_num_workers", "dataloader_pin_memory", "dataloader_prefetch_factor")):
        yield SilentChange("dataloader_num_workers", "one per GPU, with pinned memory and a prefetch factor of 256.", "batches are made in the process.")
    if raw.get("dataset_num_proc") is None and raw.get("dataset_processes") is None:
        yield SilentChange("dataset_num_proc", "one process per CPU core.", "all cores where the data is large enough to gain.")
    if raw.get("torch_compile") == "auto":
        yield SilentChange("torch_compile", "auto becomes true.", "not compiled.")
