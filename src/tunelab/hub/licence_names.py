"""Licences by the Hub's identifiers, from the many ways in which cards write them (known/licences.tsv)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources

_NOISE = re.compile(r"[\s_,;:()\"'`*/-]+")
_VERSION = re.compile(r"\b(?:version|v)\.?\s*(?=\d)")


def hub_licence(text: str) -> str | None:
    """The Hub's identifier of a licence named in a text of a few words ("Apache License, Version 2.0"); None when it is none of them."""
    said = _flat(text)
    known = _known()
    for form in (said, said.removesuffix(" license").removesuffix(" licence"), said.removeprefix("the "), said.removeprefix("the ").removesuffix(" license")):
        if form in known:
            return known[form]
    return None


def _flat(text: str) -> str:
    flat = _VERSION.sub("", _NOISE.sub(" ", text.strip().lower().replace("licence", "license").replace("http://", "").replace("https://", ""))).strip(" .")
    return re.sub(r"(?<=\d)\.0\.0\Z", ".0", flat)


@cache
def _known() -> Mapping[str, str]:
    lines = resources.files("tunelab.hub").joinpath("known", "licences.tsv").read_text(encoding="utf-8").splitlines()[1:]
    found: dict[str, str] = {}
    for name, _, also in (line.partition("\t") for line in lines):
        for one in (name, *also.split("|")):
            found.setdefault(_flat(one), name)
    return found


IN_TEXT = re.compile(
    r"apache(?: license,? ?| software license,? ?|-| )?(?:\(?version ?|v)?2(?:\.0)?\b|\bmit(?:[ -]licen[sc]e)\b|\bcc[- ]by(?:[- ](?:nc|sa|nd)){0,3}(?:[- ]\d\.\d)?\b|\bcc0(?:[- ]1\.0)?\b|\b(?:gnu )?[al]?gpl[- ]?v?[23](?:\.[01])?\b|\bbsd[- ][23][- ]clause\b|"
    r"\b(?:meta )?llama[- ]?[234](?:\.\d)? (?:community )?licen[sc]e\b|\bgemma (?:terms of use|licen[sc]e)\b|\bbigscience[- ](?:bloom[- ])?rail[- ]1\.0\b|\b(?:bigcode|bigscience|creativeml)[- ]open ?rail(?:\+\+)?[- ]m\b|\bopenrail\+\+|\bmozilla public license 2\.0\b|"
    r"\bcreative commons attribution(?:[- ](?:non-?commercial|share-?alike|no-?derivatives)){0,3} \d\.\d\b|\bpublic domain\b|\bunlicense\b|\bwtfpl\b", re.IGNORECASE)
"""What names a licence in running text."""
