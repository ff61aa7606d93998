"""Licences that do not go together: what the card gives its model against the terms of the base model and of the training data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources

from tunelab.facts.licences import known_licence

PERMISSIVE = frozenset(
    {
        "apache-2.0",
        "mit",
        "bsd",
        "bsd-2-clause",
        "bsd-3-clause",
        "bsd-3-clause-clear",
        "cc-by-4.0",
        "cc-by-3.0",
        "cc-by-2.0",
        "cc0-1.0",
        "unlicense",
        "wtfpl",
        "isc",
        "afl-3.0",
        "zlib",
        "artistic-2.0",
        "ecl-2.0",
        "postgresql",
        "ncsa",
        "pddl",
        "0bsd",
    }
)
"""Hub ids of licences that allow any use and ask for little more than a notice."""
_NON_COMMERCIAL = re.compile(r"(?:\A|-)nc(?:-|\Z)|non-?commercial|research|mrl|mnpl", re.IGNORECASE)
_UNKNOWN = frozenset({"other", "unknown", "", "none"})


@dataclass(frozen=True, slots=True)
class Terms:
    """`licence`: its Hub id, "" where it has none; `name` in a sentence; `commercial`: "no", "with conditions", or "outputs" (of a model whose
    terms speak of training others). Terms change: the model's or data set's own page has the last word."""

    name: str
    commercial: str
    licence: str = ""


def model_terms(model: str) -> Terms | None:
    """The terms of a model whose licence is none of the permissive ones, by its name, copies by others included."""
    last = model.rpartition("/")[2].lower().removeprefix("meta-")
    found = next((terms for pattern, terms in _models() if pattern.search(last)), None)
    if found is not None:
        return found
    known = known_licence(model) if "/" in model else None
    return Terms(known.name, known.commercial) if known is not None else None


def data_terms(name: str) -> Terms | None:
    """The terms of a well known data set that is not free for all uses."""
    return next((terms for pattern, terms in _data() if pattern.search(name.lower())), None)


@lru_cache(1024)
def is_non_commercial(licence: str) -> bool:
    """Whether a licence id itself forbids commercial use."""
    return _NON_COMMERCIAL.search(licence) is not None


def clash_with_model(licence: str, terms: Terms) -> str | None:
    """What is wrong with giving `licence` to a model made from one under `terms`, as the end of a sentence; None when nothing is known to be."""
    said = licence.lower()
    if said in _UNKNOWN or said == terms.licence:
        return None
    if said in PERMISSIVE:
        return f"{terms.name}, whose terms go on to what is made from it" if terms.commercial != "no" else f"{terms.name}, which allows no commercial use"
    if terms.commercial == "no" and not is_non_commercial(said):
        return f"{terms.name}, which allows no commercial use"
    if (
        (said.startswith("llama")
        and terms.licence.startswith("llama"))
        or (said == "gemma"
        and terms.licence.startswith("llama"))
        or (said.startswith("llama")
        and terms.licence == "gemma")
    ):
        return terms.name
    return None


def clash_with_data(licence: str, terms: Terms) -> str | None:
    """The same of a training set."""
    said = licence.lower()
    if terms.commercial == "no" and said not in _UNKNOWN and not is_non_commercial(said):
        return f"{terms.name}, which allows no commercial use"
    if terms.licence.startswith("gpl") or terms.name.startswith("gpl"):
        return f"{terms.name}, which asks the same of what is made from it" if said in PERMISSIVE else None
    return None


@cache
def _models() -> tuple[tuple[re.Pattern[str], Terms], ...]:
    return tuple((re.compile(pattern), Terms(name, commercial, licence)) for pattern, licence, name, commercial in _rows("model_licences.tsv"))


@cache
def _data() -> tuple[tuple[re.Pattern[str], Terms], ...]:
    return tuple((re.compile(pattern), Terms(name, commercial)) for pattern, name, commercial in _rows("data_licences.tsv"))


def _rows(name: str) -> list[list[str]]:
    return [line.split("\t") for line in resources.files("tunelab.hub").joinpath(f"known/{name}").read_text(encoding="utf-8").splitlines()[1:]]
