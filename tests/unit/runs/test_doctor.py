"""The doctor on event streams: healthy ones are left alone, each ailment is found once, and a run is explained from whatever is left of it.

Ailments that tiny real runs can be given are tested on those, in tests/training/test_doctor.py.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tunelab.config.finding import Severity
from tunelab.errors import FolderError
from tunelab.runs.checkpoints import FORMAT
from tunelab.runs.doctor import AILMENTS, Diagnosis, Doctor, examine
from tunelab.runs.doctor.ailment import Case
from tunelab.runs.folder import RunFolder, RunLock
from tunelab.runs.store import write_json

LAB = Path(__file__).parent / "streams" / "lab.jsonl"
LAB_CASE = Case(total=70, warmup=8, epochs=1, learning_rate=0.002, scheduler="cosine", adapter="lora", lora_r=16, planned_evaluations=2)

LONG = Case(total=10_000, learning_rate=1e-4)


def _event(step: int, loss: float, **values: Any) -> dict[str, Any]:
    return {"event": "step", "step": step, "epoch": step / 100, "loss": loss, "lr": 1e-4, "grad_norm": 0.5, "tokens": 500, "supervised": 200,
            "seconds": 1.0, **values}


def _found(events: Sequence[dict[str, Any]], case: Case = LONG, *, ends: bool = False) -> dict[str, Diagnosis]:
    doctor = Doctor(case)
    said = [one.code for one in doctor.replay(events)]
    assert len(said) == len(set(said)), "an ailment is told once"
    if ends:
        doctor.end()
    return doctor.found


def test_every_ailment_says_what_it_is_and_what_to_do() -> None:
    assert len(AILMENTS) >= 25
    for code, one in AILMENTS.items():
        assert code == one.code and code.startswith("TD") and one.title[0].isupper() and not one.title.endswith(".")
        assert one.looks_for and one.why.endswith(".") and one.advice.endswith(".")


def test_the_lab_recipe_is_healthy() -> None:
    events = [json.loads(line) for line in LAB.read_text(encoding="utf-8").splitlines()]
    assert sum(event["event"] == "step" for event in events) == 70
    assert _found(events, LAB_CASE, ends=True) == {}


@pytest.mark.parametrize(("start", "floor", "noise"), [(10.8, 3.0, 0.05), (2.0, 1.1, 0.15), (1.3, 1.05, 0.1), (0.9, 0.02, 0.8), (2.2, 0.4, 0.4)])
def test_noisy_curves_that_fall_are_healthy(start: float, floor: float, noise: float) -> None:
    """Log-normal noise, as losses of small batches have: with 0.8 some steps are five times the usual."""
    draw = random.Random(7)
    for _ in range(8):
        events = []
        for step in range(1, 401):
            loss = (floor + (start - floor) * math.exp(-step / 60)) * draw.lognormvariate(-noise**2 / 2, noise)
            events.append(_event(step, loss, grad_norm=draw.lognormvariate(0, 0.4), lr=2e-4 * math.sin(math.pi * step / 401)))
            if step % 100 == 0:
                events.append({"event": "evaluation", "step": step, "loss": floor + (start - floor) * math.exp(-step / 60)})
        assert _found(events, Case(total=400, learning_rate=2e-4, scheduler="cosine", planned_evaluations=2), ends=True) == {}


def _spiking() -> Iterator[dict[str, Any]]:
    draw = random.Random(1)
    for step in range(1, 200):
        high = step in range(60, 66) or step in range(120, 124)
        yield _event(step, 4.0 if high else draw.gauss(1.5, 0.1))


def _losing() -> Iterator[dict[str, Any]]:
    draw = random.Random(3)
    for step in range(1, 200):
        yield _event(step, draw.gauss(1.0 + max(0.0, 1 - step / 40) if step < 100 else min(2.0, 1 + (step - 100) / 40), 0.05))


def _growing() -> Iterator[dict[str, Any]]:
    for step in range(1, 200):
        yield _event(step, 1.5 + math.sin(step) / 10, grad_norm=0.4 * min(20.0, 1.05 ** max(0, step - 60)))


def _swapping() -> Iterator[dict[str, Any]]:
    for step in range(1, 80):
        yield _event(step, 2 / step + 1, seconds=1.0 if step < 40 else 8.0)


def _pairs(chosen: Callable[[int], float], rejected: Callable[[int], float], accuracy: float) -> Iterator[dict[str, Any]]:
    draw = random.Random(2)
    for step in range(1, 101):
        yield _event(step, 0.69 - step / 1000, measures={"rewards/chosen": chosen(step), "rewards/rejected": rejected(step),
                                                         "rewards/accuracies": min(1.0, max(0.0, draw.gauss(accuracy, 0.05)))})


@pytest.mark.parametrize(("code", "events", "edit", "seen"), [
    ("TD104", _losing(), "learning_rate: 2e-05", "loss 1.8"),
    ("TD105", _spiking(), "learning_rate: 5e-05", "2 spikes between steps 60 and 120, up to a loss of 4"),
    ("TD106", _growing(), "learning_rate: 5e-05", "gradient norm"),
    ("TD204", (_event(step, 2 / step + 1, grad_norm=40.0) for step in range(1, 80)), "gradient_accumulation_steps: 4\nmax_grad_norm: 40",
     "gradient norm 40 on average over steps 1 to 50"),
    ("TD402", (_event(step, 2 / step + 1, supervised=0 if step == 7 else 200) for step in range(1, 80)), "", "step 7: 500 tokens, none supervised"),
    ("TD403", (_event(step, 2 / step + 1, tokens=30_000) for step in range(1, 80)), "", "4000 supervised of 600000 tokens over 20 steps (0.7%)"),
    ("TD404", _swapping(), "", "62 tokens per second over the last ten steps, 500 at best"),
    ("TD601", _pairs(lambda step: 0.01, lambda step: 0.01, 0.5), "learning_rate: 0.0005", "accuracy 0.5"),
    ("TD602", _pairs(lambda step: -step / 20, lambda step: -step / 10, 0.9), "learning_rate: 5e-05", "rewards of chosen answers")])
def test_an_ailment_is_found_with_its_numbers_and_its_edit(code: str, events: Iterator[dict[str, Any]], edit: str, seen: str) -> None:
    found = _found(list(events), ends=True)
    assert set(found) == {code}
    assert found[code].edit == edit and seen in found[code].seen


def test_a_gradient_that_overflows_now_and_then_is_how_fp16_works() -> None:
    events = [_event(step, 2 / step + 1, grad_norm=math.inf if step % 7 == 0 else 0.5) for step in range(1, 60)]
    assert _found(events, Case(precision="fp16")) == {}
    assert set(_found(events, Case(precision="bf16"))) == {"TD102"}
    assert set(_found([_event(step, 2.0 / step + 1, grad_norm=math.inf) for step in range(1, 25)], Case(precision="fp16"))) == {"TD102"}


def test_a_warm_up_that_never_ends_and_a_rate_that_never_falls() -> None:
    rising = [_event(step, 3 - step / 100, lr=1e-6 * step) for step in range(1, 41)]
    found = _found(rising, Case(total=40, warmup=100, learning_rate=1e-4, scheduler="cosine"), ends=True)
    assert found["TD202"].severity is Severity.WARNING and found["TD202"].edit == "warmup_steps: 2" and set(found) == {"TD202", "TD205"}


def test_a_resumed_run_is_not_told_again(tmp_path: Path) -> None:
    run = _run(tmp_path, [_event(step, 3.0, supervised=0) for step in range(1, 6)], status="running")
    doctor = Doctor.of(run, 5)
    assert set(doctor.found) == {"TD402"} and doctor.step(_event(6, 3.0, supervised=0)) == ()


def _run(folder: Path, events: Sequence[dict[str, Any]], **manifest: Any) -> RunFolder:
    run = RunFolder(folder / "run")
    write_json(run.manifest_path, {"tunelab": "0", "status": "finished", "plan": {"steps": 10, "memory": {"total": 2_000_000_000}},
                                   "machine": {"memory_free_bytes": 8_000_000_000, "gpus": []},
                                   "config": {"path": str(folder / "gone.yml"), "sections": {"data": {"sequence_len": 512}}}, **manifest})
    run.events_path.write_text("".join(json.dumps(one) + "\n" for one in events), encoding="utf-8")
    return run


STEPS = [_event(step, 3 - step / 10, time=1000.0 + step) for step in range(1, 6)]


@pytest.mark.parametrize(("events", "manifest", "status", "codes", "seen"), [
    ([*STEPS, {"event": "interrupted", "reason": "Stopped after step 5"}], {"status": "interrupted", "reason": "Stopped after step 5"}, "interrupted",
     ["TD701"], "Stopped after step 5"),
    (STEPS, {"status": "running"}, "killed", ["TD704"], "it ended after step 5; memory was not short (2 GB of 8 GB)"),
    (STEPS, {"status": "running", "machine": {"memory_free_bytes": 2_100_000_000}}, "killed", ["TD702"],
     "it vanished after step 5; it needed 2 GB and the machine had 2.1 GB free when it began"),
    ([{"event": "rehearsal", "tokens": 4096, "held_out": False}], {"status": "running"}, "killed", ["TD702"],
     "it vanished while trying the largest batch of training (4096 tokens)"),
    (STEPS, {"status": "failed", "reason": "Saving the checkpoint of step 5 failed: the disk is full."}, "failed", ["TD703"], "the disk is full."),
    (STEPS, {"status": "failed", "reason": "RuntimeError: CUDA out of memory. Tried to allocate"}, "failed", ["TD702"], "CUDA out of memory"),
    (STEPS, {"status": "failed", "reason": "ValueError: something else"}, "failed", ["TD705"], "something else"),
    ([*STEPS, {"event": "failed", "reason": "no manifest took this"}], {"status": "running"}, "failed", ["TD705"], "no manifest took this")])
def test_how_a_run_ended(tmp_path: Path, events: list[dict[str, Any]], manifest: dict[str, Any], status: str, codes: list[str], seen: str) -> None:
    found = examine(_run(tmp_path, events, **manifest).path)
    assert found.status == status and [one.code for one in found.findings] == codes
    assert seen in found.findings[0].seen and "--resume (from the beginning: no checkpoint is whole)" in found.next_step


def test_memory_that_ran_out_is_mended_by_a_smaller_batch(tmp_path: Path) -> None:
    sections = {"optimisation": {"micro_batch_size": 4, "gradient_accumulation_steps": 2}, "data": {"sequence_len": 2048}}
    found = examine(_run(tmp_path, [{"event": "rehearsal", "tokens": 1}], status="running", config={"sections": sections}).path)
    assert found.findings[0].edit == "micro_batch_size: 1\ngradient_accumulation_steps: 8"
    sections["optimisation"]["micro_batch_size"] = 1
    found = examine(_run(tmp_path, [{"event": "rehearsal", "tokens": 1}], status="running", config={"sections": sections}).path)
    assert found.findings[0].edit == "gradient_checkpointing: true\nsequence_len: 1024"


def test_a_run_that_lives_is_left_alone(tmp_path: Path) -> None:
    run = _run(tmp_path, STEPS, status="running")
    lock = RunLock(run)
    try:
        found = examine(run.path)
    finally:
        lock.release()
    assert found.status == "running" and [one.code for one in found.findings] == ["TD708"]  # its last event is from 1970
    assert examine(run.path).status == "killed"


def test_checkpoints_are_told_whole_from_broken(tmp_path: Path) -> None:
    import hashlib

    run = _run(tmp_path, STEPS, status="running")
    for step in (2, 4):
        folder = run.checkpoint(step)
        folder.mkdir()
        (folder / "adapter_model.safetensors").write_bytes(b"weights")
        digest = hashlib.sha256(b"weights").hexdigest()
        write_json(folder / "state.json", {"format": FORMAT, "step": step, "sha256": {"adapter_model.safetensors": digest}})
    (run.checkpoint(4) / "adapter_model.safetensors").write_bytes(b"wejghts")
    found = examine(run.path)
    assert [(one.step, one.damage is None) for one in found.checkpoints] == [(2, True), (4, False)]
    assert found.resumes_at == 2 and "--resume (from step 2)" in found.next_step
    assert [one.code for one in found.findings] == ["TD704", "TD706"] and "checkpoint-4: adapter_model.safetensors" in found.findings[1].seen
    assert examine(run.path, checksums=False).resumes_at == 4


def test_half_deleted_runs(tmp_path: Path) -> None:
    run = _run(tmp_path, STEPS)
    found = examine(run.path)
    assert [one.code for one in found.findings] == ["TD707"] and "its result" in found.findings[0].seen
    run.manifest_path.write_bytes(b"\xff{")
    found = examine(run.path)
    assert found.status == "unknown" and "manifest.json is damaged" in found.findings[0].seen and len(found.losses) == 5
    run.manifest_path.unlink()
    lines = run.events_path.read_bytes().splitlines(keepends=True)
    run.events_path.write_bytes(lines[0] + b"\x00\xff garbage\n" + b"[1]\n" + b'{"event": "step"}\n' + lines[2] + b'{"event": "st')
    found = examine(run.path)
    assert found.findings[0].seen == "manifest.json is missing; 3 of 6 lines of events.jsonl are damaged (the first is line 2)"
    assert [step for step, _ in found.losses] == [1, 3] and "Without manifest.json" in found.next_step
    run.events_path.unlink()
    with pytest.raises(FolderError, match="holds no tunelab run"):
        examine(run.path)
