"""Speed by ratio, in one run on one machine: our training step against a plain padded one, batched answers against one by one.

Run with `make bench`; takes about two minutes on two cores. Time things alone: one busy neighbour makes a step several times slower.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tunelab.data.sample import IGNORE, Sample
from tunelab.runners.prompt import Prompt, Sampling
from tunelab.training.batch import lay_out
from tunelab.training.embedded import materialise
from tunelab.training.loss import TokenLoss
from tunelab.training.model import build_model
from tunelab.workflow.lab import write_lab_files
from tunelab.workflow.opening import load_data, open_config
from tunelab.workflow.sides import open_sides

ROWS, ROUNDS, PROMPTS = 9, 3, 32


def main() -> None:
    """Print one line per comparison."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        materialise(folder / "base-model")
        opened = open_config(str(write_lab_files(folder, quick=False)))
        config = opened.config_or_raise()
        loaded = load_data(config, opened.model_or_raise())
        model = build_model(config, folder / "base-model", "fp32", loaded.tokenizer.vocab_size).train()
        samples = list(loaded.prepared.train[:ROWS])
        ours = _seconds(lambda: _our_step(model, samples))
        model.get_base_model().set_attn_implementation("sdpa")  # type: ignore[operator]
        plain = _seconds(lambda: _padded_step(model, samples))
        tokens = sum(len(sample.input_ids) for sample in samples)
        print(f"training step of {ROWS} rows: ours {tokens / ours:.0f} tokens/s, padded with all logits {tokens / plain:.0f}: "
              f"{plain / ours:.2f} times")
        _answers(folder)


def _our_step(model: torch.nn.Module, samples: list[Sample]) -> None:
    batch = lay_out([samples], pad_id=0, pad_to=None, device=torch.device("cpu"))
    (TokenLoss(model).summed(model, batch) / batch.supervised).backward()
    model.zero_grad()


def _padded_step(model: Any, samples: list[Sample]) -> None:
    width = max(len(sample.input_ids) for sample in samples)

    def padded(values: tuple[int, ...], filler: int) -> list[int]:
        return [*values, *[filler] * (width - len(values))]

    ids = torch.tensor([padded(sample.input_ids, 0) for sample in samples])
    labels = torch.tensor([padded(sample.labels, IGNORE) for sample in samples])
    mask = torch.tensor([padded((1,) * len(sample.input_ids), 0) for sample in samples])
    model(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
    model.zero_grad()


def _answers(folder: Path) -> None:
    prompts = [Prompt(str(number), ({"role": "user", "content": f"Name {number + 2} animals."},)) for number in range(PROMPTS)]
    runner: Any = open_sides(str(folder / "base-model"), str(folder / "base-model"))[0]
    batched = _seconds(lambda: list(runner.answer(prompts, Sampling(max_new_tokens=24))), rounds=1)
    single = _seconds(lambda: [list(runner.answer([prompt], Sampling(max_new_tokens=24))) for prompt in prompts], rounds=1)
    print(f"{PROMPTS} answers: batched {batched:.1f} s, one by one {single:.1f} s: {single / batched:.2f} times")


def _seconds(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    work()  # warm up
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


if __name__ == "__main__":
    main()
