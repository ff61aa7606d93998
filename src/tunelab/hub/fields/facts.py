"""Licence, languages, size and file format."""

from __future__ import annotations

from tunelab.hub.evidence import NOT_STATED, Answer
from tunelab.hub.record import ModelRecord


def read_licence(record: ModelRecord) -> Answer:
    """The licence, as the Hub's identifier where it is one."""
    return NOT_STATED


def read_languages(record: ModelRecord) -> Answer:
    """Languages as ISO 639 codes."""
    return NOT_STATED


def read_size(record: ModelRecord) -> Answer:
    """How many parameters: "7.24B"."""
    return NOT_STATED


def read_format(record: ModelRecord) -> Answer:
    """safetensors, PyTorch (pickle), GGUF, GPTQ, AWQ, ...: with the precision where it is known."""
    return NOT_STATED
