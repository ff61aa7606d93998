"""compare: the same prompts to two models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunelab.cli.output import Json, console, print_json

MODEL = "hf:ORG/NAME, a model folder, run:FOLDER, ollama:NAME, openai:URL#MODEL, gguf:PATH, or scripted:FILE."
PROMPTS = ("Several times: a file (JSONL or YAML with prompt or messages, and grader; or text with a prompt a line), set:NAME (code, instructions, json, "
           "summarization, sentiment, translation, general, humaneval), or run:FOLDER (the rows that a run held out).")


def compare(
    base: Annotated[str, typer.Argument(metavar="BASE", help=MODEL, show_default=False)],
    tuned: Annotated[str, typer.Argument(metavar="TUNED", help="The same forms; usually run:FOLDER.", show_default=False)],
    prompts: Annotated[list[str], typer.Option("--prompts", "-p", help=PROMPTS)],
    general: Annotated[str, typer.Option("--general", "-g", help="More prompts, to see whether anything was forgotten; `none` for none.")] = "set:general",
    out: Annotated[Path, typer.Option("--out", "-o", help="The comparison file; run again with the same file to go on.")] = Path("comparison.jsonl"),
    system: Annotated[str, typer.Option("--system", help="A system message for the prompts that have none.")] = "",
    few_shot: Annotated[int, typer.Option("--few-shot", min=0, help="A third column: the base model with so many training rows as examples.")] = 0,
    noise_floor: Annotated[bool, typer.Option("--noise-floor", help="Ask the base model twice: how much does it differ from itself?")] = False,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Answers to each prompt; more than one needs --temperature.")] = 1,
    temperature: Annotated[float, typer.Option("--temperature", min=0.0, help="0: the likeliest answer, the same each time.")] = 0.0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="For drawing answers.")] = 42,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1, help="Cut an answer after this many tokens.")] = 128,
    html: Annotated[Path | None, typer.Option("--html", help="Also write the answers side by side as a one-file page.")] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", help="Also write them as Markdown.")] = None,
    pull: Annotated[bool, typer.Option("--pull", help="Have Ollama download the models that it does not have.")] = False,
    as_json: Json = False,
) -> None:
    """The same prompts to both: the answers, the differences, and did fine-tuning help?

    Examples: `tunelab compare lab/base-model run:lab/run -p run:lab/run -o lab/comparison.jsonl`,
    `tunelab compare ollama:phi3:mini ollama:codellama:7b-instruct -p set:code`
    """
    from tunelab.cli.progress import answer_watch
    from tunelab.cli.show.comparison import show_comparison
    from tunelab.runners.prompt import Sampling
    from tunelab.workflow.compare import Asking
    from tunelab.workflow.compare import compare as run
    from tunelab.workflow.side_by_side import write_pages

    asking = Asking(tuple(prompts), None if general == "none" else general, Sampling(max_new_tokens, temperature, seed, samples), system, few_shot,
                    noise_floor)
    with answer_watch(quiet=as_json) as watch:
        result = run(base, tuned, asking, out=out, watch=watch, pull=pull)
    write_pages(result, html=html, markdown=markdown)
    if as_json:
        print_json(result)
    else:
        show_comparison(console(), result)


def add_to(app: typer.Typer) -> None:
    """Register the verb of this file."""
    app.command()(compare)
