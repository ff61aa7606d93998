"""How every verb begins: read the config, look at the machine and the model, collect everything there is to say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tunelab.config import Config, Finding, Severity, read_config
from tunelab.config.config import Reading, config_error, read_values
from tunelab.config.finding import errors_of, stops_of
from tunelab.config.selection import without_ignored
from tunelab.config.source import Source, parse_source
from tunelab.errors import ModelError
from tunelab.facts.dataset import DataFacts
from tunelab.facts.machine import Machine, read_machine
from tunelab.facts.model import ModelFolder, find_model
from tunelab.facts.shapes import ModelShapes, read_shapes
from tunelab.planning.rules import all_rules
from tunelab.planning.rules import check as check_rules
from tunelab.planning.stand_ins import StandIn, said, stand_ins, with_stand_ins

if TYPE_CHECKING:
    from tunelab.data.prepare import Prepared
    from tunelab.data.tokenizer import TextTokenizer
    from tunelab.planning.schedule import Schedule

_NO_VALUE = frozenset({"TL102", "TL103"})

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Opened:
    """A config with what is known around it. `model` and `shapes` are None when the base model is not at hand (offline, not yet
    downloaded). `stand_ins`: what was taken in place of settings that this machine cannot honour; `config` has it."""

    source: Source
    config: Config
    machine: Machine
    model: ModelFolder | None
    shapes: ModelShapes | None
    findings: tuple[Finding, ...]
    stand_ins: tuple[StandIn, ...] = ()

    def config_or_raise(self) -> Config:
        """The config when nothing stops a run; otherwise a ConfigError with every finding."""
        if stops_of(self.findings):
            raise config_error(self.source, self.findings)
        return self.config

    def readable_or_raise(self) -> Config:
        """The config when it is right, though this version or machine may not be able to run it; otherwise a ConfigError."""
        if errors_of(self.findings):
            raise config_error(self.source, self.findings)
        return self.config

    def model_or_raise(self) -> ModelFolder:
        """The base model's folder, fetched from the Hub when it is not at hand. Raises ModelError."""
        return self.model if self.model is not None else find_model(self.config_or_raise().model.base_model)


@dataclass(frozen=True)
class Loaded:
    """The data of a run: tokenised, split, and cut into steps."""

    tokenizer: TextTokenizer
    prepared: Prepared
    schedule: Schedule
    facts: DataFacts


def open_config(path: str, *, network: bool = False, machine: Machine | None = None, allow_stand_ins: bool = False) -> Opened:
    """Read and judge a config. Without `network` nothing is fetched: what is not on this disk stays unknown. With `allow_stand_ins` settings
    that this machine cannot honour are taken as the nearest that it can, and a finding says so."""
    reading = read_config(Path(path))
    machine = machine or read_machine()
    taken = stand_ins(reading.config, machine) if allow_stand_ins else ()
    config = with_stand_ins(reading.config, taken)
    return _judged(reading, config, machine, _look_at_model(config, network), taken)


def open_text(path: str, text: str) -> Opened:
    """Read and judge a config that somebody else has written, such as one on a model card: no model or data that it names is looked for.
    `path` only names the text."""
    reading = read_values(*parse_source(Path(path), text))
    return _judged(reading, reading.config, read_machine(), (None, None, []), ())


def _judged(reading: Reading, config: Config, machine: Machine, looked: tuple[ModelFolder | None, ModelShapes | None, list[Finding]],
            taken: tuple[StandIn, ...]) -> Opened:
    model, shapes, about_model = looked
    wrong = {finding.key for finding in reading.findings if finding.code in _NO_VALUE}  # a default stands there: no rule has anything to say about it
    by_rules = [finding for finding in (*about_model, *said(config, taken), *check_rules(config, machine, shapes)) if finding.key not in wrong]
    findings = sorted((*reading.findings, *by_rules), key=lambda one: (one.line or 0, one.code))
    kept = without_ignored(reading.source, findings, (rule.code for rule in all_rules()))
    return Opened(reading.source, config, machine, model, shapes, kept, taken)


def load_data(config: Config, model: ModelFolder, progress: Progress | None = None, processes: int = 1) -> Loaded:
    """Tokenise the datasets as the config says and plan every step of so many processes. Raises DataError, ModelError."""
    from tunelab.data.pairs import learnt_per_row, per_row
    from tunelab.data.prepare import prepare
    from tunelab.data.survey import sizes
    from tunelab.data.tokenizer import tokenizer_for
    from tunelab.planning.batches import data_facts
    from tunelab.planning.schedule import make_schedule

    tokenizer = tokenizer_for(model.folder, config.model)
    prepared = prepare(config, tokenizer, progress=progress, processes=processes)
    sample_lengths, learnt = sizes(prepared.train)
    lengths, supervised = per_row(sample_lengths, prepared.width), learnt_per_row(config, sample_lengths, learnt)
    held_out = per_row(sizes(prepared.held_out)[0], prepared.width)
    schedule = make_schedule(config, lengths, held_out, processes)
    facts = replace(data_facts(config, lengths, supervised, len(held_out), schedule), vocabulary=tokenizer.vocab_size)
    return Loaded(tokenizer, prepared, schedule, facts)


def _look_at_model(config: Config, network: bool) -> tuple[ModelFolder | None, ModelShapes | None, list[Finding]]:
    """(folder, shapes, findings): a path that is not there is an error, a Hub model that is not here yet is a note."""
    name = config.model.base_model
    try:
        model = find_model(name, network=network)
    except ModelError as error:
        severity = Severity.NOTE if _may_be_on_hub(name) and not network else Severity.BLOCKED
        message = (f"`{name}` is not on this disk; it is looked for on the Hub when it is needed. Until then its shapes are not known."
                   if severity is Severity.NOTE else error.message)
        fix = (error.next_step or "") if severity is Severity.BLOCKED else ""
        return None, None, [config.finding("TL201", severity, message, "base_model", fix=fix)]
    try:
        return model, read_shapes(model.folder), []
    except ModelError as error:
        return model, None, [config.finding("TL202", Severity.WARNING, f"The model's shapes cannot be read: {error.message}", "base_model")]


def _may_be_on_hub(name: str) -> bool:
    """Whether a name has the form of a Hub id (ORG/NAME) and not of a path."""
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not Path(name.split("/")[0]).is_dir()
