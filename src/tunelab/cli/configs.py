"""explain, check, plan, preview: the verbs that read a config and run nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunelab.cli.output import ConfigPath, Json, StandIns, console, print_json


def _complete_keys(incomplete: str) -> list[str]:
    from tunelab.config.catalogue import key_names

    return [name for name in key_names() if name.startswith(incomplete)]


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
    fix: Annotated[bool, typer.Option("--fix", help="Make the edits that keep the meaning; comments and order stay.")] = False,
    unsafe: Annotated[bool, typer.Option("--unsafe-fixes", help="With --fix: make the other edits too.")] = False,
    select: Annotated[list[str] | None, typer.Option("--select", help="Only these rules: codes or their beginning, comma-separated.")] = None,
    ignore: Annotated[list[str] | None, typer.Option("--ignore", help="Not these rules. In the file: # tunelab: ignore TL301")] = None,
    as_json: Json = False,
    as_sarif: Annotated[bool, typer.Option("--sarif", help="Print a SARIF 2.1.0 log, for code-scanning services.")] = False,
) -> None:
    """What is wrong, ignored, deprecated or risky, on which line, and what is the edit?

    Exit code 0: the config is right (`blocked` says what this version or machine cannot run); 2: at least one error.

    Examples: `tunelab check examples/handout.yml`, `tunelab check --fix old.yml`, `tunelab check configs/*.yml --ignore TL1,TL801`
    """
    from tunelab.cli.show.findings import sarif, show_findings, show_fixed, show_summary
    from tunelab.workflow.check import check_all
    from tunelab.workflow.check import fix as mend

    wanted, unwanted = _codes(select), _codes(ignore)
    fixed = [mend(path, wanted, unwanted, unsafe=unsafe) for path in configs] if fix or unsafe else []
    results = [one.checked for one in fixed] or check_all(configs, wanted, unwanted)
    if as_sarif:
        from tunelab import __version__
        from tunelab.planning.rules import all_rules

        print_json(sarif([(result.path, result.findings) for result in results], all_rules(), __version__))
    elif as_json:
        said = fixed or results
        print_json(said if len(said) > 1 else said[0])
    else:
        out = console()
        for index, result in enumerate(results):
            if fixed:
                show_fixed(out, result.path, fixed[index].applied)
            show_findings(out, result.path, result.findings)
            show_summary(out, result.path, result.findings)
    raise typer.Exit(0 if all(result.ok for result in results) else 2)


def rule(
    code: Annotated[str | None, typer.Argument(metavar="[CODE]", help="A rule such as TL301; all of them when left out.", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """What does a rule of `check` look for, and why?

    Examples: `tunelab rule`, `tunelab rule TL301`
    """
    from tunelab.cli.show.rules import rule_as_data, show_rule, show_rules
    from tunelab.planning.rules import all_rules
    from tunelab.workflow.check import rule_of

    rules = all_rules() if code is None else (rule_of(code),)
    if as_json:
        data = [rule_as_data(one) for one in rules]
        print_json(data if code is None else data[0])
    elif code is None:
        show_rules(console(), rules)
    else:
        show_rule(console(), rules[0])


def _codes(values: list[str] | None) -> tuple[str, ...]:
    return tuple(code.strip() for value in values or () for code in value.split(",") if code.strip())


def diff(
    first: Annotated[str, typer.Argument(metavar="A.yml", help="A config file.", show_default=False)],
    second: Annotated[str, typer.Argument(metavar="B.yml", help="Another one.", show_default=False)],
    as_json: Json = False,
) -> None:
    """What do two configs mean differently, after defaults and old spellings?

    Exit code 0: no difference; 1: there are some. Example: `tunelab diff old.yml new.yml`
    """
    from tunelab.cli.show.difference import show_differences
    from tunelab.workflow.diff import diff as run

    result = run(first, second)
    if as_json:
        print_json(result)
    else:
        show_differences(console(), result)
    raise typer.Exit(int(bool(result.differences)))


def schema(
    to: Annotated[Path | None, typer.Option("--to", help="Write it to this file or folder and print the line that an editor needs.")] = None,
) -> None:
    """A JSON Schema of the dialect: completion, hover and squiggles in editors.

    Examples: `tunelab schema > axolotl.schema.json`, `tunelab schema --to .vscode`
    """
    from tunelab.workflow.schema import schema as run
    from tunelab.workflow.schema import write_schema

    if to is None:
        print_json(run())
    else:
        typer.echo(f"Put this on the first line of a config:\n{write_schema(to)}")


def init(
    model: Annotated[str, typer.Option("--model", help="The base model: a Hub id or a folder.")] = "HuggingFaceTB/SmolLM2-135M-Instruct",
    method: Annotated[str, typer.Option("--method", help="lora, qlora, full or dpo.")] = "lora",
    hardware: Annotated[str, typer.Option("--hardware", help="cpu, gpu-8gb, gpu-16gb, gpu-24gb, gpu-80gb or multi-gpu.")] = "cpu",
    data: Annotated[str, typer.Option("--data", help="The dataset: a file, a folder or a Hub id.")] = "data/train.jsonl",
    output: Annotated[str, typer.Option("--output", help="The folder that the run will write.")] = "out",
    to: Annotated[Path, typer.Option("--to", help="The file to write.")] = Path("config.yml"),
) -> None:
    """Write a commented config to begin with, for a model, a method and a kind of hardware.

    Example: `tunelab init --model Qwen/Qwen2.5-0.5B --method lora --hardware gpu-16gb --data chats.jsonl --to mine.yml`
    """
    from tunelab.workflow.init import init as run

    run(to, model, method=method, hardware=hardware, data=data, output=output)
    typer.echo(f"Written: {to}\nNext: tunelab check {to}")


def plan(
    config: ConfigPath,
    online: Annotated[bool, typer.Option("--online", help="Ask the Hub for a model or dataset that is not here: header bytes and counts only.")] = False,
    calibrate: Annotated[bool, typer.Option("--calibrate", help="Run a few real steps of this model first, to predict the time (needs torch).")] = False,
    stand_ins: StandIns = False,
    nproc: Annotated[int, typer.Option("--nproc", min=1, max=4096, help="Plan for so many processes (or devices) that train together.")] = 1,
    as_json: Json = False,
) -> None:
    """How many parameters, tokens, steps; how much memory, time, disk; does it fit here?

    Examples: `tunelab plan lab/lab.yml`, `tunelab plan lab/lab.yml --calibrate`, `tunelab plan my.yml --nproc 4`
    """
    from tunelab.cli.show.plan import show_plan
    from tunelab.workflow.plan import plan as run

    result = run(config, calibrate=calibrate, network=online, processes=nproc, stand_ins=stand_ins)
    if as_json:
        print_json(result)
    else:
        show_plan(console(), result)


def preview(
    config: ConfigPath,
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, help="How many rows to show.")] = 3,
    row: Annotated[int | None, typer.Option("--row", min=0, help="Show this row (counted from 0) instead of the first ones.")] = None,
    worst: Annotated[bool, typer.Option("--worst", help="Show the most doubtful rows: cut, least trained, repeated, longest; --rows of each.")] = False,
    packed: Annotated[bool, typer.Option("--packed", help="Show rows as they are laid out in the first epoch: packed, and filled up.")] = False,
    html: Annotated[Path | None, typer.Option("--html", help="Write a one-file page with coloured tokens instead.")] = None,
    as_json: Json = False,
) -> None:
    """Which tokens will the model see, on which of them is it trained, and what is wrong with the data?

    Examples: `tunelab preview lab/lab.yml`, `tunelab preview lab/lab.yml --row 12`, `tunelab preview my.yml --worst --html preview.html`
    """
    from tunelab.cli.show.preview import show_preview
    from tunelab.workflow.preview import preview as run
    from tunelab.workflow.preview import write_page

    result = run(config, rows=rows, row=row, worst_first=worst, packed=packed)
    if html is not None:
        write_page(result, html)
        console().print(f"Written: {html}")
    elif as_json:
        print_json(result)
    else:
        show_preview(console(), result)


def add_to(app: typer.Typer) -> None:
    """Register the verbs of this file."""
    for verb in (explain, check, rule, diff, init, schema, plan, preview):
        app.command()(verb)
