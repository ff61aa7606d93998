"""The findings that a single key or value gives (TL1xx): is the name a setting, does it stand in its place, is the value possible, and
does tunelab act on it. What depends on several keys is in `planning.rules`; the pages of these codes are in `planning.rules.reading`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from tunelab.config import value_types
from tunelab.config.catalogue import typed_keys
from tunelab.config.finding import Finding, KeyPath, Severity, dotted, general
from tunelab.config.known import KnownKey, RetiredName, children, instead, known_keys, names, retired_names
from tunelab.config.source import Source

# Free texts that name one of a list; Axolotl looks them up only when the run has begun.
_NAMED = {"optimizer": "optimizer", "lr_scheduler": "lr_scheduler", "save_strategy": "save_strategy", "eval_strategy": "eval_strategy",
          "evaluation_strategy": "eval_strategy", "hub_strategy": "hub_strategy"}
_REMOVED_EVEN_WHEN_FALSE = frozenset({"dpo_use_logits_to_keep", "dpo_generate_during_eval", "dpo_norm_loss", "rpo_alpha"})
_PLUGINS_FOR_SPEED = ("liger", "cut_cross_entropy", "swanlab", "lm_eval", "kernels", "expert_parallel", "context_parallel")
_DONE_ANYWAY = frozenset({"chunked_cross_entropy", "cut_cross_entropy", "liger_cross_entropy", "liger_fused_linear_cross_entropy"})
_ENVIRONMENT = re.compile(r"\$\{?[A-Za-z_][A-Za-z0-9_]*\}?|\{\{.*?\}\}")
_SECRET = re.compile(r"hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{20,}|ghp_[A-Za-z0-9]{30,}|AKIA[A-Z0-9]{16}|xox[bp]-[A-Za-z0-9-]{20,}")
_SECRET_KEYS = frozenset({"comet_api_key", "swanlab_api_key", "swanlab_lark_secret"})


def finding_at(source: Source, code: str, severity: Severity, message: str, path: KeyPath, *, expected: str = "", fix: str = "") -> Finding:
    """A finding at the place where `path` stands in the file (or nearest to it)."""
    place = source.position(path)
    return Finding(code, severity, message, dotted(path), place.line if place else None, place.column if place else None, expected, fix)


def judge(source: Source, values: Mapping[str, Any]) -> Iterator[Finding]:
    """Everything there is to say about each key and value by itself, except about values that a section types."""
    for repeat in source.repeats:
        severity = Severity.ERROR if repeat.differs else Severity.WARNING
        yield Finding("TL110", severity, f"`{repeat.path[-1]}` is written twice (first on line {repeat.first_line}); only the later value "
                      "would hold.", dotted(repeat.path), repeat.line, repeat.column, fix="Delete one of the two lines.")
    yield from _mapping(source, values, (), "")


def shown(value: Any) -> str:
    """A value in a sentence, on one line and not too long."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = repr(value) if not isinstance(value, bool) else str(value).lower()
    return text if len(text) <= 60 else text[:57] + "..."


def is_inert(known: KnownKey, value: Any) -> bool:
    """Whether writing this value asks for nothing: null, false, empty, or what holds anyway."""
    return value is None or value is False or value in ("", [], {}) or value == known.default


def _mapping(source: Source, values: Mapping[str, Any], path: KeyPath, owner: str) -> Iterator[Finding]:
    """Judge the keys of one mapping of the dialect; `owner` is its name in the key table."""
    for name, value in values.items():
        here = (*path, name)
        dialect = f"{owner}.{name}" if owner else name
        yield from _text(source, value, here)
        known = known_keys().get(dialect)
        if known is None and dialect not in typed_keys():
            yield _unknown(source, here, owner)
            continue
        if value is None and known is not None and not value_types.accepts(known.type, None):
            yield finding_at(source, "TL102", Severity.ERROR, f"`{dotted(here)}` is written without a value, and it takes no null.", here,
                             expected=value_types.in_words(known.type), fix=f"delete `{name}`")
            continue
        if known is not None and known.status:
            yield from _old(source, here, known, value, values)
            continue
        if known is not None and dialect not in typed_keys():
            yield from _untyped(source, here, known, value)
        yield from _inside(source, value, here, dialect)
    if owner:
        yield from _missing(source, values, path, owner)


