"""The vocabulary of tasks that a model may be fine-tuned for: what the Hub, names, tags, data sets and card texts say of each (known/tasks.toml).

docs/tasks.md shows the table; `page` writes it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import cache, lru_cache
from importlib import resources
from typing import Any

from tunelab.errors import UsageError


@dataclass(frozen=True, slots=True)
class Task:
    """One task. `pipeline_tags`: where the Hub keeps its models (any of them); `means`: those pipeline tags that alone say that it is this task;
    `tags`, `name_hints`, `nicknames`, `words`, `datasets`, `architectures`, `metrics`: what says or hints so elsewhere; `broader`: the task of which it is
    a sort, "" for none. The entries' forms are told at the head of known/tasks.toml.
    """

    name: str
    title: str
    about: str
    aliases: tuple[str, ...]
    pipeline_tags: tuple[str, ...]
    means: tuple[str, ...]
    tags: tuple[str, ...]
    name_hints: tuple[str, ...]
    nicknames: tuple[str, ...]
    words: tuple[str, ...]
    datasets: tuple[str, ...]
    architectures: tuple[str, ...]
    metrics: tuple[str, ...]
    broader: str = ""


@cache
def tasks() -> Mapping[str, Task]:
    """All tasks by name, in the table's order."""
    table = tomllib.loads(resources.files("tunelab.hub").joinpath("known", "tasks.toml").read_text(encoding="utf-8"))
    return {name: _task(name, entry) for name, entry in table.items()}


def find_task(name: str) -> Task:
    """The task that a person means by a name, an alias or one of the Hub's pipeline tags. Raises UsageError, with the nearest name."""
    wanted = _squeezed(name)
    found = _by_any_name().get(wanted)
    if found is not None:
        return tasks()[found]
    close = get_close_matches(wanted, _by_any_name(), n=1, cutoff=0.6) if wanted else []
    near = f" Did you mean {_by_any_name()[close[0]]}?" if close else ""
    raise UsageError(f"There is no task called {name[:60]!r}.{near}", where="--task", next_step=f"The tasks are {', '.join(tasks())}.")


def broader_than(name: str) -> tuple[str, ...]:
    """The tasks of which a task is a sort, nearest first."""
    found: list[str] = []
    while broader := tasks()[name].broader:
        found.append(broader)
        name = broader
    return tuple(found)


def _task(name: str, entry: Mapping[str, Any]) -> Task:
    lists = {one.name: tuple(entry.get(one.name, ())) for one in fields(Task) if one.name not in ("name", "title", "about", "broader")}
    return Task(name=name, title=entry["title"], about=entry["about"], broader=entry.get("broader", ""), **lists)


def _squeezed(name: str) -> str:
    return re.sub(r"[\s_-]+", "-", name.strip().casefold()).strip("-")


@cache
def _by_any_name() -> Mapping[str, str]:
    """Every name, pipeline tag and alias -> the task; a task's own name comes before another's alias."""
    found: dict[str, str] = {name: name for name in tasks()}
    for kind in ("aliases", "means"):
        for task in tasks().values():
            for one in getattr(task, kind):
                found.setdefault(_squeezed(one), task.name)
    return found


@cache
def _data_stems() -> tuple[tuple[str, str], ...]:
    return tuple((re.sub(r"[^0-9a-z]+", "", stem), task.name) for task in tasks().values() for stem in task.datasets)


@lru_cache(4096)
def tasks_of_data(name: str) -> tuple[str, ...]:
    """The tasks that a data set of this name is made for, without those that are only broader ones."""
    low = name.lower()
    parts = set(re.split(r"[^0-9a-z]+", low))
    squeezed = re.sub(r"[^0-9a-z]+", "", low.rpartition("/")[2])
    found = dict.fromkeys(task for stem, task in _data_stems() if (stem in squeezed if len(stem) > 4 else stem in parts))
    general = {one for task in found for one in broader_than(task)}
    return tuple(task for task in found if task not in general)
