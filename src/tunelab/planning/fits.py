"""`fits_on`: on which common GPUs a run fits, and the smallest change that makes it fit where it does not.

Every answer is the estimate made again for that GPU and with that change. The changes are tried in the order of what they cost: first
those that leave what is learnt as it is, then those that change it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from tunelab.planning.devices import Device, devices
from tunelab.planning.duration import Seconds, estimate_seconds
from tunelab.planning.fleet import fully_sharded
from tunelab.planning.memory import CUDA_CONTEXT_BYTES, MemoryPlan, estimate
from tunelab.planning.optimizers import optimizer_state
from tunelab.planning.workload import Workload, with_lora, with_rows

_COUNTS = (2, 4, 8)
_MARGIN = 0.97  # of a device's memory: drivers and displays take a little
_SHORTEST = 256


@dataclass(frozen=True, slots=True)
class Fit:
    """A run on one kind of GPU.

    `verdict`: "fits", "fits with a change", "needs several", "does not fit". `bytes`: the peak on it as the config stands; `change`: the
    edit that makes it fit on one ("" when none is needed or none helps), `changed_bytes`: the peak then. `count`: how many of them hold the
    run unchanged, split by FSDP (1: one is enough; None: eight are not). `seconds`: of training on one where it fits, with the change if
    it needs one, else on `count`; None when the number of tokens is not known.
    """

    device: str
    memory_bytes: int
    verdict: str
    bytes: int
    change: str
    changed_bytes: int | None
    count: int | None
    seconds: Seconds | None


@dataclass(frozen=True, slots=True)
class Change:
    """An edit of the config, in YAML, and the workload after it."""

    edit: str
    work: Workload


def fits_on(work: Workload, tokens_total: int | None, precision_on: Callable[[Device], str]) -> tuple[Fit, ...]:
    """The table: one line per device. `precision_on` says in which format the config computes there."""
    known: dict[str, _Options] = {}  # the estimate is the same on every device that computes in the same format
    found = []
    for device in devices():
        format_ = precision_on(device)
        if format_ not in known:
            known[format_] = _options(replace(work, precision=format_))
        found.append(_fit(known[format_], device, tokens_total))
    return tuple(found)


def fits(plan: MemoryPlan, memory_bytes: int) -> bool:
    """Whether a peak goes into a GPU's memory beside CUDA itself."""
    return plan.total + CUDA_CONTEXT_BYTES <= _MARGIN * memory_bytes


def changes(work: Workload) -> Iterator[Change]:
    """Single changes in the order of what they cost, then more and more of them together."""
    steps = [step for step in (_checkpointing, _one_row, _optimizer, _half, _lora, _qlora) if step(work) is not None]
    for step in steps:
        one = step(work)
        if one is not None:
            yield one
    for order in ((_checkpointing, _one_row, _optimizer), (_checkpointing, _one_row, _optimizer, _half), (_checkpointing, _lora),
                  (_checkpointing, _one_row, _lora), (_checkpointing, _qlora), (_checkpointing, _one_row, _qlora),
                  (_checkpointing, _one_row, _half, _qlora)):
        edits, now = [], work
        for step in order:
            found = step(now)
            if found is not None:
                edits.append(found.edit)
                now = found.work
        if len(edits) > 1:
            yield Change("\n".join(edits), now)


Step = Callable[[Workload], Change | None]


def _checkpointing(work: Workload) -> Change | None:
    return None if work.checkpointing else Change("gradient_checkpointing: true", replace(work, checkpointing=True))


def _one_row(work: Workload) -> Change | None:
    if work.micro_batch_size == 1:
        return None
    changed = with_rows(work, micro_batch_size=1)
    return Change(f"micro_batch_size: 1\ngradient_accumulation_steps: {changed.accumulation}", changed)


def _optimizer(work: Workload) -> Change | None:
    """8-bit AdamW in place of one that keeps two 32-bit numbers, where the state is worth it."""
    if optimizer_state(work.optimizer).matrix < 8 or work.trained_parameters < 50_000_000:
        return None
    return Change("optimizer: adamw_bnb_8bit", replace(work, optimizer="adamw_bnb_8bit"))


def _half(work: Workload) -> Change | None:
    half = work.sequence_len // 2
    return Change(f"sequence_len: {half}", with_rows(work, sequence_len=half)) if half >= _SHORTEST else None


def _lora(work: Workload) -> Change | None:
    return None if work.adapter else Change(f"adapter: lora\n{_targets(work)}", with_lora(work, 0))


def _qlora(work: Workload) -> Change | None:
    if work.bits == 4:
        packs = work.shapes.experts and not work.experts_quantised
        return Change("quantize_moe_experts: true", replace(work, experts_quantised=True)) if packs else None
    more = "" if work.adapter else f"\n{_targets(work)}"
    experts = "\nquantize_moe_experts: true" if work.shapes.experts else ""
    return Change(f"adapter: qlora\nload_in_4bit: true{experts}{more}", with_lora(work, 4))


def _targets(work: Workload) -> str:
    """All linear layers; of a mixture those of attention, by their names."""
    if not work.shapes.experts:
        return "lora_r: 16\nlora_target_linear: true"
    names = dict.fromkeys(layer.name.rpartition(".")[2] for layer in work.shapes.linear_layers if layer.experts == 1 and not layer.is_router)
    return f"lora_r: 16\nlora_target_modules: [{', '.join(names)}]"


@dataclass(frozen=True, slots=True)
class _Options:
    """A workload with the peak it has as it stands, after each change, and on several devices."""

    work: Workload
    plan: MemoryPlan
    changed: tuple[tuple[Change, MemoryPlan], ...]
    split: tuple[tuple[int, MemoryPlan], ...]


def _options(work: Workload) -> _Options:
    return _Options(work, estimate(work, cuda=True), tuple((change, estimate(change.work, cuda=True)) for change in changes(work)),
                    tuple((count, estimate(work, cuda=True, fleet=fully_sharded(count))) for count in _COUNTS))


def _fit(options: _Options, device: Device, tokens_total: int | None) -> Fit:
    work, plan, room = options.work, options.plan, device.memory_bytes
    if fits(plan, room):
        return Fit(device.name, room, "fits", plan.total, "", None, 1, _seconds(work, device, tokens_total, 1))
    changed = next(((change, after) for change, after in options.changed if fits(after, room)), None)
    several = next((count for count, after in options.split if fits(after, room)), None)
    if changed is not None:
        change, after = changed
        return Fit(device.name, room, "fits with a change", plan.total, change.edit, after.total, several, _seconds(change.work, device, tokens_total, 1))
    verdict = "needs several" if several else "does not fit"
    return Fit(device.name, room, verdict, plan.total, "", None, several, _seconds(work, device, tokens_total, several) if several else None)


def _seconds(work: Workload, device: Device, tokens_total: int | None, count: int) -> Seconds | None:
    return estimate_seconds(work, device, tokens_total, count=count) if tokens_total else None

