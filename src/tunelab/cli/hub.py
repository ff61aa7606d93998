"""hub: find models on the Hub, read what their cards say, their families, and file them in the lab notebook."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunelab.cli.output import Json, console, plain, print_json
from tunelab.errors import TunelabError

if TYPE_CHECKING:
    from tunelab.workflow.hub_show import HubOnDemand

hub = typer.Typer(no_args_is_help=True, help="Which models were fine-tuned for a task; from what, on what data, says who?")
Models = Annotated[list[str], typer.Argument(
    metavar="MODEL|README|FOLDER...", help="Hub ids (org/name), cards (README.md), models' folders, or a folder of those.", show_default=False)]

Offline = Annotated[bool, typer.Option("--offline", help="Ask nobody: only what was seen of the Hub before (as with HF_HUB_OFFLINE=1).")]


class RunsWith(StrEnum):
    """With what a model shall run."""

    OLLAMA = "ollama"
    CPU = "cpu"
    GGUF = "gguf"


class Sort(StrEnum):
    """The order within a step of certainty."""

    DOWNLOADS = "downloads"
    LIKES = "likes"
    TRENDING = "trending"
    UPDATED = "updated"


class Kind(StrEnum):
    """What a model is, compared with its base model."""

    FINETUNE = "finetune"
    ADAPTER = "adapter"
    MERGE = "merge"
    QUANTIZED = "quantized"
    BASE = "base"


@hub.command()
def find(
    task: Annotated[str | None, typer.Option("--task", "-t", help="code-generation, chat, summarization, sentiment, translation, ...")] = None,
    base: Annotated[str | None, typer.Option("--base", help="Made from this model, in whatever way.")] = None,
    licence: Annotated[str, typer.Option("--license", "--licence", help="The Hub's name of it: apache-2.0, mit, ...")] = "",
    max_params: Annotated[str | None, typer.Option("--max-params", help="So many parameters at most: 7B, 350M.")] = None,
    runs_with: Annotated[RunsWith | None, typer.Option("--runs-with", help="ollama: GGUF, or a family that it imports; cpu: fits in memory.")] = None,
    text: Annotated[str, typer.Option("--text", help="Words that its card, name or tags must have, of all cards that were ever read here.")] = "",
    kind: Annotated[list[Kind] | None, typer.Option("--kind", help="Only these, several times; without it fine-tunes, adapters and merges.")] = None,
    sort: Annotated[Sort, typer.Option("--sort", help="The order among models that are equally sure.")] = Sort.DOWNLOADS,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="So many models.")] = 20,
    dump: Annotated[Path | None, typer.Option("--from", help="A statistics dump of the Hub (Parquet) instead of the Hub.")] = None,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Models that were fine-tuned for a task, the surest first, each with what speaks for it.

    Examples: `tunelab hub find --task summarization --max-params 1B`, `tunelab hub find -t code-generation --base codellama/CodeLlama-7b-hf`,
    `tunelab hub find -t sentiment --from models.parquet`
    """
    from tunelab.cli.find_progress import find_watch
    from tunelab.cli.show.hub_find import show_finds
    from tunelab.workflow.hub_find import as_json as for_machines
    from tunelab.workflow.hub_find import find as run
    from tunelab.workflow.hub_find import wish_of

    wish = wish_of(task, base, max_params, licence=licence, runs_with=runs_with.value if runs_with else None, text=text,
                   kinds=tuple(one.value for one in kind or ()), sort=sort.value, limit=limit)
    with find_watch(quiet=as_json) as watch:
        found = run(wish, dump=dump, offline=offline or None, watch=watch)
    if as_json:
        print_json(for_machines(found))
    else:
        show_finds(console(), wish, found)


