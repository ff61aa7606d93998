"""Rules on single values of plugin settings that the type alone does not rule out (TL913, TL916)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tunelab.config.finding import Finding, Severity
from tunelab.config.raw import Raw
from tunelab.planning.rules.dialect.plugins import is_on
from tunelab.planning.rules.registry import Context, rule

_KERNELS = "plugins: [axolotl.integrations.kernels.KernelsPlugin]"
_DECISION = "plugins: [axolotl.integrations.diffusion_decision.DiffusionDecisionPlugin]\ndiffusion_lm: {canvas_width: 64}"


@dataclass(frozen=True, slots=True)
class Span:
    """The numbers that a key takes: from `low` to `high`, without the ends that `open_low` and `open_high` leave out, in steps of `step`."""

    settings: str
    key: str
    low: float = 1
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    step: int = 0

    def holds(self, number: float) -> bool:
        """Whether a number is among them."""
        below = number <= self.low if self.open_low else number < self.low
        above = number >= self.high if self.open_high else number > self.high
        return math.isfinite(number) and not below and not above and not (self.step and number % self.step)

    @property
    def words(self) -> str:
        """ "at least 1", "from 0 to 1"."""
        if self.high == math.inf:
            text = f"above {self.low:g}" if self.open_low else f"at least {self.low:g}"
        else:
            text = f"from {self.low:g} to {'below ' if self.open_high else ''}{self.high:g}"
        return f"{text}, a multiple of {self.step}" if self.step else text


_DIFFUSION, _TYPED, _CLOUD, _PARALLEL, _MOE = "DiffusionArgs", "DiffusionDecisionArgs", "CoreWeaveArgs", "ExpertParallelArgs", "KernelsArgs"
_SPANS = (
    Span("ContextParallelArgs", "context_parallel.size"), Span("ContextParallelArgs", "context_parallel.ulysses_size"),
    Span("ContextParallelArgs", "context_parallel.ring_size"), Span(_PARALLEL, "expert_parallel_size"),
    Span(_PARALLEL, "expert_parallel_token_capacity"), Span(_PARALLEL, "expert_parallel_dispatch_chunks"),
    Span("HatcheryArgs", "hatchery.lora_rank", 1, 256), Span(_CLOUD, "coreweave.timeout", 0, open_low=True),
    Span(_CLOUD, "coreweave.poll_interval", 0, open_low=True), Span(_CLOUD, "coreweave.max_deltas", 0, 128),
    Span(_CLOUD, "coreweave.max_shard_size", 0, open_low=True),
    Span(_DIFFUSION, "diffusion.min_mask_ratio", 0, 1), Span(_DIFFUSION, "diffusion.max_mask_ratio", 0, 1), Span(_DIFFUSION, "diffusion.eps", 0, 1),
    Span(_DIFFUSION, "diffusion.num_diffusion_steps"), Span(_DIFFUSION, "diffusion.generation_interval"),
    Span(_DIFFUSION, "diffusion.num_generation_samples"), Span(_DIFFUSION, "diffusion.generation_steps"),
    Span(_DIFFUSION, "diffusion.generation_temperature", 0), Span(_DIFFUSION, "diffusion.generation_max_length"),
    Span(_TYPED, "diffusion_decision.read_fraction", 0, 1), Span(_TYPED, "diffusion_decision.max_image_size", 28, step=28),
    Span(_TYPED, "diffusion_decision.max_questions_per_canvas", 1, 64), Span(_TYPED, "diffusion_decision.image_cache_size", 0),
    Span(_TYPED, "diffusion_decision.read_overflow_canvas_width", 2), Span(_TYPED, "diffusion_decision.labels.brier_weight", 0),
    Span(_TYPED, "diffusion_decision.labels.hard_label_smoothing", 0, 1, open_high=True),
    Span(_TYPED, "diffusion_decision.labels.label_shuffle_prob", 0, 1), Span(_TYPED, "diffusion_decision.latent.num_slots", 0),
    Span(_TYPED, "diffusion_decision.mixture.temperature", 0),
)
_IDS = ("diffusion_decision.canvas_prefix_ids", "diffusion_decision.latent.token_ids")


@rule("TL913", Severity.ERROR, title="A plugin's number out of its range",
      why="Axolotl checks these numbers when the plugin is on, and stops.",
      bad=("expert_parallel_size: 0", "expert_parallel_token_capacity: 0", f"{_KERNELS}\nmoe_dequant_chunk_size: 0",
           f"{_KERNELS}\nadapter: lora\nnvfp4_merge_aware: true\nnvfp4_merge_aware_start_step: 1.5",
           f"{_KERNELS}\nadapter: lora\nnvfp4_merge_aware: true\nnvfp4_merge_aware_start_step: -1",
           f"{_DECISION}\ndiffusion_decision: {{read_fraction: 1.5}}", f"{_DECISION}\ndiffusion_decision: {{max_image_size: 1000}}",
           f"{_DECISION}\ndiffusion_decision: {{canvas_prefix_ids: [-1]}}", f"{_DECISION}\ndiffusion_decision: {{labels: {{brier_weight: .inf}}}}"),
      good="expert_parallel_size: 1")
def out_of_range(context: Context) -> Iterator[Finding]:
    """A number outside the range that its plugin's schema states."""
    raw = context.raw
    for span in _SPANS:
        number = raw.number(span.key)
        if number is not None and is_on(raw, span.settings) and not span.holds(number):
            yield context.finding(f"`{span.key}` is {number:g}; it is {span.words}.", span.key, expected=span.words)
    for key in _IDS:
        ids = raw.get(key)
        if is_on(raw, _TYPED) and isinstance(ids, list) and any(isinstance(one, int) and one < 0 for one in ids):
            yield context.finding(f"`{key}` holds a negative number; token ids count from 0.", key, expected="ids of tokens")
    if is_on(raw, _MOE):
        yield from _kernel_numbers(context)


