"""`compare` asks each side for what is missing, keeps all of it, and grades from the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tunelab.comparison import compare, differences_between_sides, judge, read_comparison
from tunelab.errors import FolderError, RunnerError, UsageError
from tunelab.runners import Answer, Prompt, Sampling, ScriptedRunner

PROMPTS = tuple(Prompt(f"p{n}", ({"role": "user", "content": str(n)},), {"kind": "exact", "expected": str(n * n)}) for n in range(6))
TUNED = ScriptedRunner("tuned", {f"p{n}": str(n * n) for n in range(6)})
BASE = ScriptedRunner("base", lambda prompt: f"I think {prompt.messages[0]['content']}.")


@dataclass
class Faltering:
    """A runner that stops after some answers, and notes what it was asked."""

    name: str
    stop_after: int
    error: BaseException | None = None
    asked: list[str] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        return {"model": self.name}

    def answer(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Answer]:
        for index, prompt in enumerate(prompts):
            if index == self.stop_after:
                if self.error:
                    raise self.error
                return
            self.asked.append(prompt.id)
            yield Answer(prompt.id, "0", "end")


def test_a_comparison_from_end_to_end(tmp_path: Path) -> None:
    seen: list[tuple[str, str, int, int]] = []
    comparison = compare(tmp_path / "c.jsonl", PROMPTS, {"base": BASE, "tuned": TUNED}, Sampling(), lambda side, answer, done, of: seen.append(
        (side, answer.prompt_id, done, of)))
    assert seen == [("base", f"p{n}", n + 1, 6) for n in range(6)] + [("tuned", f"p{n}", n + 1, 6) for n in range(6)]
    assert comparison.complete and [record.outcome for record in comparison.records] == ["won"] * 6
    assert comparison.sides["base"] == {"name": "base", "runner": "scripted", "model": "base"} and comparison.warnings == ()
    assert judge(comparison.records).groups[0].word == "helped"
    assert read_comparison(tmp_path / "c.jsonl") == comparison


def test_a_second_call_asks_nothing_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    first = compare(path, PROMPTS, {"base": BASE, "tuned": TUNED}, Sampling())
    before = path.read_bytes()
    silent = ScriptedRunner("base", {}), ScriptedRunner("tuned", {})
    assert compare(path, PROMPTS, dict(zip(("base", "tuned"), silent, strict=True)), Sampling()) == first
    assert path.read_bytes() == before


@pytest.mark.parametrize("error", [RunnerError("gone"), KeyboardInterrupt(), ZeroDivisionError()])
def test_stopped_anywhere_it_goes_on_without_loss_or_doubling(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "c.jsonl"
    whole = compare(tmp_path / "whole.jsonl", PROMPTS, {"base": Faltering("b", 99), "tuned": Faltering("t", 99)}, Sampling())
    base, tuned = Faltering("b", 4, error), Faltering("t", 2, error)
    for _ in range(4):
        with pytest.raises(type(error)):
            compare(path, PROMPTS, {"base": base, "tuned": tuned}, Sampling())
        if len(tuned.asked) == 4:
            break
    tuned.stop_after = 99
    assert compare(path, PROMPTS, {"base": base, "tuned": tuned}, Sampling()) == whole
    assert base.asked == tuned.asked == [prompt.id for prompt in PROMPTS]


def test_a_runner_that_leaves_prompts_out_or_makes_some_up(tmp_path: Path) -> None:
    with pytest.raises(RunnerError, match="no answer to 2 of 6 prompts, the first is 'p4'"):
        compare(tmp_path / "short.jsonl", PROMPTS, {"base": Faltering("b", 4), "tuned": TUNED}, Sampling())

    class Twice(Faltering):
        def answer(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Answer]:
            yield from (Answer("p0", "0", "end"), Answer("p0", "0", "end"))

    with pytest.raises(RunnerError, match="'p0', which was not asked or was answered already"):
        compare(tmp_path / "twice.jsonl", PROMPTS, {"base": Twice("b", 0), "tuned": TUNED}, Sampling())


def test_nothing_is_asked_when_the_prompts_are_wrong(tmp_path: Path) -> None:
    bad = Prompt("bad", PROMPTS[0].messages, {"kind": "vibes"})
    for prompts, said in (((), "no prompts"), ((PROMPTS[0], PROMPTS[0]), "more than once"), ((bad,), "vibes")):
        base = Faltering("b", 99)
        with pytest.raises(UsageError, match=said):
            compare(tmp_path / "c.jsonl", prompts, {"base": base, "tuned": TUNED}, Sampling())
        assert base.asked == [] and not (tmp_path / "c.jsonl").exists()


def test_another_model_does_not_go_on_with_the_file(tmp_path: Path) -> None:
    compare(tmp_path / "c.jsonl", PROMPTS, {"base": BASE, "tuned": TUNED}, Sampling())
    with pytest.raises(FolderError, match=r"sides\.tuned"):
        compare(tmp_path / "c.jsonl", PROMPTS, {"base": BASE, "tuned": ScriptedRunner("other", TUNED.answers)}, Sampling())


def test_differences_between_the_sides() -> None:
    base = {"name": "b", "model": "x", "adapter": None, "dtype": "float32", "template": "chatml", "device": "cpu"}
    assert differences_between_sides({"base": base, "tuned": {**base, "name": "t", "adapter": "a", "model": "y"}}) == ()
    assert differences_between_sides({"base": base, "tuned": {**base, "dtype": "bfloat16", "template": "alpaca", "system": "s"}}) == (
        'The precision differs: base has "float32", tuned has "bfloat16".', 'The template differs: base has "chatml", tuned has "alpaca".')


def test_prompts_that_reached_the_models_as_other_text(tmp_path: Path) -> None:
    class Templated(Faltering):
        def answer(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Answer]:
            return (Answer(prompt.id, "0", "end", prompt_text=self.name + prompt.id) for prompt in prompts)

    comparison = compare(tmp_path / "c.jsonl", PROMPTS, {"base": Templated("b", 9), "tuned": Templated("t", 9)}, Sampling())
    assert comparison.warnings == ("The models were given different text for 6 prompts, the first is 'p0': their templates differ.",)
