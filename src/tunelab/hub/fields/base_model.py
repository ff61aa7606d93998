"""Which model it was made from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from tunelab.hub.card import links
from tunelab.hub.evidence import STATED, Answer, Candidate, Evidence, ranked
from tunelab.hub.fields.base_code import converted_from, loaded_beside_adapter, merge_recipe, settings
from tunelab.hub.fields.base_text import Claim, read_claims
from tunelab.hub.fields.training import AxolotlConfig
from tunelab.hub.model_names import id_of_address, is_model_like, key, known_root, model_name, name_of_path, resolve, same_model, vaguer, words
from tunelab.hub.record import ModelRecord

_HINT = 0.45
RIVAL = 0.5
"""What is left of a candidate's confidence when another is the answer."""
_REPACKED = re.compile(r"unsloth/|bnb|-[48]bit|gptq|awq|gguf", re.IGNORECASE)
_CODE_NOTE = "the card's code names it"
PATH_NOTE = "a place on the maker's disk"
_NO_NAMES = re.compile(r"(?:gpt|chatgpt|claude|gemini)[-_ ]?[345o]|chatgpt", re.IGNORECASE)


def read_base_model(record: ModelRecord, kind: Answer, axolotl: AxolotlConfig | None) -> Answer:
    """The model or (of a merge) models it was made from, as Hub ids where one is given, else as named.

    The rivals of a single parent have but RIVAL times the confidence that they would have alone.
    """
    merged, packed = kind.value == "merge", kind.value == "quantized"
    own = _own_names(record, packed)
    formal = [*_metadata(record), *_adapter(record), *_tree(record), *_axolotl(record, axolotl)]
    recipe = list(_recipe(record, merged)) if merged else []
    by_metadata = _own_names(record, packed=True)
    claims = [
        one
        for one in read_claims(record.card, packed=packed, merged=merged)
        if not _is_own(one.value, by_metadata if one.cue in _OF_ANOTHER else own) and not _NO_NAMES.match(one.value)
    ]
    written = [*_config(record, own), *_code(record, own, kind.value), *(_candidate(one) for one in _told_apart(claims, formal, kind))]
    if kind.value == "base" and kind.candidates[0].confidence >= 0.7 and not any(one.confidence >= STATED for one in formal):
        written = [_weaker(one, 0.75) for one in written]
    formal = _of_copy(claims, formal, _own_names(record, packed=False)) if packed else _direct_parents_first(claims, formal)
    gathered = _joined([*formal, *recipe, *written])
    if packed and not any(one.confidence >= STATED for one in gathered):
        gathered += _linked(record, own) or [
            Candidate(said.value, 0.56, (place,), _CODE_NOTE)
            for said, place in converted_from(record.card)
            if not said.is_path and not _is_own(said.value, own)
        ]
    many = merged or len({key(one.value) for one in formal if one.confidence >= 0.9 and one.evidence[0].kind == "card metadata"}) > 1
    if many:
        gathered = _parents_only(gathered, formal, recipe)
    gathered += _hints_of_name(record, gathered)
    found = ranked(gathered, many=True).candidates
    if not many:  # there is one parent; what else was named is a rival, and no second parent
        found = (*found[:1], *(replace(one, confidence=round(one.confidence * RIVAL, 3)) for one in found[1:]))
    return Answer(tuple(_noted(one) for one in found), many=True)


def _metadata(record: ModelRecord) -> Iterator[Candidate]:
    card = record.card
    for field, confidence in (
        ("base_model", 0.96),
        ("base_models", 0.9),
        ("basemodel", 0.85),
        ("base-model", 0.85),
        ("finetuned_from", 0.85),
        ("finetuned_from_model", 0.85),
        ("parent_model", 0.85),
        ("base_model_name_or_path", 0.85),
        ("model_link", 0.8),
        ("original_model", 0.85),
        ("source_model", 0.85),
        ("quantized_from", 0.9),
        ("converted_from", 0.9),
        ("base", 0.6),
    ):
        for value, path in (*card.strings(field), *_inside(card.front.get(field), field)):
            line = card.line(*path) or card.line(field)
            yield from _formal(value, confidence, Evidence("card metadata", card.quote(line), card.file, line), record)


def _inside(value: object, field: str) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    """The names in a mapping that somebody gave for a name: {name: x}, [{name: x}]."""
    for index, one in enumerate(value if isinstance(value, list) else [value]):
        path: tuple[str | int, ...] = (field, index) if isinstance(value, list) else (field,)
        if isinstance(one, dict):
            for inner in ("name", "id", "model", "model_id", "repo", "repo_id", "path"):
                if isinstance(one.get(inner), str):
                    yield one[inner], (*path, inner)
                    break
        elif isinstance(one, list):
            yield from ((text, (*path, at)) for at, text in enumerate(one) if isinstance(text, str))


