"""How fast this machine trains this model: a few real steps, thrown away."""

from __future__ import annotations

from tunelab.training.run import Job, first_steps


def tokens_per_second(job: Job, steps: int = 2) -> float:
    """Tokens (padding included) per second of training steps; the first step warms up and is not counted."""
    records = first_steps(job, steps + 1)
    counted = records[1:] or records
    return sum(record.tokens for record in counted) / sum(record.seconds for record in counted)
