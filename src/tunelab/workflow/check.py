"""check: everything there is to say about a config, at once."""

from __future__ import annotations

from dataclasses import dataclass

from tunelab.config.finding import Finding, errors_of
from tunelab.workflow.opening import open_config


@dataclass(frozen=True, slots=True)
class Checked:
    """All findings on a config, by line. `ok`: nothing stops a run."""

    path: str
    ok: bool
    findings: tuple[Finding, ...]


def check(path: str) -> Checked:
    """Check a config without fetching or running anything. Raises ConfigError when the file is no YAML mapping."""
    findings = open_config(path).findings
    return Checked(path, not errors_of(findings), findings)
