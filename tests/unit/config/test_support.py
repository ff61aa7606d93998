"""Support status is what the code really does: every key marked honoured is read outside the rules, and none is read that is not there."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.conftest import ROOT

from tunelab.config.catalogue import key_names, typed_keys
from tunelab.config.known import children, retired_names
from tunelab.config.setting import Support

SRC = ROOT / "src" / "tunelab"
TALKS = ("config/", "planning/rules/", "planning/explain.py", "planning/here.py", "planning/difference.py", "planning/starter.py", "cli/")
ASKS = frozenset({"get", "written", "truthy", "first", "number", "text", "items"})


def _trees() -> dict[str, ast.Module]:
    return {path.relative_to(SRC).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in SRC.rglob("*.py")}


def _attributes(tree: ast.Module) -> set[str]:
    """Every name that is read as an attribute, or as a text given to getattr or Config.value."""
    found = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (getattr(node.func, "id", "") == "getattr" or getattr(node.func, "attr", "") == "value"):
            found |= {arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)}
    return found


def test_every_honoured_key_is_read_by_the_code_that_plans_or_runs() -> None:
    read = set().union(*(_attributes(tree) for name, tree in _trees().items() if not name.startswith(TALKS)))
    honoured = [key for key in typed_keys().values() if key.setting.support in (Support.HONOURED, Support.ON_HARDWARE)]
    assert len(honoured) > 70
    # The model's own config.json names these classes, and check says when another is written; special_tokens is read as a whole.
    said = {"model_type", "tokenizer_type"}
    assert [key.name for key in honoured if key.name.split(".")[-1] not in read | said and not key.name.startswith("special_tokens.")] == []
    assert "special_tokens" in read


def test_no_key_is_read_as_written_that_is_not_in_the_catalogue() -> None:
    known = {*key_names(), *(name.replace("[]", "") for name in key_names()), *retired_names(), "model_type"}
    known |= {name.rpartition(".")[2] for name in key_names()}  # rules also ask a dataset entry or a nested mapping
    unknown = []
    for name, tree in _trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ASKS and _asks_raw(node.func.value):
                args = node.args[:1] if node.func.attr in ("get", "number", "text", "items") else node.args
                unknown += [f"{name}:{node.lineno} {arg.value}" for arg in args
                            if isinstance(arg, ast.Constant) and isinstance(arg.value, str) and not _is_known(arg.value, known)]
    assert unknown == []


def _is_known(key: str, known: set[str]) -> bool:
    """A key of the catalogue, or one inside a free mapping (bnb_config_kwargs.bnb_4bit_quant_type)."""
    key = key.replace("fsdp_config.fsdp_", "fsdp_config.")  # the older spelling, said by TL109
    owners = [key[:index] for index, char in enumerate(key) if char == "."]
    if key == "lora_exclude_modules":  # read by one of the plugins, and no key of the schema
        return True
    return key in known or any(owner in known and owner not in children() for owner in owners)


def _asks_raw(node: ast.expr) -> bool:
    return (isinstance(node, ast.Name) and node.id == "raw") or (isinstance(node, ast.Attribute) and node.attr == "raw")


def test_every_module_is_looked_at() -> None:
    assert len(_trees()) > 130 and Path(SRC / "training" / "run.py").exists()
