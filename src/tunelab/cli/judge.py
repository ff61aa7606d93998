"""judge, vote: which of two answers is better, by a model or by a person who does not know which is which."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunelab.cli.output import Json, console, plain, print_json

Comparison = Annotated[Path, typer.Argument(metavar="COMPARISON", help="A comparison file (JSONL) of `tunelab compare`.", show_default=False)]


def judge(
    comparison: Comparison,
    by: Annotated[str, typer.Option("--by", help="The model that judges: ollama:NAME, openai:URL#MODEL, gguf:PATH, hf:ORG/NAME or a folder.")],
    criteria: Annotated[str, typer.Option("--criteria", help="What makes an answer better, in a sentence or two.", show_default=False)] = "",
    as_json: Json = False,
) -> None:
    """Let a model say which answer is better. It is asked twice, with the answers in both orders; where it changes its mind it has none.

    Example: `tunelab judge lab/comparison.jsonl --by ollama:llama3.1:8b`
    """
    from tunelab.cli.progress import answer_watch
    from tunelab.comparison.preference import CRITERIA
    from tunelab.workflow.judge import judge_by_model

    with answer_watch(quiet=as_json) as watch:
        found = judge_by_model(comparison, by, criteria=criteria or CRITERIA, on_judged=lambda done, total: watch.answer("judge", done, total))
    if as_json:
        print_json({"verdicts": found})
        return
    for one in found:
        console().print(plain(one.sentence))


def vote(
    comparison: Comparison,
    by: Annotated[str, typer.Option("--by", help="Whose votes these are.")] = "me",
    browser: Annotated[bool, typer.Option("--browser", help="Vote on a page on this machine's loopback address instead.")] = False,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The page's port; 0: a free one.")] = 0,
) -> None:
    """Vote yourself, blind: two answers, and nobody says which model gave which. Each vote is stored at once; stop whenever you like.

    Examples: `tunelab vote lab/comparison.jsonl`, `tunelab vote lab/comparison.jsonl --browser`
    """
    from tunelab.workflow.judge import ballots, result

    left = ballots(comparison, by)
    if not left:
        console().print("There is nothing left to vote on.")
    elif browser:
        from tunelab.workflow.ballot_page import serve

        serve(comparison, by, port, lambda address: console().print(f"Vote here: {address}   (Ctrl-C ends it)"))
    else:
        _ask(comparison, by)
    for one in result(comparison):
        if one.by == by:
            console().print(plain(one.sentence))


def _ask(comparison: Path, by: str) -> None:
    """Pair by pair in the terminal, until the last or until the person stops."""
    from rich.columns import Columns
    from rich.panel import Panel
    from rich.text import Text

    from tunelab.workflow.judge import ballots
    from tunelab.workflow.judge import vote as store

    out, left = console(), ballots(comparison, by)
    for number, ballot in enumerate(left, start=1):
        out.print(Text(f"\n{number} of {len(left)}", style="bold"))
        out.print(Panel(Text(plain(ballot.request)), title="Request"))
        out.print(Columns([Panel(Text(plain(ballot.first)), title="1"), Panel(Text(plain(ballot.second)), title="2")], equal=True, expand=True))
        said = ""
        while said not in ("1", "2", "t", "s", "q"):
            try:
                said = typer.prompt("Which is better? 1, 2, t (tie), s (skip), q (stop)", prompt_suffix=" ").strip().lower()
            except typer.Abort:
                said = "q"
        if said == "q":
            return
        if said != "s":
            store(comparison, ballot, {"t": "tie"}.get(said, said), by)


def add_to(app: typer.Typer) -> None:
    """Register the verbs of this file."""
    app.command()(judge)
    app.command()(vote)
