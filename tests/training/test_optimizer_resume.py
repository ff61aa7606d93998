"""A run that died goes on to the same losses where more than averages is remembered: the training point, a rate that follows evaluations."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.helpers.tiny import write_config, write_data

from tunelab.runs.events import StepRecord, steps
from tunelab.training.run import Watch
from tunelab.workflow.train import train

CASES = {
    "schedule_free_adamw": {"lr_scheduler": "constant", "warmup_steps": None},
    "adamw_8bit": {"lr_scheduler": "reduce_lr_on_plateau", "lr_scheduler_kwargs": {"patience": 0, "factor": 0.5, "threshold": 0.5},
                   "warmup_steps": None, "eval_steps": 2}}


class _Dies(Watch):
    def step(self, record: StepRecord, total: int) -> None:
        """Die in step 5, after the checkpoint of step 3."""
        if record.step == 5:
            raise RuntimeError("killed")


@pytest.mark.parametrize("name", CASES)
def test_a_killed_run_ends_as_an_unbroken_one(name: str, tiny_model: Path, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data.jsonl", 30)
    whole, broken = (write_config(tmp_path / f"{out}.yml", tiny_model, data, tmp_path / out, optimizer=name, max_steps=7, num_epochs=4, **CASES[name])
                     for out in ("whole", "broken"))
    train(str(whole))
    with pytest.raises(RuntimeError, match="killed"):
        train(str(broken), watch=_Dies())
    train(str(broken), resume=True)
    told = [[(event["loss"], event["lr"]) for event in steps(tmp_path / out / "events.jsonl")] for out in ("whole", "broken")]
    assert told[0] == told[1] and len(told[0]) == 7
    first, second = (load_file(tmp_path / out / "adapter_model.safetensors") for out in ("whole", "broken"))
    assert all(torch.equal(first[key], second[key]) for key in first)
