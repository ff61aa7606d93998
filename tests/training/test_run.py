"""A run's folder, its result, and what happens when it is stopped, killed, doubled or out of room."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.helpers.tiny import write_config, write_data

from tunelab.errors import FolderError
from tunelab.runs.events import evaluations, read_events, steps
from tunelab.runs.folder import RunFolder
from tunelab.workflow.train import train


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data.jsonl")


def _losses(folder: Path) -> list[tuple[int, float, float]]:
    return [(event["step"], event["loss"], event["grad_norm"]) for event in steps(folder / "events.jsonl")]


def _start(config: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-m", "tunelab.cli.main", "train", str(config), *options], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})


def _wait_for_step(process: subprocess.Popen[str], folder: Path, step: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if any(event["event"] == "step" and event["step"] >= step for event in read_events(folder / "events.jsonl")):
            return
        if process.poll() is not None:
            raise AssertionError(f"the run ended before step {step}: {process.communicate()}")
        time.sleep(0.01)
    raise AssertionError(f"step {step} was not reached")


def test_a_run_learns_and_keeps_what_was_promised_beside_what_happened(tiny_model: Path, tmp_path: Path, data: Path) -> None:
    config = write_config(tmp_path / "config.yml", tiny_model, data, tmp_path / "run")
    result = train(str(config))
    manifest, losses = result.manifest, _losses(result.folder)
    assert losses[-1][1] < losses[0][1] - 0.1
    assert manifest["status"] == "finished"
    assert manifest["plan"]["steps"] == manifest["measured"]["steps"] == len(losses)
    assert manifest["plan"]["tokens_total"] == manifest["measured"]["tokens"]
    assert manifest["plan"]["trainable"] == manifest["measured"]["trainable_parameters"]
    assert (result.folder / "config.yml").read_text() == config.read_text()
    assert [event["step"] for event in evaluations(result.folder / "events.jsonl")][:1] == [5]
    assert json.loads((result.folder / "preview.json").read_text())["rows"]


def test_every_sample_is_used_once_an_epoch(tiny_model: Path, tmp_path: Path, data: Path) -> None:
    config = write_config(tmp_path / "config.yml", tiny_model, data, tmp_path / "run", num_epochs=2, save_steps=None)
    result = train(str(config))
    used = [sample for event in steps(result.folder / "events.jsonl") for sample in event["samples"]]
    assert len(used) == 2 * 36
    assert sorted(used[:36]) == sorted(used[36:]) == list(range(36))


def test_two_runs_with_the_same_seed_are_identical(tiny_model: Path, tmp_path: Path, data: Path) -> None:
    first = train(str(write_config(tmp_path / "a.yml", tiny_model, data, tmp_path / "a")))
    second = train(str(write_config(tmp_path / "b.yml", tiny_model, data, tmp_path / "b")))
    assert _losses(first.folder) == _losses(second.folder)
    assert (first.folder / "adapter_model.safetensors").read_bytes() == (second.folder / "adapter_model.safetensors").read_bytes()


def test_peft_loads_the_adapter(tiny_model: Path, tmp_path: Path, data: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    result = train(str(write_config(tmp_path / "config.yml", tiny_model, data, tmp_path / "run")))
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    ids = torch.tensor([[5, 6, 7, 8]])
    plain = base(input_ids=ids).logits
    tuned = PeftModel.from_pretrained(base, result.folder)(input_ids=ids).logits
    assert not torch.allclose(plain, tuned)
    config = json.loads((result.folder / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["base_model_name_or_path"]) == ("LORA", 4, str(tiny_model))


def test_a_full_run_saves_a_model_that_transformers_loads(tiny_model: Path, tmp_path: Path, data: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    config = write_config(tmp_path / "config.yml", tiny_model, data, tmp_path / "run", adapter=None, lora_r=None, lora_alpha=None,
                          lora_dropout=None, lora_target_linear=None, learning_rate=0.001, max_steps=4)
    result = train(str(config))
    assert AutoModelForCausalLM.from_pretrained(result.folder).num_parameters() > 0
    assert AutoTokenizer.from_pretrained(result.folder).eos_token == "<|im_end|>"


@pytest.mark.parametrize("at", [1, 4, 7])
def test_killed_and_resumed_the_losses_are_those_of_an_uninterrupted_run(tiny_model: Path, tmp_path: Path, data: Path, at: int) -> None:
    whole = train(str(write_config(tmp_path / "whole.yml", tiny_model, data, tmp_path / "whole", num_epochs=6)))
    config = write_config(tmp_path / "killed.yml", tiny_model, data, tmp_path / "killed", num_epochs=6)
    process = _start(config)
    _wait_for_step(process, tmp_path / "killed", at)
    process.kill()
    process.communicate()
    resumed = train(str(config), resume=True)
    assert _losses(resumed.folder) == _losses(whole.folder)
    assert (resumed.folder / "adapter_model.safetensors").read_bytes() == (whole.folder / "adapter_model.safetensors").read_bytes()
    assert resumed.manifest["status"] == "finished"


def test_a_full_run_resumes_exactly_too(tiny_model: Path, tmp_path: Path, data: Path) -> None:
    full = {"adapter": None, "lora_r": None, "lora_alpha": None, "lora_dropout": None, "lora_target_linear": None, "learning_rate": 0.001}
    whole = train(str(write_config(tmp_path / "whole.yml", tiny_model, data, tmp_path / "whole", **full)))
    config = write_config(tmp_path / "killed.yml", tiny_model, data, tmp_path / "killed", **full)
    process = _start(config)
    _wait_for_step(process, tmp_path / "killed", 4)
    process.kill()
    process.communicate()
    resumed = train(str(config), resume=True)
    assert _losses(resumed.folder) == _losses(whole.folder)
    assert (resumed.folder / "model.safetensors").read_bytes() == (whole.folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_saves_and_says_how_to_go_on(tiny_model: Path, tmp_path: Path, data: Path, number: signal.Signals) -> None:
    whole = train(str(write_config(tmp_path / "whole.yml", tiny_model, data, tmp_path / "whole", num_epochs=40)))
    config = write_config(tmp_path / "config.yml", tiny_model, data, tmp_path / "run", num_epochs=40)
    process = _start(config)
    _wait_for_step(process, tmp_path / "run", 2)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopped after step" in errors and "--resume" in errors and "Traceback" not in errors
    folder = RunFolder(tmp_path / "run")
    assert folder.manifest()["status"] == "interrupted"
    assert folder.checkpoints()
    resumed = train(str(config), resume=True)
    assert _losses(resumed.folder) == _losses(whole.folder)


def test_a_damaged_checkpoint_is_passed_over(tiny_model: Path, tmp_path: Path, data: Path) -> None:
    config = write_config(tmp_path / "config.yml", tiny_model, data, tmp_path / "run", num_epochs=6)
    process = _start(config)
    _wait_for_step(process, tmp_path / "run", 8)
    process.kill()
    process.communicate()
    newest = RunFolder(tmp_path / "run").checkpoints()[-1][1]
    weights = newest / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8] + b"\x00" * 7 + b"\x01")
    whole = train(str(write_config(tmp_path / "whole.yml", tiny_model, data, tmp_path / "whole", num_epochs=6)))
    resumed = train(str(config), resume=True)
    assert _losses(resumed.folder) == _losses(whole.folder)


def test_a_folder_that_holds_a_run_is_not_written_over(tiny_model: Path, tmp_path: Path, data: Path) -> None:
    config = write_config(tmp_path / "config.yml", tiny_model, data, tmp_path / "run", max_steps=2)
    train(str(config))
    before = (tmp_path / "run" / "adapter_model.safetensors").read_bytes()
    with pytest.raises(FolderError, match="already holds a run") as caught:
        train(str(config))
    assert "--resume" in str(caught.value.next_step)
    assert (tmp_path / "run" / "adapter_model.safetensors").read_bytes() == before


def test_a_folder_with_other_files_is_not_taken(tiny_model: Path, tmp_path: Path, data: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    with pytest.raises(FolderError, match=r"thesis\.txt"):
        train(str(write_config(tmp_path / "config.yml", tiny_model, data, tmp_path / "run")))
    assert [item.name for item in (tmp_path / "run").iterdir() if not item.name.startswith(".")] == ["thesis.txt"]


def test_resuming_with_another_config_is_refused_with_what_changed(tiny_model: Path, tmp_path: Path, data: Path) -> None:
    train(str(write_config(tmp_path / "config.yml", tiny_model, data, tmp_path / "run", max_steps=2)))
    changed = write_config(tmp_path / "config.yml", tiny_model, data, tmp_path / "run", max_steps=2, learning_rate=0.02)
    with pytest.raises(FolderError, match=r"learning_rate \(was 0.01, is 0.02\)"):
        train(str(changed), resume=True)


def test_resuming_with_other_data_is_refused(tiny_model: Path, tmp_path: Path, data: Path) -> None:
    config = write_config(tmp_path / "config.yml", tiny_model, data, tmp_path / "run", max_steps=2)
    train(str(config))
    write_data(data, rows=41)
    with pytest.raises(FolderError, match="data differs"):
        train(str(config), resume=True)


def test_a_second_train_on_the_same_folder_is_refused_while_the_first_goes_on(tiny_model: Path, tmp_path: Path, data: Path) -> None:
    config = write_config(tmp_path / "config.yml", tiny_model, data, tmp_path / "run", num_epochs=500)
    first = _start(config)
    try:
        _wait_for_step(first, tmp_path / "run", 1)
        second = _start(config, "--resume")
        _, errors = second.communicate(timeout=60)
        assert second.returncode == 1
        assert "Another tunelab process" in errors and "Traceback" not in errors
        assert first.poll() is None
    finally:
        first.kill()
        first.communicate()


def test_a_full_disk_while_saving_is_a_sentence_and_loses_nothing(tiny_model: Path, tmp_path: Path, data: Path) -> None:
    config = write_config(tmp_path / "config.yml", tiny_model, data, tmp_path / "run", num_epochs=6, lora_r=32, optimizer="adamw_torch")
    # A limit on file size makes the operating system refuse the write, as a full disk does, in the middle of the optimizer's file.
    code = ("import resource, runpy, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
            "resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000)); "
            f"sys.argv = ['tunelab', 'train', {str(config)!r}]; runpy.run_module('tunelab.cli.main', run_name='__main__')")
    limited = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert limited.returncode == 1, limited.stderr
    assert "Saving the checkpoint of step 3" in limited.stderr and "Traceback" not in limited.stderr
    assert "--resume" in limited.stderr
    leftovers = [path.name for path in (tmp_path / "run").iterdir() if path.is_dir()]
    assert leftovers == []
    whole = train(str(write_config(tmp_path / "whole.yml", tiny_model, data, tmp_path / "whole", num_epochs=6, lora_r=32)))
    resumed = train(str(config), resume=True)
    assert _losses(resumed.folder) == _losses(whole.folder)


def test_resuming_from_a_named_checkpoint_gives_the_same_losses(tiny_model: Path, tmp_path: Path, data: Path) -> None:
    whole = train(str(write_config(tmp_path / "whole.yml", tiny_model, data, tmp_path / "whole")))
    train(str(write_config(tmp_path / "config.yml", tiny_model, data, tmp_path / "run")))
    named = write_config(tmp_path / "config.yml", tiny_model, data, tmp_path / "run", resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-3"))
    assert _losses(train(str(named)).folder) == _losses(whole.folder)
    missing = write_config(tmp_path / "config.yml", tiny_model, data, tmp_path / "run", resume_from_checkpoint=str(tmp_path / "nowhere"))
    with pytest.raises(FolderError, match="no whole checkpoint"):
        train(str(missing))


def test_bfloat16_trains_to_nearly_the_same_losses(tiny_model: Path, tmp_path: Path, data: Path) -> None:
    exact = train(str(write_config(tmp_path / "exact.yml", tiny_model, data, tmp_path / "exact", max_steps=3)))
    half = train(str(write_config(tmp_path / "half.yml", tiny_model, data, tmp_path / "half", max_steps=3, bf16=True)))
    assert half.manifest["precision"] == "bf16"
    for (_, one, _), (_, other, _) in zip(_losses(exact.folder), _losses(half.folder), strict=True):
        assert one != other
        assert other == pytest.approx(one, rel=0.02)


def test_gradient_checkpointing_changes_memory_and_not_the_losses(tiny_model: Path, tmp_path: Path, data: Path) -> None:
    plain = train(str(write_config(tmp_path / "plain.yml", tiny_model, data, tmp_path / "plain", max_steps=3)))
    again = train(str(write_config(tmp_path / "again.yml", tiny_model, data, tmp_path / "again", max_steps=3, gradient_checkpointing=True)))
    for (_, one, _), (_, other, _) in zip(_losses(plain.folder), _losses(again.folder), strict=True):
        assert other == pytest.approx(one, rel=1e-5)


def test_a_loss_that_is_not_finite_stops_the_run_with_the_setting_to_lower(tiny_model: Path, tmp_path: Path, data: Path) -> None:
    from tunelab.errors import RunError

    config = write_config(tmp_path / "config.yml", tiny_model, data, tmp_path / "run", learning_rate=1e30, max_grad_norm=0, warmup_steps=0)
    with pytest.raises(RunError, match="loss became") as caught:
        train(str(config))
    assert "learning_rate" in str(caught.value.next_step)
    assert RunFolder(tmp_path / "run").manifest()["status"] == "failed"


@pytest.mark.parametrize("targets", [{"lora_target_modules": ["q_proj"]}, {"lora_target_modules": ["q_proj"], "lora_target_linear": None},
                                     {"lora_target_linear": None}, {"lora_target_linear": None, "lora_target_modules": r".*mlp\..*_proj"}])
def test_the_plan_counts_the_parameters_that_are_trained(tiny_model: Path, tmp_path: Path, data: Path, targets: dict[str, object]) -> None:
    result = train(str(write_config(tmp_path / "config.yml", tiny_model, data, tmp_path / "run", max_steps=1, **targets)))
    assert result.manifest["plan"]["trainable"] == result.manifest["measured"]["trainable_parameters"] > 0


def test_patience_ends_the_run_and_the_best_weights_are_the_result(tiny_model: Path, tmp_path: Path, data: Path) -> None:
    config = write_config(tmp_path / "config.yml", tiny_model, data, tmp_path / "run", num_epochs=30, learning_rate=0.3, warmup_steps=0, lora_dropout=0,
                          lr_scheduler="constant", eval_steps=2, save_steps=2, early_stopping_patience=2, save_total_limit=1)
    result = train(str(config))
    looked = {event["step"]: event["loss"] for event in evaluations(result.folder / "events.jsonl")}
    best = min(looked, key=lambda step: (looked[step], step))
    assert result.manifest["measured"]["stopped_early"] == max(looked) == best + 4 < result.manifest["plan"]["steps"]
    assert result.manifest["measured"]["best_step"] == best and result.manifest["measured"]["eval_loss"] == looked[best]
    kept = result.folder / f"checkpoint-{best}" / "adapter_model.safetensors"
    assert (result.folder / "adapter_model.safetensors").read_bytes() == kept.read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="limits a process's memory as Linux does")
def test_memory_runs_out_before_the_first_step_and_the_setting_to_lower_is_named(tiny_model: Path, tmp_path: Path, data: Path) -> None:
    with data.open("a", encoding="utf-8") as rows:  # one long row, which the shuffle puts anywhere
        rows.write(json.dumps({"messages": [{"role": "user", "content": "say"}, {"role": "assistant", "content": "red blue " * 20_000}]}) + "\n")
    config = write_config(tmp_path / "config.yml", tiny_model, data, tmp_path / "run", sequence_len=100_000, sample_packing=False)
    code = ("import resource, runpy, sys, torch, tunelab.training.run, psutil; torch.set_num_threads(1); "
            "used = psutil.Process().memory_info().vms; resource.setrlimit(resource.RLIMIT_AS, (used + 3 * 2**28, used + 3 * 2**28)); "
            f"sys.argv = ['tunelab', 'train', {str(config)!r}]; runpy.run_module('tunelab.cli.main', run_name='__main__')")
    limited = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert limited.returncode == 1 and "Traceback" not in limited.stderr, limited.stderr
    assert "Memory ran out on the largest training batch" in limited.stderr and "gradient_checkpointing: true" in limited.stderr
    assert not steps(tmp_path / "run" / "events.jsonl")


def test_a_run_with_noise_on_its_embeddings_repeats_itself_and_differs_from_one_without(tiny_model: Path, tmp_path: Path, data: Path) -> None:
    def losses(name: str, **changes: object) -> list[tuple[int, float, float]]:
        return _losses(train(str(write_config(tmp_path / f"{name}.yml", tiny_model, data, tmp_path / name, max_steps=4, **changes))).folder)

    first = losses("first", neftune_noise_alpha=5)
    assert first == losses("second", neftune_noise_alpha=5) != losses("without")
