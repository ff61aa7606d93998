"""explain, check, plan, preview: the verbs that read a config and run nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunelab.cli.output import ConfigPath, Json, console, print_json


def _complete_keys(incomplete: str) -> list[str]:
    from tunelab.config.catalogue import catalogue

    return [name for name in catalogue() if name.startswith(incomplete)]


def explain(
    config: Annotated[str, typer.Argument(metavar="CONFIG|KEY", help="A config file, or a key to look up without one.", show_default=False)],
    keys: Annotated[list[str] | None, typer.Argument(metavar="[KEY...]", help="Only these keys, in depth.", autocompletion=_complete_keys)] = None,
    as_json: Json = False,
) -> None:
    """What does each setting mean, and what does it do *in this run*?

    Examples: `tunelab explain examples/handout.yml`, `tunelab explain lab/lab.yml lora_r`, `tunelab explain learning_rate`
    """
    from tunelab.cli.show.explanations import show_explanations
    from tunelab.workflow.explain import explain as run

    result = run(config, tuple(keys or ()))
    if as_json:
        print_json(result)
    else:
        show_explanations(console(), result)


def check(
    configs: Annotated[list[str], typer.Argument(metavar="CONFIG...", help="One or more config files.", show_default=False)],
    as_json: Json = False,
) -> None:
    """What is wrong, ignored, deprecated or risky, on which line, and what is the edit?

    Exit code 0: nothing stops a run; 2: at least one error. Example: `tunelab check examples/handout.yml`
    """
    from tunelab.cli.show.findings import show_findings, show_summary
    from tunelab.workflow.check import check as run

    results = [run(path) for path in configs]
    if as_json:
        print_json(results if len(results) > 1 else results[0])
    else:
        out = console()
        for result in results:
            show_findings(out, result.path, result.findings)
            show_summary(out, result.path, result.findings)
    raise typer.Exit(0 if all(result.ok for result in results) else 2)


def plan(
    config: ConfigPath,
    calibrate: Annotated[bool, typer.Option("--calibrate", help="Run a few real steps of this model first, to predict the time (needs torch).")] = False,
    as_json: Json = False,
) -> None:
    """How many parameters, tokens, steps; how much memory, time, disk; does it fit here?

    Examples: `tunelab plan lab/lab.yml`, `tunelab plan lab/lab.yml --calibrate`
    """
    from tunelab.cli.show.plan import show_plan
    from tunelab.workflow.plan import plan as run

    result = run(config, calibrate=calibrate)
    if as_json:
        print_json(result)
    else:
        show_plan(console(), result)


def preview(
    config: ConfigPath,
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, help="How many rows to show.")] = 3,
    row: Annotated[int | None, typer.Option("--row", min=0, help="Show this row (counted from 0) instead of the first ones.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write a one-file page with coloured tokens instead.")] = None,
    as_json: Json = False,
) -> None:
    """Which tokens will the model see, and on which of them is it trained?

    Examples: `tunelab preview lab/lab.yml`, `tunelab preview lab/lab.yml --row 12`, `tunelab preview lab/lab.yml --html preview.html`
    """
    from tunelab.cli.show.preview import show_preview
    from tunelab.workflow.preview import preview as run
    from tunelab.workflow.preview import write_page

    result = run(config, rows=rows, row=row)
    if html is not None:
        write_page(result, html)
        console().print(f"Written: {html}")
    elif as_json:
        print_json(result)
    else:
        show_preview(console(), result)


def add_to(app: typer.Typer) -> None:
    """Register the verbs of this file."""
    for verb in (explain, check, plan, preview):
        app.command()(verb)
