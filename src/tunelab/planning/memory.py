"""`estimate_memory`: how much memory a run takes at its peak, component by component, before it starts.

Static parts (weights, gradients, optimizer state) are counted as in ZeRO (Rajbhandari et al. 2019, arXiv:1910.02054, section 3.1),
quantised weights as in QLoRA (Dettmers et al. 2023, arXiv:2305.14314, section 3) and LLM.int8 (Dettmers et al. 2022, arXiv:2208.07339),
optimizers from a table (`planning.optimizers`), activations tensor by tensor (`planning.activations`). The peak is the highest of the
moments of a step: the end of the forward pass, the end of the backward pass, the optimizer's step. On a CPU the C library's heap is
counted too (`planning.heap`), held against real runs (docs/design/plan.md); for CUDA the numbers are not validated on a GPU yet.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from tunelab.config.config import Config
from tunelab.facts.machine import Machine
from tunelab.facts.shapes import ModelShapes
from tunelab.planning.activations import expert_weights, kept_per_token, layer_bytes, loss_rows, trains_head
from tunelab.planning.fleet import Fleet, fleet_of
from tunelab.planning.heap import dead_per_token, in_heap, persistent_gaps
from tunelab.planning.optimizers import optimizer_state, state_bytes
from tunelab.planning.precision import BYTES
from tunelab.planning.workload import Workload, workload_of

FRAMEWORK_BYTES = 420_000_000
"""A process that has imported torch, transformers, accelerate and peft and is about to train (measured on Linux)."""
TOKENIZER_BYTES = 1_000
"""What the tokenizer takes for each token of its vocabulary (measured: 48 MB for 49,152)."""
PACKING_BYTES = 40_000_000
"""What importing bitsandbytes takes (measured)."""
DEEPSPEED_BYTES = 123_000_000
"""What importing DeepSpeed takes beside what is there (measured)."""
CUDA_CONTEXT_BYTES = 500_000_000
"""What CUDA itself takes on the device, beside torch's own allocations."""
_WORKSPACE_CUDA = 40_000_000  # cuBLAS
_SLACK_CUDA = 0.05  # of what a pass allocates: gaps and a layer's temporaries in torch's own allocator
_LOGIT_COPIES = 3  # logits, their log-softmax, their gradient (32-bit each), of the chunk whose loss is computed
_ABSMAX_BITS = {True: 8 / 64 + 32 / (64 * 256), False: 32 / 64}  # QLoRA section 3: a scale per 64 weights, with and without quantising it


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes at the peak, by component, of one device. `total` is their sum on the device that trains (main memory, or the GPU's).

    `weights`: the base model. `adapter`: what is trained beside it. `gradients`: with the temporaries of adding them up. `optimizer`: its
    state. `activations`: kept between forward and backward pass of one micro batch. `logits`: scores over the vocabulary where there is
    loss. `allocator`: freed memory that it holds between live tensors. `buffers`: 16-bit copies of trained weights, workspaces.
    `communication`: gathered weights and buckets of several devices. `framework`: the libraries (0 on a GPU, where they take none).
    `moment`: of a step, when the peak is reached. `host`: bytes offloaded to main memory, of all devices together. `precision`: of frozen
    weights and of the computation. `validated`: the estimate was held against real runs on such a device.
    """

    framework: int
    weights: int
    adapter: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    allocator: int
    buffers: int
    communication: int
    total: int
    precision: str
    moment: str
    devices: int
    host: int
    validated: bool


PARTS = ("framework", "weights", "adapter", "gradients", "optimizer", "activations", "logits", "allocator", "buffers", "communication")
"""The components, in the order in which they are shown."""


def estimate_memory(config: Config, shapes: ModelShapes, machine: Machine, *, tokens_per_batch: int, supervised_per_batch: int,
                    longest: int = 0) -> MemoryPlan:
    """The peak of a run whose largest micro batch has `tokens_per_batch` positions, `supervised_per_batch` of which carry loss."""
    work = workload_of(config, shapes, machine, tokens=tokens_per_batch, supervised=supervised_per_batch, longest=longest)
    return estimate(work, cuda=machine.has_cuda, fleet=fleet_of(config, machine))


def estimate(work: Workload, *, cuda: bool, fleet: Fleet | None = None) -> MemoryPlan:
    """The peak of a step on one device of a fleet (None: the only one)."""
    fleet = fleet or Fleet()
    static = _static(work, fleet)
    moments = _cuda_moments(work, static, fleet) if cuda else _cpu_moments(work, static, fleet)
    moment, parts = max(moments.items(), key=lambda item: sum(item[1].values()))
    whole = {name: round(parts.get(name, 0)) for name in PARTS}
    return MemoryPlan(**whole, total=sum(whole.values()), precision=work.precision, moment=moment, devices=fleet.devices, host=static.host,
                      validated=not cuda and fleet.devices == 1)


def estimate_evaluation(work: Workload, *, cuda: bool, fleet: Fleet | None = None) -> MemoryPlan:
    """The peak of an evaluation between two steps: no gradients, one layer at a time; weights and optimizer state stay."""
    fleet = fleet or Fleet()
    static, tokens = _static(work, fleet), round(work.tokens * work.eval_share / fleet.context)
    supervised = round(work.supervised * work.eval_share / fleet.context)
    size = BYTES[work.precision]
    layer = tokens * size * (4 * work.shapes.hidden_size + 3 * work.shapes.intermediate_size)
    rows = min(supervised, loss_rows(work.shapes.vocab_size, cuda=cuda))
    parts = {**static.parts(cuda), "activations": layer, "logits": rows * work.shapes.vocab_size * 4 * 2}
    parts["framework"] = 0 if cuda else _framework(work.shapes, work.bits) + _engine(fleet)
    whole = {name: round(parts.get(name, 0)) for name in PARTS}
    return MemoryPlan(**whole, total=sum(whole.values()), precision=work.precision, moment="evaluation", devices=fleet.devices, host=static.host,
                      validated=False)


def estimate_merge(shapes: ModelShapes, adapter_parameters: int) -> MemoryPlan:
    """Writing a model with the adapter added to it, in main memory: the weights as they are stored, the adapter, one matrix twice."""
    stored = {"float32": 4, "float64": 8}.get(shapes.dtype, 2)
    largest = max((layer.in_features * layer.out_features for layer in shapes.linear_layers), default=0)
    parts = {"framework": _framework(shapes), "weights": stored * shapes.parameters, "adapter": 4 * adapter_parameters, "buffers": 8 * largest}
    whole = {name: parts.get(name, 0) for name in PARTS}
    return MemoryPlan(**whole, total=sum(whole.values()), precision="fp32" if stored >= 4 else "bf16", moment="merge", devices=1, host=0,
                      validated=False)


def weight_bytes(work: Workload) -> float:
    """The base model: trained in full in 32 bits; frozen in the precision of the run; quantised: linear layers in 4 or 8 bits, the
    embedding, the head, norms and experts (which bitsandbytes does not see as linear layers) in the precision of the run."""
    shapes = work.shapes
    if not work.adapter:
        return 4.0 * (shapes.parameters + work.held)
    if not work.bits:
        return float(shapes.parameters * BYTES[work.precision])
    candidates = [layer for layer in shapes.linear_layers if (layer.experts == 1 or work.experts_quantised) and not layer.is_router]
    if work.unpacked is not None:
        candidates += [] if shapes.tied_embeddings else [shapes.head]
    packable = [layer for layer in candidates if not any(f".{name}." in f".{layer.name}." for name in work.unpacked or ())]
    matrices = sum(layer.experts * layer.in_features * layer.out_features for layer in packable)
    plain = max(0, shapes.parameters - matrices)
    if work.bits == 4:
        packed = matrices * (4 + _ABSMAX_BITS[work.double_quant]) / 8
    else:
        packed = matrices + 4.0 * sum(layer.experts * layer.out_features for layer in packable)
    return packed + BYTES[work.precision] * plain


@dataclass(frozen=True, slots=True)
class _Static:
    """What is there between two steps, per device, split into what lies in the heap (`small`) and in mappings of its own (`large`)."""

    weights: float
    adapter: float
    optimizer_small: float
    optimizer_large: float
    gradients_small: float
    gradients_large: float
    largest: int  # bytes of the largest trained tensor
    doubled: int  # bytes of a tied embedding that gets gradients from both its ends
    step: float  # what the optimizer's step needs besides
    host: int

    def parts(self, cuda: bool) -> dict[str, float]:
        """Without gradients."""
        return {"weights": self.weights, "adapter": self.adapter, "optimizer": self.optimizer_small + self.optimizer_large,
                "buffers": _WORKSPACE_CUDA if cuda else 0}


def _static(work: Workload, fleet: Fleet) -> _Static:
    split = max(1, fleet.shards) * fleet.tensor
    weights = weight_bytes(work) / (split if fleet.stage >= 3 else fleet.tensor)
    adapter = 4.0 * (work.extra + (work.held if work.adapter else 0)) / (split if fleet.stage >= 3 else fleet.tensor)
    state = optimizer_state(work.optimizer)
    small = [shape for shape in work.trained if in_heap(4 * math.prod(shape))]
    large = [shape for shape in work.trained if not in_heap(4 * math.prod(shape))]
    states, sums = (split if fleet.stage >= 1 else fleet.tensor), (split if fleet.stage >= 2 else fleet.tensor)
    state_small, state_large = (state_bytes(work.optimizer, shapes, work.galore_rank, work.embedding) / states for shapes in (small, large))
    if fleet.is_zero and not fleet.offload_optimizer:  # its optimizer updates shards of its own, which the weights are then copied from
        state_large += 4.0 * work.trained_parameters / states
    sum_small, sum_large = (4.0 * _count(shapes) / sums for shapes in (small, large))
    largest = max((4 * math.prod(shape) for shape in work.trained), default=0)
    if state.no_gradients:
        sum_small, sum_large = 0.0, float(largest)
    embedding = work.shapes.embedding
    doubled = 4 * embedding.in_features * embedding.out_features if not work.adapter and work.shapes.tied_embeddings and len(work.trained) > 1 else 0
    host = 0.0
    if fleet.offload_optimizer:
        host += (state_small + state_large + (4.0 * work.trained_parameters / split if fleet.stage >= 1 else 0)) * fleet.devices
        state_small = state_large = 0.0
    if fleet.offload_weights:
        host += (weights + adapter) * fleet.devices
        weights = adapter = 0.0
    return _Static(weights, adapter, state_small, state_large, sum_small, sum_large, largest, doubled, state.copies * largest,
                   round(host))


def _cpu_moments(work: Workload, static: _Static, fleet: Fleet) -> dict[str, dict[str, float]]:
    """The heap only grows: what the forward pass leaves in it is there when the gradients come, and holds them as far as it has room."""
    kept = work.tokens * kept_per_token(work, cuda=False) + _experts(work)
    layer = work.tokens * layer_bytes(work, cuda=False) if work.checkpointing else 0.0
    dead = work.tokens * dead_per_token(work)
    logits = _loss(work, work.supervised, cuda=False)
    accumulated = work.accumulation > 1
    base = {**static.parts(cuda=False), "framework": _framework(work.shapes, work.bits) + _engine(fleet), "communication": _communication(work, fleet)}
    present = static.gradients_small + static.gradients_large if accumulated else 0.0
    gaps = persistent_gaps(static.optimizer_small + (static.gradients_small if accumulated else 0.0))
    forward = {**base, "gradients": present, "activations": kept, "logits": logits, "allocator": max(gaps, dead * (2 / 3 if work.checkpointing else 1))}
    heap = static.optimizer_small + (static.gradients_small if accumulated else 0.0) + kept + layer + dead
    settled = static.optimizer_small + static.gradients_small
    left = max(heap, settled + persistent_gaps(settled)) - settled
    adding = static.doubled * (3 if accumulated else 2) or (static.largest if accumulated and not in_heap(static.largest) else 0)
    activations = min(kept + layer, left)
    gradients = static.gradients_small + static.gradients_large
    backward = {**base, "gradients": gradients + adding, "activations": activations, "allocator": left - activations}
    step = {**backward, "gradients": gradients + static.step}
    moments = {"end of the forward pass": forward, "end of the backward pass": backward, "optimizer's step": step}
    return {**moments, "saving": _saving(work, base, fleet)} if fleet.stage else moments


def _saving(work: Workload, base: dict[str, float], fleet: Fleet) -> dict[str, float]:
    """What is in shards is put together on the first process: all weights that it saves (under FSDP also
    those that an adapter leaves frozen) and the optimizer's state, beside its own share of them."""
    state = state_bytes(work.optimizer, work.trained, work.galore_rank, work.embedding)
    return {**base, "gradients": 4.0 * work.trained_parameters / max(1, fleet.shards) if fleet.is_zero else 0.0,
            "buffers": base["buffers"] + state + 4.0 * work.extra + (0.0 if fleet.is_zero and work.adapter else weight_bytes(work))}


def _cuda_moments(work: Workload, static: _Static, fleet: Fleet) -> dict[str, dict[str, float]]:
    """torch's allocator gives freed blocks back to the next pass, so each moment stands for itself."""
    tokens = work.tokens / fleet.context
    layer = tokens * layer_bytes(work, cuda=True) if work.checkpointing else 0.0
    kept = tokens * kept_per_token(work, cuda=True) + _experts(work) + layer
    logits = _loss(work, work.supervised / fleet.context, cuda=True)
    gradients = static.gradients_small + static.gradients_large
    base = {**static.parts(cuda=True), "communication": _communication(work, fleet)}
    if not work.adapter and work.precision != "fp32":  # autocast keeps a 16-bit copy of each weight for the length of a pass
        base["buffers"] += 2.0 * work.trained_parameters / (max(1, fleet.shards) if fleet.stage >= 3 else 1)
    forward = {**base, "gradients": gradients if work.accumulation > 1 else 0.0, "activations": kept, "logits": logits,
               "allocator": _SLACK_CUDA * (kept + logits)}
    backward = {**base, "gradients": gradients + static.doubled, "activations": layer}
    foreach = 4.0 * work.trained_parameters / max(1, fleet.shards) if optimizer_state(work.optimizer).temporary else 0.0
    step = {**base, "gradients": gradients + foreach}
    return {"end of the forward pass": forward, "end of the backward pass": backward, "optimizer's step": step}


def _loss(work: Workload, supervised: float, *, cuda: bool) -> float:
    """Logits of a chunk; the hidden states at all supervised positions with their gradients; the gradient of a trained head."""
    shapes = work.shapes
    whole = 4 * shapes.vocab_size * shapes.hidden_size if trains_head(work) else 0
    rows = min(supervised, loss_rows(shapes.vocab_size, cuda=cuda))
    return rows * shapes.vocab_size * 4 * _LOGIT_COPIES + 2 * supervised * shapes.hidden_size * BYTES[work.precision] + whole


def _communication(work: Workload, fleet: Fleet) -> float:
    """DDP copies gradients into buckets; stage 3 gathers the layer at work, the next one, and the embedding with the head."""
    if fleet.devices == 1:
        return 0.0
    shapes, size = work.shapes, BYTES[work.precision]
    if fleet.stage == 3:
        ends = shapes.embedding.in_features * shapes.embedding.out_features * (1 if shapes.tied_embeddings else 2)
        layer = max(0, shapes.parameters - ends) / max(1, shapes.layers)
        packed = weight_bytes(work) / max(1, shapes.parameters) if work.bits else size
        reduced = 0.0 if work.adapter else 4.0 * layer
        gathered = ends * size + 2 * layer * packed + reduced
        return max(gathered, _buckets(work, fleet)) if fleet.is_zero else gathered
    if fleet.is_zero:
        return _buckets(work, fleet)
    return min(4.0 * work.trained_parameters, 2e9) if fleet.stage else 4.0 * work.trained_parameters


def _buckets(work: Workload, fleet: Fleet) -> float:
    """DeepSpeed's bucket of gradients, and the gathered weights that stage 3 holds on to."""
    bucket = 4.0 * min(fleet.bucket or work.shapes.hidden_size**2, work.trained_parameters)
    return bucket + (BYTES[work.precision] * min(fleet.live, work.shapes.parameters) if fleet.stage == 3 else 0)


def _experts(work: Workload) -> float:
    return expert_weights(work) * (1 if work.checkpointing else work.shapes.layers)


def _framework(shapes: ModelShapes, bits: int = 0) -> int:
    return FRAMEWORK_BYTES + TOKENIZER_BYTES * shapes.vocab_size + (PACKING_BYTES if bits else 0)


def _engine(fleet: Fleet) -> int:
    return DEEPSPEED_BYTES if fleet.is_zero else 0


def _count(shapes: Iterable[tuple[int, ...]]) -> int:
    return sum(math.prod(shape) for shape in shapes)

