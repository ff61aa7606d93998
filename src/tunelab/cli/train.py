"""train: run a config."""

from __future__ import annotations

from typing import Annotated

import typer

from tunelab.cli.output import ConfigPath, Json, console, print_json


def train(
    config: ConfigPath,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest whole checkpoint in output_dir.")] = False,
    as_json: Json = False,
) -> None:
    """Run it: check, prepare the data, train, save.

    Ctrl-C saves a checkpoint and stops; `--resume` goes on to the same losses. With `--json` each event is one line on standard output.

    Examples: `tunelab train lab/lab.yml`, `tunelab train lab/lab.yml --resume`
    """
    from tunelab.cli.progress import training_watch
    from tunelab.cli.show.training import show_trained
    from tunelab.workflow.train import train as run

    with training_watch(as_json) as watch:
        result = run(config, resume=resume, watch=watch)
    if as_json:
        print_json({"event": "result", "folder": result.folder, "manifest": result.manifest}, one_line=True)
    else:
        show_trained(console(), result)


def add_to(app: typer.Typer) -> None:
    """Register the verb of this file."""
    app.command()(train)
