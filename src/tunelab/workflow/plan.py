"""plan: what a run will take, before it takes it; also a run that this machine or version cannot make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tunelab.config import Config, Severity
from tunelab.config.finding import Finding
from tunelab.config.sections.data import Dataset
from tunelab.data.mixing import held_out_count, is_streamed, seed_of, shard
from tunelab.data.sources import read_rows
from tunelab.errors import DataError, ModelError, needs
from tunelab.facts.dataset import DataFacts
from tunelab.facts.lookup import find_shapes
from tunelab.facts.row_statistics import RowLength, row_length
from tunelab.facts.shapes import ModelShapes
from tunelab.planning.batches import data_facts
from tunelab.planning.plan import Plan, make_plan
from tunelab.planning.schedule import make_schedule
from tunelab.workflow.opening import Opened, load_data, open_config


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan and the findings that do not stop it. `missing` says what was not at hand, so that the plan is silent about it."""

    path: str
    plan: Plan
    findings: tuple[Finding, ...]
    missing: tuple[str, ...]


def plan(path: str, *, calibrate: bool = False, tokens_per_second: float | None = None, network: bool = False, processes: int = 1,
         stand_ins: bool = False) -> Planned:
    """Plan a run. `calibrate` takes a few real steps to predict the time (needs torch), unless the speed is given. With `network` the Hub
    is asked for what is not on this disk: headers and small files of the model, the datasets. `processes`: how many train together; each is
    taken to be as fast as one alone on GPUs, all of them together on a CPU, whose cores they share. `stand_ins`: plan the run with them.

    Raises ConfigError for a config that is wrong (not for one that merely cannot run here), DataError.
    """
    opened = open_config(path, network=network, allow_stand_ins=stand_ins)
    config = opened.readable_or_raise()
    shapes, missing = _shapes(opened, network)
    data, about_data = _data(opened, network, processes)
    speed = measured_speed(path, stand_ins=stand_ins) if calibrate and data is not None and tokens_per_second is None else tokens_per_second
    together = speed and speed * (processes if opened.machine.has_cuda else 1)
    made = make_plan(config, shapes, opened.machine, data, together, table=True, processes=processes)
    return Planned(path, made, opened.findings, (*missing, *about_data))


def measured_speed(path: str, *, stand_ins: bool = False) -> float:
    """Tokens per second of this config on this machine, from a few real steps that are thrown away."""
    with needs("train", "Measuring the speed"):
        from tunelab.training.calibrate import tokens_per_second
    from tunelab.workflow.train import prepare_job

    return tokens_per_second(prepare_job(open_config(path, allow_stand_ins=stand_ins))[1])


def _shapes(opened: Opened, network: bool) -> tuple[ModelShapes | None, list[str]]:
    """The model's shapes from its folder, else from wherever they can be had, and what is not known without them."""
    name = opened.config.model.base_model
    if opened.shapes is not None:
        return opened.shapes, []
    try:
        found = find_shapes(name, network=network)
    except ModelError as error:
        return None, [f"no exact parameters, no memory: {error.message}"]
    if found is None:
        return None, [f"the base model {name} is neither on this disk nor in the table of well known models: no exact parameters, no memory"]
    return found, []


def _data(opened: Opened, network: bool, processes: int) -> tuple[DataFacts | None, list[str]]:
    """Tokenised data where the tokenizer is at hand, else row statistics of local files; and why there are no better numbers."""
    config = opened.config
    far = [dataset.path for dataset in config.data.datasets if not _is_local(dataset)]
    if far and not network:
        return None, [f"no rows, no steps, no time: the dataset {far[0]} is not a file on this disk"]
    why = f"the tokenizer of {config.model.base_model} is not on this disk"
    if opened.model is not None:
        try:
            return load_data(config, opened.model, processes=processes).facts, []
        except ModelError as error:
            why = error.message
        except DataError as error:
            if not any(finding.severity is Severity.BLOCKED for finding in opened.findings):
                raise
            why = error.message
    try:
        return _from_statistics(config, processes), [f"no exact token counts: {why}"]
    except DataError as error:
        return None, [f"no rows, no steps, no time: {error.message}"]


def _from_statistics(config: Config, processes: int) -> DataFacts:
    """Row lengths estimated from characters, put through the same split, packing and steps as tokenised rows. Raises DataError."""
    data = config.data
    if is_streamed(data):
        raise DataError("the rows of a stream are counted with the model's tokenizer only")
    train, kept_back = _lengths(config, data.datasets, data.sequence_len, 0), list[RowLength]()
    if data.test_datasets:
        kept_back = _lengths(config, data.test_datasets, data.eval_sequence_len or data.sequence_len, len(data.datasets))
    elif data.val_set_size:
        held_out = held_out_count(len(train), data.val_set_size)
        train, kept_back = train[held_out:], train[:held_out]
    if not train:
        raise DataError("No row fits into sequence_len.", where="sequence_len", next_step="Raise it.")
    schedule = make_schedule(config, [one.tokens for one in train], [one.tokens for one in kept_back], processes)
    return data_facts(config, [one.tokens for one in train], [one.supervised for one in train], len(kept_back), schedule, "row statistics")


def _lengths(config: Config, datasets: Sequence[Dataset], most: int, first: int) -> list[RowLength]:
    """The estimated lengths of the rows of some datasets; `first` is the number of the first one of them."""
    seed = seed_of(config)
    lengths: list[RowLength] = []
    for index, dataset in enumerate(datasets, first):
        for row in shard(read_rows(dataset, index, config_folder=config.source.path.parent), dataset, index, seed):
            lengths += _fitting(row_length(row.values, dataset.type_name, config.data.train_on_inputs), dataset, most)
    return lengths


def _fitting(length: RowLength, dataset: Dataset, most: int) -> list[RowLength]:
    """A text of type completion is cut into rows; any other row that is too long is left out."""
    if length.tokens <= most:
        return [length]
    if not dataset.type_name.startswith("completion"):
        return []
    whole, rest = divmod(length.tokens, most)
    return [RowLength(most, most - 1)] * whole + ([RowLength(rest, rest - 1)] if rest > 1 else [])


def _is_local(dataset: Dataset) -> bool:
    named = dataset.path in ("json", "csv", "text", "parquet") and bool(dataset.data_files)
    return named or Path(dataset.path).expanduser().exists()
