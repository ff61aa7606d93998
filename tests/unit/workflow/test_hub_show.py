"""What a name means (a path, an id, an address), and what is shown of several models, a config on a card, and a base model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.unit.hub.test_tree import Known

from tunelab.errors import ModelError, UsageError
from tunelab.hub.record import ModelRecord
from tunelab.workflow.hub_show import for_machines, open_models, show

CONFIG = """---
base_model: org/base
---
# A model

<details><summary>See axolotl config</summary>

```yaml
base_model: org/base
lora_r: 8
learning_rate: 0.001
{more}
```
</details>
"""


class Nobody:
    """A Hub that nobody is to ask."""

    def record(self, name: str) -> ModelRecord:
        raise AssertionError(name)

    def children(self, name: str, relation: str, limit: int) -> Sequence[ModelRecord]:
        raise AssertionError(name)


@pytest.mark.parametrize("name", [
    "org/name", "https://huggingface.co/org/name", "http://www.huggingface.co/org/name/", "https://huggingface.co/org/name/tree/main?x=1#y", "hf:org/name",
    "hf://org/name", " org/name "])
def test_an_id_or_an_address_is_asked_of_the_hub(name: str) -> None:
    known = Known()
    known.add("org/name")
    assert [place for place, _ in open_models(name, known)] == ["org/name"]


@pytest.mark.parametrize(("name", "words"), [
    ("./org/name", "no such file"), ("card.md", "no such file"), ("a/b/c", "no such file"), ("~/nothing", "no such"), ("a" * 5000, "no file or folder"),
    ("two words", "no file or folder"), ("https://example.org/a/b", "no address"), ("a\x00b", "no file or folder"), ("~nobody/x", "no such file"),
    ("https://huggingface.co/datasets/org/name", "datasets"), ("hf:a b", "no file or folder"), ("", "no file or folder"), ("\x1b[2J", "no file")])
def test_what_is_neither_is_a_sentence(name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=words) as raised:
        list(open_models(name, Nobody()))
    assert raised.value.next_step


def test_a_path_that_exists_is_a_path_unless_hf_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "name").mkdir(parents=True)
    (tmp_path / "org" / "name" / "README.md").write_text("# here")
    assert [record.is_hub_id for _, record in open_models("org/name", Nobody())] == [False]
    known = Known()
    known.add("org/name")
    assert [record.is_hub_id for _, record in open_models("hf:org/name", known)] == [True]


def test_of_several_names_one_that_cannot_be_read_is_a_failure_and_a_single_one_raises(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A")
    sheets = show([str(tmp_path / "a.md"), "gone/away", str(tmp_path / "b.md")], Known())
    assert [one.sheet.name for one in sheets.models] == ["a"] and sheets.many
    assert [type(one) for one in sheets.failures] == [ModelError, UsageError]
    with pytest.raises(ModelError):
        show(["gone/away"], Known())


def test_a_folder_of_cards_is_all_of_them_each_with_its_place(tmp_path: Path) -> None:
    for name in ("a.md", "b.md"):
        (tmp_path / name).write_text("# A card")
    sheets = show([str(tmp_path)], Nobody())
    assert sheets.many and len({one.place for one in sheets.models}) == 2
    assert not show([str(tmp_path / "a.md")], Nobody()).many


def test_the_config_on_a_card_is_explained_with_the_lines_of_the_card(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(CONFIG.format(more="not_a_setting: 1\ndatasets: [{path: /etc/passwd, type: alpaca}]"))
    config = show([str(tmp_path / "a.md")], Nobody()).models[0].config
    assert config is not None and config.line == 9 and not config.problem
    assert {one.name: one.line for one in config.settings} == {"base_model": 9, "lora_r": 10, "learning_rate": 11, "datasets": 13}
    assert config.errors == 1 and [one.line for one in config.findings if one.key == "not_a_setting"] == [12]


@pytest.mark.parametrize("more", ["a: [", "\tx: 1", "a: *nobody", "a: \x07", "a: " + "[" * 500, "? {a: b}"])
def test_a_config_that_cannot_be_read_is_said(tmp_path: Path, more: str) -> None:
    (tmp_path / "a.md").write_text(CONFIG.format(more=more))
    shown = show([str(tmp_path / "a.md")], Nobody()).models[0]
    assert shown.config is not None and (shown.config.problem or shown.config.findings)
    assert for_machines(shown)["axolotl"]["problem"] == shown.config.problem


def test_the_base_of_a_hub_model_is_looked_up_once_and_may_be_out_of_reach() -> None:
    known = Known()
    known.add("o/tuned", ("finetune", "o/sft"), card="---\nbase_model: o/sft\n---\n")
    assert show(["o/tuned"], known).models[0].base is None
    known.add("o/sft", ("finetune", "o/root"), card="---\nbase_model: o/root\n---\n")
    known.asked.clear()
    base = show(["o/tuned"], known).models[0].base
    assert base is not None and base.base_model.value == "o/root" and "o/sft is itself" in base.sentence
    assert known.asked == ["o/tuned", "o/sft"]
