"""The settings as written: before types and defaults, with the questions that a rule asks of them.

A rule of the dialect is about what the file says; `lr_groups: []` and an absent `lr_groups` are then the same ("not truthy"),
while a default that nobody wrote is not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Raw:
    """The root mapping of a config file. Keys are dotted: "fsdp_config.version". A bare `key:` counts as not written."""

    values: Mapping[str, Any]

    def get(self, key: str, default: Any = None) -> Any:
        """The written value, or `default` when the key (or a parent) is not written or is null."""
        value: Any = self.values
        for part in key.split(".") if "." in key else (key,):
            if not isinstance(value, dict):
                return default
            value = value.get(part)
        return default if value is None else value

    def written(self, *keys: str) -> bool:
        """Whether every one of these keys has a value."""
        return all(self.get(key) is not None for key in keys)

    def truthy(self, *keys: str) -> bool:
        """Whether every one of these keys has a value that is not false, 0, "" or empty."""
        return all(self.get(key) for key in keys)

    def first(self, *keys: str) -> str | None:
        """The first of these keys with a truthy value."""
        return next((key for key in keys if self.truthy(key)), None)

    def number(self, key: str, default: float | None = None) -> float | None:
        """The value as a number ("2e-4" is one), or `default` when it is none."""
        value = self.get(key)
        if isinstance(value, (int, float, str)) and not isinstance(value, bool):
            try:
                return float(value)
            except ValueError:
                return default
        return default

    def text(self, key: str) -> str:
        """The value when it is text, else ""."""
        value = self.get(key)
        return value if isinstance(value, str) else ""

    def items(self, key: str) -> list[tuple[int, Mapping[str, Any]]]:
        """(index, mapping) of each mapping in a list such as `datasets`."""
        value = self.get(key)
        return [(index, one) for index, one in enumerate(value) if isinstance(one, Mapping)] if isinstance(value, list) else []
