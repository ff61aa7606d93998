"""The loss in chunks against all supervised logits at once: time, and the memory that it takes beside its input, on a CPU.

Run with `python bench/loss.py` (a minute): SmolLM2's head (vocabulary 49152, width 576), 1024 supervised tokens and other numbers, frozen as with
LoRA and trained as in full fine-tuning. Each measurement of memory is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import torch
from torch.nn import functional

from tunelab.planning.activations import loss_rows
from tunelab.training.loss import in_chunks

VOCABULARY, WIDTH, REPEATS = 49152, 576, 3


def main() -> None:
    """One line per number of tokens and kind of head."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        way, tokens, trained = options.one
        print(json.dumps(_measure(way, int(tokens), trained == "trained")))
        return
    print("| supervised tokens | head | memory at once | in chunks | seconds at once | in chunks | speed ratio |\n|---:|---|---:|---:|---:|---:|---:|")
    for tokens, head in ((256, "frozen"), (1024, "frozen"), (4096, "frozen"), (1024, "trained")):
        old, new = (json.loads(subprocess.run([sys.executable, __file__, "--one", way, str(tokens), head], check=True, capture_output=True,
                                              text=True).stdout) for way in ("plain", "chunks"))
        print(f"| {tokens} | {head} | {old[0] / 1e6:,.0f} MB | {new[0] / 1e6:,.0f} MB | {old[1]:.2f} | {new[1]:.2f} | {old[1] / new[1]:.2f} |", flush=True)


def _measure(way: str, tokens: int, trained: bool) -> tuple[int, float]:
    """Bytes above what was there before, and processor seconds, of forward and backward."""
    torch.manual_seed(0)
    head = torch.nn.Linear(WIDTH, VOCABULARY, bias=False).requires_grad_(trained)
    hidden, targets = torch.randn(tokens, WIDTH, requires_grad=True), torch.randint(0, VOCABULARY, (tokens,))
    rows = loss_rows(VOCABULARY, cuda=False)
    warm = functional.cross_entropy(head(hidden[:2]), targets[:2])
    warm.backward()
    hidden.grad = head.weight.grad = None
    before, seconds = _peak(), []
    for _ in range(REPEATS):
        began = time.process_time()
        loss = functional.cross_entropy(head(hidden).float(), targets, reduction="sum") if way == "plain" else in_chunks(
            hidden, targets, rows, head, lambda logits, wanted: functional.cross_entropy(logits, wanted, reduction="sum"), head if trained else None)
        loss.backward()
        seconds.append(time.process_time() - began)
        hidden.grad = head.weight.grad = None
    return _peak() - before, min(seconds)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
