"""`compare`: put the same prompts to two models (and further columns), keep every answer, and grade them at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tunelab.comparison.file import ComparisonFile, make_header, read_comparison
from tunelab.comparison.record import SIDES, Comparison
from tunelab.errors import RunnerError, UsageError
from tunelab.grading import check_grader
from tunelab.runners.prompt import Answer, Prompt, Runner, Sampling

OnAnswer = Callable[[str, Answer, int, int], None]
"""(side, the answer, how many that side has given, of how many)."""


def compare(path: Path, prompts: Sequence[Prompt], sides: Mapping[str, Runner], sampling: Sampling,
            on_answer: OnAnswer | None = None) -> Comparison:
    """Ask each side in turn ("base" and "tuned", then extra columns) for every answer that the file at `path` lacks; called again after
    a stop it goes on. Sample k of several is drawn with the sampling's seed + k.

    An answer whose stop is "error" is an answer too and is not asked for again. Raises UsageError before anything is asked (no
    prompts, an id twice, a malformed grader), RunnerError when a model does not answer, and what `ComparisonFile` raises.
    """
    _check(prompts)
    header = make_header(prompts, {name: {"name": runner.name, **runner.facts()} for name, runner in sides.items()}, sampling)
    with ComparisonFile.open(path, header) as file:
        for side in (*SIDES, *(name for name in sides if name not in SIDES)):
            for sample in range(sampling.samples):
                _ask(_Round(file, side, sides[side], sample), prompts, sampling, on_answer)
    return read_comparison(path)


@dataclass(frozen=True, slots=True)
class _Round:
    """One side asked once for every prompt."""

    file: ComparisonFile
    side: str
    runner: Runner
    sample: int


def _ask(one: _Round, prompts: Sequence[Prompt], sampling: Sampling, on_answer: OnAnswer | None) -> None:
    file, side, runner = one.file, one.side, one.runner
    missing = [prompt for prompt in prompts if (side, prompt.id, one.sample) not in file.answered]
    waiting = {prompt.id for prompt in missing}
    if not missing:
        return
    before, total = one.sample * len(prompts), sampling.samples * len(prompts)
    for answer in runner.answer(missing, replace(sampling, seed=sampling.seed + one.sample, samples=1)):
        if answer.prompt_id not in waiting:
            raise RunnerError(f"The model answered {answer.prompt_id!r}, which was not asked or was answered already.", where=runner.name)
        file.add(side, replace(answer, sample=one.sample))
        waiting.discard(answer.prompt_id)
        if on_answer is not None:
            on_answer(side, answer, before + len(prompts) - len(waiting), total)
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
