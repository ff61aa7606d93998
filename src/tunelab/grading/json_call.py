"""{"kind": "json"}: the answer is JSON and nothing else; with "expected": it is that JSON value, whatever the spacing and key order; with
"schema": it fits that JSON Schema (by the library jsonschema)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from tunelab.errors import needs
from tunelab.grading.result import Grade, inert, quoted, verdict

_FENCED = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)


def check_json(grader: Mapping[str, Any]) -> str | None:
    """What is wrong with the grader, or None."""
    if not set(grader) <= {"kind", "expected", "schema"} or ("expected" in grader and "schema" in grader):
        return "expected no key but either `expected` or `schema`"
    if "schema" not in grader:
        return None
    with needs("grade", "A JSON schema"):
        from jsonschema import SchemaError
        from jsonschema.validators import validator_for
    if not isinstance(grader["schema"], dict):
        return "`schema` must be a JSON Schema, an object"
    try:
        validator_for(grader["schema"]).check_schema(grader["schema"])
    except SchemaError as error:
        return f"`schema` is not a JSON Schema: {error.message[:200]}"
    return None


def grade_json(grader: Mapping[str, Any], text: str) -> Grade:
    """Parse strictly (RFC 8259: no NaN, no text around it) and compare as a value.

    `expected` is a JSON value, or the JSON text of one. Facts: `exact_text` (the strings are equal too) and `equal_value`. The score
    is 1 for equal values, for objects with the same keys in part the share of expected keys whose value is right, else 0.
    """
    try:
        found = parse_json(text)
    except ValueError as error:
        return verdict(False, _why_not(text, error), exact_text=False, equal_value=False)
    if "schema" in grader:
        return _fits(grader["schema"], found)
    if "expected" not in grader:
        return verdict(True, "the answer is JSON")
    expected, written = _expected(grader["expected"])
    difference = first_difference(expected, found)
    facts = {"exact_text": text.strip() == written, "equal_value": difference is None}
    if difference is None:
        spaced = "" if facts["exact_text"] else ", written differently"
        return Grade(True, 1.0, f"the answer is the expected JSON value{spaced}", facts)
    return Grade(False, _share(expected, found), difference, facts)


def _fits(schema: Mapping[str, Any], found: Any) -> Grade:
    """The score is 1, or 0.5 for JSON that does not fit. References to other schemas are not followed: nothing is fetched."""
    from jsonschema.validators import validator_for
    from referencing import Registry

    first = next(iter(validator_for(schema)(schema, registry=Registry()).iter_errors(found)), None)
    if first is None:
        return verdict(True, "the answer is JSON that fits the schema")
    place = ".".join(inert(str(part)) for part in first.absolute_path)
    return Grade(False, 0.5, f"JSON, but{f' at {place}:' if place else ''} {inert(first.message)[:160]}")


def parse_json(text: str) -> Any:
    """A JSON value. Raises ValueError for everything else, also for nesting that is too deep."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def first_difference(expected: Any, found: Any, place: str = "") -> str | None:
    """The first difference between two JSON values as a short sentence, or None. true is not 1; 1 and 1.0 are the same number."""
    at = f" at {place}" if place else ""
    if _kind(expected) != _kind(found):
        return f"expected {_kind(expected)}{at}, found {_kind(found)}"
    if isinstance(expected, dict):
        return _object_difference(expected, found, place)
    if isinstance(expected, list):
        if len(expected) != len(found):
            return f"expected {len(expected)} items{at}, found {len(found)}"
        pairs = enumerate(zip(expected, found, strict=True))
        return next((one for index, (left, right) in pairs if (one := first_difference(left, right, f"{place}[{index}]"))), None)
    return None if expected == found else f"expected {_shown(expected)}{at}, found {_shown(found)}"


def _object_difference(expected: dict[str, Any], found: dict[str, Any], place: str) -> str | None:
    missing = [key for key in expected if key not in found]
    extra = [key for key in found if key not in expected]
    if missing or extra:
        parts = [f"{quoted(key, 30)} is missing" for key in missing[:2]] + [f"{quoted(key, 30)} is too much" for key in extra[:2]]
        at = f" at {place}" if place else ""
        many = "key" if len(expected) == 1 else "keys"
        return f"expected {len(expected)} {many}{at}, found {len(found)}: {', '.join(parts)}"
    inside = (first_difference(value, found[key], f"{place}.{inert(key)}" if place else inert(key)) for key, value in expected.items())
    return next((one for one in inside if one), None)


def _share(expected: Any, found: Any) -> float:
    if not (isinstance(expected, dict) and isinstance(found, dict) and expected):
        return 0.0
    right = sum(key in found and first_difference(value, found[key]) is None for key, value in expected.items())
    return right / len(expected) if right < len(expected) else (right - 0.5) / len(expected)  # all right and keys too many


def _expected(value: Any) -> tuple[Any, str]:
    """(the value, its text): a text that is JSON stands for the value that it writes."""
    if isinstance(value, str):
        try:
            return parse_json(value), value.strip()
        except ValueError:
            pass
    return value, json.dumps(value, ensure_ascii=False)


def _why_not(text: str, error: ValueError) -> str:
    if not text.strip():
        return "the answer is empty, expected JSON"
    fenced = _FENCED.search(text)
    if fenced and _is_json(fenced.group(1)):
        return "the answer is not JSON alone: the JSON stands inside a code fence"
    if isinstance(error, json.JSONDecodeError):
        if error.msg == "Extra data":
            return f"the answer is not JSON alone: after the JSON comes {quoted(text[error.pos:].strip(), 40)}"
        return f"not JSON at character {error.pos + 1}: {error.msg[0].lower()}{error.msg[1:]}"
    return f"not JSON: {error}"


def _is_json(text: str) -> bool:
    try:
        parse_json(text)
    except ValueError:
        return False
    return True


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    kinds = {dict: "an object", list: "a list", str: "a text", int: "a number", float: "a number"}
    return kinds.get(type(value), "null")


def _shown(value: Any) -> str:
    return quoted(value, 40) if isinstance(value, str) else str(json.dumps(value))
