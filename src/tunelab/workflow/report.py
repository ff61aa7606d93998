"""report: one report of a run, its comparison and the models in the lab notebook, written as HTML, Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tunelab import __version__
from tunelab.errors import FolderError, TunelabError, UsageError
from tunelab.report import build
from tunelab.report.content import ComparisonPart, Content, Notebook, NotePart, as_json
from tunelab.report.html import render_html, render_notebook_html
from tunelab.report.markdown import render_markdown, render_notebook_markdown
from tunelab.report.notebook import NOTEBOOK, PAGE, read_notes
from tunelab.runs.folder import RunFolder
from tunelab.runs.store import write_text
from tunelab.workflow.compare import Compared, open_comparison
from tunelab.workflow.explain import explain
from tunelab.workflow.side_by_side import comparison_part


@dataclass(frozen=True, slots=True)
class Reported:
    """The files that were written."""

    html: Path
    markdown: Path
    json: Path


def report(run: Path | None = None, *, comparison: Path | None = None, out: Path | None = None, notebook: Path | None = None) -> Reported:
    """Write report.html, report.md and report.json into `out` (default: the run's folder, without a run the notebook's).

    `notebook`: a lab notebook whose models are a part of it (default: NOTEBOOK, where there is one). Raises FolderError when there is no run or
    no notebook, StorageError when files are damaged or cannot be written, UsageError when there is nothing to report.
    """
    notes = _notes(notebook)
    if run is None:
        if comparison is not None or not notes:
            raise UsageError("Nothing to report: no run was given" + ("." if comparison is not None else ", and there is no note of a model."),
                             next_step="Give the output_dir of a run; or note a model first: tunelab hub note MODEL")
        content = Notebook(f"{len(notes)} model{'s' if len(notes) > 1 else ''} looked at", _today(), __version__, notes)
        return _written(out or notebook or NOTEBOOK, content, render_notebook_html(content), render_notebook_markdown(content))
    folder, target = RunFolder(run), out or run
    compared = open_comparison(comparison) if comparison is not None else None
    whole = replace(make_content(folder, compared, target), notes=notes)
    return _written(target, whole, render_html(whole), render_markdown(whole))


def _written(target: Path, content: Content | Notebook, html: str, markdown: str) -> Reported:
    files = Reported(target / "report.html", target / "report.md", target / "report.json")
    write_text(files.html, html)
    write_text(files.markdown, markdown)
    write_text(files.json, json.dumps(as_json(content), ensure_ascii=False, indent=1) + "\n")
    return files


def _notes(notebook: Path | None) -> tuple[NotePart, ...]:
    """The models of the notebook that was asked for, or of the usual one where it is. Raises FolderError, StorageError."""
    folder = notebook or NOTEBOOK
    if (folder / PAGE).is_file():
        return read_notes(folder)
    if notebook is not None:
        raise FolderError(f"This is no lab notebook (it has no {PAGE}).", where=str(notebook),
                          next_step=f"Note a model first: tunelab hub note MODEL --notebook {notebook}")
    return ()


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def make_content(folder: RunFolder, compared: Compared | None, beside: Path) -> Content:
    """All that the report says of a run, before it is put into any form."""
    manifest = folder.manifest()
    training = build.training_part(folder)
    part = comparison_part(compared) if compared is not None else None
    name = str((build.origin_part(manifest) or {}).get("model", "the base model"))
    return Content(
        title=f"Fine-tuning {Path(name).name or name}", made=_today(), tunelab=__version__,
        summary=_summary(manifest, name, part), config=_config_part(folder, manifest), training=training, plan=build.plan_part(manifest),
        rows=build.preview_part(folder), comparison=part, origin=build.origin_part(manifest),
        sources=build.source_parts(folder, beside, compared.path if compared else None))


def _config_part(folder: RunFolder, manifest: Mapping[str, Any]) -> Any:
    """The config explained again; when its model or data are gone by now, explained as far as that goes."""
    text = folder.config_path.read_text(encoding="utf-8") if folder.config_path.exists() else ""
    shown = Path(str((manifest.get("config") or {}).get("path", "config.yml"))).name
    try:
        explanations = explain(str(folder.config_path)).explanations
    except TunelabError:
        explanations = ()
    return build.config_part(shown, text, explanations, manifest.get("findings") or ())


def _summary(manifest: Mapping[str, Any], name: str, comparison: ComparisonPart | None) -> tuple[str, ...]:
    """Two to four sentences: what was tuned on what, at what cost, with what effect."""
    sections = manifest["config"]["sections"]
    counts, measured, plan = manifest["data"]["counts"], manifest.get("measured") or {}, manifest.get("plan") or {}
    method = {"lora": "a LoRA adapter", "qlora": "a QLoRA adapter"}.get(sections["adapter"]["adapter"] or "", "all weights")
    share = f" ({plan['trainable']:,} parameters, {plan['share']:.1%} of the model)" if plan.get("share") else ""
    said = [f"{method[0].upper()}{method[1:]} of {name}{share} was trained on {counts['kept'] - counts['held_out']:,} rows."]
    if measured:
        said.append(f"It took {measured['steps']:,} steps and {measured['seconds'] / 60:.1f} minutes, {measured['tokens']:,} tokens at "
                    f"{measured['tokens_per_second']:,.0f} tokens per second, with {measured['peak_memory_bytes'] / 1e9:.2f} GB of memory at most.")
        said.append(f"The loss went from {measured['first_loss']:.3f} to {measured['last_loss']:.3f} nats per token.")
    else:
        said.append(f"The run is {manifest.get('status', 'not finished')}.")
    if comparison is not None and comparison.warnings:
        said.append("The two sides differ in more than the training; see the warnings.")
    return tuple(said)