def _kernel_numbers(context: Context) -> Iterator[Finding]:
    raw = context.raw
    chunk, start = raw.get("moe_dequant_chunk_size"), raw.get("nvfp4_merge_aware_start_step")
    number = raw.number("moe_dequant_chunk_size")
    if chunk is not None and (number is None or not math.isfinite(number) or number != int(number) or number <= 0):
        yield context.finding(f"`moe_dequant_chunk_size` is {chunk!r}; it is a number of experts.", "moe_dequant_chunk_size", expected="at least 1",
                              fix="delete `moe_dequant_chunk_size`")
    wrong = isinstance(start, bool) or (isinstance(start, float) and not 0 < start < 1) or (isinstance(start, int) and start < 0)
    if wrong and merge_aware_is_read(raw):
        yield context.finding(f"`nvfp4_merge_aware_start_step` is {start!r}; it is a step (a whole number from 0) or a part of the run "
                              "(between 0 and 1).", "nvfp4_merge_aware_start_step", expected="a step, or a part of the run")


def merge_aware_is_read(raw: Raw) -> bool:
    """Whether Axolotl comes to look at the start step at all: it drops it when merge-aware training is off or has no LoRA."""
    if raw.get("nvfp4_merge_aware") is False:
        return False
    return not raw.truthy("nvfp4_merge_aware") or raw.text("adapter") in ("lora", "multilora")


_NAMES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (_MOE, "expert_backend", ("scattermoe", "sonicmoe", "eager", "builtin")),
    (_MOE, "moe_grouped_backend", ("auto", "marlin", "cutlass", "deepgemm")),
    (_MOE, "nonexpert_quantization", ("none", "bf16", "fp8", "fp8_blockwise", "nf4", "nvfp4")),
    (_MOE, "dsv4_fp4_grouped_mode", ("nvfp4",)),
    (_MOE, "dsv4_fp8_nonexpert_mode", ("float8tensor", "bf16")),
    ("SwanLabConfig", "swanlab_mode", ("cloud", "local", "offline", "disabled")),
)
_NEVER_BUILT = {("dsv4_fp4_grouped_mode", "fp8"), ("moe_grouped_backend", "dequant")}


@rule("TL916", Severity.ERROR, title="A name that the plugin does not know",
      why="The schema takes any text there, and the plugin then stops at a name it has no code for.",
      bad=(f"{_KERNELS}\nexpert_backend: triton", f"{_KERNELS}\nmoe_grouped_backend: dequant", f"{_KERNELS}\nmoe_grouped_backend: cublas",
           f"{_KERNELS}\nnonexpert_quantization: int8", f"{_KERNELS}\ndsv4_fp4_grouped_mode: fp8", f"{_KERNELS}\ndsv4_fp4_grouped_mode: int4",
           f"{_KERNELS}\ndsv4_fp8_nonexpert_mode: fp16",
           "plugins: [axolotl.integrations.swanlab.SwanLabPlugin]\nswanlab_project: mine\nswanlab_mode: online",
           "plugins: [axolotl.integrations.mora.MoraPlugin]\nmora: {mora_type: 3}"),
      good=f"{_KERNELS}\nuse_kernels: true\nexpert_backend: scattermoe")
def unknown_name(context: Context) -> Iterator[Finding]:
    """A text outside the plugin's own list."""
    raw = context.raw
    for settings, key, known in _NAMES:
        value = raw.get(key)
        if value is None or not is_on(raw, settings) or _spelt(settings, value) in known:
            continue
        built = " The name is documented, and training has no code for it." if (key, _spelt(settings, value)) in _NEVER_BUILT else ""
        yield context.finding(f"`{key}: {value}` is none of {', '.join(known)}.{built}", key, expected=f"one of {', '.join(known)}",
                              fix=f"delete `{key}`")
    kind = raw.get("mora.mora_type")
    if is_on(raw, "MoraArgs") and kind is not None and not isinstance(kind, (str, bool)) and kind not in (1, 6):
        yield context.finding(f"`mora.mora_type` is {kind!r}; the two kinds are sharing (once 1) and rope (once 6).", "mora.mora_type",
                              expected="sharing or rope", fix="mora_type: rope")


def _spelt(settings: str, value: Any) -> str:
    """The kernels plugin reads its names in any case; SwanLab does not."""
    return str(value).lower() if settings == _MOE else str(value)
