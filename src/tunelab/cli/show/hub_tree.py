"""A family tree in a terminal: what the model was made from, up to the root, and what was made from it."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from tunelab.cli.output import plain
from tunelab.hub.tree import RELATIONS, FamilyTree, Relative
from tunelab.report.family import PLURALS, STATES
from tunelab.report.numbers import count, percent
from tunelab.report.sheets import KINDS

_PLACES = 3


def show_tree(out: Console, tree: FamilyTree) -> None:
    """Print the tree and what could not be followed."""
    kind = KINDS.get(tree.kind, tree.kind) or "kind not stated"
    downloads = f", {count(tree.downloads)} downloads" if tree.downloads is not None else ""
    root = Tree(Text.assemble((plain(tree.name), "bold cyan"), f"  {plain(kind)}{downloads}"), guide_style="dim")
    above = root.add(Text("made from", "bold"))
    for one in tree.parents:
        _parent(above, one)
    if not tree.parents:
        above.add(Text("nothing that was read says so: a base model, or not stated", "dim"))
    total = sum(one.count or 0 for one in tree.children)
    if tree.children:
        below = root.add(Text(f"made from it: {total:,} models" if total else "made from it", "bold"))
        for branch in tree.children:
            number = f"{count(branch.count)} " if branch.count is not None else ""
            group = below.add(Text(f"{number}{PLURALS.get(branch.relation, plain(branch.relation))}"))
            for child in branch.models:
                group.add(Text.assemble(plain(child.name), (f"  {count(child.downloads)} downloads" if child.downloads is not None else "", "dim")))
            if branch.more and branch.models:
                group.add(Text(f"and {branch.more:,} more", "dim"))
    out.print(root)
    if tree.roots:
        out.print(Text(f"root: {plain(', '.join(tree.roots))}", "bold green"))
    for note in tree.notes:
        out.print(Text(f"note: {plain(note)}", "yellow"))


def _parent(tree: Tree, one: Relative) -> None:
    how = RELATIONS.get(one.relation, one.relation)
    text = Text.assemble((plain(one.name), "bold"), f"  by {plain(how)}" if how else "", (f"  {percent(round(one.confidence, 2))}", "green"))
    state = "root base model" if one.is_root else "stands above already" if one.state == "again" else STATES.get(one.state, "")
    if state:
        text.append(f"  ({state})", "green" if one.is_root else "yellow" if one.state != "again" else "dim")
    if one.note:
        text.append(f"  {plain(one.note)}", "yellow")
    for evidence in one.evidence[:_PLACES]:
        text.append(f"\n  {plain(evidence.place)}: {plain(evidence.quote)}", "dim")
    node = tree.add(text)
    for parent in one.parents:
        _parent(node, parent)