def _missing(source: Source, values: Mapping[str, Any], path: KeyPath, owner: str) -> Iterator[Finding]:
    """The required keys that a nested mapping does not have; sections say it for theirs."""
    for name in children().get(owner, ()):
        dialect = f"{owner}.{name}"
        if known_keys()[dialect].required and values.get(name) is None and dialect not in typed_keys():
            yield finding_at(source, "TL103", Severity.ERROR, f"`{dotted(path)}` needs `{name}`, which is not written.", path,
                             expected=value_types.in_words(known_keys()[dialect].type))


def _inside(source: Source, value: Any, path: KeyPath, dialect: str) -> Iterator[Finding]:
    """The keys below a key, where the key table names them; a free mapping or list is not looked into, but its texts are."""
    if isinstance(value, Mapping) and dialect in children():
        yield from _mapping(source, value, path, dialect)
    elif isinstance(value, list) and f"{dialect}[]" in children():
        for index, item in enumerate(value):
            if isinstance(item, Mapping):
                yield from _mapping(source, item, (*path, index), f"{dialect}[]")


def _untyped(source: Source, path: KeyPath, known: KnownKey, value: Any) -> Iterator[Finding]:
    """A key of the table that no section holds: its type, and that nothing acts on it."""
    if value is None:
        return
    if not value_types.accepts(known.type, value):
        yield wrong_value(source, path, value, value_types.in_words(known.type), value_types.choices(known.type))
    elif expected := value_types.outside(known.limits, value):
        yield wrong_value(source, path, value, expected)
    elif (kind := _NAMED.get(known.name)) and isinstance(value, str) and value not in names(kind):
        yield wrong_value(source, path, value, f"one of {', '.join(sorted(names(kind)))}", tuple(names(kind)))
    elif not is_inert(known, value) and not _acted_on_inside(known, value):
        speed_only = known.name == "plugins" and all(any(name in str(one) for name in _PLUGINS_FOR_SPEED) for one in value)
        yield not_acted_on(source, path, replace(known, changes="") if speed_only else known)


def _acted_on_inside(known: KnownKey, value: Any) -> bool:
    """A mapping whose keys are judged one by one says it there."""
    return isinstance(value, Mapping) and known.name in children()


def not_acted_on(source: Source, path: KeyPath, known: KnownKey) -> Finding:
    """TL105 or TL106, by whether the training would be another one."""
    name = dotted(path)
    if known.name in _DONE_ANYWAY:
        return finding_at(source, "TL105", Severity.NOTE, f"`{name}` asks for what every run of tunelab does: the loss is computed in chunks, and no "
                          "logits are kept.", path)
    if not known.changes:
        return finding_at(source, "TL105", Severity.NOTE,
                          f"`{name}` is understood and not acted on by tunelab; what is learnt is the same without it.", path)
    return finding_at(source, "TL106", Severity.BLOCKED, f"`{name}` is understood, but this version of tunelab does not act on it, and the "
                      f"training would be another one without it. {instead(known)}".rstrip(), path, fix=f"delete `{path[-1]}`")


def wrong_value(source: Source, path: KeyPath, value: Any, expected: str, options: tuple[str, ...] = ()) -> Finding:
    """TL102, with the closest option, and the quotes that a bare yes or no needs."""
    guess = _closest(str(value), options) if isinstance(value, str) else None
    fix = f"{path[-1]}: {guess}" if guess else ""
    hint = f" Did you mean `{guess}`?" if guess else ""
    if isinstance(value, bool) and ("no" in options or "text" in expected):
        written = _written(source, path)
        if written.lower() in ("no", "off", "yes", "on"):
            hint, fix = f" YAML reads a bare `{written}` as {str(value).lower()}; quote it.", f"{path[-1]}: '{written}'"
    found = finding_at(source, "TL102", Severity.ERROR, f"`{dotted(path)}` is {shown(value)}; expected {expected}.{hint}", path,
                       expected=expected, fix=fix)
    return replace(found, safe=fix.endswith("'"))


