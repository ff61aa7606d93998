"""Training with several processes: how gradients travel, what is sharded, and who places the workers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tunelab.config.setting import Section, Setting, Support


class FsdpSection(Section):
    """How FSDP 2 shards a model."""

    fsdp_version: Annotated[int | None, Setting(
        "The FSDP generation inside the block. Version 2 is the only one.", "None: there is nothing to choose.", "2",
        ("fsdp_version",), "fsdp_config:\n  fsdp_version: 2", Support.UNDERSTOOD)] = None
    version: Annotated[int | None, Setting(
        "The same as fsdp_version, under a shorter name.", "None: only 2 is accepted.", "2", ("fsdp_version",),
        "fsdp_config:\n  version: 2", Support.UNDERSTOOD)] = None
    auto_wrap_policy: Annotated[Literal["TRANSFORMER_BASED_WRAP", "SIZE_BASED_WRAP"] | None, Setting(
        "What is gathered and freed as a whole: every decoder layer (TRANSFORMER_BASED_WRAP, also when nothing is written) or every module above "
        "min_num_params (SIZE_BASED_WRAP).",
        "Memory and speed: one such unit must fit on each device unsharded, and small units mean many short messages.",
        "TRANSFORMER_BASED_WRAP", ("fsdp_config.transformer_layer_cls_to_wrap", "fsdp_config.min_num_params"),
        "fsdp_config:\n  auto_wrap_policy: TRANSFORMER_BASED_WRAP")] = None
    transformer_layer_cls_to_wrap: Annotated[str | None, Setting(
        "The class name of the layer that makes a unit, as in the model's code; several are joined with commas.",
        "Decides the size of a unit, so memory and speed; nothing on what is learnt.",
        "unset: the decoder layers that the model itself names", ("fsdp_config.auto_wrap_policy",),
        "fsdp_config:\n  transformer_layer_cls_to_wrap: LlamaDecoderLayer")] = None
    min_num_params: Annotated[int | None, Field(ge=1), Setting(
        "The smallest module, in parameters, that SIZE_BASED_WRAP makes a unit of its own.",
        "Memory against speed: lower means smaller units and more messages.", "100000000 with SIZE_BASED_WRAP", ("fsdp_config.auto_wrap_policy",),
        "fsdp_config:\n  auto_wrap_policy: SIZE_BASED_WRAP\n  min_num_params: 100000000")] = None
    reshard_after_forward: Annotated[bool | None, Setting(
        "true frees a unit's gathered weights after its forward pass and gathers them again for the backward (as ZeRO-3 does); false keeps them (as "
        "ZeRO-2).", "Memory: false holds the whole model on each device between the passes. Speed: false saves one gathering a unit.",
        "true, which is also what an unset key means", ("fsdp_config.offload_params",), "fsdp_config:\n  reshard_after_forward: true")] = None
    offload_params: Annotated[bool | None, Setting(
        "Keep sharded weights, gradients and optimizer state in main memory; a unit is copied to the GPU when it is needed.",
        "GPU memory: room for the gathered units and activations is enough. Speed: several times slower.", "false; true as the last resort",
        ("fsdp_config.cpu_offload_pin_memory",), "fsdp_config:\n  offload_params: true")] = None
    cpu_offload_pin_memory: Annotated[bool | None, Setting(
        "Whether offloaded weights lie in pinned memory, which the system cannot swap out.", "Speed: unpinned copies are slower.", "unset (pinned)",
        ("fsdp_config.offload_params",), "fsdp_config:\n  offload_params: true\n  cpu_offload_pin_memory: false")] = None
    activation_checkpointing: Annotated[bool | None, Setting(
        "Compute the activations of each layer again in the backward pass: gradient_checkpointing under FSDP's own name. Either one switches it on.",
        "Memory of activations falls to about one layer's; each step takes about a third longer.", "unset; write gradient_checkpointing",
        ("gradient_checkpointing",), "fsdp_config:\n  activation_checkpointing: true")] = None

    @model_validator(mode="before")
    @classmethod
    def _without_prefix(cls, values: Any) -> Any:
        """Keys under their older spelling (fsdp_offload_params) count where the modern one is not written."""
        if not isinstance(values, dict):
            return values
        old = {str(key).removeprefix("fsdp_"): value for key, value in values.items() if str(key).startswith("fsdp_") and key != "fsdp_version"}
        kept = {key: value for key, value in values.items() if not str(key).startswith("fsdp_") or key == "fsdp_version"}
        return {**old, **kept}


class DistributedSection(Section):
    """Several processes that train one model. How many there are says the command (`tunelab train --nproc`), not the config."""

    ddp_timeout: Annotated[int | None, Field(gt=0), Setting(
        "Seconds that a process waits for the others before the run is ended.",
        "None on what is learnt. Too low ends healthy runs while the first process prepares data or saves; too high hides a process that hangs.",
        "1800 when unset", ("dataset_prepared_path",), "ddp_timeout: 7200")] = None
    ddp_bucket_cap_mb: Annotated[int | None, Field(gt=0), Setting(
        "How many MB of gradients are gathered before they are sent, while the backward pass goes on.",
        "Speed: larger buckets mean fewer, longer messages. Memory: a bucket is a copy of its gradients.", "unset: torch's 25 MB",
        example="ddp_bucket_cap_mb: 100")] = None
    ddp_broadcast_buffers: Annotated[bool | None, Setting(
        "Copy what is kept but not trained (running statistics) from the first process to the others before each forward pass.",
        "Speed: a small message a step. Language models hardly have such buffers, so results stay the same.", "unset (false)",
        example="ddp_broadcast_buffers: false")] = None
    ddp_find_unused_parameters: Annotated[bool | None, Setting(
        "Search each step for trainable weights that got no gradient. Needed when some are passed over on some steps (experts that no token chose); "
        "without it such a step ends in an error.", "Speed: one more walk over the graph each step.", "false",
        example="ddp_find_unused_parameters: true")] = None
    fsdp_config: Annotated[FsdpSection | None, Setting(
        "Shard weights, gradients and optimizer state over the processes (FSDP 2) and gather them layer by layer: for models whose training does not "
        "fit on one device. Acts with several processes (`tunelab train --nproc`); checkpoints and the result are whole files all the same.",
        "Memory: training state a device falls to about 1/processes. Speed: weights travel in each layer, forward and backward. The losses are "
        "those of DDP but for rounding.", "unset on one device", ("gradient_checkpointing", "optimizer", "deepspeed"),
        "fsdp_config:\n  reshard_after_forward: true")] = None
    use_ray: Annotated[bool, Setting(
        "Hand the run to Ray Train: ray_num_workers workers train as one run, placed by a Ray cluster.",
        "None on what is learnt, given the same number of processes. Workers can sit on other machines that see the same files.",
        "false; true on a Ray cluster", ("ray_num_workers", "resources_per_worker", "ray_run_name"), "use_ray: true\nray_num_workers: 4")] = False
    ray_num_workers: Annotated[int, Field(ge=1), Setting(
        "How many Ray workers train, as --nproc says it without Ray.",
        "Speed: about that many times the tokens a second. Quality: a step takes micro_batch_size x gradient_accumulation_steps x workers rows.",
        "the GPUs of the cluster", ("use_ray", "resources_per_worker", "gradient_accumulation_steps"), "use_ray: true\nray_num_workers: 8")] = 1
    ray_run_name: Annotated[str | None, Setting(
        "The name of the Ray run; Ray keeps what it knows of the run in a folder of this name.", "None on training.", "unset: Ray makes up a name",
        ("use_ray",), "use_ray: true\nray_run_name: support-bot-v2")] = None
    resources_per_worker: Annotated[dict[str, float] | None, Setting(
        "What Ray sets aside for each worker, in Ray's names; custom resources pick a kind of machine.",
        "Placement only: a run waits until the cluster can give every worker this much.", "unset: one GPU each where the cluster has GPUs, else one CPU",
        ("use_ray",), "resources_per_worker:\n  GPU: 1\n  CPU: 8")] = None
