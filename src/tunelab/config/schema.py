"""`json_schema`: the dialect as a JSON Schema (draft-07, as SchemaStore asks) for completion, hover and squiggles in editors.

The descriptions are the catalogue's words, in Markdown as yaml-language-server shows them; `deprecationMessage` and `doNotSuggest` are what
editors read beyond the standard.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.fields import FieldInfo

from tunelab.config import value_types
from tunelab.config.catalogue import SECTIONS, Key, catalogue, nested_section
from tunelab.config.known import RetiredName, children, known_keys, names, retired_names
from tunelab.config.setting import Section

NAME = "axolotl-config.schema.json"
_SIMPLE = {"int": {"type": "integer"}, "float": {"type": "number"}, "bool": {"type": "boolean"}, "str": {"type": "string"}, "null": {"type": "null"}}
_NAMED = {"optimizer": "optimizer", "lr_scheduler": "lr_scheduler", "save_strategy": "save_strategy", "eval_strategy": "eval_strategy",
          "chat_template": "chat_template", "attn_implementation": "attn_implementation", "datasets[].type": "sft_types"}


def json_schema() -> dict[str, Any]:
    """The whole schema. Keys that Axolotl drops are not allowed; null is, since a bare `key:` means its default."""
    properties = {name: _property(name) for name in _order("")}
    properties.update({name: _retired(retired) for name, retired in retired_names().items()})
    return {
        "$schema": "http://json-schema.org/draft-07/schema#", "$id": f"https://json.schemastore.org/{NAME}",
        "title": "Axolotl fine-tuning config",
        "description": "A config for fine-tuning a language model, in the dialect of Axolotl 0.21.0.",
        "type": "object", "additionalProperties": False, "required": ["base_model", "learning_rate"],
        "anyOf": [{"required": ["datasets"]}, {"required": ["pretraining_dataset"]}],
        "properties": properties,
    }


def _order(owner: str) -> Iterator[str]:
    """The dotted names below a mapping: what tunelab reads first, the rest by name."""
    prefix = f"{owner}." if owner else ""
    found = [f"{prefix}{name}" for name in children().get(owner, ())]
    typed = [name for name in catalogue() if name in found]  # the catalogue begins with the typed keys, in the order of their sections
    yield from typed
    if not owner:
        yield "model_type"


def _property(name: str) -> dict[str, Any]:
    key = catalogue()[name]
    said = _words(key)
    said.update(_shape(name, key))
    return said


def _words(key: Key) -> dict[str, Any]:
    setting = key.setting
    lines = [setting.says, setting.effect, f"Typical: {setting.typical}" if setting.typical else "",
             f"tunelab: {setting.support}{f' ({setting.hardware})' if setting.hardware else ''}."]
    example = f"```yaml\n{setting.example}\n```" if setting.example else ""
    said: dict[str, Any] = {"description": "\n\n".join(line for line in (*lines, example) if line)}
    if not key.required and isinstance(key.default, (bool, int, float, str)):
        said["default"] = key.default
    if key.status:
        instead = f" Use {key.replaced_by}." if key.replaced_by else ""
        said.update(deprecated=True, deprecationMessage=f"{'Removed' if key.status == 'removed' else 'An old spelling'}.{instead}", doNotSuggest=True)
    return said


def _retired(retired: RetiredName) -> dict[str, Any]:
    said = "An old name that nothing reads any more."
    return {"description": said, "deprecated": True, "doNotSuggest": True,
            "deprecationMessage": said + (f" Use {retired.replaced_by}." if retired.replaced_by else "")}


def _shape(name: str, key: Key) -> dict[str, Any]:
    """What values it takes; null everywhere."""
    if name in children():
        return {"anyOf": [_mapping(name), *_others(key, dict), {"type": "null"}]}
    if f"{name}[]" in children():
        return {"anyOf": [{"type": "array", "items": _mapping(f"{name}[]")}, *_others(key, list), {"type": "null"}]}
    branches = [_branch(one) for one in value_types.union(key.dialect or "str") if one != "null"]
    if any(branch == {} for branch in branches):
        return {}
    limits = {**_table_limits(name), **_limits(name)}
    branches = [{**branch, **limits} if branch.get("type") in ("integer", "number") else branch for branch in branches]
    if name in _NAMED:  # a free text with names to complete
        branches = [{"enum": sorted(names(_NAMED[name]))}, *branches]
    unique = [branch for index, branch in enumerate(branches) if branch not in branches[:index]]
    return {"anyOf": [*unique, {"type": "null"}]}


def _mapping(owner: str) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False,
            "properties": {name.rpartition(".")[2]: _property(name) for name in _order(owner)}}


def _others(key: Key, kind: type) -> list[dict[str, Any]]:
    """The branches beside the mapping or list that the key table looks into: `true`, a text."""
    known = known_keys()[key.name]
    return [_branch(one) for one in value_types.union(known.type)
            if (one in _SIMPLE and one != "null") or one.startswith("literal[") or (kind is dict and one.startswith("dict["))]


def _branch(one: str) -> dict[str, Any]:
    if one in _SIMPLE:
        return dict(_SIMPLE[one])
    if one.startswith("literal["):
        options = value_types.choices(one)
        return {"enum": [{"True": True, "False": False}.get(option, option) for option in options]}
    if one.startswith(("list", "tuple")):
        inside = one.partition("[")[2][:-1]
        return {"type": "array", "items": dict(_SIMPLE[inside])} if inside in _SIMPLE else {"type": "array"}
    return {} if one in ("any",) or one.startswith("ForwardRef") else {"type": "object"}


def _table_limits(name: str) -> Mapping[str, Any]:
    """The bounds that the key table gives."""
    words = {">=": "minimum", ">": "exclusiveMinimum", "<=": "maximum", "<": "exclusiveMaximum"}
    known = known_keys().get(name)
    return {words[sign]: border for sign, border in value_types.bounds(known.limits) if sign in words} if known is not None else {}


def _limits(name: str) -> Mapping[str, Any]:
    """The bounds that a section's field puts on a number."""
    info = _field(name)
    words = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}
    return {} if info is None else {word: getattr(item, sign) for item in info.metadata for sign, word in words.items()
                                    if getattr(item, sign, None) is not None}


def _field(name: str) -> FieldInfo | None:
    owner: type[Section] | None = next((model for model in SECTIONS.values() if name.split(".")[0].removesuffix("[]") in model.model_fields), None)
    info = None
    for part in name.replace("[]", "").split("."):
        info = owner.model_fields.get(part) if owner is not None else None
        owner = nested_section(info)[0] if info is not None else None
    return info
