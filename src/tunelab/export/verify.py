"""The merged model held against base + adapter, on the same token ids: logits, likeliest tokens, greedy answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from tunelab.errors import ModelError
from tunelab.export.probes import Probe
from tunelab.export.skeleton import embedding_rows, load_adapter, quiet
from tunelab.export.verification import Difference, Verification
from tunelab.facts.model import weight_paths
from tunelab.facts.safetensors_header import read_header

KEPT_BYTES = 256_000_000
"""Logits of the reference that are kept while the merged model is asked."""

GREEDY, NEW_TOKENS = 4, 32


@dataclass(frozen=True, slots=True)
class Heard:
    """What a model says to the probes: for each the logits of its compared positions (positions, vocabulary), and greedy answers to the
    first few."""

    logits: tuple[torch.Tensor, ...]
    answers: tuple[tuple[int, ...], ...] = ()


def verify(base: Path, adapter: Path, merged: Path, probes: Sequence[Probe], *, dtype: str, prompts_from: str,
           quantised: Mapping[str, Any] | None = None) -> Verification:
    """Ask base + adapter and the merged model the same. `quantised`: bitsandbytes' settings of the base that the adapter was trained on.

    Raises ModelError when one of the models cannot be loaded.
    """
    compute, device = room_for(merged)
    reference, effect, chosen = _ask_reference(base, adapter, probes, compute, device)
    notes: tuple[str, ...] = ()
    trained: Heard | None = None
    if quantised is not None:
        try:
            trained = _ask_trained(base, adapter, chosen, quantised)
        except Exception as error:  # bitsandbytes is not installed, or does not run on this machine: each says so in its own way
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            notes = (f"The quantised base that the adapter was trained on cannot be run here, so it was not compared ({said[:200]}).",)
    ours = _ask(load(merged, dtype=compute).to(device), chosen)
    return Verification(dtype, "fp32" if compute == torch.float32 else "bf16", len(chosen), prompts_from, _difference(reference, ours), effect,
                        _difference(trained, ours) if trained is not None else None, len(ours.answers),
                        sum(one == other for one, other in zip(reference.answers, ours.answers, strict=True)), notes)


def _ask_reference(base: Path, adapter: Path, probes: Sequence[Probe], compute: torch.dtype, device: str) -> tuple[Heard, Difference, tuple[Probe, ...]]:
    """(base + adapter, how far it is from the base alone, the probes whose logits fit into KEPT_BYTES)."""
    model = with_adapter(load(base, dtype=compute).to(device), adapter)
    chosen = _that_fit(probes, model.get_input_embeddings().weight.shape[0])
    heard = _ask(model, chosen)
    with model.disable_adapter():
        alone = Heard(tuple(_logits(model, probe) for probe in chosen))
    return heard, _difference(alone, heard), chosen


def _ask_trained(base: Path, adapter: Path, probes: Sequence[Probe], settings: Mapping[str, Any]) -> Heard:
    """The quantised base with the adapter, as in training."""
    from transformers import BitsAndBytesConfig

    model = load(base, quantization_config=BitsAndBytesConfig(**settings), device_map={"": 0 if torch.cuda.is_available() else "cpu"})
    for module in model.modules():  # on CPUs that have it, bitsandbytes would go over to bfloat16 here; training does not let it
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    model = with_adapter(model, adapter)
    return Heard(tuple(_logits(model, probe) for probe in probes))


def with_adapter(model: Any, adapter: Path) -> Any:
    """The model with an adapter on it, its embedding as long as the adapter's. Raises ModelError."""
    rows = embedding_rows(model, adapter)
    if rows is not None:
        model.resize_token_embeddings(rows, mean_resizing=False)
    return load_adapter(model, adapter)


def _ask(model: Any, probes: Sequence[Probe]) -> Heard:
    return Heard(tuple(_logits(model, probe) for probe in probes), tuple(greedy(model, probe.prompt) for probe in probes[:GREEDY]))


def room_for(folder: Path) -> tuple[torch.dtype, str]:
    """The dtype and device to compute in: float32 where the model fits so, first on the GPU; else 16 bits."""
    import psutil

    weights = sum(math.prod(entry["shape"]) for path in weight_paths(folder) for entry in read_header(path).values())
    room = {"cpu": psutil.virtual_memory().available}
    if torch.cuda.is_available():
        room = {"cuda": torch.cuda.mem_get_info()[0], **room}
    needed = 1.15 * 4 * weights + KEPT_BYTES
    wide = next((device for device, free in room.items() if free > needed), None)
    return (torch.float32, wide) if wide is not None else (torch.bfloat16, next(iter(room)))


def load(folder: Path, **options: Any) -> Any:
    """A model folder in evaluation mode. Raises ModelError."""
    try:
        with quiet():
            return AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, use_safetensors=True, trust_remote_code=False, **options).eval()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"The model cannot be loaded: {str(error).strip().splitlines()[0]}", where=str(folder)) from error


def _that_fit(probes: Sequence[Probe], vocabulary: int) -> tuple[Probe, ...]:
    """As many probes, from the first on, as KEPT_BYTES hold logits of; one of them always."""
    room = KEPT_BYTES // (4 * vocabulary)
    kept: list[Probe] = []
    for probe in probes:
        room -= len(probe.positions)
        if room < 0 and kept:
            break
        kept.append(probe)
    return tuple(kept)


def _logits(model: Any, probe: Probe) -> torch.Tensor:
    """(positions, vocabulary) float32, on the CPU."""
    tokens = torch.tensor([probe.ids], device=model.device)
    with torch.inference_mode():
        logits: torch.Tensor = model(input_ids=tokens, use_cache=False).logits[0]
    return logits[list(probe.positions)].float().cpu()


def greedy(model: Any, prompt: Sequence[int]) -> tuple[int, ...]:
    """The NEW_TOKENS likeliest tokens after a prompt, one by one; an end token does not stop it, so that answers are equally long."""
    tokens, cache, answer = torch.tensor([list(prompt)], device=model.device), None, []
    for _ in range(NEW_TOKENS):
        with torch.inference_mode():
            out = model(input_ids=tokens, past_key_values=cache, use_cache=True)
        cache, tokens = out.past_key_values, out.logits[:, -1:].argmax(dim=-1)
        answer.append(int(tokens))
    return tuple(answer)


def _difference(first: Heard, second: Heard) -> Difference:
    """Two models' logits, position by position; the divergence is computed in float64."""
    positions = same = 0
    largest = total = divergence = worst = 0.0
    for one, other in zip(first.logits, second.logits, strict=True):
        apart = (one - other).abs()
        log_p, log_q = one.double().log_softmax(-1), other.double().log_softmax(-1)
        kl = (log_p.exp() * (log_p - log_q)).sum(-1).clamp(min=0)
        positions += len(one)
        same += int((one.argmax(-1) == other.argmax(-1)).sum())
        largest, worst = max(largest, float(apart.max())), max(worst, float(kl.max()))
        total, divergence = total + float(apart.mean(-1).sum()), divergence + float(kl.sum())
    return Difference(positions, largest, total / positions, divergence / positions, worst, same / positions)
