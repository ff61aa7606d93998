"""Several processes are one run: the losses of one process, exact resume after a killed worker, one sentence for whatever ends it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.conftest import ROOT
from tests.helpers.tiny import write_config, write_data, write_model

from tunelab.errors import FolderError, UsageError
from tunelab.runs.events import evaluations, steps
from tunelab.workflow.launch import Machines
from tunelab.workflow.plan import plan

pytestmark = pytest.mark.training

EVEN = {"sample_packing": False, "lora_dropout": 0.0, "num_epochs": 1}
DROPOUT = {**EVEN, "lora_dropout": 0.1, "num_epochs": 2, "gradient_accumulation_steps": 1, "save_steps": 4, "eval_steps": None}
FSDP = {"fsdp_config": {"reshard_after_forward": True}}

# Worker processes of one group train several configs one after another: importing torch costs more than a run of the tiny model.
WORKER = """
import json, os, shutil, sys
from pathlib import Path
from tunelab.workflow.train import train
for config, resume in json.loads(sys.argv[1]):
    if resume not in (True, False) and os.environ["RANK"] == "0":  # as that run was after its first checkpoint
        copy = shutil.copytree(resume, Path(config).with_suffix(""))
        for saved in sorted(copy.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))[1:]:
            shutil.rmtree(saved)
    train(config, resume=bool(resume))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    write_model(folder / "model")
    write_data(folder / "rows.jsonl", rows=41)  # 37 to train on: the last step is smaller, and odd
    return folder


def config(place: Path, name: str, **changes: Any) -> Path:
    return write_config(place / f"{name}.yml", place / "model", place / "rows.jsonl", place / name,
                        dataset_prepared_path=str(place / "prepared"), **{**EVEN, **changes})


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}


def together(place: Path, *runs: tuple[Path, bool | str]) -> None:
    """Train these configs with two processes of one gloo group; each resumed, or not, or from a run whose first checkpoint it is given."""
    (place / "worker.py").write_text(WORKER, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0",
               str(place / "worker.py"), json.dumps([(str(path), resume) for path, resume in runs])]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def losses(folder: Path) -> list[float]:
    return [event["loss"] for event in (*steps(folder / "events.jsonl"), *evaluations(folder / "events.jsonl"))]


def samples(folder: Path) -> list[list[int]]:
    return [event["samples"] for event in steps(folder / "events.jsonl")]


def adapter(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "adapter_model.safetensors")


def killed(command: list[str], folder: Path, after: int) -> tuple[int, str]:
    """Run a command, kill its second worker after so many steps; exit code and what was said."""
    running = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    workers: list[psutil.Process] = []
    deadline = time.monotonic() + 120
    while running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
        if len(steps(folder / "events.jsonl")) >= after:
            workers = sorted(psutil.Process(running.pid).children(), key=lambda one: one.environ().get("RANK", "9"))
            workers[1].send_signal(signal.SIGKILL)
            break
    said = running.communicate(timeout=60)[1]
    assert len(workers) == 2 and not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in workers)
    return running.returncode, said


def test_two_processes_are_one_with_twice_the_accumulation_also_in_shards_and_after_a_kill(place: Path) -> None:
    from safetensors.torch import load_file

    from tunelab.workflow.train import train

    one = config(place, "one", gradient_accumulation_steps=4)
    two, shards = config(place, "two"), config(place, "shards", **FSDP)
    added = {**DROPOUT, **FSDP, "tokens": ["<new>"]}  # the file of the adapter then has the embedding, and the head that is tied to it
    whole, cut = config(place, "whole", **added), config(place, "cut", **added)
    whole_ddp, cut_ddp = config(place, "whole_ddp", **DROPOUT), config(place, "cut_ddp", **DROPOUT)
    full = {"adapter": None, "lora_r": None, "lora_alpha": None, "lora_target_linear": None, "learning_rate": 0.001}
    full_one = config(place, "full_one", **full, gradient_accumulation_steps=4)
    full_two = config(place, "full_two", **full, fsdp_config={"auto_wrap_policy": "SIZE_BASED_WRAP", "min_num_params": 5000})
    train(str(one))
    train(str(full_one))
    together(place, (full_two, False), (two, False), (shards, False), (whole, False), (whole_ddp, False))

    for name in ("two", "shards"):
        assert losses(place / name) == pytest.approx(losses(place / "one"), rel=1e-6)
        assert samples(place / name) == samples(place / "one")
        ours = adapter(place / name)
        assert ours.keys() == adapter(place / "one").keys()
        # Adam divides by the gradient's own size, so where a gradient is all rounding, its step is too.
        assert all((ours[key] - tensor).abs().max() < 2e-3 for key, tensor in adapter(place / "one").items())
    assert losses(place / "full_two") == pytest.approx(losses(place / "full_one"), rel=1e-6)
    assert load_file(place / "full_two" / "model.safetensors").keys() == load_file(place / "full_one" / "model.safetensors").keys()
    assert json.loads((place / "two" / "manifest.json").read_text(encoding="utf-8"))["plan"]["processes"] == 2

    code, said = killed([sys.executable, "-m", "tunelab.cli.main", "train", str(cut), "--nproc", "2"], place / "cut", after=5)
    manifest = json.loads((place / "cut" / "manifest.json").read_text(encoding="utf-8"))
    assert code == 1 and manifest["status"] == "failed" and "Worker 1 of 2 was killed" in manifest["reason"]
    assert "Traceback" not in said and "--resume" in said and said.count("error:") == 1
    with pytest.raises(FolderError, match="one of 2 processes"):
        train(str(cut), resume=True)
    shutil.copytree(place / "whole_ddp", place / "cut_ddp")
    for saved in (place / "cut_ddp").glob("checkpoint-*"):
        if saved.name != "checkpoint-4":
            shutil.rmtree(saved)
    together(place, (cut_ddp, True), (cut, True))
    for cut_run, whole_run in (("cut_ddp", "whole_ddp"), ("cut", "whole")):
        assert losses(place / cut_run) == losses(place / whole_run)
        assert all(tensor.equal(adapter(place / whole_run)[key]) for key, tensor in adapter(place / cut_run).items())