@hub.command()
def show(
    models: Models,
    html: Annotated[Path | None, typer.Option("--html", help="Write a one-file page instead, the models side by side.")] = None,
    as_json: Json = False,
    as_lines: Annotated[bool, typer.Option("--jsonl", help="Print one JSON object a line and model instead of text.")] = False,
    offline: Offline = False,
) -> None:
    """What a model's makers say of it, each value with the place where they say it; what contradicts what.

    `--json` prints an object for one model, and `{"models": [...], "failures": [...]}` for several. Exit code 2: one of several was not read.

    Examples: `tunelab hub show teknium/OpenHermes-2.5-Mistral-7B`, `tunelab hub show model/README.md`, `tunelab hub show a/b c/d --html models.html`
    """
    from tunelab.cli.show.hub_sheet import show_sheets
    from tunelab.workflow.hub_show import for_machines, write_page
    from tunelab.workflow.hub_show import show as run

    sheets = run(models, _hub(offline))
    failures = _for_machines(sheets.failures)
    if html is not None:
        write_page(sheets, html)
        console().print(f"Written: {html}")
    elif as_lines:
        for one in (*(for_machines(one) for one in sheets.models), *({"failure": one} for one in failures)):
            print_json(one, one_line=True)
    elif as_json:
        found = [for_machines(one) for one in sheets.models]
        print_json({"models": found, "failures": failures} if sheets.many else found[0])
    else:
        show_sheets(console(), sheets)
    raise typer.Exit(2 if sheets.failures else 0)


@hub.command()
def tree(
    model: Annotated[str, typer.Argument(metavar="MODEL|README|FOLDER", help="A Hub id, a card or a model's folder.", show_default=False)],
    depth: Annotated[int, typer.Option("--depth", min=1, max=50, help="Generations of parents.")] = 10,
    children: Annotated[int, typer.Option("--children", min=0, max=100, help="So many children of each relation, the most downloaded first.")] = 10,
    html: Annotated[Path | None, typer.Option("--html", help="Write a one-file page with a picture instead.")] = None,
    as_json: Json = False,
    offline: Offline = False,
) -> None:
    """From which base model it comes, by which steps, says who; and what was made from it.

    Examples: `tunelab hub tree HuggingFaceH4/zephyr-7b-beta`, `tunelab hub tree model/README.md --html tree.html`
    """
    from tunelab.cli.show.hub_tree import show_tree
    from tunelab.workflow.hub_tree import tree as run
    from tunelab.workflow.hub_tree import write_page

    found = run(model, _hub(offline), depth=depth, children=children)
    if html is not None:
        write_page(found, html)
        console().print(f"Written: {html}")
    elif as_json:
        print_json(found)
    else:
        show_tree(console(), found)


@hub.command()
def note(
    models: Models,
    notebook: Annotated[Path | None, typer.Option("--notebook", help="The notebook's folder; default: notebook.", show_default=False)] = None,
    as_json: Json = False,
    offline: Offline = False,
) -> None:
    """File models in the lab notebook: name, base model, task, data set, example, each with its evidence; Markdown to be edited, and JSON.

    Noting a model again updates what nobody has edited; a person's words stay. Exit code 2: one of several was not read.

    Examples: `tunelab hub note teknium/OpenHermes-2.5-Mistral-7B`, `tunelab hub note a/b c/d --notebook lab/notebook`
    """
    from tunelab.cli.show.hub_note import show_notes
    from tunelab.workflow.hub_note import note as run

    noted = run(models, notebook, _hub(offline))
    if as_json:
        print_json({"page": noted.page, "models": noted.models, "failures": _for_machines(noted.failures)})
    else:
        show_notes(console(), noted)
    raise typer.Exit(2 if noted.failures else 0)


def _hub(offline: bool) -> HubOnDemand:
    """The Hub; its waits are told on standard error."""
    from tunelab.workflow.hub_show import HubOnDemand

    return HubOnDemand(offline, lambda text: console(to_stderr=True).print(plain(text), style="dim"))


def _for_machines(failures: Sequence[TunelabError]) -> list[dict[str, str | None]]:
    return [{"message": one.message, "where": one.where, "next_step": one.next_step} for one in failures]


def add_to(app: typer.Typer) -> None:
    """Register the verbs of this file."""
    app.add_typer(hub, name="hub")
