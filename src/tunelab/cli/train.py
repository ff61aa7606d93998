"""train: run a config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tunelab.cli.output import ConfigPath, Json, StandIns, console, print_json

if TYPE_CHECKING:
    from tunelab.workflow.train import Trained


def train(
    ctx: typer.Context,
    config: ConfigPath,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest whole checkpoint in output_dir.")] = False,
    allow: Annotated[list[str] | None, typer.Option("--allow", help="Train although the data has these problems: codes, comma-separated.")] = None,
    stand_ins: StandIns = False,
    nproc: Annotated[int, typer.Option("--nproc", min=1, max=4096, help="Train with so many processes here, one per GPU where there are any.")] = 1,
    as_json: Json = False,
) -> None:
    """Run it: check, prepare the data, train, save.

    Ctrl-C saves a checkpoint and stops; `--resume` goes on to the same losses. With `--json` each event is one line on standard output.

    Before the first step all rows are checked; a problem that would spoil the run stops it, unless --allow names it.

    With `--nproc` each process takes gradient_accumulation_steps micro-batches to a step. On several machines give each one torchrun's options
    too: `--nnodes 2 --node-rank 0 --master-addr HOST --master-port 29500`, or `--nnodes 2 --rdzv-endpoint HOST:PORT`; they must see the same files.

    Examples: `tunelab train lab/lab.yml`, `tunelab train lab/lab.yml --resume`, `tunelab train my.yml --allow untrained_end,double_bos`,
    `tunelab train gpu.yml --stand-ins`
    """
    from tunelab.workflow.launch import Machines, is_for_several, launch

    machines = Machines.of(nproc, ctx.args)
    codes = [code.strip() for value in allow or () for code in value.split(",") if code.strip()]
    if is_for_several(config, machines):
        _show(launch(config, machines, resume=resume, allow=codes, stand_ins=stand_ins, as_json=as_json), as_json)
    else:
        _train_here(config, resume=resume, stand_ins=stand_ins, codes=codes, as_json=as_json)


def _train_here(config: str, *, resume: bool, stand_ins: bool, codes: list[str], as_json: bool) -> None:
    """In this process: the only one, or one of several, whose launcher shows the result."""
    from tunelab.cli.progress import training_watch
    from tunelab.cli.show.preview import show_problem
    from tunelab.workflow.launch import is_worker, reporting
    from tunelab.workflow.train import train as run

    with reporting(), training_watch(as_json) as watch:
        result = run(config, resume=resume, watch=watch, allow=codes, stand_ins=stand_ins,
                     said=lambda problem: print_json({"event": "problem", "problem": problem}, one_line=True) if as_json
                     else show_problem(console(to_stderr=True), problem))
    if not is_worker():
        _show(result, as_json)


def _show(result: Trained, as_json: bool) -> None:
    from tunelab.cli.show.training import show_trained

    if as_json:
        print_json({"event": "result", "folder": result.folder, "manifest": result.manifest}, one_line=True)
    else:
        show_trained(console(), result)


def add_to(app: typer.Typer) -> None:
    """Register the verb of this file."""
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(train)
