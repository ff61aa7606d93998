"""Rules on context and expert parallelism, which two plugins bring that are always on (TL911-TL915)."""

from __future__ import annotations

from collections.abc import Iterator

from tunelab.config.finding import Finding, Severity
from tunelab.config.raw import Raw
from tunelab.planning.rules.dialect import effective
from tunelab.planning.rules.registry import Context, rule

_FULL = "FULL_STATE_DICT"
_NOT_SAVED_QUANTISED = frozenset({"adamw_torch_4bit", "ao_adamw_4bit", "ao_adamw_fp8"})
_EXPERTS = "expert_parallel_size: 2\nfsdp_version: 2"


@rule("TL911", Severity.ERROR, title="The two degrees of context parallelism do not fit its size",
      why="A row is split over size devices: by attention heads over ulysses_size of them and along the row over ring_size; the two multiply to "
          "the size. Backend ulysses has only the first, ring only the second.",
      bad=("context_parallel: {size: 4, ulysses_size: 3}", "context_parallel: {size: 4, backend: ulysses, ring_size: 2}",
           "context_parallel: {size: 4, backend: ring, ulysses_size: 2}", "context_parallel: {size: 4, ulysses_size: 2, ring_size: 4}"),
      good="context_parallel: {size: 4, backend: usp, ulysses_size: 2, ring_size: 2}")
def context_degrees(context: Context) -> Iterator[Finding]:
    """ulysses_size and ring_size against size and backend."""
    found = _degrees(context.raw)
    if found is not None:
        key, message, expected, fix = found
        yield context.finding(message, f"context_parallel.{key}", expected=expected, fix=fix)


def _degrees(raw: Raw) -> tuple[str, str, str, str] | None:
    """The first contradiction: (key, message, what was expected, the edit)."""
    size = effective.whole(raw, effective.context_parallel(raw)[0], 1) or 1
    heads, ring = (effective.whole(raw, f"context_parallel.{key}") for key in ("ulysses_size", "ring_size"))
    for key, degree in (("ulysses_size", heads), ("ring_size", ring)):
        if degree is not None and degree > 0 and size % degree:
            return key, f"`{key}: {degree}` does not divide the size of context parallelism, {size}.", f"a divisor of {size}", f"delete `{key}`"
    backend = raw.text("context_parallel.backend")
    names = {"ulysses": ("ulysses_size", heads, "ring_size", ring), "ring": ("ring_size", ring, "ulysses_size", heads)}
    if backend in names:
        own, own_degree, other, other_degree = names[backend]
        if other_degree not in (None, 1):
            return other, f"`backend: {backend}` has no `{other}`, and it is {other_degree}.", f"{other}: 1, or backend: usp", f"delete `{other}`"
        if own_degree not in (None, size):
            return own, f"`backend: {backend}` splits over all {size} devices, and `{own}` is {own_degree}.", f"{own}: {size}", f"{own}: {size}"
    if heads and ring and heads * ring != size:
        return ("ring_size", f"`ulysses_size: {heads}` times `ring_size: {ring}` is {heads * ring}; the size of context parallelism is {size}.",
                f"a product of {size}", "delete `ring_size`")
    return None


@rule("TL912", Severity.ERROR, title="Two sizes of context parallelism",
      why="context_parallel.size and context_parallel_size (once sequence_parallel_degree) are one number; Axolotl copies the one that is written "
          "to the other name.",
      bad=("context_parallel: {size: 4}\ncontext_parallel_size: 2", "context_parallel: {size: 4}\nsequence_parallel_degree: 2"),
      good="context_parallel: {size: 4}\ncontext_parallel_size: 4")
def context_sizes(context: Context) -> Iterator[Finding]:
    """context_parallel.size differs from the flat size."""
    raw = context.raw
    size = raw.get("context_parallel.size")
    flat = "context_parallel_size" if raw.written("context_parallel_size") else "sequence_parallel_degree"
    if size is not None and raw.written(flat) and raw.get(flat) != size:
        yield context.finding(f"`{flat}` is {raw.get(flat)!r} and `context_parallel.size` is {size!r}; they are one number.", flat,
                              expected="one of them", fix=f"delete `{flat}`")


