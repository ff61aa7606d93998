"""Trackers: what happens in a run, told to TensorBoard, Weights & Biases, MLflow and trackio through their own APIs.

A tracker that cannot begin or that fails later is left out with one sentence, and the run goes on. A resumed run goes on in the same
tracker run (its ids are in RUN/trackers.json), and steps that were told before it was stopped are not told again.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tunelab.config import Config
from tunelab.facts.worker import worker_rank
from tunelab.planning.steps import default_logging, is_logged
from tunelab.runs.doctor import Diagnosis
from tunelab.runs.events import EventLog, StepRecord, evaluations, steps
from tunelab.runs.folder import RunFolder
from tunelab.runs.store import read_json, write_json
from tunelab.training.run import Watch

IDS = "trackers.json"
_SECRET = ("api_key", "secret", "token", "password")


class Tracker(Protocol):
    """One tracker, begun. Any exception of it ends the tracker, not the run."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Tell the values of a step."""

    def finish(self, succeeded: bool) -> None:
        """Write out what is pending and close the tracker's run."""


@dataclass
class Beginning:
    """What a tracker begins with. `ids` is what it kept of its run when it began for the first time: it reads and sets them."""

    config: Config
    folder: Path
    ids: dict[str, str]
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The name of the run where the config gives none."""
        return self.folder.resolve().name

    @property
    def settings(self) -> dict[str, Any]:
        """The settings as they are written, without secrets and without what a run may put anywhere (URLs of webhooks, say)."""
        return {key: value for key, value in self.config.raw.values.items() if not any(word in key for word in _SECRET) and "webhook" not in key}


class TensorBoard:
    """Event files in a folder (torch.utils.tensorboard)."""

    def __init__(self, beginning: Beginning) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = beginning.ids.setdefault("folder", os.environ.get("TENSORBOARD_LOGGING_DIR") or str(beginning.folder / "runs"))
        self._writer: Any = SummaryWriter(folder)

    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def finish(self, succeeded: bool) -> None:
        self._writer.close()


class WandB:
    """A run of wandb. Without a login, or where it cannot be reached, it is kept offline; nothing of the terminal, the code or git is taken."""

    def __init__(self, beginning: Beginning) -> None:
        import wandb

        tracking = beginning.config.tracking
        mode = tracking.wandb_mode or os.environ.get("WANDB_MODE") or "online"
        run_id = tracking.wandb_run_id or beginning.ids.get("id") or uuid.uuid4().hex[:12]
        beginning.ids["id"] = run_id
        if mode == "online" and not wandb.login(prompt=False, verify=False):
            mode = self._offline(beginning, "nobody is logged in")
        begin = self._beginner(wandb, beginning, run_id)
        try:
            self._run = begin(mode)
        except Exception as error:
            if mode not in ("online", "shared"):
                raise
            self._run = begin(self._offline(beginning, one_line(error)))

    @staticmethod
    def _offline(beginning: Beginning, why: str) -> str:
        beginning.notes.append(f"Weights & Biases is kept offline: {why}. Send it later with: wandb sync {beginning.folder / 'wandb'}/offline-run-*")
        return "offline"

    @staticmethod
    def _beginner(wandb: Any, beginning: Beginning, run_id: str) -> Callable[[str], Any]:
        tracking = beginning.config.tracking
        quiet = wandb.Settings(silent=True, console="off", save_code=False, disable_git=True, init_timeout=30)
        return lambda mode: wandb.init(
            project=tracking.wandb_project, entity=tracking.wandb_entity, name=tracking.wandb_name or tracking.wandb_run_id or beginning.name,
            id=run_id, resume="allow", mode=mode, dir=str(beginning.folder), config=beginning.settings, settings=quiet)

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def finish(self, succeeded: bool) -> None:
        self._run.finish(exit_code=0 if succeeded else 1)


class MLflow:
    """A run of mlflow, through its client: no global state. A server that does not answer is asked twice, for ten seconds."""

    def __init__(self, beginning: Beginning) -> None:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # a folder is what a newcomer has; mlflow-skinny has no database
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        tracking, ids = beginning.config.tracking, beginning.ids
        self._metric: Any = Metric
        self._uri = ids.setdefault("uri", tracking.mlflow_tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
                                   or (beginning.folder.resolve().parent / "mlruns").as_uri())
        self._client: Any = MlflowClient(tracking_uri=self._uri, registry_uri=self._uri)
        if "run" in ids:
            self._run = ids["run"]
            self._client.update_run(self._run, status="RUNNING")
            return
        name = tracking.mlflow_experiment_name or "Default"
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found is not None else self._client.create_experiment(name)
        self._run = ids["run"] = str(self._client.create_run(experiment, run_name=tracking.mlflow_run_name or beginning.name).info.run_id)
        self._client.log_batch(self._run, params=[Param(key, str(value)[:6000]) for key, value in beginning.settings.items()])

    def log(self, values: Mapping[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        self._client.log_batch(self._run, metrics=[self._metric(name, value, now, step) for name, value in values.items()])

    def finish(self, succeeded: bool) -> None:
        self._client.set_terminated(self._run, status="FINISHED" if succeeded else "FAILED")


class Trackio:
    """A run of trackio: a database on this machine, or a Space where one is named."""

    def __init__(self, beginning: Beginning) -> None:
        import trackio

        tracking, ids = beginning.config.tracking, beginning.ids
        project = ids.setdefault("project", tracking.trackio_project_name or "tunelab")
        name = ids.get("name") or tracking.trackio_run_name or _free_name(beginning.name)
        with contextlib.redirect_stdout(io.StringIO()):
            self._run = trackio.init(project=project, name=name, space_id=tracking.trackio_space_id, config=beginning.settings, embed=False,
                                     resume="allow" if "name" in ids else "never", auto_log_gpu=False, auto_log_cpu=False)
        ids["name"] = name

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def finish(self, succeeded: bool) -> None:
        import trackio

        with contextlib.redirect_stdout(io.StringIO()):
            trackio.finish()  # not the run's own finish: that would be repeated, aloud, when the process exits


TRACKERS: Mapping[str, tuple[str, str, Callable[[Beginning], Tracker]]] = {
    "tensorboard": ("TensorBoard", "tensorboard", TensorBoard), "wandb": ("Weights & Biases", "wandb", WandB),
    "mlflow": ("MLflow", "mlflow", MLflow), "trackio": ("trackio", "trackio", Trackio)}
"""Name in the config's words -> (title, package, how it begins)."""