def _formal(value: str, confidence: float, evidence: Evidence, record: ModelRecord) -> Iterator[Candidate]:
    """A name from a field that is meant for it. Several in one text ("a/b, c/d") are taken apart."""
    parts = re.split(r"\s*[,;]\s*|\s+and\s+|\s*\+\s*", value) if re.search(r"/.*[,;+ ].*/", value) and "://" not in value else [value]
    for part in parts[:50]:
        said = model_name(part)
        if said is None or (record.is_hub_id and said.value.lower() == record.name.lower()):
            continue
        if said.is_path:
            yield _placed(said.value, evidence)
        else:
            yield Candidate(said.value, confidence if said.is_id or len(said.value) < 60 else 0.4, (evidence,))


def _placed(path: str, evidence: Evidence) -> Candidate:
    """A place on somebody's disk: what its last part says, when that is a model's name; else a hint that something was named."""
    name = name_of_path(path)
    return Candidate(name, 0.55, (evidence,), f"by the name of {PATH_NOTE}: {path}") if name else Candidate(path, 0.3, (evidence,), PATH_NOTE)


def _adapter(record: ModelRecord) -> Iterator[Candidate]:
    value = record.adapter.get("base_model_name_or_path")
    if isinstance(value, str) and value.strip():
        yield from _formal(value, 0.93, Evidence("adapter_config.json", f"base_model_name_or_path: {value}", "adapter_config.json"), record)


def _tree(record: ModelRecord) -> Iterator[Candidate]:
    for relation, name in record.parents:
        yield Candidate(name, 0.95, (Evidence("model tree", f"{relation} of {name}".strip()),))
    for tag in record.tags:
        parts = tag.split(":", 2)
        if parts[0] == "base_model" and len(parts) > 1 and "/" in parts[-1] and model_name(parts[-1]) is not None:
            yield Candidate(parts[-1], 0.92, (Evidence("tag", tag),))


def _axolotl(record: ModelRecord, axolotl: AxolotlConfig | None) -> Iterator[Candidate]:
    if axolotl is not None and axolotl.base_model is not None:
        value, line = axolotl.base_model
        yield from _formal(value, 0.93, Evidence("card text", record.card.quote(line), record.card.file, line), record)


def _config(record: ModelRecord, own: frozenset[str]) -> Iterator[Candidate]:
    value = record.config.get("_name_or_path")
    said = model_name(value)
    if said is not None and not _is_own(said.value, own):
        evidence = Evidence("config.json", f"_name_or_path: {value}", "config.json")
        loaded = Candidate(said.value, 0.62, (evidence,), "config.json says from where the weights were loaded")
        yield replace(_placed(said.value, evidence), confidence=0.3) if said.is_path else loaded


def _recipe(record: ModelRecord, merged: bool) -> Iterator[Candidate]:
    recipe = merge_recipe(record.card)
    if recipe is None:
        return
    for name, evidence in recipe.models:
        said = model_name(name)
        yield _placed(name, evidence) if said is not None and said.is_path else Candidate(name, 0.92, (evidence,))
    if recipe.base is not None:
        said = model_name(recipe.base[0])
        yield _placed(*recipe.base) if said is not None and said.is_path else Candidate(recipe.base[0], 0.9, (recipe.base[1],), "the base of the merge")


def _code(record: ModelRecord, own: frozenset[str], kind: str | None) -> Iterator[Candidate]:
    for said, setting, evidence in settings(record.card):
        if not _is_own(said.value, own) and (said.is_id or is_model_like(said.value)):
            yield Candidate(said.value, 0.66 if setting == "model_name_or_path" and kind != "adapter" else 0.7, (evidence,), _CODE_NOTE)
    for said, evidence in loaded_beside_adapter(record.card):
        if not said.is_path and not _is_own(said.value, own) and "adapter" not in said.value.lower() and "lora" not in said.value.lower():
            yield Candidate(said.value, 0.68 if kind == "adapter" else 0.5, (evidence,), _CODE_NOTE)


