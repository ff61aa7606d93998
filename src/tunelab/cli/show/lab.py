"""The lab in a terminal: each part as it is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tunelab.cli.output import console
from tunelab.cli.progress import answer_watch, training_watch
from tunelab.cli.show.comparison import show_comparison
from tunelab.cli.show.explanations import show_explanations
from tunelab.cli.show.findings import show_findings, show_summary
from tunelab.cli.show.plan import show_plan
from tunelab.cli.show.preview import show_preview
from tunelab.cli.show.training import show_trained
from tunelab.workflow.check import Checked
from tunelab.workflow.compare import Compared
from tunelab.workflow.explain import Explained
from tunelab.workflow.lab import LabWatch
from tunelab.workflow.plan import Planned
from tunelab.workflow.preview import Previewed
from tunelab.workflow.report import Reported
from tunelab.workflow.train import Trained


class LabScreen(LabWatch):
    """Prints results with the same views that the single verbs use."""

    def __init__(self, bars: ExitStack) -> None:
        self._out = console()
        self._bars = bars

    def phase(self, text: str) -> None:
        """A heading; the bars of the part before are closed."""
        self._bars.close()
        self._out.rule(style="dim")
        self._out.print(text, style="bold")

    def show(self, result: Any) -> None:
        """Print one result."""
        self._bars.close()
        if isinstance(result, Checked):
            show_findings(self._out, result.path, result.findings)
            show_summary(self._out, result.path, result.findings)
            return
        views: dict[type, Any] = {Explained: show_explanations, Planned: show_plan, Previewed: show_preview, Trained: show_trained,
                                  Compared: show_comparison, Reported: _show_reported}
        views[type(result)](self._out, result)

    def training(self) -> Any:
        """A training bar."""
        return self._bars.enter_context(training_watch(False))

    def answers(self) -> Any:
        """An answer bar."""
        return self._bars.enter_context(answer_watch(False))


@contextmanager
def lab_watch(quiet: bool) -> Iterator[LabWatch]:
    """The watch for one lab."""
    if quiet:
        yield LabWatch()
        return
    with ExitStack() as bars:
        yield LabScreen(bars)


def _show_reported(out: Any, result: Reported) -> None:
    out.rule(style="dim")
    out.print(f"The report: {result.html} (and {result.markdown.name}, {result.json.name} beside it)", style="bold green")
