"""Rows tokenised once more without a limit, to show what was cut from them and why they were left out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from tunelab.config.config import Config
from tunelab.data.formats import format_for
from tunelab.data.mixing import trained_on
from tunelab.data.prepare import context_of
from tunelab.data.sample import Origin, Sample
from tunelab.data.sources import find_source
from tunelab.data.tokenizer import TextTokenizer

_NO_LIMIT = 2**24


def whole_rows(config: Config, tokenizer: TextTokenizer, origins: Collection[Origin]) -> dict[Origin, Sample]:
    """The first sample of each of these rows, as long as it is. Rows of the Hub, and those of test_datasets, are not read again.

    Raises DataError as reading them does.
    """
    found: dict[Origin, Sample] = {}
    for index, dataset in enumerate(trained_on(config.data)):
        wanted = {origin for origin in origins if origin.dataset == index}
        source = find_source(dataset, index, config_folder=config.source.path.parent) if wanted else None
        if source is None or not source.files:
            continue
        context = replace(context_of(config, dataset, index, tokenizer), sequence_len=_NO_LIMIT)
        for row in source.rows():
            if row.origin in wanted:
                samples = format_for(dataset, index, row.values)(row, dataset, context)
                found |= {row.origin: samples[0]} if samples else {}
                wanted.discard(row.origin)
                if not wanted:
                    break
    return found