@contextlib.contextmanager
def tracked(config: Config, folder: RunFolder, events: EventLog, watch: Watch, kinds: Mapping[str, Any] = TRACKERS) -> Iterator[Watch]:
    """The watch, told on to the trackers that the config asks for; the watch itself when there are none, or in a helping process."""
    wanted = asked_for(config) if not worker_rank() else ()
    if not wanted:
        yield watch
        return
    telling = Telling(config, folder, events, watch)
    for name in wanted:
        telling.begin(name, *kinds[name])
    succeeded = False
    try:
        yield telling
        succeeded = True
    finally:
        telling.finish(succeeded)


class Telling(Watch):
    """A watch that tells what it is told to another watch and to trackers, at the steps of logging_steps and at every evaluation."""

    def __init__(self, config: Config, folder: RunFolder, events: EventLog, watch: Watch) -> None:
        self._config, self._folder, self._events, self._watch = config, folder, events, watch
        self._trackers: dict[str, Tracker] = {}
        self._told = max((event["step"] for event in steps(folder.events_path)), default=0)
        self._evaluations_told = max((event["step"] for event in evaluations(folder.events_path)), default=0)
        path = folder.path / IDS
        self._ids: dict[str, dict[str, str]] = read_json(path) if path.exists() else {}

    def begin(self, name: str, title: str, package: str, begin: Callable[[Beginning], Tracker]) -> None:
        """Begin a tracker, or leave it out with a sentence."""
        if importlib.util.find_spec(package) is None:
            self.note(f"{title} is left out: the package {package!r} is not installed (pip install 'tunelab[track]').")
            return
        beginning = Beginning(self._config, self._folder.path, dict(self._ids.get(name, {})))
        try:
            self._trackers[title] = begin(beginning)
        except Exception as error:  # any library may raise anything here, and none of it is worth a run
            self.note(f"{title} is left out: {one_line(error)}.")
            return
        for text in beginning.notes:
            self.note(text)
        self._ids[name] = beginning.ids
        write_json(self._folder.path / IDS, self._ids)

    def phase(self, text: str) -> None:
        self._watch.phase(text)

    def note(self, text: str) -> None:
        self._watch.note(text)

    def step(self, record: StepRecord, total: int) -> None:
        self._watch.step(record, total)
        every = self._config.run.logging_steps or default_logging(total)
        if record.step <= self._told or not is_logged(record.step, total, every):
            return
        values = {"loss": record.loss, "learning_rate": record.lr, "grad_norm": record.grad_norm, "epoch": record.epoch,
                  "tokens_per_second": record.tokens / record.seconds if record.seconds else 0.0, **record.measures}
        self._tell({f"train/{name}": value for name, value in values.items()}, record.step)

    def evaluation(self, step: int, loss: float, measures: Mapping[str, float]) -> None:
        self._watch.evaluation(step, loss, measures)
        if step > self._evaluations_told:
            self._tell({f"eval/{name}": value for name, value in {"loss": loss, **measures}.items()}, step)

    def finding(self, finding: Diagnosis) -> None:
        self._watch.finding(finding)

    def finish(self, succeeded: bool) -> None:
        """Close every tracker."""
        self._each(lambda tracker: tracker.finish(succeeded))

    def _tell(self, values: Mapping[str, float], step: int) -> None:
        self._each(lambda tracker: tracker.log(values, step))

    def _each(self, do: Callable[[Tracker], None]) -> None:
        for title, tracker in list(self._trackers.items()):
            try:
                do(tracker)
            except Exception as error:
                del self._trackers[title]
                self.note(f"{title} failed and is told no more: {one_line(error)}. The run goes on.")


def asked_for(config: Config) -> tuple[str, ...]:
    """The trackers that a config wants; a name given to one switches it on, unless it is switched off in words."""
    tracking = config.tracking
    asked = {"tensorboard": (tracking.use_tensorboard, None), "wandb": (tracking.use_wandb, tracking.wandb_project),
             "mlflow": (tracking.use_mlflow, tracking.mlflow_experiment_name), "trackio": (tracking.use_trackio, tracking.trackio_project_name)}
    return tuple(name for name, (switch, given) in asked.items() if switch or (given and switch is None))


def one_line(error: BaseException) -> str:
    """The first line of what an exception says, without its full stop."""
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    return said[:300].rstrip(".")


def _free_name(name: str) -> str:
    """A trackio run is found by its name alone; two runs into folders of one name stay apart by a few letters."""
    return f"{name}-{uuid.uuid4().hex[:6]}"
