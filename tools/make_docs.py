"""Write the generated pages: docs/cli.md, docs/config.md, docs/rules.md. `--check` only says whether they are up to date."""

from __future__ import annotations

import sys
from pathlib import Path

from typer._click import Context  # typer's own copy of click; it offers no public name for the context that its docs need
from typer.cli import get_docs_for_click
from typer.main import get_command

from tunelab.cli.main import app
from tunelab.config.catalogue import FIRST, Key, catalogue
from tunelab.planning.rules import all_rules

DOCS = Path(__file__).parent.parent / "docs"
NOTE = "<!-- Written by `make docs`; do not edit. -->\n\n"


def cli_page() -> str:
    """Every command with its arguments, options and examples, as `--help` says it."""
    command = get_command(app)
    return NOTE + get_docs_for_click(obj=command, ctx=Context(command), name="tunelab").strip() + "\n"


def config_page() -> str:
    """Every setting, the fifteen of the course lab first."""
    keys = catalogue()
    ordered = [keys[name] for name in FIRST] + [key for name, key in keys.items() if name not in FIRST]
    parts = [NOTE + "# Settings\n\nThe keys of a fine-tuning config that tunelab acts on, as `tunelab explain KEY` tells them.\n"]
    parts.extend(_setting(key) for key in ordered)
    return "\n".join(parts)


def rules_page() -> str:
    """Every rule of `tunelab check`."""
    parts = [NOTE + "# Rules\n\nWhat `tunelab check` looks for beyond the single key. Errors stop a run; warnings and notes do not.\n"]
    for rule in all_rules():
        parts.append(f"## {rule.code}: {rule.title}\n\n*{rule.severity}.* {rule.why}\n\nBad:\n\n```yaml\n{rule.bad.strip()}\n```\n\n"
                     f"Good:\n\n```yaml\n{rule.good.strip()}\n```\n")
    return "\n".join(parts)


def _setting(key: Key) -> str:
    words = key.setting
    default = "required" if key.required else f"default `{key.default}`"
    lines = [f"## `{key.name}`", "", f"{words.says}", "", f"- takes {key.takes}; {default}", f"- {words.effect}"]
    if words.typical:
        lines.append(f"- typical: {words.typical}")
    if words.interacts:
        lines.append(f"- interacts with {', '.join(f'`{name}`' for name in words.interacts)}")
    if words.example:
        lines.append(f"- example: `{words.example}`")
    lines.append(f"- {words.support}{f' ({words.hardware})' if words.hardware else ''}")
    return "\n".join([*lines, ""])


PAGES = {"cli.md": cli_page, "config.md": config_page, "rules.md": rules_page}


def main() -> int:
    """Write or check the pages; 1 when a checked page is stale."""
    stale = [name for name, page in PAGES.items() if not (DOCS / name).exists() or (DOCS / name).read_text(encoding="utf-8") != page()]
    if "--check" in sys.argv:
        if stale:
            print(f"stale: {', '.join(stale)}; write them with `make docs`")
        return int(bool(stale))
    DOCS.mkdir(exist_ok=True)
    for name in stale:
        (DOCS / name).write_text(PAGES[name](), encoding="utf-8")
        print(f"written: docs/{name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
