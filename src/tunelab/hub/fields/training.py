"""How it was trained: the method, hyper-parameters, and the Axolotl config that a card may show."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tunelab.hub.evidence import NOT_STATED, Answer
from tunelab.hub.record import ModelRecord


@dataclass(frozen=True, slots=True)
class AxolotlConfig:
    """A config as the card shows it: `text` is YAML, unread; `line`: the file's line of its first line. `base_model` and `datasets`: (value, line)."""

    text: str
    line: int
    base_model: tuple[str, int] | None = None
    datasets: tuple[tuple[str, int], ...] = ()


_EDGE = re.compile(r"\s*(?:```|~~~)|</?(?:pre|code|details|summary)\b", re.IGNORECASE)
_KEY = re.compile(r"[\"']?([A-Za-z_]\w*)[\"']?[ \t]*:(?:[ \t]+(.*))?\Z")
_PATH = re.compile(r"""(?:\A\s*(?:-\s+)?|[{,]\s*)["']?path["']?[ \t]*:[ \t]+["']?([^"',{}\s#][^"',{}#]*)""")
_ITEM = re.compile(r"""\s*-\s+["']?([^\s:"'{}#]+)["']?\s*(?:#.*)?\Z""")
_TRAINING_KEYS = frozenset({"adapter", "micro_batch_size", "sequence_len", "datasets", "num_epochs", "lora_r", "val_set_size", "load_in_4bit"})
_OTHER_DIALECTS = frozenset({"merge_method", "license", "pipeline_tag", "model_name_or_path", "quantized_by", "library_name", "dtype", "tags"})
MAX_CONFIG_LINES = 600
"""Lines of a config; what goes on for longer is something else."""


def read_axolotl(record: ModelRecord) -> AxolotlConfig | None:
    """The config in a "See axolotl config" block, or another fenced YAML that is one: fenced, in raw HTML, or half in either.

    Read by lines, so that YAML with a mistake in it is as good: values are given as they are written.
    """
    if "base_model" not in record.card.body:
        return None
    lines, index, begin = record.card.lines, record.card.start - 1, -1
    while index < len(lines):
        if _EDGE.search(lines[index]):
            begin = index
        elif begin >= 0 and lines[index].lstrip(" \t\"'").startswith("base_model"):
            last = min(len(lines), index + MAX_CONFIG_LINES)
            end = next((at for at in range(index + 1, last) if _EDGE.search(lines[at])), last)
            found = _as_config(lines[begin + 1 : end], begin + 2) if index - begin < MAX_CONFIG_LINES else None
            if found:
                return found
            index, begin = end, end
        index += 1
    return None


def _as_config(lines: list[str], first: int) -> AxolotlConfig | None:
    """The lines as a config (`first`: the file's line of the first), or None when they are another thing."""
    while lines and not lines[0].strip():
        lines, first = lines[1:], first + 1
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    lines = [line[indent:] for line in lines]
    entries = list(_entries(lines))
    keys = {key for key, _, _ in entries}
    base = next(((value, first + at) for key, value, at in entries if key == "base_model" and value), None)
    if base is None or keys & _OTHER_DIALECTS or not keys & _TRAINING_KEYS:
        return None
    return AxolotlConfig("\n".join(lines), first, base, tuple(_paths(lines, entries, first)))


def _entries(lines: list[str]) -> Iterator[tuple[str, str, int]]:
    """(key, value as written, index of the line) of the entries at the outermost level."""
    for index, line in enumerate(lines):
        found = _KEY.match(line)
        if found:
            yield found.group(1), _scalar(found.group(2) or ""), index


def _scalar(text: str) -> str:
    """A YAML scalar without its comment and quotes."""
    text = text.strip()
    if text[:1] in ("'", '"'):
        end = text.find(text[0], 1)
        return text[1:end] if end > 0 else text[1:]
    return text.partition(" #")[0].strip() if not text.startswith("#") else ""


def _paths(lines: list[str], entries: list[tuple[str, str, int]], first: int) -> Iterator[tuple[str, int]]:
    """(path, line of the file) of each data set that it trains on."""
    for (key, value, at), following in zip(entries, [*(at for _, _, at in entries[1:]), len(lines)], strict=True):
        if key not in ("datasets", "pretraining_dataset"):
            continue
        if value and value[0] not in "[{&|>":
            yield value, first + at
            continue
        paths = [(found, first + index) for index in range(at, following) for found in _PATH.findall(lines[index])]
        for path, line in paths or [(found.group(1), first + index) for index in range(at, following) if (found := _ITEM.match(lines[index]))]:
            yield path.strip(), line


def read_method(record: ModelRecord, axolotl: AxolotlConfig | None) -> Answer:
    """full, lora, qlora, dpo, orpo, sft, ...: several may be true at once."""
    return NOT_STATED


def read_hyperparameters(record: ModelRecord, axolotl: AxolotlConfig | None) -> Mapping[str, Answer]:
    """What the card says of learning rate, epochs, batch size, ..., by the dialect's names where it has one."""
    return {}
