"""A GGUF file held against the model that it was written from, through the real engine: token ids, next-token probabilities, greedy answers.

llama.cpp tells the likeliest tokens of a position, so the divergence is a lower bound: over its LIKELIEST tokens, all others taken together
(grouping outcomes never makes a divergence larger). It computes in 32 bits here, so that nothing but the file can differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tunelab.data.tokenizer import TextTokenizer
from tunelab.errors import TunelabError
from tunelab.export.gguf_check import GgufCheck
from tunelab.export.probes import Probe
from tunelab.export.verify import GREEDY, greedy, load, room_for, with_adapter
from tunelab.runners.gguf import GgufRunner
from tunelab.runners.prompt import Prompt

LIKELIEST, POSITIONS = 100, 6
"""Tokens whose probabilities are compared at a position; positions of a probe."""
_LIKELY = 0.01
_TEXTS = ("Numbers: 7, 42, 1234567 and 3.14159; dates 2026-11-24.", "  two spaces,\ttabs\n\n\nand empty lines \n",
          "def f(x):\n    return {'a': [x**2, -1]}\n",
          "Grüße, naïve café, Ωmega, привет, 你好世界, こんにちは, 🙂👍🏽", "don't WON'T I'll they've HTTPServer camelCase snake_case http://x.org/a?b=c&d#e",
          "<tag>&amp;</tag> $100 50% @me #1 ~!^*()_+|}{:?><")


@dataclass(frozen=True, slots=True)
class Reference:
    """What the model says: (token ids, log-probabilities of the next token) of some positions, and (prompt, greedy answer).

    `effect`: how far the model that it was trained from is from it, in nats per position; None where that is not at hand.
    """

    positions: tuple[tuple[tuple[int, ...], torch.Tensor], ...]
    answers: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    effect: float | None


def ask(folder: Path, adapter: Path | None, began: Path | None, probes: Sequence[Probe], ends: frozenset[int]) -> Reference:
    """The model in a folder (and an adapter on it), in 32 bits where memory allows. `began`: the folder of what it was trained from, for a model
    without an adapter; `ends`: tokens at which an answer ends. Raises ModelError."""
    compute, device = room_for(folder)
    model = load(folder, dtype=compute).to(device)
    if adapter is not None:
        model = with_adapter(model, adapter)
    said = [(probe.ids[: at + 1], logprobs) for probe in probes for at, logprobs in _said(model, probe)]
    answers = [(probe.prompt, _cut(greedy(model, probe.prompt), ends)) for probe in probes[:GREEDY]]
    effect = None
    if adapter is not None:
        with model.disable_adapter():
            effect = _effect(model, probes, said)
    elif began is not None:
        del model
        model = load(began, dtype=compute).to(device)
        if model.get_input_embeddings().weight.shape[0] >= len(said[0][1]):
            effect = _effect(model, probes, said)
    return Reference(tuple(said), tuple(answers), effect)


def ends_of(tokenizer: TextTokenizer) -> frozenset[int]:
    """Tokens at which the comparison of an answer ends: where one engine stops at them and the other does not, both are right."""
    special = (token for token, added in tokenizer.backend.get_added_tokens_decoder().items() if added.special)
    return frozenset(special) | ({tokenizer.eos_id} if tokenizer.eos_id is not None else set())


def check_gguf(path: Path, reference: Reference, probes: Sequence[Probe], tokenizer: TextTokenizer, *, kind: str, prompts_from: str,
               adapter: Path | None = None) -> GgufCheck:
    """Ask llama.cpp what the reference was asked. Raises ModelError when it cannot load the file."""
    runner = GgufRunner(path, adapter, exact=True)
    try:
        texts = [*_TEXTS, *(tokenizer.decode(probe.prompt) for probe in probes)]
        split = [text for text in texts if _ids(runner, text) != tuple(tokenizer.encode(text, special=False))]
        found = [_apart(logprobs, runner.next_logprobs(ids, LIKELIEST)) for ids, logprobs in reference.positions]
        answers = [(expected, runner.continued(prompt, max(1, len(expected)))) for prompt, expected in reference.answers]
        rendered = _renders_alike(runner, tokenizer)
    finally:
        runner.close()
    equal = [_equal(expected, said) for expected, said in answers]
    return GgufCheck(
        kind=kind, prompts=len(probes), prompts_from=prompts_from, positions=len(found), kl=sum(one.kl for one in found) / len(found),
        max_kl=max(one.kl for one in found), max_logprob=max(one.logprob for one in found), same_top=sum(one.same_top for one in found) / len(found),
        effect=reference.effect, greedy=len(answers),
        greedy_same=sum(one == len(expected) for one, (expected, _) in zip(equal, answers, strict=True)),
        greedy_tokens=sum(len(expected) for expected, _ in answers), greedy_equal=sum(equal), texts=len(texts), texts_equal=len(texts) - len(split),
        split=split[0][:80] if split else "", renders_alike=rendered)


@dataclass(frozen=True, slots=True)
class _Apart:
    """One position: divergence, largest difference of a log-probability among likely tokens, whether the likeliest token is the same."""

    kl: float
    logprob: float
    same_top: bool


def _said(model: Any, probe: Probe) -> list[tuple[int, torch.Tensor]]:
    """(position, log-probabilities of the next token) at POSITIONS positions, evenly from the first that is compared to the last."""
    places = probe.positions
    chosen = sorted({places[round(index * (len(places) - 1) / (POSITIONS - 1))] for index in range(POSITIONS)})
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([list(probe.ids)], device=model.device), use_cache=False).logits[0]
    return [(at, torch.log_softmax(logits[at].float(), dim=-1).cpu()) for at in chosen]


def _effect(model: Any, probes: Sequence[Probe], said: Sequence[tuple[Any, torch.Tensor]]) -> float:
    """How far another model is from what was said, measured as a file is."""
    other = [logprobs for probe in probes for _, logprobs in _said(model, probe)]
    likeliest = [dict(zip((top := torch.topk(one, min(LIKELIEST, len(one)))).indices.tolist(), top.values.tolist(), strict=True)) for one in other]
    return sum(_apart(logprobs, one).kl for (_, logprobs), one in zip(said, likeliest, strict=True)) / len(said)


def _apart(ours: torch.Tensor, theirs: Mapping[int, float]) -> _Apart:
    """`ours`: log-probabilities of all tokens; `theirs`: of the likeliest."""
    if not theirs:
        return _Apart(math.nan, math.nan, False)
    kl, left_p, left_q, largest = 0.0, 1.0, 1.0, 0.0
    for token, log_q in theirs.items():
        log_p = float(ours[token]) if token < len(ours) else -math.inf
        p, q = math.exp(log_p), math.exp(log_q)
        kl += p * (log_p - log_q) if p else 0.0
        left_p, left_q = left_p - p, left_q - q
        if p >= _LIKELY:
            largest = max(largest, abs(log_p - log_q))
    if left_p > 1e-9:
        kl += left_p * math.log(left_p / max(left_q, 1e-9))
    return _Apart(max(kl, 0.0), largest, max(theirs, key=lambda token: theirs[token]) == int(ours.argmax()))


def _ids(runner: GgufRunner, text: str) -> tuple[int, ...]:
    return runner.fed(Prompt("text", (), raw=text)).ids


def _renders_alike(runner: GgufRunner, tokenizer: TextTokenizer) -> bool | None:
    """Whether llama.cpp puts messages into the chat template as training did; None without a template."""
    if tokenizer.chat_template is None:
        return None
    messages = ({"role": "user", "content": "Name a colour."}, {"role": "assistant", "content": "Red."}, {"role": "user", "content": "One more?"})
    return _tried(lambda: tokenizer.render(messages, add_generation_prompt=True)) == _tried(lambda: runner.fed(Prompt("chat", messages)).text)


def _tried(render: Callable[[], str]) -> str | None:
    try:
        return render()
    except TunelabError:  # a template that refuses these messages
        return None


def _cut(answer: Sequence[int], ends: frozenset[int]) -> tuple[int, ...]:
    return tuple(answer[: next((index for index, token in enumerate(answer) if token in ends), len(answer))])


def _equal(expected: Sequence[int], said: Sequence[int]) -> int:
    """How many tokens are the same up to the first difference."""
    return next((index for index, (one, other) in enumerate(zip(expected, said, strict=False)) if one != other), min(len(expected), len(said)))
