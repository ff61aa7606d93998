"""The lab notebook: one Markdown page of models in the form of the course lab's note, to be edited by a person, and a JSON file for each.

    models.md            ## Model 1: NAME, then the five fields, each with its evidence, and room for notes
    models/KEY.json      what was read, and what was written into each field: what differs from that is the person's and stays
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunelab.errors import StorageError, TunelabError, storage_errors
from tunelab.hub.evidence import Answer, Evidence
from tunelab.hub.sheet import ModelSheet
from tunelab.report.content import NoteField, NotePart
from tunelab.report.markdown import code, escaped, fenced
from tunelab.report.numbers import percent
from tunelab.report.sheets import hub_link
from tunelab.runs.store import read_json

PAGE, FOLDER = "models.md", "models"
NOTEBOOK = Path("notebook")
"""The notebook of the folder that one is in."""
LABELS: Mapping[str, str] = {
    "link": "Model Name/Link", "base_model": "Base Model (if specified)", "task": "Task it was fine-tuned for",
    "datasets": "Dataset used (if specified or inferable)", "example": "Example Prompt & Output (from model card, if available)"}
"""Field -> its label in the course lab."""
OWN = "My notes"
"""The label of the room that is the person's alone."""
HEAD = "# Models looked at\n\nEdit this page freely: `tunelab hub note` changes only what it wrote itself and nobody has changed since.\n"
_MARK = re.compile(r"<!-- tunelab model ([\w.-]{1,200}) -->\s*")
_FENCE = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})")
_NUMBER = re.compile(r"##[ \t]+Model[ \t]+(\d{1,6})\b")
_LABEL = re.compile(r"\*\*([^*]{1,80}):\*\*")
_KEPT, _LONGEST, _PLACES, _RIVALS = 4, 6000, 3, 2


@dataclass(frozen=True, slots=True)
class Entry:
    """What is to be written of a field: `text` without any markup, `markdown` with it and its evidence."""

    text: str
    evidence: tuple[str, ...]
    markdown: str


@dataclass(frozen=True, slots=True)
class Section:
    """A model's part of the page: lines `start` to `end` (from 0, behind the last); `fields`: label -> (first line, behind its last)."""

    key: str
    start: int
    end: int
    fields: Mapping[str, tuple[int, int]]

    def text(self, lines: Sequence[str], label: str) -> str | None:
        """What stands behind a label, None when the label is gone."""
        place = self.fields.get(label)
        if place is None:
            return None
        first = lines[place[0]].lstrip()[len(f"**{label}:**"):]
        return tidy("\n".join((first, *lines[place[0] + 1 : place[1]])))


def key_of(name: str, place: str, *, is_hub_id: bool) -> str:
    """What a model's note is known by, fit for a file name: of a Hub model its id, of any other its name and a hash of its place."""
    if is_hub_id:
        return re.sub(r"[^\w.-]", "-", name.replace("/", "--"), flags=re.ASCII).casefold()[:150]
    plain = re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-.")[:80] or "model"
    return f"{plain}-{hashlib.sha256(place.encode('utf-8', 'replace')).hexdigest()[:10]}"


def entries(sheet: ModelSheet, place: str) -> dict[str, Entry]:
    """The five fields of a sheet, by the names of LABELS."""
    link = hub_link(sheet.name, is_id=sheet.record.is_hub_id)
    named = Entry(link or f"{sheet.name} ({place})", (), f"[{escaped(sheet.name)}]({link})" if link else f"{escaped(sheet.name)} ({code(place)})")
    return {"link": named, **{name: _entry(getattr(sheet, name)) for name in ("base_model", "task", "datasets")}, "example": _example(sheet)}


def tidy(text: str) -> str:
    """A text without trailing spaces and without empty lines around it: what editors change unasked."""
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def sections(lines: Sequence[str]) -> list[Section]:
    """The models of a page, in its order. What stands in fences is text."""
    outside = [index for index, line in _outside(lines)]
    marks = [index for index in outside if _MARK.fullmatch(lines[index])]
    found = []
    for mark in marks:
        above = [index for index in range(mark - 1, -1, -1) if lines[index].strip()][:1]
        start = above[0] if above and lines[above[0]].startswith("## ") else mark
        end = next((index for index in outside if index > mark and (index in marks or re.match(r"#{1,2}[ \t]", lines[index]))), len(lines))
        labels = [(index, match[1]) for index in outside if mark < index < end and (match := _LABEL.match(lines[index].lstrip()))
                  and match[1] in (*LABELS.values(), OWN)]
        bounds = [*(index for index, _ in labels[1:]), end]
        fields: dict[str, tuple[int, int]] = {}
        for (index, label), until in zip(labels, bounds, strict=False):
            fields.setdefault(label, (index, until))
        match = _MARK.fullmatch(lines[mark])
        found.append(Section(match[1] if match else "", start, end, fields))
    return found


def read_page(notebook: Path) -> str:
    """The page's text, "" when there is none. Raises StorageError when it is not UTF-8 text or cannot be read."""
    path = notebook / PAGE
    if not path.exists():
        return ""
    with storage_errors(path, "Reading the notebook", "Check the path."):
        content = path.read_bytes()
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise StorageError("The notebook's page is not UTF-8 text, so that it is left as it is.", where=f"{path}:{content[: error.start].count(10) + 1}",
                           next_step="Save it as UTF-8 in your editor, then run the command again.") from None


def read_kept(notebook: Path, key: str) -> dict[str, Any]:
    """The JSON beside a model's note; an empty mapping when there is none, or when it is damaged (then all of the note is the person's)."""
    path = notebook / FOLDER / f"{key}.json"
    try:
        kept = read_json(path) if path.is_file() else {}
    except TunelabError:
        kept = {}
    return kept if isinstance(kept, dict) else {}


