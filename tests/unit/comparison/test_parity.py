"""What a server feeds against what training fed: the word, the place, the cause."""

from __future__ import annotations

import pytest

from tunelab.comparison.parity import parity
from tunelab.runners.prompt import Fed

PIECES = ("<s>", "user", ":", "Hi", "\n", "assistant", ":")
TRAINED = Fed("".join(PIECES), (1, 2, 3, 4, 5, 6, 3))


def _found(served: Fed) -> tuple[str, str]:
    one = parity("p", TRAINED, served, PIECES, "<s>")
    assert (one.gap is None) == (one.word != "differs") and bool(one.cause) == bool(one.change) == (one.word == "differs")
    return one.word, one.cause


@pytest.mark.parametrize(("served", "word", "cause"), [
    (TRAINED, "same", ""), (Fed(TRAINED.text), "same text", ""), (Fed(), "not told", ""),
    (Fed("<s>" + TRAINED.text, (1, *TRAINED.ids)), "differs", "second beginning-of-sequence"),
    (Fed(TRAINED.text[3:], TRAINED.ids[1:]), "differs", "leaves out the first token"),
    (Fed(TRAINED.text, (1, 2, 3, 7, 8, 5, 6, 3)), "differs", "tokenizer splits it otherwise"),
    (Fed(TRAINED.text.removeprefix("<s>")), "differs", "beginning-of-sequence token and the other"),
    (Fed("<s>user: Hi\n\nassistant:"), "differs", "Only spaces"),
    (Fed("<s>system:Be kind\nuser:Hi\nassistant:"), "differs", "adds text"),
    (Fed("<s>user:Hi\n"), "differs", "leaves out text"), (Fed("### Instruction:\nHi\n### Response:\n"), "differs", "another template")])
def test_each_difference_has_its_cause(served: Fed, word: str, cause: str) -> None:
    found = _found(served)
    assert found[0] == word and cause in found[1]


def test_the_first_difference_is_shown_on_both_sides() -> None:
    one = parity("p", TRAINED, Fed("x", (1, 2, 3, 9, 5, 6, 3)), PIECES)
    assert one.gap is not None and (one.gap.index, one.gap.trained, one.gap.served) == (3, ("Hi", "\n", "assistant"), ("#9", "\n", "assistant"))
    text = parity("p", TRAINED, Fed("<s>user;"), PIECES)
    assert text.gap is not None and (text.gap.index, text.gap.unit) == (7, "character")
    longer = parity("p", TRAINED, Fed("x", (*TRAINED.ids, 11)), PIECES)
    assert longer.gap is not None and (longer.gap.index, longer.gap.trained, longer.gap.served) == (7, (), ("#11",))
