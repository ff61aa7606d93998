"""Each preference method is, step by step, trl's own trainer: the same tokens, the same losses (float32, same order, no dropout)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.helpers.preferences import settings_of
from tests.helpers.tiny import write_config

from tunelab.data.formats.preference import Judged, find_preference
from tunelab.data.pairs import pair_at
from tunelab.data.prepare import context_of
from tunelab.data.sample import Origin, Row
from tunelab.planning.preference import beta_of
from tunelab.runs.events import steps
from tunelab.training.model import build_model
from tunelab.training.preference.losses import DPO_LOSSES
from tunelab.training.preference.methods import objective_of
from tunelab.workflow.opening import Loaded, Opened, load_data, open_config
from tunelab.workflow.train import train


def _texts(opened: Opened, loaded: Loaded) -> list[dict[str, Any]]:
    """The rows in the order of the run, as texts (ids for a reward model), which is what Axolotl hands to trl."""
    config = opened.config_or_raise()
    dataset = config.data.datasets[0]
    order = [index for step in range(loaded.schedule.steps.total) for index in loaded.schedule.samples(step)]
    if config.preference.rl is None:
        pairs = [pair_at(loaded.prepared.train, index) for index in order]
        return [{"chosen_ids": list(pair.sides[0].input_ids), "rejected_ids": list(pair.sides[1].input_ids)} for pair in pairs]
    read, context = find_preference(config.preference.rl, dataset, 0), context_of(config, dataset, 0, loaded.tokenizer)
    lines = Path(dataset.path).read_text(encoding="utf-8").splitlines()
    found = []
    for index in order:
        place = pair_at(loaded.prepared.train, index).origin.row
        one = read(Row(json.loads(lines[place - 1]), Origin(0, "x", place)), dataset, context)
        found.append({"prompt": one.prompt, "completion": one.completion, "label": one.label} if isinstance(one, Judged) else
                     {"prompt": one.prompt, "chosen": one.chosen, "rejected": one.rejected})
    return found


def _trainer_of(method: str, opened: Opened, model: Any, rows: list[dict[str, Any]]) -> Any:
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, RewardConfig, RewardTrainer
    from trl.experimental.cpo import CPOConfig, CPOTrainer
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    config = opened.config_or_raise()
    chosen, about = config.preference, config.optimisation
    arguments, trainer, special = {
        "dpo": (DPOConfig, DPOTrainer, {"loss_type": chosen.dpo_loss_type or ["sigmoid"], "loss_weights": chosen.dpo_loss_weights,
                                        "label_smoothing": chosen.dpo_label_smoothing or 0.0, "ld_alpha": chosen.dpo_ld_alpha,
                                        "use_weighting": bool(chosen.dpo_use_weighting), "beta": beta_of(chosen)}),
        "ipo": (DPOConfig, DPOTrainer, {"loss_type": ["ipo"], "beta": beta_of(chosen)}),
        "kto": (KTOConfig, KTOTrainer, {"beta": beta_of(chosen), "desirable_weight": chosen.kto_desirable_weight or 1.0}),
        "orpo": (ORPOConfig, ORPOTrainer, {"beta": beta_of(chosen)}),
        "simpo": (CPOConfig, CPOTrainer, {"loss_type": "simpo", "beta": beta_of(chosen), "simpo_gamma": chosen.simpo_gamma,
                                        "cpo_alpha": chosen.cpo_alpha}),
        "reward": (RewardConfig, RewardTrainer, {"center_rewards_coefficient": chosen.center_rewards_coefficient})}[method]
    tokenizer = AutoTokenizer.from_pretrained(opened.model_or_raise().folder)
    built = arguments(
        output_dir=str(opened.source.path.parent / "trl"), per_device_train_batch_size=about.micro_batch_size, max_length=config.data.sequence_len,
        gradient_accumulation_steps=about.gradient_accumulation_steps, num_train_epochs=1, learning_rate=about.learning_rate, lr_scheduler_type="cosine",
        warmup_steps=2, weight_decay=about.weight_decay, logging_steps=1, save_strategy="no", report_to=[], seed=7, use_cpu=True, optim="adamw_torch",
        max_grad_norm=1.0, remove_unused_columns=False, disable_tqdm=True, bf16=False, train_sampling_strategy="sequential",
        gradient_checkpointing=False, **special)
    return trainer(model=model, args=built, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)


def _reference(method: str, config_path: Path) -> list[float]:
    """trl's loss of every step, from the same weights."""
    opened = open_config(str(config_path))
    config = opened.config_or_raise()
    loaded = load_data(config, opened.model_or_raise())
    torch.manual_seed(7)
    model: Any = build_model(config, opened.model_or_raise().folder, "fp32", loaded.tokenizer.vocab_size)
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    base.set_attn_implementation("sdpa")
    base.config.pad_token_id = loaded.tokenizer.pad_id
    trainer = _trainer_of(method, opened, model, _texts(opened, loaded))
    _same_tokens(loaded, trainer.train_dataset)
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def _same_tokens(loaded: Loaded, theirs: Any) -> None:
    """Our pairs are trl's, token by token."""
    order = [index for step in range(loaded.schedule.steps.total) for index in loaded.schedule.samples(step)]
    for index, row in zip(order, theirs, strict=True):
        sides = [list(side.input_ids) for side in pair_at(loaded.prepared.train, index).sides]
        if "completion_ids" in row:
            assert sides == [row["prompt_ids"] + row["completion_ids"]]
        elif "chosen_labels" in row:
            assert sides == [row["chosen_input_ids"], row["rejected_input_ids"]]
            assert [list(side.labels) for side in pair_at(loaded.prepared.train, index).sides] == [row["chosen_labels"], row["rejected_labels"]]
        else:
            prompt = row.get("prompt_ids", [])
            assert sides == [prompt + row["chosen_ids"], prompt + row["rejected_ids"]]


