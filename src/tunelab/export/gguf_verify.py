"""A GGUF file held against the model that it was written from, through the real engine: token ids, next-token probabilities, greedy answers.

llama.cpp tells the likeliest tokens of one position at a time, so the divergence is a lower bound: over its LIKELIEST tokens, all others taken
together (grouping outcomes never makes a divergence larger).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tunelab.data.tokenizer import TextTokenizer
from tunelab.export.probes import Probe
from tunelab.export.skeleton import load_adapter, quiet
from tunelab.runners.gguf import GgufRunner
from tunelab.runners.prompt import Prompt

LIKELIEST, POSITIONS, GREEDY, NEW_TOKENS = 100, 3, 4, 24
"""Tokens whose probabilities are compared at a position; positions of a probe; prompts answered greedily; tokens of such an answer."""
TOLERANCE = {"f32": 1e-3, "f16": 1e-3, "bf16": 2e-2, "q8_0": 2e-2, "q6_k": 5e-2, "q5_1": 0.2, "q5_0": 0.2, "q4_k_m": 0.3, "q4_1": 0.4, "q4_0": 0.4}
"""Mean divergence in nats per position up to which a file of this kind is the same model. Measured on SmolLM2-135M: docs/design/gguf.md."""
_TEXTS = ("Numbers: 7, 42, 1234567 and 3.14159; dates 2026-11-24.", "  two spaces,\ttabs\n\n\nand empty lines \n",
          "def f(x):\n    return {'a': [x**2, -1]}\n",
          "Grüße, naïve café, Ωmega, привет, 你好世界, こんにちは, 🙂👍🏽", "don't WON'T I'll they've HTTPServer camelCase snake_case http://x.org/a?b=c&d#e",
          "<tag>&amp;</tag> $100 50% @me #1 ~!^*()_+|}{:?><")


@dataclass(frozen=True, slots=True)
class GgufCheck:
    """What was found. `kl`, `max_kl`: nats per position (a lower bound); `max_logprob`: the largest difference of a log-probability among tokens
    of at least 1 %; `same_top`: share of positions with the same likeliest token; of `greedy_tokens` tokens in `greedy` answers
    `greedy_equal` are equal up to the first difference; of `texts` texts `texts_equal` were split into the same tokens; `split`: the first
    that was not."""

    kind: str
    positions: int
    kl: float
    max_kl: float
    max_logprob: float
    same_top: float
    greedy: int
    greedy_same: int
    greedy_tokens: int
    greedy_equal: int
    texts: int
    texts_equal: int
    split: str = ""


def check_gguf(path: Path, kind: str, reference: Reference, probes: Sequence[Probe], tokenizer: TextTokenizer, adapter: Path | None = None) -> GgufCheck:
    """Ask llama.cpp what the reference was asked. Raises ModelError when it cannot load the file."""
    runner = GgufRunner(path, adapter)
    try:
        texts = [*_TEXTS, *(tokenizer.decode(probe.prompt) for probe in probes)]
        wrong = [text for text in texts if runner.fed(Prompt("t", ({"role": "user", "content": text},), raw=text)).ids
                 != tuple(tokenizer.encode(text, special=False))]
        found = [_position(runner, ids, logprobs) for ids, logprobs in reference.positions]
        answers = [(expected, runner.continued(prompt, NEW_TOKENS)) for prompt, expected in reference.answers]
    finally:
        runner.close()
    equal = [_equal(expected, said) for expected, said in answers]
    return GgufCheck(
        kind, len(found), sum(one[0] for one in found) / len(found), max(one[0] for one in found), max(one[1] for one in found),
        sum(one[2] for one in found) / len(found), len(answers), sum(one == len(expected) for one, (expected, _) in zip(equal, answers, strict=True)),
        sum(len(expected) for expected, _ in answers), sum(equal), len(texts), len(texts) - len(wrong), wrong[0][:80] if wrong else "")


def fault(found: GgufCheck) -> str | None:
    """Why the file is not to be trusted, in a sentence, or None."""
    if found.split or found.texts_equal < found.texts:
        return (f"llama.cpp splits {found.texts - found.texts_equal} of {found.texts} texts into other tokens than training did, the first is "
                f"{found.split!r}")
    if not found.kl <= TOLERANCE[found.kind]:  # also when it is not a number
        return (f"the file does not say the same as the run: {found.kl:.2g} nats per position apart, where {TOLERANCE[found.kind]:g} is the most for "
                f"{found.kind}")
    return None


@dataclass(frozen=True, slots=True)
class Reference:
    """What the model says: (token ids, log-probabilities of the next token) of some positions, and (prompt, greedy answer)."""

    positions: tuple[tuple[tuple[int, ...], torch.Tensor], ...]
    answers: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]


def ask(folder: Path, adapter: Path | None, probes: Sequence[Probe], ends: frozenset[int]) -> Reference:
    """The model in a folder (and an adapter on it), in 32 bits. Raises ModelError."""
    from transformers import AutoModelForCausalLM

    with quiet():
        model: Any = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32, local_files_only=True, trust_remote_code=False,
                                                          use_safetensors=True)
    if adapter is not None:
        model = load_adapter(model, adapter)
    model = model.eval()
    positions, answers = [], []
    with torch.inference_mode():
        for index, probe in enumerate(probes):
            logprobs = torch.log_softmax(model(torch.tensor([list(probe.ids)])).logits[0].float(), dim=-1)
            first, last = len(probe.prompt) - 1, len(probe.ids) - 1
            for at in sorted({first, (first + last) // 2, last})[:POSITIONS]:
                positions.append((tuple(probe.ids[: at + 1]), logprobs[at].clone()))
            if index < GREEDY:
                answers.append((probe.prompt, _greedy(model, probe.prompt, ends)))
    return Reference(tuple(positions), tuple(answers))


def _greedy(model: Any, prompt: Sequence[int], ends: frozenset[int]) -> tuple[int, ...]:
    said = model.generate(torch.tensor([list(prompt)]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long), max_new_tokens=NEW_TOKENS,
                          do_sample=False, num_beams=1, eos_token_id=sorted(ends) or None, pad_token_id=0, repetition_penalty=1.0)
    new = [int(one) for one in said[0, len(prompt):]]
    cut = next((index for index, one in enumerate(new) if one in ends), len(new))
    return tuple(new[:cut])


def _position(runner: GgufRunner, ids: Sequence[int], logprobs: torch.Tensor) -> tuple[float, float, bool]:
    """(divergence, largest difference among likely tokens, whether the likeliest token is the same)."""
    served = runner.next_logprobs(ids, LIKELIEST)
    ours = logprobs.double()
    kl, left_p, left_q, largest = 0.0, 1.0, 1.0, 0.0
    for token, log_q in served.items():
        log_p = float(ours[token])
        p, q = math.exp(log_p), math.exp(log_q)
        kl += p * (log_p - log_q)
        left_p, left_q = left_p - p, left_q - q
        if p >= 0.01:
            largest = max(largest, abs(log_p - log_q))
    if left_p > 1e-9:
        kl += left_p * math.log(left_p / max(left_q, 1e-9))
    top = max(served, key=lambda token: served[token]) if served else -1
    return (max(kl, 0.0) if served else math.nan), largest, top == int(ours.argmax())


def _equal(expected: Sequence[int], said: Sequence[int]) -> int:
    """How many tokens are the same up to the first difference."""
    return next((index for index, (one, other) in enumerate(zip(expected, said, strict=False)) if one != other), min(len(expected), len(said)))
