"""The loss of each step equals that of transformers' Trainer with PEFT on the same batches (float32, not packed)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.helpers.tiny import write_config, write_data

from tunelab.runs.events import steps
from tunelab.training.model import build_model
from tunelab.workflow.opening import load_data, open_config
from tunelab.workflow.train import train


def _reference_losses(config_path: Path, **changes: Any) -> list[float]:
    """Train the same samples in the same order with transformers' own Trainer; its loss of every step. `changes`: of its arguments."""
    from transformers import Trainer, TrainingArguments

    opened = open_config(str(config_path))
    config = opened.config_or_raise()
    loaded = load_data(config, opened.model_or_raise())
    order = [sample for step in range(loaded.schedule.steps.total) for sample in loaded.schedule.samples(step)]
    samples = [loaded.prepared.train[index] for index in order]
    torch.manual_seed(7)
    model = build_model(config, opened.model_or_raise().folder, "fp32", loaded.tokenizer.vocab_size)
    base: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
    base.set_attn_implementation("sdpa")  # the reference uses transformers' own attention, masks and loss throughout

    def collate(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        width = max(len(row["input_ids"]) for row in rows)

        def padded(name: str, filler: int) -> torch.Tensor:
            return torch.tensor([row[name] + [filler] * (width - len(row[name])) for row in rows])

        mask = torch.tensor([[1] * len(row["input_ids"]) + [0] * (width - len(row["input_ids"])) for row in rows])
        return {"input_ids": padded("input_ids", 0), "labels": padded("labels", -100), "attention_mask": mask}

    class InOrder(Trainer):
        def _get_train_sampler(self, *_: Any, **__: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

    settings = config.optimisation
    given: dict[str, Any] = {
        "output_dir": str(config_path.parent / "reference"), "per_device_train_batch_size": settings.micro_batch_size,
        "gradient_accumulation_steps": settings.gradient_accumulation_steps, "max_steps": loaded.schedule.steps.total,
        "learning_rate": settings.learning_rate, "lr_scheduler_type": "cosine", "warmup_steps": 2, "weight_decay": settings.weight_decay,
        "logging_steps": 1, "logging_nan_inf_filter": False, "save_strategy": "no", "report_to": [], "seed": 7, "use_cpu": True, "optim": "adamw_torch",
        "max_grad_norm": 1.0, "remove_unused_columns": False, "disable_tqdm": True, "dataloader_num_workers": 0}
    arguments = TrainingArguments(**{**given, **changes})
    rows = [{"input_ids": list(sample.input_ids), "labels": list(sample.labels)} for sample in samples]
    trainer = InOrder(model=model, args=arguments, train_dataset=rows, data_collator=collate)
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


FULL: dict[str, object] = {"adapter": None, "lora_r": None, "lora_alpha": None, "lora_target_linear": None, "learning_rate": 0.001}
METHODS: dict[str, dict[str, object]] = {
    "LoRA": {},
    "full": FULL,
    "DoRA": {"peft_use_dora": True},
    "rsLoRA": {"peft_use_rslora": True},
    "PiSSA": {"peft_init_lora_weights": "pissa", "learning_rate": 0.001},
    "QLoRA": {"adapter": "qlora", "load_in_4bit": True},
    "unfrozen_parameters": {**FULL, "unfrozen_parameters": ["model.layers.1.mlp", "model.embed_tokens"]},
}


@pytest.mark.parametrize("method", METHODS)
def test_losses_per_step_equal_transformers_trainer(tiny_model: Path, tmp_path: Path, method: str) -> None:
    data = write_data(tmp_path / "data.jsonl", rows=32)
    config = write_config(tmp_path / "config.yml", tiny_model, data, tmp_path / "run", **{
        "sample_packing": False, "lora_dropout": None, "val_set_size": None, "eval_steps": None, "save_steps": None, "num_epochs": 1,
        "micro_batch_size": 2, "gradient_accumulation_steps": 2, "weight_decay": 0.01, "learning_rate": 0.01, **METHODS[method]})
    reference = _reference_losses(config)
    result = train(str(config))
    ours = [event["loss"] for event in steps(result.folder / "events.jsonl")]
    assert len(ours) == len(reference) == 8
    assert ours[-1] < ours[0]
    for mine, theirs in zip(ours, reference, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-4)


@pytest.mark.parametrize(("name", "ours", "theirs"), [
    ("adafactor", {"learning_rate": 0.001}, {}),
    ("lion_32bit", {"learning_rate": 0.0003, "lr_scheduler": "inverse_sqrt"}, {"lr_scheduler_type": "inverse_sqrt"}),
    ("schedule_free_adamw", {"learning_rate": 0.003, "lr_scheduler": "constant"}, {"lr_scheduler_type": "constant"}),
    ("rmsprop", {"learning_rate": 0.0005, "optim_args": {"momentum": 0.5}, "lr_scheduler": "warmup_stable_decay",
                 "lr_scheduler_kwargs": {"num_decay_steps": 3, "decay_type": "1-sqrt"}},
     {"optim_args": "momentum=0.5", "lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": {"num_decay_steps": 3, "decay_type": "1-sqrt"}})])
def test_other_optimizers_and_schedules_take_the_same_steps(tiny_model: Path, tmp_path: Path, name: str, ours: dict[str, Any],
                                                            theirs: dict[str, Any]) -> None:
    config = write_config(tmp_path / "config.yml", tiny_model, write_data(tmp_path / "data.jsonl", rows=32), tmp_path / "run", sample_packing=False,
                          adapter=None, lora_r=None, lora_alpha=None, lora_target_linear=None, lora_dropout=None, val_set_size=None, eval_steps=None,
                          save_steps=None, num_epochs=1, micro_batch_size=2, gradient_accumulation_steps=2, weight_decay=0.01, optimizer=name,
                          **{**({"warmup_steps": None} if ours.get("lr_scheduler") == "constant" else {}), **ours})
    warmup = 0 if ours.get("lr_scheduler") == "constant" else 2
    reference = _reference_losses(config, optim=name, warmup_steps=warmup, **theirs)
    losses = [event["loss"] for event in steps(train(str(config)).folder / "events.jsonl")]
    assert losses == pytest.approx(reference, rel=2e-4) and losses[-1] < losses[0]