def _written(source: Source, path: KeyPath) -> str:
    place = source.positions.get(path)
    return source.text[place.value_start : place.value_end] if place else ""


_OF_OTHER_TOOLS = {
    "label_smoothing_factor": "a setting of transformers' Trainer that Axolotl has not, so no run smooths the labels of ordinary fine-tuning. "
                              "With `rl: dpo` there is `dpo_label_smoothing`, which is another thing: doubt about which answer is better."}
"""Names that look like a misspelling of a setting and are none: what they are elsewhere."""


def _unknown(source: Source, path: KeyPath, owner: str) -> Finding:
    name = str(path[-1])
    if not owner and name in retired_names():
        return _retired(source, path, retired_names()[name])
    if owner == "fsdp_config" and name.removeprefix("fsdp_") in children()[owner]:
        modern = name.removeprefix("fsdp_")
        return replace(finding_at(source, "TL109", Severity.WARNING, f"`{name}` is an old spelling; inside `fsdp_config` it is `{modern}`.",
                                  path, fix=f"rename `{name}` to `{modern}`"), safe=True)
    if not owner and name in _OF_OTHER_TOOLS:
        return finding_at(source, "TL101", Severity.ERROR, f"`{name}` is {_OF_OTHER_TOOLS[name]}", path, fix=f"delete `{name}`")
    home = _home(name, owner)
    if home is not None:
        return finding_at(source, "TL108", Severity.ERROR, f"`{name}` is a setting, but not here: it belongs {home}.", path,
                          expected=home, fix=f"delete `{name}`")
    guess = _closest(name, children().get(owner, ()))
    hint = f" Did you mean `{guess}`?" if guess else ""
    return finding_at(source, "TL101", Severity.ERROR, f"`{name}` is not a setting{f' of `{owner}`' if owner else ''}.{hint}", path,
                      fix=f"rename `{name}` to `{guess}`" if guess else f"delete `{name}`")


def _retired(source: Source, path: KeyPath, retired: RetiredName) -> Finding:
    instead = f" The modern name is `{retired.replaced_by}`." if retired.replaced_by else ""
    fix = f"delete `{path[-1]}`" if retired.safe else f"rename `{path[-1]}` to `{retired.replaced_by}`"
    found = finding_at(source, "TL109", Severity.WARNING, f"`{path[-1]}` is an old name that nothing reads any more"
                       f"{f': {retired.says}' if retired.says else ''}.{instead}", path, fix=fix)
    return replace(found, safe=retired.safe)


def _home(name: str, owner: str) -> str | None:
    """Where a name is a setting, when it is one somewhere else: "at the top level", "under `trl`"."""
    if owner and name in children()[""]:
        return "at the top level"
    owners = [other for other, found in children().items() if name in found and other not in (owner, "")]
    if not owners or len(name) < 4:
        return None
    core = [other for other in owners if not known_keys()[f"{other}.{name}"].plugin]
    if not core and _closest(name, children().get(owner, ())):
        return None  # a plugin happens to have the name; a misspelling is likelier
    owners = core or owners
    best = "datasets[]" if "datasets[]" in owners else owners[0]
    return "in an entry of `datasets`" if best == "datasets[]" else f"under `{best}`"


