"""`render_html`: a report as one HTML file that works offline, loads nothing, and is fully readable without its one small script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tunelab.report import charts, numbers
from tunelab.report.build import token_rows
from tunelab.report.content import ComparisonPart, ConfigPart, Content, Notebook, SideBySide, TokenRow
from tunelab.report.preview import beside, fates, figures_of, figures_of_pairs, most_frequent, roles_of
from tunelab.report.text import differences, is_long, one_line, shown_pieces, visible

if TYPE_CHECKING:
    from jinja2 import Environment

    from tunelab.data.gate import GateProblem
    from tunelab.data.pair_preview import PairStatistics
    from tunelab.data.prepare import Counts
    from tunelab.data.preview import PreviewRow, Statistics
    from tunelab.data.turns import Turns

SHOWN_PAIRS = 6
"""So many pairs of a group are open; the others are one click away."""

# Filters pairs, opens what a link points into, and opens everything for printing. Its hash is the only script that the page allows.
SCRIPT = """
(() => {
  const reveal = (element) => { for (let at = element; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true; };
  const target = () => {
    let element = null;
    try { element = document.getElementById(decodeURIComponent(location.hash.slice(1))); } catch (error) { return; }
    if (element) { reveal(element); element.scrollIntoView(); }
  };
  for (const bar of document.querySelectorAll("[data-filters]")) {
    bar.hidden = false;
    const section = bar.closest("section");
    const note = section.querySelector("[data-shown]");
    bar.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      for (const other of bar.querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === button));
      let shown = 0;
      for (const pair of section.querySelectorAll("[data-outcome]")) {
        pair.hidden = button.value !== "all" && pair.dataset.outcome !== button.value;
        if (!pair.hidden) shown += 1;
      }
      for (const more of section.querySelectorAll("details.more")) if (button.value !== "all") more.open = true;
      note.textContent = button.value === "all" ? "" : "showing " + shown;
    });
  }
  const links = new Map([...document.querySelectorAll("nav.contents a")].map((link) => [link.hash.slice(1), link]));
  if ("IntersectionObserver" in window) {
    const seen = new IntersectionObserver((entries) => {
      for (const entry of entries) if (entry.isIntersecting) {
        for (const link of links.values()) link.removeAttribute("aria-current");
        links.get(entry.target.id).setAttribute("aria-current", "true");
      }
    }, { rootMargin: "-10% 0px -80% 0px" });
    for (const id of links.keys()) { const section = document.getElementById(id); if (section) seen.observe(section); }
  }
  addEventListener("hashchange", target);
  addEventListener("beforeprint", () => { for (const one of document.querySelectorAll("details")) one.open = true; });
  target();
})();
"""


def render_html(content: Content) -> str:
    """The whole report as one page. Everything that came from a model, a dataset or a config is text in it, never markup."""
    environment = _environment()
    config = content.config
    values: dict[str, Any] = {
        "content": content, "groups": content.comparison.groups if content.comparison else (),
        "lines": visible(config.text).rstrip("\n").split("\n"), "settings": config.in_order(), "marked": _lines_with_findings(config),
        "rows": [(row, shown_pieces(row.pieces)) for row in content.rows], "shown": SHOWN_PAIRS, "place": _places(content.comparison),
        "lrs": [(float(one.step), one.lr) for one in content.training.steps],
        "norms": [(float(one.step), one.grad_norm) for one in content.training.steps],
        "origin": tuple(content.origin.items()) if content.origin else (),
    }
    return environment.get_template("page.html.j2").render(values)


def render_notebook_html(content: Notebook) -> str:
    """The lab notebook alone as one page."""
    return page("notebook.html.j2", {"content": content})


def render_comparison_html(content: SideBySide) -> str:
    """A comparison alone as one page: verdicts, and every answer side by side."""
    return page("comparison.html.j2", {"content": content, "groups": content.comparison.groups, "shown": SHOWN_PAIRS,
                                       "place": _places(content.comparison)})


def render_preview_html(rows: Sequence[PreviewRow | Mapping[str, Any]], statistics: Statistics | PairStatistics | None, title: str, *,
                        counts: Counts | None = None, problems: Sequence[GateProblem] = (), turns: Turns | None = None,
                        packed: bool = False) -> str:
    """A page of coloured rows: which tokens the model sees and on which of them it is trained, with figures over all rows and what is wrong.

    `packed`: the rows are rows of a batch, each of several samples. Figures of pairs are those of preference data, whose answers stand
    side by side.
    """
    shown: tuple[TokenRow, ...] = token_rows(rows)
    histogram = getattr(statistics, "histogram", ())
    languages = most_frequent(getattr(statistics, "languages", ()))
    from tunelab.data.pair_preview import PairStatistics

    pairs = statistics if isinstance(statistics, PairStatistics) else None
    figures = figures_of_pairs(pairs) if pairs is not None else figures_of(statistics if not isinstance(statistics, PairStatistics) else None)
    values = {"title": title, "rows": [[(row, shown_pieces(row.pieces)) for row in group] for group in beside(shown)], "statistics": figures,
              "histogram": [(one.lower, one.upper, one.count, one.supervised / one.tokens if one.tokens else 0.0) for one in histogram],
              "fates": fates(counts), "read": counts.read if counts is not None else 0, "roles": roles_of(turns), "turns": turns,
              "languages": languages, "language_rows": getattr(statistics, "language_rows", 0), "problems": problems,
              "noun": "packed row" if packed else "row" if pairs is None or pairs.rated else "pair",
              "states": {piece.state for row in shown for piece in row.pieces}}
    return _environment().get_template("preview.html.j2").render(values)


def page(template: str, values: Mapping[str, Any]) -> str:
    """Another page of the same make: a template beside this file, with the charts and number words at hand."""
    return _environment().get_template(template).render(values)


def relative_link(path: str) -> str | None:
    """An href for a file beside or below the report, or None: nothing absolute, no scheme, no host is ever linked."""
    clean = path.replace("\\", "/")
    if not clean or clean.startswith("/") or visible(path) != path or (len(clean) > 1 and clean[1] == ":"):
        return None
    return "./" + quote(clean)


def _environment() -> Environment:
    """Autoescaping templates whose every output first has its control and direction characters written out."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    folder = files("tunelab.report")

    def finalize(value: Any) -> Any:
        return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    def chart(name: str, *arguments: Any, **options: Any) -> Markup:
        """Draw one of `charts` twice, for wide and for narrow screens."""
        draw = getattr(charts, name)
        wide, narrow = draw(*arguments, **options), draw(*arguments, **{**options, "width": 340})
        return Markup(f'<div class="wide">{wide}</div><div class="narrow">{narrow}</div>') if wide else Markup("")

    environment = Environment(autoescape=True, undefined=StrictUndefined, finalize=finalize, trim_blocks=True, lstrip_blocks=True,
                              loader=FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8")))
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode("ascii")
    def bars(parts: Sequence[tuple[str, float]], label: str, percent: bool = False) -> Markup:
        """Draw a bar for each (name, size)."""
        said = [(name, float(size), numbers.percent(round(size, 3)) if percent else numbers.count(size)) for name, size in parts]
        return Markup(charts.shares(said, label))

    environment.globals.update(
        bars=bars, chart=chart, numbers=numbers, differences=differences, is_long=is_long, one_line=one_line, link=relative_link,
        letter=charts.letter, smoothing=charts.smoothing, ratio_mark=lambda ratio: Markup(charts.ratio_mark(ratio)),
        script=Markup(SCRIPT), script_hash=digest, css=Markup(folder.joinpath("page.css").read_text(encoding="utf-8")))
    return environment


def _lines_with_findings(config: ConfigPart) -> dict[int, str]:
    """Line -> the worst severity found there."""
    order = {"error": 0, "warning": 1, "note": 2}
    found: dict[int, str] = {}
    for finding in sorted(config.findings, key=lambda one: order.get(one.severity, 3), reverse=True):
        if finding.line is not None:
            found[finding.line] = finding.severity
    return found


def _places(part: ComparisonPart | None) -> dict[str, int]:
    """Prompt id -> its number on the page: anchors are numbers, so that no id can be one that the page uses."""
    pairs = part.pairs if part else ()
    return {pair.id: number for number, pair in enumerate(pairs, start=1)}