def _told_apart(claims: list[Claim], formal: list[Candidate], kind: Answer) -> list[Claim]:
    """What is said of the parent itself (X, "which is a fine-tune of Y") names the root, not the base model."""
    merged, packed = kind.value == "merge", kind.value == "quantized"
    tuned = kind.value in ("finetune", "adapter") and kind.stated[0].confidence >= 0.7
    sure = [one.value for one in formal if one.confidence >= STATED]
    parents = [one.value for one in claims if one.confidence >= STATED and not one.relative] + sure
    enumerated = merged and len({key(one.value) for one in claims if one.cue in ("merge of", "list") and one.confidence >= STATED}) > 1
    found = []
    for one in claims:
        other = one.about and not same_model(one.about, one.value) and any(same_model(one.about, parent) for parent in parents)
        if one.cue == "merge of" and not merged:
            one = replace(one, confidence=min(one.confidence, 0.4))
        if one.cue == "architecture":
            one = replace(one, confidence=min(one.confidence, 0.56 if tuned else 0.4))
        if one.cue == "quantised the" and not packed:
            one = replace(one, confidence=min(one.confidence, 0.4))
        if one.cue == "original":
            one = replace(one, confidence=0.62 if packed and one.is_id else 0.3)
        if packed and one.cue in _OF_COPIES and one.confidence >= 0.7:
            one = replace(one, confidence=max(one.confidence, 0.94 if one.is_id else 0.9))
        elif packed and one.cue not in ("original", "quantised the"):
            one = replace(one, confidence=min(one.confidence, 0.75))
        elif one.cue in ("quant of", "was converted", "converted", "converted to"):
            one = replace(one, confidence=min(one.confidence, 0.6))
        if one.relative or other or (enumerated and one.cue not in _OF_MERGES):
            one = replace(one, confidence=min(one.confidence, 0.4))
        found.append(one)
    return found


_OF_ANOTHER = frozenset({"label", "table", "tuned from", "based on", "base is", "adapter for", "trained from"})  # behind these no card names itself, whatever its title
_OF_MERGES = frozenset({"merge of", "list", "as base", "uses as", "label", "label of copy", "table"})
_OF_COPIES = frozenset({"with weights", "version", "quant of", "converted", "was converted", "converted to", "label of copy"})


def _likeness(name: str, own: frozenset[str]) -> int:
    """Letters of a name that one of the model's own names shares with it: the longest of its words' runs."""
    parts = words(name)
    return max(
        (
            len("".join(parts[start:end]))
            for start in range(len(parts))
            for end in range(start + 1, len(parts) + 1)
            if any("".join(parts[start:end]) in one for one in own)
        ),
        default=0,
    )


def _of_copy(claims: list[Claim], formal: list[Candidate], own: frozenset[str]) -> list[Candidate]:
    """A packed copy's metadata are often its parent's, base model included: then the sentence on what was packed has the last word."""
    said = [one for one in claims if one.cue in _OF_COPIES and one.confidence >= 0.8]
    packed = next((one for one in said if one.is_id), said[0] if said else None)
    if packed is None or any(same_model(one.value, packed.value) for one in formal):
        return formal
    likeness = _likeness(packed.value, own) - (0 if packed.is_id else 2)
    if any(_likeness(one.value, own) > likeness for one in formal):
        return formal
    return [
        replace(one, confidence=min(one.confidence, _HINT), note=f"the metadata name it; the card says that {packed.value} was converted")
        if one.evidence[0].kind == "card metadata"
        else one
        for one in formal
    ]


def _direct_parents_first(claims: list[Claim], formal: list[Candidate]) -> list[Candidate]:
    """Metadata that name the root of a well known fine-tune, which the text names as what this model was made from."""
    direct = [one.value for one in claims if one.is_id and one.confidence >= 0.8]
    roots = {key(root): name for name in direct if (root := known_root(name)) is not None}
    return [
        replace(one, confidence=_HINT, note=f"the root of {roots[key(one.value)]}")
        if key(one.value) in roots and one.evidence[0].kind == "card metadata"
        else one
        for one in formal
    ]


def _candidate(claim: Claim) -> Candidate:
    said = model_name(claim.value)
    if said is not None and said.is_path:
        return _placed(claim.value, claim.evidence)
    note = f"said of {claim.about}" if claim.about and claim.confidence <= 0.4 else ""
    return Candidate(claim.value, claim.confidence, (claim.evidence,), note)