def test_deepspeeds_stages_are_one_process_too_and_go_on_bit_for_bit(place: Path) -> None:
    pytest.importorskip("deepspeed", reason="the package deepspeed is not installed (pip install 'tunelab[distributed]')")
    from safetensors.torch import load_file

    from tunelab.workflow.train import train

    full = {"adapter": None, "lora_r": None, "lora_alpha": None, "lora_target_linear": None, "learning_rate": 0.001}
    qlora = {"adapter": "qlora", "load_in_4bit": True}
    (place / "zero2.json").write_text(json.dumps({"zero_optimization": {"stage": 2, "reduce_bucket_size": "auto"}, "gradient_clipping": "auto"}))
    stages: dict[int, Any] = {1: {"zero_optimization": {"stage": 1, "offload_optimizer": {"device": "cpu"}}}, 2: str(place / "zero2.json"),
                              3: {"zero_optimization": {"stage": 3, "stage3_param_persistence_threshold": 0, "sub_group_size": 20000}}}
    for name, changes in (("full", full), ("qlora", qlora)):
        train(str(config(place, f"zero_{name}", **changes, gradient_accumulation_steps=4)))
    runs = [config(place, f"zero_full_{stage}", **full, deepspeed=asked) for stage, asked in stages.items()]
    runs.append(config(place, "zero_qlora_3", **qlora, deepspeed=stages[3]))
    cut = [config(place, f"cut_full_{stage}", **full, deepspeed=stages[stage]) for stage in (2, 3)]
    together(place, *((path, False) for path in runs), *((path, str(place / path.stem.replace("cut", "zero"))) for path in cut))

    def result(name: str) -> dict[str, Any]:
        return load_file(place / name / ("model.safetensors" if "full" in name else "adapter_model.safetensors"))

    for path in runs:
        one = path.stem.rpartition("_")[0]
        assert losses(place / path.stem) == pytest.approx(losses(place / one), rel=1e-6)
        ours, theirs = result(path.stem), result(one)
        assert ours.keys() == theirs.keys() and all((ours[key] - tensor).abs().max() < 2e-3 for key, tensor in theirs.items())
    for path in cut:
        whole = path.stem.replace("cut", "zero")
        assert len(steps(place / path.stem / "events.jsonl")) == 9 and losses(place / path.stem) == losses(place / whole)
        assert all(tensor.equal(result(whole)[key]) for key, tensor in result(path.stem).items())
    assert {file.suffix for file in (place / "cut_full_3" / "checkpoint-6").iterdir()} == {".safetensors", ".json"}, "no pickles"


def test_the_plan_of_two_processes_is_that_of_twice_the_accumulation(place: Path) -> None:
    one = plan(str(config(place, "plan_one", gradient_accumulation_steps=4))).plan
    two = plan(str(config(place, "plan_two")), processes=2).plan
    assert (two.steps, two.tokens_total, two.supervised_total, two.evaluations) == (one.steps, one.tokens_total, one.supervised_total, one.evaluations)
    assert two.processes == 2 and two.memory is not None and one.memory is not None and two.memory.weights == one.memory.weights


@pytest.mark.parametrize(("options", "said"), [
    (["--resum"], "no option"), (["--nnodes", "two"], "whole number"), (["other.yml"], "no option"), (["--nnodes", "2"], "where the machines meet"),
    (["--nnodes", "2", "--node-rank", "2", "--master-addr", "a"], "expected 0 to 1"),
])
def test_wrong_options_for_several_machines_are_sentences(options: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Machines.of(2, options).fleet()


def test_torchruns_options_are_passed_on() -> None:
    fleet = Machines.of(4, ["--nnodes=2", "--node-rank", "1", "--master-addr", "first", "--master-port", "1234"]).fleet()
    assert (fleet.count, fleet.node, fleet.master) == (8, 1, "first:1234")
