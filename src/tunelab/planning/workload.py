"""`workload_of`: what of a config, a model and its data decides memory and time, as one value that can be changed and asked again.

"What if" questions (does it fit with gradient checkpointing? with QLoRA?) change this value and estimate anew; nothing is guessed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from tunelab.config.config import Config
from tunelab.facts.machine import Machine
from tunelab.facts.shapes import LinearLayer, ModelShapes
from tunelab.planning.fleet import fleet_of
from tunelab.planning.freezing import thawed
from tunelab.planning.lora import (
    adapter_to_go_on_from,
    full_shapes,
    initialisation,
    lora_parameters,
    lora_shapes,
    rank_of,
    replicated,
    saved_shapes,
    target_layers,
    token_parameters,
)
from tunelab.planning.optimizers import GALORE_RANK, optimizer_arguments
from tunelab.planning.packing import four_bit_settings
from tunelab.planning.precision import precision

_EXPLICIT = ("gemma2", "gpt_oss")  # capped scores, sinks: no kernel of torch does them (training.attention)
_LAYER = re.compile(r"\.(\d+)\.")
LORA_RANK = 16
"""The rank of the LoRA that is proposed in place of a full fine-tuning."""


@dataclass(frozen=True)
class Workload:
    """A run as the device sees it.

    `precision`: of computation, and of frozen weights. `bits`: 4 or 8 when the frozen linear layers are quantised, else 0.
    `double_quant`: their scales are quantised too. `experts_quantised`: and so are experts, which are no linear layers. `targets`: layers
    with LoRA and their ranks. `trained`: shapes of all trained tensors (held in 32 bits). `extra`: parameters that are trained beside the
    base weights (adapter matrices, modules trained in full as copies). `held`: numbers held a second time: rows that no step may change, the
    matrices that PiSSA started with. `unpacked`: modules that stay whole under `bits`, None for the output head.

    `tokens`, `supervised`: of the largest micro batch. `longest`:
    tokens of its longest sample. `eager`: attention keeps its square of scores. `eval_share`: the largest evaluation batch against the
    largest training batch. `norms`: of a layer. `gated`: its MLP has three matrices, not two. `qk_norms`: queries and keys are normalised.
    `idle`: layers below the first trained weight, which no gradient reaches.
    """

    shapes: ModelShapes
    precision: str
    adapter: bool
    bits: int
    double_quant: bool
    experts_quantised: bool
    targets: tuple[tuple[LinearLayer, int], ...]
    dropout: bool
    dora: bool
    trained: tuple[tuple[int, ...], ...]
    extra: int
    held: int
    unpacked: tuple[str, ...] | None
    optimizer: str
    galore_rank: int
    checkpointing: bool
    offload_activations: bool
    micro_batch_size: int
    accumulation: int
    sequence_len: int
    tokens: int
    supervised: int
    longest: int
    eager: bool
    eval_share: float
    norms: int
    gated: bool
    qk_norms: bool
    idle: int = 0

    @property
    def embedding(self) -> tuple[int, int]:
        """The shape of the embedding."""
        return self.shapes.embedding.out_features, self.shapes.embedding.in_features

    @cached_property
    def trained_parameters(self) -> int:
        """How many parameters are trained."""
        return sum(math.prod(shape) for shape in self.trained)


def workload_of(config: Config, shapes: ModelShapes, machine: Machine, *, tokens: int, supervised: int, longest: int = 0, processes: int = 1) -> Workload:
    """The workload of a config whose largest micro batch has `tokens` positions, of which `supervised` carry loss."""
    settings, raw, shapes = config.optimisation, config.raw, replicated(config, shapes)
    targets = target_layers(config, shapes)
    frozen = config.adapter.adapter is not None
    extra = lora_shapes(config, targets)
    if adapter_to_go_on_from(config) is None:
        tokens_trained = token_parameters(config, shapes)
        extra += [*saved_shapes(config, shapes), *([(tokens_trained,)] if tokens_trained else [])]
    trained = extra if frozen else list(full_shapes(config, shapes).values())
    bits = 0 if not frozen else 4 if config.model.load_in_4bit or config.adapter.adapter == "qlora" else 8 if config.model.load_in_8bit else 0
    checkpointing = config.hardware.gradient_checkpointing or _sharded_checkpointing(config, machine, processes)
    return Workload(
        shapes, precision(config, machine), frozen, bits, four_bit_settings(config.model.bnb_config_kwargs)["bnb_4bit_use_double_quant"] is not False,
        raw.truthy("quantize_moe_experts"),
        tuple((layer, rank_of(config, layer)) for layer in targets), bool(config.adapter.lora_dropout), bool(config.adapter.peft_use_dora),
        tuple(trained), sum(math.prod(shape) for shape in extra) if frozen else 0, _held(config, shapes, targets), _unpacked(config),
        settings.optimizer, _galore_rank(settings.optim_args),
        bool(checkpointing), bool(raw.truthy("activation_offloading") or checkpointing in ("offload", "offload_disk")),
        settings.micro_batch_size, settings.gradient_accumulation_steps, config.data.sequence_len, tokens, supervised,
        longest or min(config.data.sequence_len, tokens), is_eager(config) or shapes.model_type in _EXPLICIT,
        (settings.eval_batch_size or settings.micro_batch_size) / settings.micro_batch_size, _norms(shapes), _is_gated(shapes),
        any(".q_norm." in name for name in shapes.tensors), 0 if frozen else _idle(shapes, full_shapes(config, shapes)))


def _sharded_checkpointing(config: Config, machine: Machine, processes: int) -> bool:
    """FSDP's own switch for gradient checkpointing, which acts where there is something to shard."""
    shards = config.distributed.fsdp_config
    return shards is not None and bool(shards.activation_checkpointing) and fleet_of(config, machine, processes).devices > 1


