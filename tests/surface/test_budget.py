"""The size budget: a function fails at 80 lines or 8 parameters (a command line's options are none), a file at 600 lines; no drawer-names."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCES = sorted((Path(__file__).parent.parent.parent / "src" / "tunelab").rglob("*.py"))
DRAWERS = {"utils", "util", "helpers", "helper", "common", "misc"}


def test_there_is_something_to_measure() -> None:
    assert len(SOURCES) > 50


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path).split("tunelab/", 1)[1])
def test_budget(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 600
    assert path.stem not in DRAWERS and path.parent.name not in DRAWERS
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "every module says what it is for"
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            arguments = [a for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs) if a.arg not in {"self", "cls"}]
            assert length < 80, f"{node.name} has {length} lines"
            options = [a for a in arguments if path.parent.name == "cli" and a.annotation is not None and "Annotated" in ast.dump(a.annotation)]
            assert len(arguments) - len(options) <= 7, f"{node.name} has {len(arguments)} parameters"
