"""Which findings are shown: `--select` and `--ignore` by code or its beginning, and comments in the YAML.

`# tunelab: ignore TL301` at the end of a line is about that line, on a line of its own about the next one, and
`# tunelab: ignore-file TL301` about the whole file. What the text itself says wrong (TL101 to TL104, TL110) cannot be ignored: there is
no value to go on with.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tunelab.config.finding import Finding, Severity
from tunelab.config.source import Source

ALWAYS = frozenset({"TL101", "TL102", "TL103", "TL104", "TL110"})
_COMMENT = re.compile(r"#\s*tunelab:\s*(ignore-file|ignore)\b[ :]*([A-Za-z0-9, ]*)")


def choose(findings: Iterable[Finding], select: Sequence[str] = (), ignore: Sequence[str] = ()) -> tuple[Finding, ...]:
    """The findings whose code begins with one of `select` (all, when empty) and with none of `ignore`."""
    wanted, unwanted = tuple(one.upper() for one in select), tuple(one.upper() for one in ignore)
    return tuple(one for one in findings if (not wanted or one.code.startswith(wanted))
                 and (one.code in ALWAYS or not (unwanted and one.code.startswith(unwanted))))


def without_ignored(source: Source, findings: Sequence[Finding], codes: Iterable[str]) -> tuple[Finding, ...]:
    """The findings without those that comments in the file ignore; a comment with an unknown code is itself a finding (TL114)."""
    comments = list(_comments(source))
    if not comments:
        return tuple(findings)
    known = tuple(codes)
    bad = [Finding("TL114", Severity.WARNING, f"The comment ignores `{code}`, and there is no such rule.", "", line, 1,
                   fix="tunelab rule lists all codes")
           for _, line, names in comments for code in names if not any(one.startswith(code) for one in known)]
    kept = [one for one in findings if one.code in ALWAYS or not any(
        one.code.startswith(names) and (target is None or one.line == target) for target, _, names in comments if names)]
    return tuple(sorted([*kept, *bad], key=lambda one: (one.line or 0, one.code)))


def _comments(source: Source) -> Iterable[tuple[int | None, int, tuple[str, ...]]]:
    """(line it is about or None for the file, its own line, codes) of each comment."""
    if "tunelab:" not in source.text:
        return
    for number, line in enumerate(source.text.splitlines(), start=1):
        match = _COMMENT.search(line)
        if match is None or line[: match.start()].count("'") % 2 or line[: match.start()].count('"') % 2:
            continue
        names = tuple(one.upper() for one in re.split(r"[,\s]+", match[2]) if one)
        own_line = not line[: match.start()].strip()
        yield (None if match[1] == "ignore-file" else number + 1 if own_line else number), number, names