def _idle(shapes: ModelShapes, trained: Collection[str]) -> int:
    """Decoder layers below the first trained weight; none when the embedding is trained, or the head that is tied to it."""
    if not trained or any(name.startswith(f"{shapes.embedding.name}.") for name in trained):
        return 0
    numbers = [int(found.group(1)) for name in trained if (found := _LAYER.search(name)) is not None]
    return min(shapes.layers, min(numbers, default=shapes.layers))


def _held(config: Config, shapes: ModelShapes, targets: Sequence[LinearLayer]) -> int:
    if config.adapter.adapter is None:
        return sum(one.kept for one in thawed(config, shapes.tensors).values())
    return lora_parameters(config, targets) if initialisation(config).startswith(("pissa", "olora")) else 0


def _unpacked(config: Config) -> tuple[str, ...] | None:
    named = (config.model.bnb_config_kwargs or {}).get("llm_int8_skip_modules") if config.model.load_in_4bit else None
    return tuple(map(str, named)) if isinstance(named, list) else None


def _is_gated(shapes: ModelShapes) -> bool:
    """Whether MLPs multiply by a gate (three matrices) or are plain (two)."""
    return any(layer.name.endswith(("gate_proj", "gate_up_proj")) for layer in shapes.linear_layers)


def _norms(shapes: ModelShapes) -> int:
    """Norms per layer, from the vectors that are as long as the residual stream; a family whose norms have no weights has two."""
    vectors = sum(1 for name, shape in shapes.tensors.items() if shape == (shapes.hidden_size,) and name.endswith(".weight"))
    return max(1, round((vectors - 1) / max(1, shapes.layers))) if vectors > 1 else 2


def is_eager(config: Config) -> bool:
    """Whether the config asks for attention that writes its square of scores."""
    return config.raw.get("attn_implementation") == "eager" or config.raw.truthy("eager_attention")


def with_lora(work: Workload, bits: int) -> Workload:
    """The same run as LoRA on every linear layer, the base frozen, in 4 bits when `bits` is 4, experts too. What already is LoRA keeps its
    layers; of a mixture only attention is adapted, as a product with all experts would need room for all of them again."""
    if work.adapter:
        return replace(work, bits=bits, experts_quantised=bits > 0)
    layers = [layer for layer in work.shapes.linear_layers if layer.experts == 1 and not layer.is_router]
    shapes = [part for layer in layers for part in _lora_pair(layer)]
    return replace(work, adapter=True, bits=bits, experts_quantised=bits > 0, targets=tuple((layer, LORA_RANK) for layer in layers), trained=tuple(shapes),
                   extra=sum(math.prod(shape) for shape in shapes))


def with_rows(work: Workload, *, micro_batch_size: int | None = None, sequence_len: int | None = None) -> Workload:
    """The same run with smaller micro batches or shorter rows; its tokens shrink in proportion."""
    micro, length = micro_batch_size or work.micro_batch_size, sequence_len or work.sequence_len
    share = micro * length / (work.micro_batch_size * work.sequence_len)
    accumulation = work.accumulation * math.ceil(work.micro_batch_size / micro)
    return replace(work, micro_batch_size=micro, sequence_len=length, accumulation=accumulation, tokens=math.ceil(work.tokens * share),
                   supervised=math.ceil(work.supervised * share), longest=min(work.longest, length))


def _lora_pair(layer: LinearLayer) -> Sequence[tuple[int, int]]:
    return (LORA_RANK, layer.in_features), (layer.out_features, LORA_RANK)


def _galore_rank(arguments: object) -> int:
    """The rank in optim_args."""
    try:
        value = optimizer_arguments(arguments).get("rank")
    except ValueError:  # a rule says so
        return GALORE_RANK
    return value if isinstance(value, int) and value > 0 else GALORE_RANK
