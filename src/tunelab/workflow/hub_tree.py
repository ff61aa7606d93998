"""hub tree: from which base model a model comes, by which steps, and what was made from it."""

from __future__ import annotations

from pathlib import Path

from tunelab.errors import UsageError
from tunelab.hub.tree import Family, FamilyTree, read_tree
from tunelab.runs.store import write_text
from tunelab.workflow.hub_show import HubOnDemand, open_models


def tree(name: str, hub: Family | None = None, *, depth: int = 10, children: int = 10) -> FamilyTree:
    """The family of one model: a Hub id, a card or a model's folder (whose parents are looked up on the Hub).

    Raises UsageError when the name means several models, and what `open_models` raises.
    """
    hub = hub or HubOnDemand()
    found = list(open_models(name, hub))
    if len(found) != 1:
        raise UsageError(f"The folder holds {len(found)} models, and a tree is of one.", where=name, next_step=f"Give one of them, such as {found[0][0]}")
    return read_tree(hub, found[0][1], depth=depth, children=children)


def write_page(found: FamilyTree, path: Path) -> None:
    """Write a tree as a one-file page with a picture. Raises StorageError."""
    from tunelab.report.family import render_tree_html

    write_text(path, render_tree_html(found))