@rule("TL914", Severity.WARNING, title="Expert parallelism over RDMA",
      why="The path exists for Hopper GPUs joined by InfiniBand that GPUs can drive themselves; inside one machine, and on older GPUs, it fails "
          "when the run begins.",
      bad="expert_parallel_size: 2\nexpert_parallel_num_rdma_bytes: 1000000\nfsdp_config: {state_dict_type: FULL_STATE_DICT}",
      good="expert_parallel_size: 2\nfsdp_config: {state_dict_type: FULL_STATE_DICT}")
def rdma(context: Context) -> Iterator[Finding]:
    """expert_parallel_num_rdma_bytes with several devices."""
    key = "expert_parallel_num_rdma_bytes"
    if effective.above_one(context.raw, "expert_parallel_size") and (context.raw.number(key) or 0) != 0:
        yield context.finding(f"`{key}` sends tokens over RDMA, which only Hopper GPUs on InfiniBand have.", key,
                              expected="0, unless there is such a network", fix=f"delete `{key}`")


@rule("TL915", Severity.ERROR, title="Expert parallelism without what it needs",
      why="Each device holds some of the experts. Only FSDP2 clips, scales and saves such a model rightly, only a full state dict gathers the "
          "experts of all devices into a checkpoint, and only 8-bit and plain optimizer states survive that.",
      bad=("expert_parallel_size: 2", f"{_EXPERTS}\nfsdp_config: {{reshard_after_forward: true}}",
           f"{_EXPERTS}\nfsdp_config: {{state_dict_type: SHARDED_STATE_DICT}}",
           f"{_EXPERTS}\nfsdp_config: {{state_dict_type: FULL_STATE_DICT, final_state_dict_type: SHARDED_STATE_DICT}}",
           f"{_EXPERTS}\nfsdp_config: {{state_dict_type: FULL_STATE_DICT}}\noptimizer: ao_adamw_fp8"),
      good=f"{_EXPERTS}\nfsdp_config: {{state_dict_type: FULL_STATE_DICT}}\noptimizer: adamw_torch_8bit")
def experts_need(context: Context) -> Iterator[Finding]:
    """expert_parallel_size above 1 without FSDP2, with sharded checkpoints, or with a 4-bit or fp8 optimizer."""
    raw = context.raw
    if not effective.above_one(raw, "expert_parallel_size"):
        return
    if not raw.truthy("fsdp_config"):
        yield context.finding("`expert_parallel_size` is above 1, and there is no `fsdp_config`.", "expert_parallel_size", expected="FSDP2",
                              fix=f"fsdp_version: 2\nfsdp_config: {{state_dict_type: {_FULL}}}")
        return
    if effective.fsdp(raw, "state_dict_type") is None:
        yield context.finding("`fsdp_config.state_dict_type` is not written; with experts on several devices the checkpoints would hold only the first "
                              "device's experts.", "fsdp_config", expected=f"fsdp_config.state_dict_type: {_FULL}")
    for name in ("state_dict_type", "final_state_dict_type"):
        value = effective.fsdp(raw, name)
        if value is not None and value != _FULL:
            yield context.finding(f"`{name}` is {value}: the checkpoints would hold only the first device's experts.", effective.fsdp_key(raw, name),
                                  expected=_FULL, fix=f"{effective.fsdp_key(raw, name).rpartition('.')[2]}: {_FULL}")
    if raw.text("optimizer") in _NOT_SAVED_QUANTISED:
        yield context.finding(f"`optimizer: {raw.text('optimizer')}` loses its small number format in the checkpoints of expert parallelism.", "optimizer",
                              expected="adamw_torch_8bit, or an optimizer with plain state", fix="optimizer: adamw_torch_8bit")