def _joined(candidates: list[Candidate]) -> list[Candidate]:
    """Different names of one model brought under one: a Hub id before a mere name, the more exact name before the vaguer ("Llama 2"), then
    the surer."""
    named = {one.value: one for one in sorted(candidates, key=lambda one: one.confidence)}
    order = sorted(named.values(), key=lambda one: -one.confidence)
    leader_of: dict[str, str] = {}
    for one in order:
        near = [
            other
            for other in order
            if other is not one and (other.note != _CODE_NOTE or not _REPACKED.search(other.value) or _squeezed(other.value) == _squeezed(one.value))
        ]
        same = [other for other in order if other.value in leader_of.values() and same_model(other.value, one.value)]
        exact = [other for other in near if other.confidence >= STATED and vaguer(one.value, other.value) and not vaguer(other.value, one.value)]
        if "/" not in one.value:
            same = [other for other in near if "/" in other.value and other.confidence >= STATED and same_model(other.value, one.value)] + same
            leader_of[one.value] = next((other.value for other in (*same, *exact)), one.value)
        else:
            leader_of[one.value] = next((other.value for other in same), one.value)
    return [replace(one, value=leader_of.get(leader_of[one.value], leader_of[one.value])) for one in candidates]


def _parents_only(candidates: list[Candidate], formal: list[Candidate], recipe: list[Candidate]) -> list[Candidate]:
    """Of a merge what its metadata and recipe name; what only the text says counts where they name none."""
    sure = {key(one.value) for one in (*formal, *recipe) if one.confidence >= STATED}
    return [one if key(one.value) in sure else _weaker(one, 0.5) for one in candidates] if sure else candidates


def _weaker(one: Candidate, factor: float) -> Candidate:
    return replace(one, confidence=round(min(one.confidence * factor, _HINT), 3))


def _linked(record: ModelRecord, own: frozenset[str]) -> list[Candidate]:
    """Of a packed copy that does not say what was packed: a model that it links to and that has its name."""
    for block in record.card.blocks:
        for _, address in links(block.text) if "/" in block.text and block.kind != "fence" else ():
            name = id_of_address(address)
            if name is not None and not _is_own(name, own) and len("".join(words(name))) > 3 and any("".join(words(name)) in one for one in own):
                return [
                    Candidate(
                        name,
                        0.58,
                        (Evidence("card text", record.card.quote(block.line), record.card.file, block.line),),
                        "linked to, and of the same name",
                    )
                ]
    return []


def _hints_of_name(record: ModelRecord, found: list[Candidate]) -> list[Candidate]:
    """What the model's own name lets one guess: a hint, never a statement."""
    last = record.name.rpartition("/")[2]
    table = resolve_inside(last)
    if table is None or any(one.confidence >= STATED for one in found) or same_model(table, record.name):
        return []
    return [Candidate(table, 0.3, (Evidence("name", record.name),), "guessed from the model's name")]


def resolve_inside(name: str) -> str | None:
    """The well known model whose short name begins (or stands in) a longer name: "mistral-7b-poems" -> "mistralai/Mistral-7B-v0.1"."""
    parts = words(name)
    for length in range(min(5, len(parts)), 1, -1):
        for start in range(len(parts) - length + 1):
            found = resolve(" ".join(parts[start : start + length]))
            if found is not None:
                return found
    return None


def _noted(one: Candidate) -> Candidate:
    """A name that is no id, with the id that it usually means; a known fine-tune, with the model at its root."""
    note = one.note
    if not note and one.confidence >= STATED:
        root, full = known_root(one.value), resolve(one.value)
        if root is not None:
            note = f"itself a fine-tune; at the root is {root}"
        elif full is not None and "/" not in one.value and full.lower() != one.value.lower():
            note = f"probably {full}"
    return replace(one, note=note) if note != one.note else one


def _own_names(record: ModelRecord, packed: bool) -> frozenset[str]:
    """Keys of the model's own names: Hub id or folder, title, the names in its metadata."""
    names = [record.name]
    names += [value for value, _ in record.card.strings("model_name", "name", "model_id", "title")]
    index = record.card.front.get("model-index")
    names += [str(one.get("name")) for one in (index if isinstance(index, list) else ()) if isinstance(one, dict) and one.get("name")]
    title = next((block.plain for block in record.card.blocks[:4] if block.kind == "heading"), "")
    if not packed:  # the title of a packed copy is often its parent's
        names.append(re.sub(r"^\W*(?:model card (?:for|of)|model:)\s*|(?:\s*[-:–]?\s*model(?: card)?)\W*$", "", title[:200], flags=re.IGNORECASE))
    return frozenset(_squeezed(name) for name in names) - {""}


def _squeezed(name: str) -> str:
    """Letters and digits of a name, of a Hub id those of its last part; a title such as "SetFit with org/name" is no id."""
    return re.sub(r"[\W_]+", "", (name if " " in name else name.rpartition("/")[2]).casefold())


def _is_own(name: str, own: frozenset[str]) -> bool:
    return _squeezed(name) in own