_LORA: dict[str, Any] = {"learning_rate": 0.01}
_FULL: dict[str, Any] = {"adapter": None, "lora_r": None, "lora_alpha": None, "lora_target_linear": None, "learning_rate": 0.0003}


@pytest.mark.parametrize(("method", "changes"), [
    ("dpo", _LORA), ("dpo", _FULL), ("dpo", {**_LORA, "precompute_ref_log_probs": True}),
    ("dpo", {**_LORA, "dpo_loss_type": ["sigmoid", "sft"], "dpo_loss_weights": [1.0, 0.3], "dpo_ld_alpha": 0.4}),
    ("dpo", {**_LORA, "dpo_loss_type": ["robust"], "dpo_label_smoothing": 0.2, "dpo_use_weighting": True}),
    ("ipo", _LORA), ("kto", {**_LORA, "kto_desirable_weight": 1.3}), ("kto", _FULL), ("orpo", _LORA), ("simpo", _LORA),
    ("reward", {**_LORA, "center_rewards_coefficient": 0.01}), ("reward", _FULL)], ids=lambda value: value if isinstance(value, str) else "-".join(value))
def test_losses_per_step_equal_trl(tiny_model: Path, tmp_path: Path, method: str, changes: dict[str, Any]) -> None:
    config = write_config(tmp_path / "config.yml", tiny_model, tmp_path / "unused", tmp_path / "run", **settings_of(method, tmp_path, **changes))
    reference = _reference(method, config)
    result = train(str(config), allow=["untrained_end"])
    ours = [event["loss"] for event in steps(result.folder / "events.jsonl")]
    assert len(ours) == len(reference) == 6
    assert len(set(ours)) > 3
    for mine, theirs in zip(ours, reference, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-4)


def test_every_loss_of_dpo_is_trls(tiny_model: Path, tmp_path: Path) -> None:
    """One micro-batch, an adapter that has learnt something: the value of each loss, and of its gradient."""
    config_path = write_config(tmp_path / "config.yml", tiny_model, tmp_path / "unused", tmp_path / "run", **settings_of("dpo", tmp_path, rows=4))
    opened = open_config(str(config_path))
    config = opened.config_or_raise()
    loaded = load_data(config, opened.model_or_raise())
    torch.manual_seed(7)
    models: list[Any] = [build_model(config, opened.model_or_raise().folder, "fp32", loaded.tokenizer.vocab_size) for _ in range(2)]
    models[1].get_base_model().set_attn_implementation("sdpa")
    trainer = _trainer_of("dpo", opened, models[1], _texts(opened, loaded))
    for name, parameter in models[0].named_parameters():
        if parameter.requires_grad:  # after trl has copied the adapter that changes nothing as its reference
            parameter.data = torch.randn_like(parameter) * 0.1
            models[1].get_parameter(name).data = parameter.data.clone()
    order = [index for step in range(loaded.schedule.steps.total) for index in loaded.schedule.samples(step)]
    batch = trainer.data_collator(list(trainer.train_dataset))
    trainer.label_smoothing = 0.2
    for name in DPO_LOSSES:
        settings = config.preference.model_copy(update={"dpo_loss_type": [name], "dpo_label_smoothing": 0.2})
        objective = objective_of(replace(config, preference=settings), models[0], (loaded.prepared.train, []), torch.device("cpu"))
        ours, _ = objective.summed(models[0], objective.lay_out([[index] for index in order], held_out=False))
        trainer.loss_types, trainer.loss_weights = [name], [1.0]
        theirs = trainer.compute_loss(models[1], dict(batch))
        gradients = []
        for model, loss in ((models[0], ours / len(order)), (models[1], theirs)):
            model.zero_grad()
            loss.backward()
            gradients.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]))
        assert float(ours.detach()) / len(order) == pytest.approx(float(theirs.detach()), rel=1e-4), name
        assert torch.allclose(gradients[0], gradients[1], rtol=1e-3, atol=1e-5 * float(gradients[1].abs().max())), name
