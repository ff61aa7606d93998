"""A comparison as pages: the part of a report that shows it, and the same as one HTML or Markdown file of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunelab.comparison import GroupVerdict, Record
from tunelab.report import build
from tunelab.report.content import ComparisonPart, Estimate, GroupPart, Observation, OtherAnswer, PairPart, SideBySide
from tunelab.report.html import render_comparison_html
from tunelab.report.markdown import render_comparison_markdown
from tunelab.runs.store import write_text
from tunelab.workflow.compare import Compared

SHOWN_PROMPTS = 6
"""How many prompts an observation names; the answers themselves are all there."""


def write_pages(compared: Compared, *, html: Path | None = None, markdown: Path | None = None) -> None:
    """Write the comparison as one HTML file, as Markdown, or both. Raises StorageError."""
    part = comparison_part(compared)
    content = SideBySide(f"{part.base} and {part.tuned}", part)
    if html is not None:
        write_text(html, render_comparison_html(content))
    if markdown is not None:
        write_text(markdown, render_comparison_markdown(content))


def comparison_part(compared: Compared) -> ComparisonPart:
    """A comparison as the pages show it."""
    sides = compared.sides
    sampling = compared.comparison.sampling
    settings = [("answers", "greedy" if sampling.temperature == 0 else f"temperature {sampling.temperature:g}, seed {sampling.seed}"),
                ("longest answer", f"{sampling.max_new_tokens} tokens")]
    if sampling.samples > 1:
        settings.append(("answers to each prompt", str(sampling.samples)))
    settings.extend((key, str(value)) for key, value in sides["tuned"].items() if key in {"dtype", "device", "runner"})
    observations = (*(Observation(one.sentence, (*one.lost[:SHOWN_PROMPTS // 2], *one.won[:SHOWN_PROMPTS // 2])) for one in compared.preferences),
                    *(Observation(one.text, one.prompt_ids[:SHOWN_PROMPTS]) for one in compared.observations))
    return ComparisonPart(_side(sides["base"]), _side(sides["tuned"]), tuple(_group(one, compared) for one in compared.verdicts),
                          tuple(_pair(one) for one in compared.comparison.records), observations, compared.warnings, tuple(settings))


def _side(facts: Mapping[str, Any]) -> str:
    adapter = f" + adapter {facts['adapter']}" if facts.get("adapter") and facts.get("name") != "base" else ""
    return f"{facts.get('model', facts.get('name', ''))}{adapter}"


def _group(verdict: GroupVerdict, compared: Compared) -> GroupPart:
    outcomes = [record.outcome for record in compared.comparison.records if record.prompt.group == verdict.group]
    graded = verdict.n > 0
    return GroupPart(
        group=verdict.group, verdict=verdict.word, sentence=verdict.sentence, n=verdict.n,
        base=Estimate(verdict.base_rate, *verdict.base_interval) if graded else None,
        tuned=Estimate(verdict.tuned_rate, *verdict.tuned_interval) if graded else None,
        difference=Estimate(verdict.difference, *verdict.difference_interval) if graded else None,
        p_value=verdict.p if graded else None, won=len(verdict.won), lost=len(verdict.lost), both=outcomes.count("both"),
        neither=outcomes.count("neither"), not_graded=verdict.ungraded, examples=(*verdict.lost[:3], *verdict.won[:3]))


def _pair(record: Record) -> PairPart:
    before, prompt = build.split_prompt(record.prompt.messages)
    grader = record.prompt.grader or {}
    expected = grader.get("expected")
    outcome: Any = "not graded" if record.outcome == "ungraded" else record.outcome
    base, tuned = record.base, record.tuned
    more = tuple(OtherAnswer(_called(side, one.answer.sample), one.answer.text, one.grade.passed, one.grade.reason, one.answer.stop)
                 for side, rest in record.more.items() for one in rest)
    return PairPart(
        id=record.prompt.id, group=record.prompt.group, prompt=prompt, base=base.text if base else "", tuned=tuned.text if tuned else "",
        outcome=outcome, before=before, expected=expected if expected is None or isinstance(expected, str) else json.dumps(expected),
        base_passed=record.base_grade.passed if record.base_grade else None,
        tuned_passed=record.tuned_grade.passed if record.tuned_grade else None,
        base_reason=record.base_grade.reason if record.base_grade else "", tuned_reason=record.tuned_grade.reason if record.tuned_grade else "",
        base_stop=base.stop if base else "error", tuned_stop=tuned.stop if tuned else "error", more=more)


def _called(side: str, sample: int) -> str:
    return f"{side}, sample {sample + 1}" if sample else side
