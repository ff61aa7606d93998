"""`compare`: put the same prompts to two models, keep every answer, and grade them at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from tunelab.comparison.file import ComparisonFile, make_header, read_comparison
from tunelab.comparison.record import Comparison
from tunelab.errors import RunnerError, UsageError
from tunelab.grading import check_grader
from tunelab.runners.prompt import Answer, Prompt, Runner, Sampling

OnAnswer = Callable[[str, Answer, int, int], None]
"""(side, the answer, how many that side has answered, of how many)."""


def compare(path: Path, prompts: Sequence[Prompt], base: Runner, tuned: Runner, sampling: Sampling,
            on_answer: OnAnswer | None = None) -> Comparison:
    """Ask base, then tuned, for every answer that the file at `path` lacks; called again after a stop it goes on.

    An answer whose stop is "error" is an answer too and is not asked for again. Raises UsageError before anything is asked (no
    prompts, an id twice, a malformed grader), RunnerError when a model does not answer, and what `ComparisonFile` raises.
    """
    _check(prompts)
    header = make_header(prompts, {"name": base.name, **base.facts()}, {"name": tuned.name, **tuned.facts()}, sampling)
    with ComparisonFile.open(path, header) as file:
        for side, runner in (("base", base), ("tuned", tuned)):
            _ask(file, side, runner, prompts, sampling, on_answer)
    return read_comparison(path)


def _ask(file: ComparisonFile, side: str, runner: Runner, prompts: Sequence[Prompt], sampling: Sampling,
         on_answer: OnAnswer | None) -> None:
    missing = [prompt for prompt in prompts if (side, prompt.id) not in file.answered]
    waiting = {prompt.id for prompt in missing}
    if not missing:
        return
    for answer in runner.answer(missing, sampling):
        if answer.prompt_id not in waiting:
            raise RunnerError(f"The model answered {answer.prompt_id!r}, which was not asked or was answered already.", where=runner.name)
        file.add(side, answer)
        waiting.discard(answer.prompt_id)
        if on_answer is not None:
            on_answer(side, answer, len(prompts) - len(waiting), len(prompts))
    if waiting:
        first = next(prompt.id for prompt in missing if prompt.id in waiting)
        raise RunnerError(f"The model gave no answer to {len(waiting)} of {len(prompts)} prompts, the first is {first!r}.",
                          where=runner.name, next_step="Run the same command again: only these are asked for.")


def _check(prompts: Sequence[Prompt]) -> None:
    if not prompts:
        raise UsageError("There are no prompts to compare on.")
    twice = [one for one, times in Counter(prompt.id for prompt in prompts).items() if times > 1]
    if twice:
        raise UsageError(f"The prompt id {twice[0]!r} stands more than once.", next_step="Give each prompt an id of its own.")
    for prompt in prompts:
        if prompt.grader is not None:
            check_grader(prompt.grader, prompt.id)
