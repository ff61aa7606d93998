"""Every optimizer name of the dialect trains here and survives a checkpoint bit for bit, or is refused with what to use instead."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.helpers.tiny import write_config, write_data
from transformers import AutoModelForCausalLM, TrainingArguments
from transformers.trainer import Trainer

from tunelab.config import Config, read_config
from tunelab.config.known import names
from tunelab.errors import ConfigError
from tunelab.facts.machine import read_machine
from tunelab.planning.optimizers import optimizers, refusal, state_bytes
from tunelab.planning.rate import Rate
from tunelab.planning.schedules import Course, course_of
from tunelab.training.optimizer import build_optimizer, resting, set_rate, wake
from tunelab.training.optimizer.own import AdamC, Adopt, Muon, orthogonal
from tunelab.training.optimizer.state import pack, unpack

NAMES = sorted(names("optimizer"))
LOW_RANK = {"optim_target_modules": ["attn", "mlp"], "optim_args": {"rank": 8, "update_proj_gap": 2}}
RATES = {"sgd": 0.3, "schedule_free_sgd": 1.0, "adagrad": 0.03, "schedule_free_radam": 0.1, "galore_adafactor": 0.03}


def _config(folder: Path, model: Path, name: str, **changes: object) -> Config:
    low = LOW_RANK if name.startswith(("galore", "apollo")) else {}
    path = write_config(folder / "config.yml", model, folder / "data.jsonl", folder / "run", optimizer=name, adapter=None, lora_r=None, lora_alpha=None,
                        lora_dropout=None, lora_target_linear=None, weight_decay=0.01, **{"learning_rate": RATES.get(name, 0.003), **low, **changes})
    return read_config(path).config


class _Training:
    """The tiny model in training on one fixed batch."""

    def __init__(self, config: Config, model: Path) -> None:
        self.model: Any = AutoModelForCausalLM.from_pretrained(model)
        self.optimizer: Any = build_optimizer(config, self.model)
        self._rate = Rate(Course("constant", 0, 100, config.optimisation.learning_rate))
        self._tokens = torch.arange(48).view(2, 24) * 7 % 300

    def steps(self, first: int, count: int) -> list[float]:
        """The loss before each of `count` steps."""
        losses = []
        for step in range(first, first + count):
            loss = self.model(input_ids=self._tokens, labels=self._tokens).loss
            loss.backward()
            losses.append(float(loss.detach()))
            set_rate(self.optimizer, self._rate, step)
            self.optimizer.step()
            self.optimizer.zero_grad()
        return losses

    def save(self, folder: Path) -> None:
        """As a checkpoint has it."""
        with resting(self.optimizer):
            tensors, layout = pack(self.optimizer.state_dict())
            save_file(tensors, folder / "optimizer.safetensors")
            (folder / "layout.json").write_text(json.dumps(layout))
            save_file({name: tensor.clone() for name, tensor in self.model.state_dict().items()}, folder / "model.safetensors")

    def load(self, folder: Path) -> None:
        """Take that back."""
        self.model.load_state_dict(load_file(folder / "model.safetensors"))
        self.optimizer.load_state_dict(unpack(json.loads((folder / "layout.json").read_text()), load_file(folder / "optimizer.safetensors")))
        wake(self.optimizer)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_trains_and_survives_a_checkpoint_or_is_refused(name: str, tiny_model: Path, tmp_path: Path) -> None:
    refused = refusal(name, read_machine())
    config = _config(tmp_path, tiny_model, name)
    if refused is not None:
        assert f"`optimizer: {name}`" in refused.reason and refused.instead in NAMES and refusal(refused.instead, read_machine()) is None
        if not optimizers()[name].builder:
            with pytest.raises(ConfigError, match=name):
                build_optimizer(config, torch.nn.Linear(2, 2))
        return
    straight = _Training(config, tiny_model)
    losses = straight.steps(0, 3)
    straight.save(tmp_path)
    measured = sum(tensor.nbytes for tensor in load_file(tmp_path / "optimizer.safetensors").values())
    if "schedule_free" in name:  # the checkpoint also holds the training point
        measured -= sum(4 * one.numel() for one in straight.model.parameters())
    rest = straight.steps(3, 4)
    assert all(abs(loss) < 100 for loss in losses + rest) and rest[-1] < losses[0] - 0.02
    again = _Training(config, tiny_model)
    again.load(tmp_path)
    assert again.steps(3, 4) == rest
    for mine, theirs in zip(again.model.parameters(), straight.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    shapes = [tuple(one.shape) for one in straight.model.parameters()]
    assert measured == pytest.approx(state_bytes(name, shapes, 8, tuple(straight.model.get_input_embeddings().weight.shape)), rel=0.02, abs=16384)
