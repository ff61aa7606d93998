"""The prompts of a comparison, from their names: a file, set:NAME (shipped), run:FOLDER (the rows that a run held out)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tunelab.comparison.prompt_sets import prompt_set
from tunelab.comparison.prompts import read_prompts
from tunelab.config import Config
from tunelab.data.formats.conversation import conversation
from tunelab.data.mixing import trained_on
from tunelab.data.sample import IGNORE, Origin, Sample
from tunelab.data.sources import find_source
from tunelab.data.tokenizer import TextTokenizer
from tunelab.errors import DataError, UsageError
from tunelab.facts.model import find_model
from tunelab.runners.prompt import Fed, Prompt
from tunelab.runs.folder import RunFolder
from tunelab.workflow.opening import Loaded, load_data, open_config

GENERAL = "set:general"


def gather(names: Sequence[str], general: str | None = GENERAL) -> tuple[Prompt, ...]:
    """All prompts: of one name they count for "task", of several each for its own name; `general` ones for "general" (None: none).

    Raises UsageError, DataError, and what opening a run raises.
    """
    if not names:
        raise UsageError("There are no prompts to ask.", next_step="Give some: --prompts FILE, --prompts set:code, --prompts run:FOLDER")
    asked = [prompt for name in names for prompt in prompts_of(name, "task" if len(names) == 1 else _group(name))]
    if general is not None and not any(prompt.group == "general" for prompt in asked):
        asked += prompts_of(general, "general")
    return tuple(asked)


def prompts_of(name: str, group: str) -> tuple[Prompt, ...]:
    """The prompts that one name stands for."""
    kind, _, rest = name.partition(":")
    if kind == "set":
        return prompt_set(rest, group)
    if kind == "run":
        return held_out(Path(rest), group)
    return read_prompts(Path(name), group)


def few_shot_examples(run: Path, count: int) -> tuple[tuple[dict[str, str], ...], ...]:
    """The first conversations that a run was trained on, as worked examples. Raises DataError when its rows are no conversations."""
    config, loaded = _open(run)
    samples = list(loaded.prepared.train[:count])
    talks = _conversations(config, samples)
    found = [talks[sample.origin] for sample in samples if sample.origin in talks]
    if not found:
        raise DataError("The rows of this run are not conversations, so that none can be shown as an example.", where=str(run))
    return tuple(found)


def held_out(run: Path, group: str) -> tuple[Prompt, ...]:
    """The rows that a run held out, as prompts with the expected answer: conversations up to their last answer, other rows as the text that
    training saw up to where the answer begins. Raises DataError when nothing was held out."""
    return tuple(prompt for prompt, _ in held_out_as_trained(run, group))


def held_out_as_trained(run: Path, group: str) -> tuple[tuple[Prompt, Fed], ...]:
    """The same, each with what training saw before the answer: the tokens themselves."""
    config, loaded = _open(run)
    samples = list(loaded.prepared.held_out)
    talks, prompts = _conversations(config, samples), list[tuple[Prompt, Fed]]()
    for sample in samples:
        turns, name = talks.get(sample.origin), f"{Path(sample.origin.file).stem}-{sample.origin.row}"
        if turns is not None and turns[-1]["role"] == "assistant" and len(turns) > 1:
            ids = sample.input_ids[: _last_answer(sample)]
            prompts.append((Prompt(name, turns[:-1], {"kind": "exact", "expected": turns[-1]["content"]}, group),
                            Fed(loaded.tokenizer.decode(ids), tuple(ids))))
        elif turns is None and (raw := _raw(loaded.tokenizer, sample)) is not None:
            text, expected = raw
            prompts.append((Prompt(name, ({"role": "user", "content": text},), {"kind": "exact", "expected": expected}, group, text),
                            Fed(text, tuple(loaded.tokenizer.encode(text, special=False)))))
    if not prompts:
        raise DataError("This run held out no rows that can be asked.", where=str(run), next_step="Train with val_set_size, or give a file of prompts.")
    return tuple(prompts)


def _open(run: Path) -> tuple[Config, Loaded]:
    folder = RunFolder(run)
    model = find_model(folder.manifest()["base_model"]["folder"])
    config = open_config(str(folder.config_path)).readable_or_raise()
    return config, load_data(config, model)


def _conversations(config: Config, samples: Sequence[Sample]) -> dict[Origin, tuple[dict[str, str], ...]]:
    """Where a row stands -> its turns, for the samples that were made from conversations."""
    wanted, found = {sample.origin for sample in samples}, dict[Origin, tuple[dict[str, str], ...]]()
    for index, dataset in enumerate((*trained_on(config.data), *(config.data.test_datasets or ()))):
        if dataset.type != "chat_template" or not any(origin.dataset == index for origin in wanted):
            continue
        for row in find_source(dataset, index, config_folder=config.source.path.parent).rows():
            if row.origin in wanted:
                turns = conversation(row, dataset, "").turns
                found[row.origin] = tuple({"role": str(turn["role"]), "content": str(turn.get("content", ""))} for turn in turns)
    return found


def _last_answer(sample: Sample) -> int:
    """Where the last stretch of trained tokens begins."""
    at = next((index for index in range(len(sample.labels) - 1, -1, -1) if sample.labels[index] != IGNORE), 0)
    while at > 0 and sample.labels[at - 1] != IGNORE:
        at -= 1
    return at


def _raw(tokenizer: TextTokenizer, sample: Sample) -> tuple[str, str] | None:
    """(what stands before the first trained token, what is trained on); None for a sample that begins with its answer."""
    first = next((index for index, label in enumerate(sample.labels) if label != IGNORE), 0)
    if first == 0:
        return None
    answer = [label for label in sample.labels[first:] if label != IGNORE and label != tokenizer.eos_id]
    return tokenizer.decode(sample.input_ids[:first]), tokenizer.decode(answer)


def _group(name: str) -> str:
    return (name.partition(":")[2] if name.startswith("set:") else Path(name.removeprefix("run:")).stem)[:40] or "task"
