"""Answers of the local runner, batched against one by one, on 64 prompts of the embedded model: the ratio, measured in one run.

    .venv/bin/python bench/answers.py [--prompts 64] [--tokens 32]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from tunelab.runners.prompt import Prompt, Sampling
from tunelab.workflow.sides import open_judge


def main() -> None:
    """Print tokens per second of both ways and the ratio; and how many of the answers are the same."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--model", default="lab/base-model", help="a model folder; `make lab` writes one")
    asked = parser.parse_args()
    if not Path(asked.model).is_dir():
        raise SystemExit(f"There is no {asked.model}; `make lab` writes it.")
    model = open_judge(asked.model).model  # type: ignore[attr-defined]
    prompts = [Prompt(f"p{n}", ({"role": "user", "content": f"Tell me {n % 7 + 1} facts about the number {n}."},)) for n in range(asked.prompts)]
    sampling, found = Sampling(max_new_tokens=asked.tokens), {}
    for batch in (1, 16, 1, 16):  # alternating, so that a busy moment does not fall on one of them only
        model.batch_size = batch
        started = time.perf_counter()
        answers = {answer.prompt_id: answer for answer in model.answer(prompts, sampling, with_adapter=False)}
        seconds, tokens = time.perf_counter() - started, sum(answer.new_tokens for answer in answers.values())
        found.setdefault(batch, []).append((tokens / seconds, answers))
        print(f"batch {batch:2}: {tokens} tokens in {seconds:.1f} s, {tokens / seconds:.1f} a second")
    best = {batch: max(speed for speed, _ in runs) for batch, runs in found.items()}
    same = sum(found[1][0][1][prompt.id].text == found[16][0][1][prompt.id].text for prompt in prompts)
    print(f"ratio {best[16] / best[1]:.2f}; the same answers: {same} of {len(prompts)}")


if __name__ == "__main__":
    main()
