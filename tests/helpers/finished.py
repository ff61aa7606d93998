"""A finished run and its comparison on disk, without training anything: what `report` reads."""

from __future__ import annotations

import json
from pathlib import Path

from tests.helpers.tiny import write_config, write_data
from tunelab.runs.events import EventLog
from tunelab.runs.folder import RunFolder


def write_finished_run(folder: Path, steps: int = 5) -> Path:
    """A run's folder as `train` leaves it, with made-up losses; returns its path."""
    run = RunFolder(folder / "run")
    run.path.mkdir(parents=True)
    config = write_config(folder / "config.yml", folder / "model", write_data(folder / "data.jsonl"), run.path)
    run.config_path.write_text(config.read_text(encoding="utf-8"), encoding="utf-8")
    events = EventLog(run.events_path)
    for step in range(1, steps + 1):
        events.append("step", step=step, epoch=step / steps, loss=3.0 / step, lr=0.001, grad_norm=1.0, tokens=100, supervised=40, seconds=0.5,
                      samples=[step])
    events.append("evaluation", step=steps, loss=0.7, rows=4)
    events.close()
    run.update_manifest(
        tunelab="0", status="finished", config={"path": str(config), "sections": {"adapter": {"adapter": "lora"}}},
        base_model={"name": "some/model", "folder": "nowhere", "origin": None}, precision="fp32", machine={}, versions={"torch": "0"},
        data={"counts": {"kept": 40, "held_out": 4}},
        plan={"steps": steps, "tokens_total": 100 * steps, "trainable": 1000, "share": 0.01, "assumptions": []}, findings=[],
        measured={"steps": steps, "tokens": 100 * steps, "supervised": 40 * steps, "seconds": 0.5 * steps, "tokens_per_second": 200.0,
                  "first_loss": 3.0, "last_loss": 3.0 / steps, "eval_loss": 0.7, "peak_memory_bytes": 10**9, "trainable_parameters": 1000,
                  "disk_bytes": 1000})
    run.preview_path.write_text(json.dumps({"rows": [{"index": 0, "origin": {"dataset": 0, "file": "data.jsonl", "row": 1}, "tokens": [
        {"text": "hello ", "id": 1, "state": "context"}, {"text": "<script>alert(1)</script>", "id": 2, "state": "trained"}]}]}), encoding="utf-8")
    return run.path
