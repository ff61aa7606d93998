"""Write the generated pages: docs/cli.md, docs/config.md and config/, docs/rules.md and rules/. `--check` only says whether they are stale."""

from __future__ import annotations

import sys
from pathlib import Path

from typer._click import Context  # typer's own copy of click; it offers no public name for the context that its docs need
from typer.cli import get_docs_for_click
from typer.main import get_command

from tunelab.cli.main import app
from tunelab.config.catalogue import FIRST, Key, catalogue
from tunelab.config.setting import Support
from tunelab.planning.rules import all_rules
from tunelab.runs.doctor import AILMENTS

DOCS = Path(__file__).parent.parent / "docs"
NOTE = "<!-- Written by `make docs`; do not edit. -->\n\n"


def cli_page() -> str:
    """Every command with its arguments, options and examples, as `--help` says it."""
    command = get_command(app)
    return NOTE + get_docs_for_click(obj=command, ctx=Context(command), name="tunelab").strip() + "\n"


def config_pages() -> dict[str, str]:
    """An index, the fifteen of the course lab first, and a page for each section and each room of the key table."""
    keys = catalogue()
    rooms: dict[str, list[Key]] = {}
    for key in keys.values():
        rooms.setdefault(key.section, []).append(key)
    first = [f"[`{name}`](config/{keys[name].section}.md#{_anchor(name)})" for name in FIRST]
    lines = [NOTE + "# Settings", "", f"The {len(keys)} keys of the dialect, as `tunelab explain KEY` tells them. "
             "*Honoured*: a run acts on it. *Understood, not acted on*: it is checked and explained, and `check` says what follows.", "",
             f"The fifteen that the course lab asks about: {', '.join(first)}.",
             "", "| page | keys | honoured | understood | removed |", "|---|---|---|---|---|"]
    for room, found in rooms.items():
        counts = [sum(key.setting.support in group for key in found) for group in
                  ((Support.HONOURED, Support.ON_HARDWARE), (Support.UNDERSTOOD,), (Support.REMOVED,))]
        lines.append(f"| [{room}](config/{room}.md) | {len(found)} | {' | '.join(str(count) for count in counts)} |")
    pages = {"config.md": "\n".join(lines) + "\n"}
    for room, found in rooms.items():
        pages[f"config/{room}.md"] = NOTE + f"# Settings: {room}\n\n" + "\n".join(_setting(key) for key in found)
    return pages


def rules_pages() -> dict[str, str]:
    """An index, and a page for each rule."""
    lines = [NOTE + "# Rules", "", "What `tunelab check` looks for. An *error* says the config is wrong; *blocked*, that this version or this "
             "machine cannot run it; a *warning*, that it runs and probably not as meant; a *note*, that something happens that the file does not "
             "say.", "",
             "Choose with `--select` and `--ignore` (codes or their beginning), or in the file: `# tunelab: ignore TL301` at the end of a line or "
             "above it, `# tunelab: ignore-file TL301` for the whole file.", "", "| rule | severity | | safe fix |", "|---|---|---|---|"]
    pages = {}
    for rule in all_rules():
        lines.append(f"| [{rule.code}](rules/{rule.code}.md) | {rule.severity} | {rule.title} | {'yes' if rule.safe else ''} |")
        bad = "\n".join(f"```yaml\n{one}\n```\n" for one in rule.bad)
        safe = ", with a safe fix" if rule.safe else ""
        pages[f"rules/{rule.code}.md"] = (NOTE + f"# {rule.code}: {rule.title}\n\n*{rule.severity}*{safe}\n\n{rule.why}\n\n"
                                          f"Bad:\n\n{bad}\nGood:\n\n```yaml\n{rule.good}\n```\n\n[All rules](../rules.md)\n")
    return {"rules.md": "\n".join(lines) + "\n", **pages}


def doctor_page() -> str:
    """Every ailment: what is looked for, why it matters, what to do."""
    lines = [NOTE + "# What the doctor looks for", "", "Found while a run goes on (in its log and its events) and afterwards by `tunelab doctor RUN`. "
             "Each finding comes with the numbers that show it and, where a setting mends it, with the edit.", ""]
    for one in (AILMENTS[code] for code in sorted(AILMENTS)):
        lines += [f"## {one.code}: {one.title}", "", f"*{one.severity}*. Looks for {one.looks_for}.", "", one.why, "", f"What to do: {one.advice}", ""]
    return "\n".join(lines)


def _anchor(name: str) -> str:
    return name.replace(".", "").replace("[]", "")


def _setting(key: Key) -> str:
    words = key.setting
    default = "required" if key.required else f"default `{key.default}`"
    lines = [f"## `{key.name}`", "", f"{words.says}", "", f"- takes {key.takes}; {default}", f"- {words.effect}"]
    if words.typical:
        lines.append(f"- typical: {words.typical}")
    if words.interacts:
        lines.append(f"- interacts with {', '.join(f'`{name}`' for name in words.interacts)}")
    lines.append(f"- {words.support}{f' ({words.hardware})' if words.hardware else ''}{f'; {key.status}' if key.status else ''}"
                 f"{f', use `{key.replaced_by}`' if key.replaced_by else ''}{f'; of the plugin {key.plugin}' if key.plugin else ''}")
    if words.example:
        lines += ["", "```yaml", words.example, "```"]
    return "\n".join([*lines, ""])


def pages() -> dict[str, str]:
    """Every generated page by its path below docs/."""
    return {"cli.md": cli_page(), "doctor.md": doctor_page(), **config_pages(), **rules_pages()}


def main() -> int:
    """Write or check the pages; 1 when a checked page is stale."""
    wanted = pages()
    stale = [name for name, text in wanted.items() if not (DOCS / name).exists() or (DOCS / name).read_text(encoding="utf-8") != text]
    gone = [path for folder in ("config", "rules") for path in (DOCS / folder).glob("*.md") if f"{folder}/{path.name}" not in wanted]
    if "--check" in sys.argv:
        if stale or gone:
            print(f"stale: {', '.join([*stale, *(path.name for path in gone)])}; write them with `make docs`")
        return int(bool(stale or gone))
    for name in stale:
        (DOCS / name).parent.mkdir(parents=True, exist_ok=True)
        (DOCS / name).write_text(wanted[name], encoding="utf-8")
    for path in gone:
        path.unlink()
    print(f"{len(stale)} pages written, {len(gone)} removed, of {len(wanted)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
