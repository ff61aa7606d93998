"""Runs of preference methods: the plan holds, a killed run goes on exactly, the result loads, and the other verbs read the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.forked import start_training
from tests.helpers.preferences import settings_of
from tests.helpers.tiny import write_config

from tunelab.config import Severity
from tunelab.errors import ConfigError, DataError
from tunelab.runs.events import evaluations, steps
from tunelab.workflow.plan import plan
from tunelab.workflow.report import report
from tunelab.workflow.train import train

FULL: dict[str, Any] = {"adapter": None, "lora_r": None, "lora_alpha": None, "lora_target_linear": None, "learning_rate": 0.0003}
ALLOWED = ["untrained_end"]


def _config(folder: Path, model: Path, method: str, name: str = "run", **changes: Any) -> Path:
    return write_config(folder / f"{name}.yml", model, folder / "unused", folder / name, **settings_of(method, folder, **changes))


@pytest.mark.parametrize(("method", "changes"), [("dpo", {}), ("kto", FULL), ("orpo", {}), ("reward", {}), ("reward", FULL)],
                         ids=["dpo", "kto-full", "orpo", "reward", "reward-full"])
def test_the_run_keeps_what_the_plan_says(tiny_model: Path, tmp_path: Path, method: str, changes: dict[str, Any]) -> None:
    config = _config(tmp_path, tiny_model, method, val_set_size=4, eval_steps=2, num_epochs=2, **changes)
    said = plan(str(config)).plan
    done = train(str(config), allow=ALLOWED)
    measured = done.manifest["measured"]
    assert (said.rows, said.held_out) == (20, 4)
    assert (measured["steps"], measured["tokens"], measured["supervised"]) == (said.steps, said.tokens_total, said.supervised_total)
    assert measured["trainable_parameters"] == said.trainable
    reference = [line for line in said.assumptions if line.startswith("The reference model")]
    assert len(reference) == (method in ("dpo", "kto"))
    record = list(steps(done.folder / "events.jsonl"))[-1]
    assert {"rewards/chosen", "rewards/accuracies"} <= set(record["measures"])
    assert list(evaluations(done.folder / "events.jsonl"))[-1]["rows"] == 4


def test_the_better_answers_gain(tiny_model: Path, tmp_path: Path) -> None:
    done = train(str(_config(tmp_path, tiny_model, "dpo", num_epochs=4, learning_rate=0.01)), allow=ALLOWED)
    first, *_, last = steps(done.folder / "events.jsonl")
    assert first["loss"] == pytest.approx(0.6931, abs=1e-4) and first["measures"]["rewards/margins"] == 0
    assert last["loss"] < first["loss"] - 0.03 and last["measures"]["rewards/margins"] > 0.05 and last["measures"]["rewards/accuracies"] >= 0.75


@pytest.mark.parametrize(("method", "changes"), [("dpo", {}), ("kto", FULL)], ids=["dpo", "kto-full"])
def test_killed_and_resumed_it_is_the_same_run(tiny_model: Path, tmp_path: Path, method: str, changes: dict[str, Any]) -> None:
    recipe = {"num_epochs": 2, "save_steps": 2, "val_set_size": 4, "eval_steps": 4, **changes}
    whole, killed = (_config(tmp_path, tiny_model, method, name, **recipe) for name in ("whole", "killed"))
    for config, die, resume in ((whole, None, False), (killed, ("after an update", 5), False), (killed, None, True)):
        process = start_training(config, die=die, resume=resume)
        process.join()
        assert (process.exitcode == 0) == (die is None), config.with_suffix(".log").read_text()
    for read in (steps, evaluations):
        one, other = ([{key: value for key, value in event.items() if key not in ("time", "seconds")} for event in read(tmp_path / name / "events.jsonl")]
                      for name in ("whole", "killed"))
        assert one == other and one
    file = "model.safetensors" if changes else "adapter_model.safetensors"
    assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "killed" / file).read_bytes()


@pytest.mark.parametrize("changes", [{}, FULL], ids=["lora", "full"])
def test_a_reward_model_is_what_transformers_loads(tiny_model: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    from tunelab.data.pairs import pairs
    from tunelab.workflow.opening import load_data, open_config

    more = changes or {"learning_rate": 0.02}
    config = _config(tmp_path, tiny_model, "reward", num_epochs=6, **more)
    done = train(str(config), allow=ALLOWED)
    opened = open_config(str(config))
    loaded = load_data(opened.config_or_raise(), opened.model_or_raise())
    model: Any = AutoModelForSequenceClassification.from_pretrained(done.folder if changes else tiny_model, num_labels=1)
    if not changes:
        model = PeftModel.from_pretrained(model, str(done.folder))
    model.eval()
    model.config.pad_token_id = loaded.tokenizer.pad_id
    right = 0
    with torch.no_grad():
        for pair in pairs(loaded.prepared.train):
            better, worse = (float(model(input_ids=torch.tensor([side.input_ids])).logits) for side in pair.sides)
            right += better > worse
    assert right >= 20
    assert not changes or "score.weight" in (done.folder / "model.safetensors").read_bytes()[:20_000].decode("utf-8", "ignore")


def test_the_report_of_a_preference_run(tiny_model: Path, tmp_path: Path) -> None:
    done = train(str(_config(tmp_path, tiny_model, "dpo", val_set_size=4, eval_steps=3)), allow=ALLOWED)
    report(done.folder, out=tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert ", better</strong>" in page and ", worse</strong>" in page and "per pair" in page


def test_what_cannot_be_learnt_is_said(tiny_model: Path, tmp_path: Path) -> None:
    same = {"messages": [{"role": "user", "content": "say red"}], "chosen": {"role": "assistant", "content": "red"},
            "rejected": {"role": "assistant", "content": "red"}}
    config = _config(tmp_path, tiny_model, "dpo")
    (tmp_path / "dpo.jsonl").write_text(f"{json.dumps(same)}\n" * 4, encoding="utf-8")
    with pytest.raises(DataError, match="same_answers"):
        train(str(config))
    config = _config(tmp_path, tiny_model, "simpo", "without", simpo_gamma=None)
    with pytest.raises(ConfigError) as caught:
        train(str(config))
    assert [one.code for one in caught.value.findings if one.severity is Severity.ERROR] == ["TL982"]