def _old(source: Source, path: KeyPath, known: KnownKey, value: Any, beside: Mapping[str, Any]) -> Iterator[Finding]:
    """TL104 for a removed key, TL109 for an old spelling, with the modern one."""
    name, instead = str(path[-1]), known.replaced_by
    if value is None or (known.status == "removed" and not value and name not in _REMOVED_EVEN_WHEN_FALSE):
        return
    if known.status == "removed":
        yield finding_at(source, "TL104", Severity.ERROR, f"`{name}` was removed from Axolotl.{f' Use {instead}.' if instead else ''}", path,
                         fix=f"delete `{name}`" + (f", write {instead}" if instead else ""))
        return
    if not value_types.accepts(known.type, value):
        yield wrong_value(source, path, value, value_types.in_words(known.type), value_types.choices(known.type))
        return
    fix, safe = _modern(known, name, value, beside)
    said = f"; the modern spelling is `{instead}`" if instead else "; nothing reads it any more"
    yield replace(finding_at(source, "TL109", Severity.WARNING, f"`{name}` is an old spelling{said}.", path, fix=fix), safe=safe)
    if known.changes and not instead and not is_inert(known, value):
        yield not_acted_on(source, path, known)


def _modern(known: KnownKey, name: str, value: Any, beside: Mapping[str, Any]) -> tuple[str, bool]:
    """The edit from an old spelling to the modern one, and whether it keeps the meaning."""
    instead = known.replaced_by
    if ": " in instead:  # "attn_implementation: sdpa", for a flag that is true
        key = instead.partition(": ")[0]
        if not value:
            return f"delete `{name}`", True
        if key in beside:
            return f"delete `{name}`", str(beside[key]) == instead.partition(": ")[2]
        return f"{instead}\ndelete `{name}`", True
    modern = instead.rpartition(".")[2]
    if re.fullmatch(r"[a-z0-9_]+(?:\[\])?(?:\.[a-z0-9_]+)*", instead) and instead.rpartition(".")[0] == known.owner:
        return (f"delete `{name}`", beside[modern] == value) if modern in beside else (f"rename `{name}` to `{modern}`", True)
    return (f"delete `{name}`", True) if not instead else (f"write {instead}", False)


def _text(source: Source, value: Any, path: KeyPath) -> Iterator[Finding]:
    """Traps in a text: a variable that nobody fills in, a secret."""
    if isinstance(value, Mapping) and general(path) not in children():
        for name, item in value.items():
            yield from _text(source, item, (*path, name))
            if isinstance(item, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", item):
                yield replace(finding_at(source, "TL111", Severity.WARNING, f"`{name}: {item}` is text in YAML 1.1, not a number, and nothing "
                                         "turns it into one here.", (*path, name), fix=f"{name}: {_plain_number(float(item))}"), safe=True)
    elif isinstance(value, list) and f"{general(path)}[]" not in children():
        for index, item in enumerate(value):
            yield from _text(source, item, (*path, index))
    elif isinstance(value, str):
        if _SECRET.search(value) or (value and path[-1] in _SECRET_KEYS):
            yield finding_at(source, "TL113", Severity.WARNING, f"`{dotted(path)}` holds what looks like a secret; a config is shared and "
                             "committed.", path, expected="an environment variable such as HF_TOKEN or WANDB_API_KEY",
                             fix=f"delete `{path[-1]}`")
        elif (match := _ENVIRONMENT.search(value)) and "jinja" not in str(path[-1]) and "template" not in str(path[-1]) \
                and general(path) not in ("datasets[].type", "test_datasets[].type"):
            yield finding_at(source, "TL112", Severity.WARNING, f"`{match.group()[:40]}` is taken as it stands: variables in a config are "
                             "not filled in.", path, expected="the value itself")


def _plain_number(number: float) -> str:
    """A number as YAML 1.1 reads it back: with a point in the mantissa and a sign in the exponent."""
    text = f"{number:.12f}".rstrip("0")
    return text + "0" if text.endswith(".") else text if float(text) == number else f"{number:.6e}"


@lru_cache(maxsize=1024)
def _closest(name: str, candidates: tuple[str, ...]) -> str | None:
    import difflib

    matches = difflib.get_close_matches(name.lower(), candidates, n=1, cutoff=0.72)
    return matches[0] if matches else None
