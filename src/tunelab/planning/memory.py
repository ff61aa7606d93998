"""`estimate_memory`: how much memory a run takes at its peak, component by component, before it starts.

Static parts (weights, gradients, optimizer state) are counted as in ZeRO (Rajbhandari et al. 2019, arXiv:1910.02054, section 3.1). For the
activations the tensors that a Llama-like layer keeps for its backward pass are counted one by one, in the manner of Korthikanti et
al. 2022 (arXiv:2205.05198, section 4), but for attention kernels that do not keep the square of scores (Dao et al. 2022,
arXiv:2205.14135) and with LoRA's share (a frozen linear layer keeps nothing; the LoRA matrix beside it keeps its input). Checked
against what torch 2.13 keeps for SmolLM2-135M: 10,683 numbers per token and layer counted, 10,680 measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tunelab.config.config import Config
from tunelab.facts.machine import Machine
from tunelab.facts.shapes import LinearLayer, ModelShapes
from tunelab.planning.lora import rank_of, target_layers, trainable_parameters
from tunelab.planning.precision import BYTES, precision

FRAMEWORK_BYTES = 600_000_000
"""A process that has imported torch, transformers, accelerate and peft and has run one step (measured: 0.45 GB after the imports,
before tokenizer, data and the libraries' own buffers)."""
CUDA_CONTEXT_BYTES = 500_000_000
"""What CUDA itself takes on the device, beside torch's own allocations."""
_SLACK_CUDA = 0.05  # of what a pass allocates: gaps and a layer's temporaries in torch's own allocator
_SLACK_CPU = 0.40  # the C library's heap keeps freed blocks between live ones: +31 % to +46 % in runs of SmolLM2-135M (docs/log.md)
_LOGIT_COPIES = 3  # logits, their log-softmax, their gradient (32-bit each), at supervised positions only
_OPTIMIZER_NUMBERS = {"adamw_torch": 2, "adamw_torch_fused": 2, "sgd": 0}


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes at the peak, by component. `total` is their sum on the device that trains (main memory, or the GPU's).

    `weights`: the base model. `adapter`: what is trained beside it. `optimizer`: its state for all trained parameters. `activations`:
    kept between forward and backward pass of one micro batch. `gradients`: what they add at the peak, which is nothing while they take
    the place of activations that are no longer needed. `logits`: scores over the vocabulary where there is loss. `framework`: the
    libraries (0 on a GPU, where they take none). `precision`: of frozen weights and of the computation.
    """

    framework: int
    weights: int
    adapter: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    total: int
    precision: str


def estimate_memory(config: Config, shapes: ModelShapes, machine: Machine, *, tokens_per_batch: int,
                    supervised_per_batch: int) -> MemoryPlan:
    """The peak of a run whose largest micro batch has `tokens_per_batch` positions, `supervised_per_batch` of which carry loss."""
    format_ = precision(config, machine)
    frozen = config.adapter.adapter is not None
    trained = trainable_parameters(config, shapes)
    kept = _kept_bytes(config, shapes, BYTES[format_], machine.has_cuda)
    slack = 1 + (_SLACK_CUDA if machine.has_cuda else _SLACK_CPU)
    activations = round(tokens_per_batch * kept * slack)
    logits = round(supervised_per_batch * shapes.vocab_size * 4 * _LOGIT_COPIES * slack)
    parts = {
        "framework": 0 if machine.has_cuda else FRAMEWORK_BYTES,
        "weights": shapes.parameters * (BYTES[format_] if frozen else 4),
        "adapter": 4 * trained if frozen else 0,
        "gradients": _gradient_bytes(config, 4 * trained, activations + logits),
        "optimizer": 4 * trained * _OPTIMIZER_NUMBERS.get(config.optimisation.optimizer, 2),
        "activations": activations,
        "logits": logits,
    }
    return MemoryPlan(**parts, total=sum(parts.values()), precision=format_)


def _gradient_bytes(config: Config, gradients: int, activations: int) -> int:
    """Gradients come as activations go, so within one backward pass they only count beyond those; accumulated ones stay throughout."""
    return gradients if config.optimisation.gradient_accumulation_steps > 1 else max(0, gradients - activations)


def _kept_bytes(config: Config, shapes: ModelShapes, size: int, cuda: bool) -> float:
    """Bytes that the backward pass needs, per token position, over all layers (without logits)."""
    layer = _layer_bytes(config, shapes, size, cuda)
    stream = size * shapes.hidden_size
    ends = 2 * stream + 4 * shapes.hidden_size  # the embedding's output and the last norm
    if config.hardware.gradient_checkpointing:
        return shapes.layers * stream + layer + ends  # each layer's input, and one layer computed again
    return shapes.layers * layer + ends


def _layer_bytes(config: Config, shapes: ModelShapes, size: int, cuda: bool) -> float:
    """Bytes that one decoder layer keeps per token: two residual streams, attention, gated MLP, and inputs of what is trained."""
    hidden, inner, queries = shapes.hidden_size, shapes.intermediate_size, shapes.heads * shapes.head_dim
    norms = 2 * hidden * (4 if size < 4 else size)  # norms compute in 32 bits: their input, once before attention and once before the MLP
    keys = shapes.kv_heads * shapes.head_dim
    attention = size * 2 * (queries + keys) + 4 * shapes.heads  # q and the output, k and v (not repeated for their groups); log-sum-exp
    mlp = size * 3 * inner  # gate, its activation, up
    if config.adapter.adapter is None:
        inputs = size * (2 * hidden + queries + inner)  # every matrix keeps its input; q, k, v share one, gate and up another
        return norms + attention + mlp + inputs + 2 * size * hidden  # and trained norms keep what they scale
    return norms + attention + mlp + _lora_bytes(config, shapes, cuda)


def _lora_bytes(config: Config, shapes: ModelShapes, cuda: bool) -> float:
    """Bytes that the LoRA matrices of an average layer keep per token: their inputs (32-bit), r numbers each, and dropout's copies."""
    targets = [layer for layer in target_layers(config, shapes) if layer not in (shapes.embedding, shapes.head)]
    ranks = sum(4 * rank_of(config, layer) for layer in targets)
    if config.adapter.lora_dropout > 0:
        mask = 1 if cuda else 4  # torch's CUDA kernel keeps a byte per number, the CPU's a 32-bit factor
        return (ranks + sum(layer.in_features * (4 + mask) for layer in targets)) / max(1, shapes.layers)
    return (ranks + 4 * _shared_inputs(targets)) / max(1, shapes.layers)


def _shared_inputs(targets: Sequence[LinearLayer]) -> int:
    """Numbers in the distinct inputs of these matrices: q, k, v of a layer read the same one, and so do gate and up."""
    groups: dict[tuple[str, int], int] = {}
    for layer in targets:
        parent, _, name = layer.name.rpartition(".")
        own = name in ("o_proj", "down_proj", "c_proj", "dense", "fc2", "dense_4h_to_h")
        groups[f"{parent}.{name if own else 'in'}", layer.in_features] = layer.in_features
    return sum(groups.values())
