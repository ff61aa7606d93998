"""Family trees: up to the root with evidence, down by relation; circles, missing and gated parents, merges and local paths are survived."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tunelab.errors import ModelError
from tunelab.hub.card import read_card
from tunelab.hub.record import ModelRecord
from tunelab.hub.tree import MOST_PARENTS, MOST_READ, FamilyTree, read_tree


@dataclass
class Known:
    """A family of records by name; who is asked for is noted."""

    records: dict[str, ModelRecord] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def add(self, name: str, *parents: tuple[str, str], card: str = "", **about: object) -> ModelRecord:
        self.records[name] = ModelRecord(name, read_card(card or "# A model\n"), is_hub_id=True, parents=parents, **about)  # type: ignore[arg-type]
        return self.records[name]

    def record(self, name: str) -> ModelRecord:
        self.asked.append(name)
        if name not in self.records:
            raise ModelError(f"The Hub knows no model {name}.")
        return self.records[name]

    def children(self, name: str, relation: str, limit: int) -> Sequence[ModelRecord]:
        found = [one for one in self.records.values() if (relation, name) in one.parents]
        return sorted(found, key=lambda one: -(one.downloads or 0))[:limit]


def family() -> Known:
    """root <- tuned <- adapter, gguf; mix = merge of tuned and other, both from root."""
    known = Known()
    known.add("org/root", card="---\nlicense: mit\n---\n", children={"finetune": 12, "quantized": 1}, downloads=900)
    known.add("org/tuned", ("finetune", "org/root"), card="---\nbase_model: org/root\n---\n", downloads=50, children={"adapter": 1, "quantized": 0})
    known.add("org/other", ("finetune", "org/root"), downloads=70)
    known.add("org/adapter", ("adapter", "org/tuned"), downloads=5)
    known.add("org/mix", ("merge", "org/tuned"), ("merge", "org/other"))
    return known


def steps(tree: FamilyTree) -> list[tuple[str, str, str, str]]:
    return [(child, one.name, one.relation, one.state) for child, one in tree.steps()]


def test_the_way_up_has_relation_and_evidence() -> None:
    known = family()
    tree = read_tree(known, known.records["org/adapter"])
    assert steps(tree) == [("org/adapter", "org/tuned", "adapter", "read"), ("org/tuned", "org/root", "finetune", "read")]
    assert tree.roots == ("org/root",)
    said = [one.kind for one in tree.parents[0].parents[0].evidence]
    assert "card metadata" in said or "model tree" in said


def test_children_by_relation_with_counts_the_most_downloaded_first() -> None:
    known = family()
    (branch, copies) = read_tree(known, known.records["org/root"], children=1).children
    assert (branch.relation, branch.count, branch.more) == ("finetune", 12, 11)
    assert [(one.name, one.downloads) for one in branch.models] == [("org/other", 70)]
    assert (copies.relation, copies.count, copies.models) == ("quantized", 1, ())
    assert [one.relation for one in read_tree(known, known.records["org/tuned"]).children] == ["adapter"]


def test_a_merge_has_all_its_parents_and_a_common_root_is_read_once() -> None:
    known = family()
    tree = read_tree(known, known.records["org/mix"])
    assert [one.name for one in tree.parents] == ["org/tuned", "org/other"]
    assert {one.relation for one in tree.parents} == {"merge"}
    assert known.asked.count("org/root") == 1
    assert [state for *_, state in steps(tree)].count("again") == 1
    assert tree.roots == ("org/root",)


def test_a_circle_ends() -> None:
    known = Known()
    one = known.add("a/a", ("finetune", "b/b"))
    known.add("b/b", ("finetune", "A/a"))
    tree = read_tree(known, one)
    assert [(parent, state) for _, parent, _, state in steps(tree)] == [("b/b", "read"), ("A/a", "cycle")]
    assert tree.roots == ()


def test_parents_that_are_missing_gated_or_on_a_disk_are_said() -> None:
    known = Known()
    known.add("meta/gated", gated="manual")
    start = known.add("me/mine", ("merge", "meta/gated"),
                      ("merge", "gone/away"), ("merge", "/workspace/out"), ("merge", "C:\\models\\x"), ("merge", "a b"))
    found = {one.name: one for one in read_tree(known, start).parents}
    assert found["meta/gated"].state == "gated" and "manual" in found["meta/gated"].note and found["meta/gated"].is_root
    assert found["gone/away"].state == "missing" and "knows no model" in found["gone/away"].note
    assert found["/workspace/out"].state == found["C:\\models\\x"].state == "local"
    assert found["a b"].state == "missing"
    assert known.asked == ["meta/gated", "gone/away"]


def test_depth_and_width_are_bounded() -> None:
    known = Known()
    for index in range(100):
        known.add(f"o/m{index}", ("finetune", f"o/m{index + 1}"))
    assert len(steps(read_tree(known, known.records["o/m0"], depth=3))) == 4
    assert steps(read_tree(known, known.records["o/m0"], depth=3))[-1][-1] == "not looked up"
    assert len(steps(read_tree(known, known.records["o/m0"], depth=1000))) == MOST_READ + 1
    wide = known.add("o/wide", *(("merge", f"o/m{index}") for index in range(50)))
    tree = read_tree(known, wide, depth=1)
    assert len(tree.parents) == MOST_PARENTS and any("50 parents" in note for note in tree.notes)


def test_children_that_cannot_be_listed_are_a_note() -> None:
    class Refuses(Known):
        def children(self, name: str, relation: str, limit: int) -> Sequence[ModelRecord]:
            raise ModelError("The Hub is away.")

    known = Refuses()
    tree = read_tree(known, known.add("a/a", children={"finetune": 3}))
    assert tree.children[0].count == 3 and tree.children[0].models == () and "The Hub is away." in tree.notes[0]


def test_a_card_alone_has_parents_and_no_children() -> None:
    known = family()
    tree = read_tree(known, ModelRecord("model", read_card("---\nbase_model: org/tuned\n---\n"), children={"finetune": 1}))
    assert [name for _, name, *_ in steps(tree)] == ["org/tuned", "org/root"] and tree.children == ()
