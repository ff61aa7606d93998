"""A statistics dump of the Hub read with pyarrow, where DuckDB is not installed: the same rows, some times slower."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from tunelab.errors import UsageError
from tunelab.hub.dump import Fitting, Terms, columns


def read_dump(files: list[Path], asked: Terms) -> Fitting:
    """The rows that fit, batch by batch. Raises UsageError."""
    import pyarrow
    import pyarrow.parquet as parquet

    best: list[tuple[Any, int, dict[str, Any]]] = []
    number, total = count(), 0
    try:
        for file in files:
            dump = parquet.ParquetFile(file)
            found = columns({one.name: str(one.type) for one in dump.schema_arrow}, file)
            total += dump.metadata.num_rows
            for batch in dump.iter_batches(batch_size=65_536, columns=[*found.values()]):
                for row in _fitting(batch.rename_columns([{name: field for field, name in found.items()}[name] for name in batch.schema.names]), asked):
                    value = row.get(asked.order)
                    entry = ((value is not None, value), -next(number), row)
                    (heapq.heappush if len(best) < asked.most else heapq.heappushpop)(best, entry)
    except (pyarrow.ArrowException, OSError) as error:
        raise UsageError(f"The dump cannot be read as Parquet: {str(error).splitlines()[0][:200]}", where=str(files[0]),
                         next_step="Download it again, or convert it to Parquet.") from error
    return Fitting([row for _, _, row in sorted(best, reverse=True)], total)


def _fitting(batch: Any, asked: Terms) -> Iterator[dict[str, Any]]:
    """The rows of a batch that fit. Tags are looked up flat, with the row that each belongs to."""
    import numpy
    import pyarrow
    import pyarrow.compute as compute

    there = set(batch.schema.names)

    def flags(found: Any) -> Any:
        return compute.fill_null(found, False).to_numpy(zero_copy_only=False)

    def tagged(tag: str) -> Any:
        tags = batch.column("tags") if "tags" in there else None
        if tags is None:
            return numpy.zeros(len(batch), bool)
        if not pyarrow.types.is_list(tags.type):  # a list that was written into a text
            return flags(compute.match_substring(tags.cast("string"), tag))
        rows = compute.list_parent_indices(tags).to_numpy()
        mask = numpy.zeros(len(batch), bool)
        mask[rows[flags(compute.equal(compute.list_flatten(tags), tag))]] = True
        return mask

    some = [tagged(tag) for tag in asked.tags]
    if asked.pipelines and "pipeline_tag" in there:
        some.append(flags(compute.is_in(batch.column("pipeline_tag"), pyarrow.array(asked.pipelines))))
    some += [flags(compute.match_substring(batch.column("id"), hint, ignore_case=True)) for hint in asked.names]
    mask = numpy.logical_or.reduce(some) if some else numpy.ones(len(batch), bool)
    for tag in asked.required:
        mask &= tagged(tag)
    yield from batch.filter(pyarrow.array(mask)).to_pylist()
