"""Further columns: several samples, the base model with examples, and the base model asked twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tunelab.comparison import compare, judge, read_comparison
from tunelab.comparison.columns import Again, FewShot, with_system
from tunelab.runners.prompt import Answer, Prompt, Sampling

PROMPTS = tuple(Prompt(f"p{n}", ({"role": "user", "content": f"say {n}"},), {"kind": "exact", "expected": str(n)}) for n in range(8))
EXAMPLE = ({"role": "user", "content": "say hi"}, {"role": "assistant", "content": "hi"})


@dataclass
class Seeded:
    """Says the number wherever (seed + prompt) is even, or always when it sees an example."""

    name: str
    always: bool = False
    stop_after: int = 10**6
    asked: list[tuple[str, int]] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        return {"runner": "test", "model": self.name}

    def answer(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Answer]:
        for prompt in prompts:
            if len(self.asked) >= self.stop_after:
                raise KeyboardInterrupt
            self.asked.append((prompt.id, sampling.seed))
            number = prompt.messages[-1]["content"].removeprefix("say ")
            right = self.always or len(prompt.messages) > 2 or (sampling.seed + int(number)) % 2 == 0
            yield Answer(prompt.id, number if right else "?", "end", prompt_ids=(1, int(number)))


def test_several_samples_count_by_their_share(tmp_path: Path) -> None:
    sampling = Sampling(temperature=1.0, seed=0, samples=3)
    compared = compare(tmp_path / "c.jsonl", PROMPTS, {"base": Seeded("b"), "tuned": Seeded("t", always=True)}, sampling)
    assert compared.complete and [len(record.judged("base")) for record in compared.records] == [3] * 8
    assert sorted({round(record.share("base") or 0, 6) for record in compared.records}) == [0.333333, 0.666667]
    assert [record.outcome for record in compared.records] == ["won"] * 8
    group = judge(compared.records).groups[0]
    assert group.base_rate == pytest.approx(0.5) and group.tuned_rate == 1 and group.word == "helped" and group.p == pytest.approx(2 / 2**8)
    assert compared.records[3].base is not None and compared.records[3].base.prompt_ids == (1, 3)


def test_samples_stopped_in_the_middle_go_on(tmp_path: Path) -> None:
    sampling, path = Sampling(temperature=1.0, samples=2), tmp_path / "c.jsonl"
    base, tuned = Seeded("b", stop_after=11), Seeded("t")
    with pytest.raises(KeyboardInterrupt):
        compare(path, PROMPTS, {"base": base, "tuned": tuned}, sampling)
    assert not read_comparison(path).complete
    base.stop_after = 10**6
    assert compare(path, PROMPTS, {"base": base, "tuned": tuned}, sampling).complete
    assert len(base.asked) == len(set(base.asked)) == 16 and len(path.read_bytes().splitlines()) == 1 + 32


def test_would_prompting_have_done_it(tmp_path: Path) -> None:
    base = Seeded("b")
    sides = {"base": base, "tuned": Seeded("t", always=True), "few-shot": FewShot(base, (EXAMPLE, EXAMPLE)), "again": Again(base)}
    compared = compare(tmp_path / "c.jsonl", PROMPTS, sides, Sampling(seed=0))
    group = judge(compared.records).groups[0]
    assert group.few_shot == (1.0, group.few_shot[1] if group.few_shot else None) and group.base_rate == 0.5
    assert group.noise == 1.0  # the other seed is odd: each prompt falls the other way
    assert "prompting alone comes close" in group.sentence and "differs from itself on 100 %" in group.sentence
    assert compared.sides["few-shot"]["examples"] == 2
    assert compared.complete


def test_examples_stand_behind_the_system_message() -> None:
    seen: list[Prompt] = []

    class Spy(Seeded):
        def answer(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Answer]:
            seen.extend(prompts)
            return iter(())

    (prompt, *_) = with_system(PROMPTS, "Be brief.")
    list(FewShot(Spy("s"), (({"role": "system", "content": "other"}, *EXAMPLE),)).answer([prompt], Sampling()))
    assert [turn["role"] for turn in seen[0].messages] == ["system", "user", "assistant", "user"]
    assert seen[0].messages[0]["content"] == "Be brief." and with_system([prompt], "x") == (prompt,)
