"""The sheet of a model: every field of the course lab's note and more, each with its evidence, and what contradicts what. `read_sheet` is all of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tunelab.hub.crosscheck import CardFinding, cross_check
from tunelab.hub.evidence import NOT_STATED, Answer
from tunelab.hub.fields.base_model import read_base_model
from tunelab.hub.fields.datasets import read_datasets
from tunelab.hub.fields.evaluation import EvaluationClaim, read_evaluation
from tunelab.hub.fields.example import Example, read_examples
from tunelab.hub.fields.facts import read_languages, read_licence
from tunelab.hub.fields.hyperparameters import read_hyperparameters
from tunelab.hub.fields.kind import read_kind
from tunelab.hub.fields.task import read_task
from tunelab.hub.fields.template import read_template
from tunelab.hub.fields.training import AxolotlConfig, read_axolotl, read_method
from tunelab.hub.fields.weights import read_format, read_size
from tunelab.hub.record import ModelRecord


@dataclass(frozen=True)
class ModelSheet:
    """What is known of one model. An `Answer` without a stated value means *not stated*.

    `kind`: finetune, adapter, merge, quantized or base. `base_model`: of a merge all its parents. `examples`: the surest first.
    `hyperparameters`: name -> answer, by the names of the config dialect where there is one. `axolotl`: the config that the card shows.
    `problems`: what is wrong with the card itself, in sentences.
    """

    record: ModelRecord
    kind: Answer = NOT_STATED
    base_model: Answer = NOT_STATED
    task: Answer = NOT_STATED
    datasets: Answer = NOT_STATED
    examples: tuple[Example, ...] = ()
    template: Answer = NOT_STATED
    licence: Answer = NOT_STATED
    languages: Answer = NOT_STATED
    size: Answer = NOT_STATED
    format: Answer = NOT_STATED
    method: Answer = NOT_STATED
    hyperparameters: Mapping[str, Answer] = field(default_factory=dict)
    axolotl: AxolotlConfig | None = None
    evaluation: tuple[EvaluationClaim, ...] = ()
    findings: tuple[CardFinding, ...] = ()

    @property
    def name(self) -> str:
        """The Hub id, or the name of the folder or file."""
        return self.record.name

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be read or is not as it should be."""
        return (*self.record.card.problems, *self.record.missing)


def read_sheet(record: ModelRecord) -> ModelSheet:
    """Read everything. Never fails, whatever the card is."""
    axolotl = read_axolotl(record)
    kind = read_kind(record)
    datasets = read_datasets(record, axolotl, kind)
    sheet = ModelSheet(
        record, kind=kind, base_model=read_base_model(record, kind, axolotl), task=read_task(record, kind, datasets), datasets=datasets,
        examples=read_examples(record), template=read_template(record), licence=read_licence(record), languages=read_languages(record),
        size=read_size(record), format=read_format(record), method=read_method(record, axolotl), hyperparameters=read_hyperparameters(record, axolotl),
        axolotl=axolotl, evaluation=read_evaluation(record))
    return replace(sheet, findings=cross_check(record, sheet))


def as_json(sheet: ModelSheet) -> dict[str, Any]:
    """The sheet for machines: per field its stated value (null: not stated), all candidates with evidence, and whether it is stated."""
    fields: dict[str, Any] = {}
    for name in ("kind", "base_model", "task", "datasets", "template", "licence", "languages", "size", "format", "method"):
        fields[name] = answer_json(getattr(sheet, name))
    return {
        "name": sheet.name, "link": sheet.record.link, **fields, "examples": sheet.examples,
        "hyperparameters": {name: answer_json(one) for name, one in sheet.hyperparameters.items()}, "axolotl": sheet.axolotl,
        "evaluation": sheet.evaluation, "findings": sheet.findings, "problems": sheet.problems,
    }


def answer_json(answer: Answer) -> dict[str, Any]:
    """One field: `value` is a text, of a field with many values a list; null when nothing is stated."""
    value: Any = (list(answer.values) or None) if answer.many else answer.value
    return {"value": value, "confidence": answer.stated[0].confidence if answer.stated else 0.0, "candidates": answer.candidates}
