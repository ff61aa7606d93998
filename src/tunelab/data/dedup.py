"""Leaving out rows that are the same as an earlier one, on request (dataset_exact_deduplication)."""

from __future__ import annotations

import hashlib

from tunelab.data.samples import Samples


def without_duplicates(samples: Samples) -> Samples:
    """The first of the samples with the same ids and labels each, in the order they stand in."""
    seen: set[bytes] = set()
    kept = []
    for index in range(len(samples)):
        key = hashlib.blake2b(samples.raw(index), digest_size=16).digest()
        if key not in seen:
            seen.add(key)
            kept.append(index)
    return samples if len(kept) == len(samples) else samples.select(kept)
