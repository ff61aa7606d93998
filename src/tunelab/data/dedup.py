"""Leaving out rows that are the same as an earlier one, on request (dataset_exact_deduplication)."""

from __future__ import annotations

import hashlib

from tunelab.data.samples import Samples


def without_duplicates(samples: Samples, width: int = 1) -> Samples:
    """The first of the rows with the same ids and labels each, in the order they stand in; a row is `width` samples."""
    seen: set[bytes] = set()
    kept: list[int] = []
    for index in range(0, len(samples), width):
        row = range(index, index + width)
        key = b"".join(hashlib.blake2b(samples.raw(one), digest_size=16).digest() for one in row)
        if key not in seen:
            seen.add(key)
            kept += row
    return samples if len(kept) == len(samples) else samples.select(kept)