def written(kept: Mapping[str, Any], name: str) -> list[str]:
    """The texts that were last written into a field, the newest first."""
    texts = _field(kept, name).get("written")
    return [one for one in texts if isinstance(one, str)] if isinstance(texts, list) else []


def new_section(page: str, key: str, name: str, found: Mapping[str, Entry]) -> str:
    """The page with one more model at its end."""
    lines = page.split("\n")
    number = 1 + max((int(match[1]) for _, line in _outside(lines) if (match := _NUMBER.match(line))), default=0)
    body = [f"## Model {number}: {escaped(name)}", f"<!-- tunelab model {key} -->"]
    body += [behind_label(LABELS[field], one.markdown) for field, one in found.items()]
    open_fence = _open_fence(lines)
    before = (page.rstrip("\n") + (f"\n{open_fence}" if open_fence else "")).strip("\n") or HEAD.rstrip("\n")
    return f"{before}\n\n" + "\n\n".join([f"{body[0]}\n{body[1]}", *body[2:], f"**{OWN}:**"]) + "\n"


def behind_label(label: str, markdown: str) -> str:
    """A field as it stands on the page."""
    return f"**{label}:** {markdown}" if not markdown.startswith(("Prompt:", "```")) else f"**{label}:**\n\n{markdown}"


def kept_fields(found: Mapping[str, Entry], before: Mapping[str, Any]) -> dict[str, Any]:
    """The fields as the JSON beside the note holds them: earlier texts stay known, so that a write that was cut short does no harm."""
    return {name: {"label": LABELS[name], "text": one.text, "evidence": list(one.evidence),
                   "written": list(dict.fromkeys((tidy(one.markdown), *written(before, name))))[:_KEPT]} for name, one in found.items()}


def read_notes(notebook: Path) -> tuple[NotePart, ...]:
    """The notes of a notebook for a report, in the order of its page. Raises StorageError."""
    lines = read_page(notebook).split("\n")
    return tuple(_part(notebook, section, lines) for section in sections(lines))


def _part(notebook: Path, section: Section, lines: Sequence[str]) -> NotePart:
    kept = read_kept(notebook, section.key)
    fields = []
    for name, label in LABELS.items():
        text = section.text(lines, label)
        if text is None:
            continue
        said = _field(kept, name)
        edited = text not in written(kept, name)
        evidence = tuple(str(one) for one in said.get("evidence") or ()) if not edited else ()
        fields.append(NoteField(label, text if edited else str(said.get("text", "")), evidence, edited))
    title = re.sub(r"##[ \t]*(?:Model[ \t]*\d*[ \t]*:)?[ \t]*", "", lines[section.start], count=1) if lines[section.start].startswith("## ") else ""
    name = str(kept.get("name") or "") or title or section.key
    link = hub_link(name) if kept.get("link") else None
    return NotePart(name, link or "", tuple(fields), section.text(lines, OWN) or "")


def _field(kept: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    fields = kept.get("fields")
    one = fields.get(name) if isinstance(fields, dict) else None
    return one if isinstance(one, dict) else {}


def _entry(answer: Answer) -> Entry:
    value = "; ".join(answer.values) or "not stated"
    shown = "; ".join(escaped(one) for one in answer.values) or "not stated"
    several = len(answer.stated) > 1
    lines, plain = [], []
    for one in answer.stated:
        for evidence in one.evidence[:_PLACES]:
            lines.append(f"- {escaped(one.value) + ': ' if several else ''}{_said(evidence)} ({percent(round(one.confidence, 2))})")
            plain.append(f"{one.value + ': ' if several else ''}{evidence.place}: {evidence.quote}")
    for one in answer.candidates[len(answer.stated):][:_RIVALS]:
        where = f": {_said(one.evidence[0])}" if one.evidence else ""
        lines.append(f"- less sure: {escaped(one.value)} ({percent(round(one.confidence, 2))}){where}")
    return Entry(value, tuple(plain), tidy("\n".join((shown, "", *lines))))


def _example(sheet: ModelSheet) -> Entry:
    if not sheet.examples:
        return Entry("not stated", (), "not stated")
    one = sheet.examples[0]
    output = "(not shown)" if one.output is None else one.output
    place = f"{one.evidence.place} ({percent(round(one.confidence, 2))})"
    markdown = ["Prompt:", "", fenced(_cut(one.prompt), "text"), "", "Output:", "",
                fenced(_cut(output), "text") if one.output is not None else "not shown", "", f"- {escaped(place)}"]
    return Entry(f"Prompt:\n{_cut(one.prompt)}\n\nOutput:\n{_cut(output)}", (one.evidence.place,), tidy("\n".join(markdown)))


def _said(one: Evidence) -> str:
    return f"{escaped(one.place)}, {code(one.quote)}"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} … ({len(text):,} characters)"


def _outside(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    """(index, line) of the lines that do not stand in a fence."""
    return ((index, line) for index, (line, fence) in enumerate(zip(lines, _fences(lines), strict=True)) if not fence)


def _open_fence(lines: Sequence[str]) -> str:
    """The fence that nobody closes, "" when there is none."""
    return _fences([*lines, ""])[-1]


def _fences(lines: Sequence[str]) -> list[str]:
    """For each line the fence that it stands in, or is; "" outside."""
    fence, found = "", []
    for line in lines:
        match = _FENCE.match(line)
        found.append(fence or (match[1] if match else ""))
        if fence:
            closes = match is not None and match[1].startswith(fence) and not line.strip().strip(fence[0])
            fence = "" if closes else fence
        elif match:
            fence = match[1]
    return found
