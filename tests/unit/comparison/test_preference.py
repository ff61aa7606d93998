"""Judges of pairs: a model asked with both orders, a person who votes blind; judgements are kept, and none is doubled."""

from __future__ import annotations

import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tunelab.comparison import compare, read_comparison
from tunelab.comparison.preference import (
    Preference,
    add_preference,
    ask_model,
    beside,
    open_pairs,
    read_preferences,
    seats,
    verdicts,
)
from tunelab.errors import StorageError, UsageError
from tunelab.runners.prompt import Answer, Prompt, Sampling
from tunelab.runners.scripted import ScriptedRunner
from tunelab.workflow.ballot_page import make_server
from tunelab.workflow.judge import ballots, result, vote

PROMPTS = tuple(Prompt(f"p{n}", ({"role": "user", "content": f"say {n}"},)) for n in range(8))


class Judge:
    """Answers by what stands in the seats: `says(first, second)`."""

    name = "judge"

    def __init__(self, says: Any) -> None:
        self.says = says

    def facts(self) -> dict[str, Any]:
        return {}

    def answer(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Answer]:
        for prompt in prompts:
            text = prompt.messages[0]["content"]
            first, second = (text.partition(f"[Answer {seat}]\n")[2].partition("\n[End")[0] for seat in "AB")
            yield Answer(prompt.id, self.says(first, second), "end")


@pytest.fixture
def comparison(tmp_path: Path) -> Path:
    path = tmp_path / "c.jsonl"
    base = ScriptedRunner("base", {f"p{n}": "same" if n == 7 else f"base {n}" for n in range(8)})
    tuned = ScriptedRunner("tuned", {f"p{n}": "same" if n == 7 else f"tuned {n}" for n in range(8)})
    compare(path, PROMPTS, {"base": base, "tuned": tuned}, Sampling())
    return path


@pytest.mark.parametrize(("says", "choice"), [
    (lambda first, second: "A" if first.startswith("tuned") else "B", "tuned"),
    (lambda first, second: "**B**." if first.startswith("tuned") else "A!", "base"),
    (lambda first, second: "A", "abstain"), (lambda first, second: "TIE", "tie"), (lambda first, second: "I like a good answer", "abstain"),
    (lambda first, second: "Answer B is better" if second.startswith("tuned") else "Answer A is better", "tuned"), (lambda first, second: "", "abstain")])
def test_a_model_is_asked_in_both_orders(comparison: Path, says: Any, choice: str) -> None:
    records = read_comparison(comparison).records
    pairs = open_pairs(records, (), "judge")
    assert [record.prompt.id for record in pairs] == [f"p{n}" for n in range(7)]  # of equal answers there is nothing to judge
    found = list(ask_model(pairs, Judge(says), "judge"))
    assert {one.choice for one in found} == {choice}


def test_what_is_judged_is_kept_and_not_asked_again(comparison: Path) -> None:
    path, records = beside(comparison), read_comparison(comparison).records
    for one in list(ask_model(open_pairs(records, (), "j")[:3], Judge(lambda first, second: "A" if first.startswith("tuned") else "B"), "j")):
        add_preference(path, one)
    with path.open("ab") as file:
        file.write(b'{"prompt_id": "p3", "by"')  # killed while writing
    assert len(open_pairs(records, read_preferences(path), "j")) == 4
    add_preference(path, Preference("p3", "j", "model", "tuned"))
    assert [one.prompt_id for one in read_preferences(path)] == ["p0", "p1", "p2", "p3"]
    path.write_bytes(b'{"prompt_id": "p3", "by": "j", "kind": "model", "choice": "maybe"}\n')
    with pytest.raises(StorageError, match="damaged"):
        read_preferences(path)


def test_the_verdict_of_a_judge() -> None:
    found = [Preference(f"p{n}", "j", "model", choice) for n, choice in enumerate(["tuned"] * 9 + ["base", "tie", "abstain"])]  # type: ignore[arg-type]
    (one,) = verdicts(found)
    assert (len(one.won), one.lost, one.ties, one.abstained, one.rate) == (9, ("p9",), 1, 1, 0.9)
    assert one.p == pytest.approx(22 / 1024) and "prefers the tuned model" in one.sentence and "1 left open" in one.sentence
    assert "cannot tell" in verdicts(found[8:])[0].sentence


def test_a_person_votes_blind_and_the_seats_are_taken_off_again(comparison: Path) -> None:
    left = ballots(comparison, "Ida")
    assert {seats(one.prompt_id) for one in left} == {("base", "tuned"), ("tuned", "base")}
    for one in left:
        assert ballots(comparison, "Ida")[0] == one
        vote(comparison, one, "1" if one.first.startswith("tuned") else "2", "Ida")
    assert not ballots(comparison, "Ida") and len(ballots(comparison, "Ben")) == 7
    (found,) = result(comparison)
    assert (found.by, found.kind, len(found.won), found.lost) == ("Ida", "person", 7, ())
    with pytest.raises(UsageError):
        ballots(comparison, " ")


def test_the_page_takes_votes_and_refuses_strangers(comparison: Path) -> None:
    server = make_server(comparison, "Ida")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_address[1]}/"

    def ask(form: dict[str, str] | None = None, **headers: str) -> tuple[int, str]:
        data = urllib.parse.urlencode(form).encode() if form is not None else None
        try:
            with urllib.request.urlopen(urllib.request.Request(address, data, headers)) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    try:
        status, text = ask()
        assert status == 200 and "Which answer is better?" in text and "base" not in text.partition("<main>")[2].replace("base 0", "")
        token = text.partition('name="token" value="')[2].partition('"')[0]
        form = {"token": token, "prompt": "p0", "said": "1"}
        assert ask(Host="evil.example")[0] == 403 == ask(form, Origin="http://evil.example")[0] == ask({**form, "token": "x"})[0]
        assert not read_preferences(beside(comparison))
        assert "6 left" in ask(form)[1]
        assert "6 left" in ask(form)[1]  # sent twice
        assert [one.prompt_id for one in read_preferences(beside(comparison))] == ["p0"]
        assert ask({**form, "prompt": "p1", "said": "<script>"})[0] == 200
        assert len(read_preferences(beside(comparison))) == 1
    finally:
        server.shutdown()
        server.server_close()


def test_hostile_answers_are_text_on_the_page(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    sides = {"base": ScriptedRunner("base", {"p0": "<script>alert(1)</script>\x1b[2J"}), "tuned": ScriptedRunner("tuned", {"p0": "fine"})}
    compare(path, PROMPTS[:1], sides, Sampling())
    server = make_server(path, "Ida")
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        text = urllib.request.urlopen(f"http://127.0.0.1:{server.server_address[1]}/").read().decode()
    finally:
        server.shutdown()
        server.server_close()
    assert "<script>alert" not in text and "\x1b" not in text and "alert(1)" in text
