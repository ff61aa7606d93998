"""What the user asked for: an Axolotl YAML with line numbers -> typed, frozen sections; and the catalogue of its keys.

The names here are loaded when they are first asked for: commands that read no config (help, hub) need not wait for the sections.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunelab.config.config import Config, Reading, read_config
    from tunelab.config.finding import Finding, Severity

__all__ = ["Config", "Finding", "Reading", "Severity", "read_config"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{'finding' if name in ('Finding', 'Severity') else 'config'}"), name)
