"""check: everything there is to say about a config, at once; and the edits that are safe to make."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tunelab.config.finding import Finding, Severity, errors_of, stops_of
from tunelab.config.mend import mend
from tunelab.config.selection import choose
from tunelab.errors import ConfigError, UsageError
from tunelab.facts.machine import Machine, read_machine
from tunelab.planning.rules import Rule, all_rules
from tunelab.runs.store import write_text
from tunelab.workflow.opening import open_config

_ROUNDS = 5  # edits of one place are made one after the other


@dataclass(frozen=True, slots=True)
class Checked:
    """All findings on a config, by line. `ok`: the config is right; `runs`: this version on this machine can run it as well."""

    path: str
    ok: bool
    runs: bool
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Fixed:
    """What `--fix` did to a file, and what is left to say about it."""

    applied: tuple[Finding, ...]
    checked: Checked


def check(path: str, select: Sequence[str] = (), ignore: Sequence[str] = (), *, machine: Machine | None = None, stand_ins: bool = False) -> Checked:
    """Check a config without fetching or running anything. Raises ConfigError when the file is no YAML mapping, UsageError for an
    unknown code. `stand_ins`: judge the config as a run that may take them would."""
    _known(select, ignore)
    findings = choose(open_config(path, machine=machine, allow_stand_ins=stand_ins).findings, select, ignore)
    return Checked(path, not errors_of(findings), not stops_of(findings), findings)


def check_all(paths: Sequence[str], select: Sequence[str] = (), ignore: Sequence[str] = (), *, stand_ins: bool = False) -> tuple[Checked, ...]:
    """Check several configs; the machine is looked at once. Of several, a file that is no YAML mapping is a finding (TL100) and the others
    are checked all the same; a single one raises as `check` does."""
    machine = read_machine()
    if len(paths) == 1:
        return (check(paths[0], select, ignore, machine=machine, stand_ins=stand_ins),)
    _known(select, ignore)
    return tuple(_check_or_say(path, select, ignore, machine, stand_ins) for path in paths)


def _check_or_say(path: str, select: Sequence[str], ignore: Sequence[str], machine: Machine, stand_ins: bool) -> Checked:
    try:
        return check(path, select, ignore, machine=machine, stand_ins=stand_ins)
    except ConfigError as error:
        place = re.search(r":(\d+)(?::(\d+))?$", str(error.where or ""))
        line, column = (int(place[1]), int(place[2] or 1)) if place else (None, None)
        finding = Finding("TL100", Severity.ERROR, error.message, "", line, column, fix=error.next_step or "")
        return Checked(path, False, False, (finding,))


def fix(path: str, select: Sequence[str] = (), ignore: Sequence[str] = (), *, unsafe: bool = False) -> Fixed:
    """Make every safe edit (with `unsafe` every edit) and write the file whole or not at all. Raises as `check`."""
    _known(select, ignore)
    applied: list[Finding] = []
    for _ in range(_ROUNDS):
        opened = open_config(path)
        mended = mend(opened.source, choose(opened.findings, select, ignore), unsafe=unsafe)
        if not mended.applied:
            break
        has_mark = Path(path).read_bytes().startswith(b"\xef\xbb\xbf")
        write_text(Path(path), ("\ufeff" if has_mark else "") + mended.text)
        applied.extend(mended.applied)
    return Fixed(tuple(applied), check(path, select, ignore))


def rule_of(code: str) -> Rule:
    """A rule by its code. Raises UsageError."""
    found = next((one for one in all_rules() if one.code == code.upper()), None)
    if found is None:
        raise UsageError(f"There is no rule {code}.", next_step="tunelab rule lists them all")
    return found


def _known(*groups: Sequence[str]) -> None:
    codes = [rule.code for rule in all_rules()]
    for code in (one for group in groups for one in group):
        if not any(known.startswith(code.upper()) for known in codes):
            raise UsageError(f"No rule's code begins with {code}.", next_step="tunelab rule lists them all")
