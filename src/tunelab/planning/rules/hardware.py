"""Rules on number formats, memory savers and what this machine has (TL6xx)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tunelab.config.finding import Finding, Severity
from tunelab.planning.precision import BYTES, precision
from tunelab.planning.rules.registry import Context, rule

_SIZE_IN_NAME = re.compile(r"(?<![A-Za-z0-9.])(?:(\d+)x)?(\d+(?:\.\d+)?)([BbMm])(?![A-Za-z0-9])")


@rule("TL601", Severity.WARNING, title="fp16 and bf16 are both true",
      why="A run computes in one format.", bad="fp16: true\nbf16: true", good="bf16: auto")
def two_formats(context: Context) -> Iterator[Finding]:
    """Two 16-bit formats at once."""
    hardware = context.config.hardware
    if hardware.fp16 and hardware.bf16 is True:
        yield context.finding("`fp16` and `bf16` are both true; a run computes in one format.", "fp16", expected="bf16: auto",
                              fix="bf16: auto\ndelete `fp16`")


@rule("TL602", Severity.BLOCKED, title="fp16 without a CUDA GPU",
      why="float16's narrow range needs the loss scaling of CUDA's mixed precision; on a CPU it is slower than 32 bits and loses "
          "gradients.",
      bad="fp16: true", good="bf16: auto")
def fp16_on_cpu(context: Context) -> Iterator[Finding]:
    """fp16 on a machine without CUDA."""
    hardware = context.config.hardware
    if hardware.fp16 and hardware.bf16 is not True and not context.machine.has_cuda:
        yield context.finding("`fp16: true` needs a CUDA GPU, and this machine has none.", "fp16", expected="bf16: auto",
                              fix="bf16: auto\ndelete `fp16`")


@rule("TL603", Severity.WARNING, title="bf16 on hardware without it",
      why="The numbers are computed one by one in software: many times slower than 32 bits. auto takes bf16 only where it is fast.",
      bad="bf16: true", good="bf16: auto")
def slow_bf16(context: Context) -> Iterator[Finding]:
    """bf16: true where the hardware does not have it."""
    if context.config.hardware.bf16 is True and not context.machine.bf16_fast:
        yield context.finding(f"`bf16: true` on {context.machine.device_name}, which has no bfloat16 instructions: many times "
                              "slower than 32 bits.",
                              "bf16", expected="bf16: auto", fix="bf16: auto")


@rule("TL604", Severity.NOTE, title="tf32 without a GPU that has it",
      why="TensorFloat-32 is a format of NVIDIA's Ampere and newer; elsewhere the setting does nothing.",
      bad="tf32: true", good="tf32: auto")
def tf32_elsewhere(context: Context) -> Iterator[Finding]:
    """tf32: true where there is none."""
    machine = context.machine
    if context.config.hardware.tf32 is True and not (machine.has_cuda and machine.bf16_fast):
        yield context.finding(f"`tf32: true` has no effect on {machine.device_name}: it needs an NVIDIA GPU, Ampere or newer.", "tf32",
                              fix="tf32: auto")


@rule("TL606", Severity.NOTE, title="Offloaded gradient checkpointing",
      why="Moving activations to main memory or disk is for GPUs that run out of memory, and this version does not do it; it computes them "
          "again, as `true` does. What is learnt is the same.",
      bad="gradient_checkpointing: offload", good="gradient_checkpointing: true")
def offload(context: Context) -> Iterator[Finding]:
    """gradient_checkpointing is offload or offload_disk."""
    value = context.config.hardware.gradient_checkpointing
    if isinstance(value, str):
        yield context.finding(f"`gradient_checkpointing: {value}` is run as `true`: activations are computed again, not moved away.",
                              "gradient_checkpointing", expected="true or false")


@rule("TL607", Severity.WARNING, title="The weights alone do not fit in memory",
      why="Before the first step the weights have to be loaded; gradients, optimizer and activations come on top. The run would "
          "be killed or "
          "the machine would swap.",
      bad="base_model: org/model-700B", good="base_model: org/model-135M")
def too_large(context: Context) -> Iterator[Finding]:
    """The weights exceed the memory of the device that trains."""
    config, machine = context.config, context.machine
    limit = machine.device_memory_bytes
    read = context.shapes.parameters if context.shapes is not None else parameters_in_name(config.model.base_model)
    if not read or not limit:
        return
    each = BYTES[precision(config, machine) if config.adapter.adapter else "fp32"]
    if read * each <= limit:
        return
    source = "" if context.shapes is not None else " (read off its name)"
    where = f"{machine.device_name} has" if machine.has_cuda else "this machine has"
    yield context.finding(f"The base model has {_count(read)} parameters{source}; in {8 * each} bits they are "
                          f"{read * each / 1e9:.1f} GB, and {where} "
                          f"{limit / 1e9:.1f} GB.", "base_model", expected=f"at most about {_count(limit // (2 * each))} parameters here")


def parameters_in_name(name: str) -> int | None:
    """The size that a model's name gives ("Mistral-7B" -> 7,000,000,000; "8x7B" is multiplied), or None."""
    match = _SIZE_IN_NAME.search(name.rstrip("/").rpartition("/")[2].replace("_", "-"))
    if match is None:
        return None
    experts, size, unit = match.groups()
    return round(float(size) * int(experts or 1) * (1e9 if unit in "Bb" else 1e6))


def _count(parameters: int) -> str:
    return f"{parameters / 1e9:.3g} billion" if parameters >= 1e9 else f"{parameters / 1e6:.0f} million"


@rule("TL620", Severity.NOTE, title="fp16 on hardware that has bf16",
      why="float16 needs its gradients scaled and overflows above 65,504; bfloat16 has the range of 32 bits at the same speed.",
      bad="fp16: true", good="bf16: auto")
def fp16_beside_bf16(context: Context) -> Iterator[Finding]:
    """fp16: true where bfloat16 is fast."""
    hardware = context.config.hardware
    if hardware.fp16 and hardware.bf16 is not True and context.machine.bf16_fast:
        yield context.finding(f"`fp16: true` on {context.machine.device_name}, which computes in bfloat16 just as fast and without overflow.",
                              "fp16", expected="bf16: auto", fix="bf16: auto\ndelete `fp16`")
