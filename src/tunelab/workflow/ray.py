"""train on Ray: the same run, its workers placed by Ray Train. Ray sets torchrun's variables and joins the processes; the rest is `train`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunelab.config import Config
from tunelab.errors import RunError, TunelabError, UsageError, needs
from tunelab.runs.folder import RunFolder
from tunelab.workflow.launch import how_to_go_on
from tunelab.workflow.train import Trained


def launch_on_ray(path: str, config: Config, nproc: int, options: Mapping[str, Any]) -> Trained:
    """Run a config with ray_num_workers workers of Ray Train; `options` are those of `train`. Workers must see the same files.

    Raises MissingPartError without Ray, UsageError when --nproc says another number, RunError for what ended the run.
    """
    settings = config.distributed
    if nproc not in (1, settings.ray_num_workers):
        raise UsageError(f"--nproc {nproc} and `ray_num_workers: {settings.ray_num_workers}` are different.",
                         next_step="With use_ray the config says how many workers there are; leave --nproc out.")
    with needs("ray", "use_ray: true"):
        import ray
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

    if not ray.is_initialized():
        ray.init(log_to_driver=False, logging_level="ERROR", include_dashboard=False)
    resources = settings.resources_per_worker or ({"GPU": 1} if ray.cluster_resources().get("GPU") else {"CPU": 1})
    gpu = bool(resources.get("GPU"))
    output = Path(config.run.output_dir).absolute()
    trainer = TorchTrainer(
        _worker, train_loop_config={"path": str(Path(path).absolute()), "folder": str(Path.cwd()), "options": dict(options)},
        torch_config=TorchConfig(backend=None if gpu else "gloo"),
        scaling_config=ScalingConfig(num_workers=settings.ray_num_workers, use_gpu=gpu, resources_per_worker=dict(resources)),
        run_config=RunConfig(name=settings.ray_run_name, storage_path=str(output.parent / ".ray")))
    try:
        trainer.fit()
    except Exception as error:
        raise _failure(error, RunFolder(output)) from None
    finally:
        ray.shutdown()
    folder = RunFolder(output)
    return Trained(folder.path, folder.manifest())


def _worker(job: dict[str, Any]) -> None:
    """What each Ray worker does."""
    from tunelab.workflow.train import train

    os.chdir(job["folder"])  # Ray starts workers in a folder of its own; paths in a config are from where the command was given
    train(job["path"], **job["options"])


def _failure(error: BaseException, folder: RunFolder) -> TunelabError:
    """The first of our own errors below Ray's, else a sentence around Ray's."""
    seen: list[BaseException] = [error]
    while seen:
        one = seen.pop(0)
        if isinstance(one, TunelabError):
            return one
        failures = getattr(one, "worker_failures", None)
        seen += [*(failures.values() if isinstance(failures, dict) else ()), *(cause for cause in (one.__cause__, one.__context__) if cause is not None)]
    return RunError(f"A worker of Ray ended the run: {str(error).strip().splitlines()[-1]}", where=str(folder.path), next_step=how_to_go_on(folder))
