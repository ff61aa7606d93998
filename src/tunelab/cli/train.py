"""train: run a config."""

from __future__ import annotations

from typing import Annotated

import typer

from tunelab.cli.output import ConfigPath, Json, StandIns, console, print_json


def train(
    config: ConfigPath,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest whole checkpoint in output_dir.")] = False,
    allow: Annotated[list[str] | None, typer.Option("--allow", help="Train although the data has these problems: codes, comma-separated.")] = None,
    stand_ins: StandIns = False,
    as_json: Json = False,
) -> None:
    """Run it: check, prepare the data, train, save.

    Ctrl-C saves a checkpoint and stops; `--resume` goes on to the same losses. With `--json` each event is one line on standard output.

    Before the first step all rows are checked; a problem that would spoil the run stops it, unless --allow names it.

    Examples: `tunelab train lab/lab.yml`, `tunelab train lab/lab.yml --resume`, `tunelab train my.yml --allow untrained_end,double_bos`,
    `tunelab train gpu.yml --stand-ins`
    """
    from tunelab.cli.progress import training_watch
    from tunelab.cli.show.preview import show_problem
    from tunelab.cli.show.training import show_trained
    from tunelab.workflow.train import train as run

    with training_watch(as_json) as watch:
        codes = [code.strip() for value in allow or () for code in value.split(",") if code.strip()]
        result = run(config, resume=resume, watch=watch, allow=codes, stand_ins=stand_ins,
                     said=lambda problem: print_json({"event": "problem", "problem": problem}, one_line=True) if as_json
                     else show_problem(console(to_stderr=True), problem))
    if as_json:
        print_json({"event": "result", "folder": result.folder, "manifest": result.manifest}, one_line=True)
    else:
        show_trained(console(), result)


def add_to(app: typer.Typer) -> None:
    """Register the verb of this file."""
    app.command()(train)
