"""Where else the curves of a run are drawn: TensorBoard, Weights & Biases, MLflow, trackio. The run's own event file is always written."""

from __future__ import annotations

from typing import Annotated, Literal

from tunelab.config.setting import Section, Setting


class TrackingSection(Section):
    """Trackers. None is used that is not asked for, and one that fails never stops a run."""

    use_tensorboard: Annotated[bool | None, Setting(
        "Writes the curves as TensorBoard event files into the folder `runs` in output_dir, or where the environment variable "
        "TENSORBOARD_LOGGING_DIR says.", "None on training. Nothing leaves the machine.", "unset", ("output_dir", "logging_steps"),
        "use_tensorboard: true")] = None
    use_wandb: Annotated[bool | None, Setting(
        "Logs curves and settings to Weights & Biases. Naming a wandb_project switches it on as well. Without a login it logs offline and says so.",
        "None on training: only where logs go.", "unset", ("wandb_project", "wandb_mode", "logging_steps"), "use_wandb: true")] = None
    wandb_project: Annotated[str | None, Setting(
        "Project for the run in W&B; writing it switches W&B on.", "None on training: only where logs go.", "unset",
        ("use_wandb", "wandb_entity", "wandb_mode"), "wandb_project: support-bot")] = None
    wandb_name: Annotated[str | None, Setting(
        "Name of the run in W&B.", "None on training.", "unset (the name of output_dir)", ("wandb_project", "wandb_run_id"),
        "wandb_name: qwen3-lora-r16")] = None
    wandb_run_id: Annotated[str | None, Setting(
        "Fixed id of the run, unique in the project. A resumed run keeps its id by itself. Without wandb_name it is the name too.",
        "None on training.", "unset (a random id)", ("wandb_name", "resume_from_checkpoint"), "wandb_run_id: qwen3-lora-r16-a1")] = None
    wandb_mode: Annotated[Literal["online", "offline", "disabled", "shared"] | None, Setting(
        "offline keeps the logs in output_dir for a later `wandb sync`; disabled logs nothing; unset, the environment variable WANDB_MODE holds, "
        "then online.", "None on training. offline helps on nodes without network.", "unset", ("use_wandb",), "wandb_mode: offline")] = None
    wandb_entity: Annotated[str | None, Setting(
        "W&B user or team that owns the project. Unset, the account's default.", "None on training: only where logs go.", "unset",
        ("wandb_project",), "wandb_entity: my-team")] = None
    use_mlflow: Annotated[bool | None, Setting(
        "Logs curves and settings to MLflow. Naming an mlflow_experiment_name switches it on as well.", "None on training: only where logs go.",
        "unset", ("mlflow_tracking_uri", "mlflow_experiment_name", "logging_steps"), "use_mlflow: true")] = None
    mlflow_tracking_uri: Annotated[str | None, Setting(
        "Server, database or folder that holds the MLflow runs. Unset, the environment variable MLFLOW_TRACKING_URI holds, then the folder mlruns "
        "beside output_dir.", "None on training: only where logs go.", "unset, or the server's URL", ("use_mlflow",),
        "mlflow_tracking_uri: http://mlflow.example.com:5000")] = None
    mlflow_experiment_name: Annotated[str | None, Setting(
        "Experiment the run is filed under, created if missing; writing it switches MLflow on.", "None on training: only where logs go.",
        "unset (Default)", ("use_mlflow", "mlflow_run_name"), "mlflow_experiment_name: support-bot")] = None
    mlflow_run_name: Annotated[str | None, Setting(
        "Name of the run in MLflow.", "None on training.", "unset (the name of output_dir)", ("use_mlflow",),
        "mlflow_run_name: qwen3-lora-r16")] = None
    use_trackio: Annotated[bool | None, Setting(
        "Logs the run to trackio, Hugging Face's local-first tracker. Naming a trackio_project_name switches it on as well.",
        "None on training: only where logs go.", "unset", ("trackio_project_name", "trackio_space_id", "logging_steps"), "use_trackio: true")] = None
    trackio_project_name: Annotated[str | None, Setting(
        "Project for the run; writing it switches trackio on.", "None on training: only where logs go.", "unset (tunelab)",
        ("use_trackio", "trackio_run_name"), "trackio_project_name: support-bot")] = None
    trackio_run_name: Annotated[str | None, Setting(
        "Name of the run in trackio.", "None on training.", "unset (the name of output_dir)", ("use_trackio",),
        "trackio_run_name: qwen3-lora-r16")] = None
    trackio_space_id: Annotated[str | None, Setting(
        "Hugging Face Space (user/name) that shows the dashboard. Unset, the logs stay on this machine.",
        "None on training: metrics leave the machine, so mind who can see the Space.", "unset (local)", ("use_trackio",),
        "trackio_space_id: my-org/trackio")] = None
