"""What a forward pass keeps for its backward pass, in bytes per token position, counted tensor by tensor.

In the manner of Korthikanti et al. 2022 (arXiv:2205.05198, section 4), for layers with gated or plain MLPs, attention kernels that do not
keep the square of scores (Dao et al. 2022, arXiv:2205.14135), and LoRA's share: a frozen linear layer keeps nothing, the LoRA matrix beside
it keeps its input. Checked against what torch 2.13 keeps for SmolLM2-135M: 10,683 numbers per token and layer counted, 10,680 measured.
"""

from __future__ import annotations

from collections.abc import Sequence

from tunelab.facts.shapes import LinearLayer
from tunelab.planning.precision import BYTES
from tunelab.planning.workload import Workload

CHUNK_BYTES = {"cpu": 64 * 2**20, "cuda": 256 * 2**20}
"""Of the scores over the vocabulary (32-bit) that the loss holds at a time; matrix products are slow below it on either device."""
_OWN_INPUT = ("o_proj", "down_proj", "c_proj", "dense", "fc2", "dense_4h_to_h", "out_proj")  # others of a block read what a neighbour reads


def loss_rows(vocabulary: int, *, cuda: bool) -> int:
    """Supervised tokens whose loss is computed at a time."""
    rows = CHUNK_BYTES["cuda" if cuda else "cpu"] // (4 * vocabulary)
    return max(1, rows // 64 * 64 or rows)


def trains_head(work: Workload) -> bool:
    """Whether the loss gives a gradient to the whole output head, by itself or as the embedding that it is tied to."""
    return (work.shapes.vocab_size, work.shapes.hidden_size) in work.trained


def kept_per_token(work: Workload, *, cuda: bool) -> float:
    """Bytes that the backward pass needs per token position, over all layers, without the scores over the vocabulary."""
    size, hidden = BYTES[work.precision], work.shapes.hidden_size
    ends = 2 * size * hidden + 4 * hidden  # the embedding's output and the last norm
    if work.checkpointing:  # Chen et al. 2016 (arXiv:1604.06174): each layer's input; one layer at a time is computed again
        return (0 if work.offload_activations else work.shapes.layers * size * hidden) + ends
    return (work.shapes.layers - work.idle) * layer_bytes(work, cuda=cuda) + ends


def layer_bytes(work: Workload, *, cuda: bool) -> float:
    """Bytes that one decoder layer keeps per token position."""
    return base_bytes(work) + (_lora_bytes(work, cuda) if work.adapter else _trained_bytes(work))


def base_bytes(work: Workload) -> float:
    """Of these, what does not depend on what is trained: residual streams before their norms, attention, MLP."""
    shapes, size = work.shapes, BYTES[work.precision]
    hidden, queries, keys = shapes.hidden_size, shapes.heads * shapes.head_dim, shapes.kv_heads * shapes.head_dim
    norms = work.norms * hidden * max(4, size)  # norms compute in 32 bits
    attention = size * 2 * (queries + keys) + 4 * shapes.heads  # q and the output, k and v (not repeated for their groups); log-sum-exp
    if work.qk_norms:  # what they normalise, in 32 bits
        attention += 4 * (queries + keys)
    if work.eager:  # the scores after softmax in 32 bits, and once more in the format of the product with v
        attention += shapes.heads * work.longest * (4 + (size if size < 4 else 0))
    return norms + attention + size * _mlp_numbers(work)


def expert_weights(work: Workload) -> int:
    """Bytes per layer of adapted expert weights: PEFT adds the LoRA product to a whole tensor of experts and keeps the sum."""
    adapted = sum(layer.experts * layer.in_features * layer.out_features for layer, _ in work.targets if layer.experts > 1)
    return round(adapted * BYTES[work.precision] / max(1, work.shapes.layers))


def _mlp_numbers(work: Workload) -> int:
    """Gated: gate, its activation, up. Plain: the input of the activation. Of a mixture, for each expert that a token visits."""
    shapes = work.shapes
    if shapes.experts:
        return shapes.active_experts * (3 * shapes.expert_size + shapes.hidden_size)
    return 3 * shapes.intermediate_size if work.gated else shapes.intermediate_size


def _trained_bytes(work: Workload) -> float:
    """Every trained matrix keeps its input (q, k, v share one, gate and up another), trained norms what they scale."""
    shapes, size = work.shapes, BYTES[work.precision]
    inner = shapes.active_experts * shapes.expert_size if shapes.experts else shapes.intermediate_size
    return size * (2 * shapes.hidden_size + shapes.heads * shapes.head_dim + inner) + 2 * size * shapes.hidden_size


def _lora_bytes(work: Workload, cuda: bool) -> float:
    """What the LoRA matrices of an average layer keep: their inputs (32-bit), r numbers each, dropout's copies, DoRA's two outputs."""
    skipped = (work.shapes.embedding.name, work.shapes.head.name)
    targets = [(layer, rank) for layer, rank in work.targets if layer.name not in skipped and layer.experts == 1]
    total = float(sum(4 * rank for _, rank in targets))
    if work.dora:
        total += sum(8 * layer.out_features for layer, _ in targets)
    if work.dropout:
        mask = 1 if cuda else 4  # torch's CUDA kernel keeps a byte per number, the CPU's a 32-bit factor
        total += sum(layer.in_features * (4 + mask) for layer, _ in targets)
    else:
        total += 4 * _shared_inputs([layer for layer, _ in targets])
    return total / max(1, work.shapes.layers)


def _shared_inputs(targets: Sequence[LinearLayer]) -> int:
    """Numbers in the distinct inputs of these matrices."""
    groups: dict[tuple[str, int], int] = {}
    for layer in targets:
        parent, _, name = layer.name.rpartition(".")
        groups[f"{parent}.{name if name in _OWN_INPUT else 'in'}", layer.in_features] = layer.in_features
    return sum(groups.values())
