"""What stands beside merged weights: the model's config, how it generates, its licence, a README, and where it came from."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunelab.export.verification import Difference, Verification
from tunelab.facts.licences import known_licence
from tunelab.facts.model import is_hub_id
from tunelab.facts.shapes import read_model_config
from tunelab.runs.store import read_json

_TORCH_NAMES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
_LEGAL = re.compile(r"(licen[cs]e|notice|use_policy|copying)", re.IGNORECASE)
_DROPPED = ("_name_or_path", "auto_map", "transformers_version")
"""Keys of config.json that say something about the base's folder: where it was, and code that lies beside it."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a merged model was made from, for people and for machines."""

    base: str
    base_origin: Mapping[str, Any]
    licence: str
    adapter: str
    run: str | None
    step: int | None
    quantised: str | None
    dtype: str
    tunelab: str

    def title(self) -> str:
        """The base's name, without the folders above it where it is a path."""
        return self.base if is_hub_id(self.base) else Path(self.base).name

    def sentence(self) -> str:
        """One sentence; of paths only the last part: it goes into the README, which may be published."""
        result = "the adapter" if self.run is None else "the result of the run" if self.step is None else f"checkpoint {self.step} of the run"
        return f"{self.title()} with {result} `{Path(self.run or self.adapter).name}` merged into its weights, in {self.dtype}"


def model_config(base: Path, *, dtype: str, rows: int | None, untied: bool) -> dict[str, Any]:
    """The base's config.json with what merging changed. Raises ModelError when it cannot be read."""
    config = {key: value for key, value in read_model_config(base).items() if key not in _DROPPED}
    inner = config["text_config"] if isinstance(config.get("text_config"), dict) else config
    config["torch_dtype" if "torch_dtype" in config else "dtype"] = _TORCH_NAMES[dtype]
    if rows is not None:
        inner["vocab_size"] = rows
    if untied:
        config["tie_word_embeddings"] = False
        if "tie_word_embeddings" in inner:
            inner["tie_word_embeddings"] = False
    return config


def generation_config(base: Path, eos_id: int | None, pad_id: int | None) -> dict[str, Any]:
    """The base's generation_config.json, where generating also ends at the token that ends a turn in training."""
    path = base / "generation_config.json"
    config = read_json(path) if path.is_file() else {}
    config.pop("transformers_version", None)
    before = config.get("eos_token_id")
    ends = [before] if isinstance(before, int) else list(before or [])
    if eos_id is not None and eos_id not in ends:
        ends.append(eos_id)
    if ends:
        config["eos_token_id"] = ends[0] if len(ends) == 1 else ends
    if config.get("pad_token_id") is None and pad_id is not None:
        config["pad_token_id"] = pad_id
    return dict(config)


def licence_of(folder: Path, name: str) -> str:
    """The base's licence as its folder says it, else as the table of families knows it, else that it is not known."""
    origin = folder / "origin.json"
    if origin.is_file() and isinstance(told := read_json(origin).get("license"), str):
        return told
    card = folder / "README.md"
    if card.is_file():
        front = re.match(r"---\n(.*?)\n---", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
        found = re.search(r"^license:\s*(\S+)\s*$", front.group(1), re.MULTILINE) if front else None
        if found:
            return found.group(1)
    known = known_licence(name)
    return known.name if known is not None else "not known here; the base model's card says it"


def copy_legal(base: Path, folder: Path) -> None:
    """Licence and notice files go with the weights. Raises OSError."""
    for file in sorted(base.iterdir()):
        if file.is_file() and _LEGAL.search(file.name) and file.stat().st_size < 1_000_000:
            shutil.copyfile(file, folder / file.name)


def readme(made: Made, found: Verification, notes: Sequence[str]) -> str:
    """README.md of the merged model, with a model card's front matter."""
    front = ["---", f"base_model: {json.dumps(made.title())}", "library_name: transformers", "pipeline_tag: text-generation", "tags: [merged]", "---"]
    rows = [("base + adapter against this model", found.merged), ("the base alone against base + adapter", found.effect)]
    if found.trained is not None:
        rows.append((f"the adapter on the {made.quantised} that it was trained on, against this model", found.trained))
    table = ["| compared | positions | KL (nats per token) | largest logit difference | mean | same likeliest token |", "|---|---|---|---|---|---|",
             *(_row(name, difference) for name, difference in rows)]
    origin = [f"- {key}: {value}" for key, value in made.base_origin.items() if isinstance(value, str | int) and key != "model"]
    lines = [*front, "", f"# {Path(made.title()).name}, fine-tuned", "", f"This model is {made.sentence()} (tunelab {made.tunelab}).", "",
             "## Made from", "", f"- base model: {made.title()}", *origin,
             f"- licence of the base: {made.licence}. It goes on to hold for this model; the data may add terms of their own.", "",
             "## Does it say the same?", "", f"{found.prompts} prompts ({found.prompts_from}), computed in {found.compute}:", "", *table, "",
             f"Greedy answers: {found.greedy_same} of {found.greedy} equal, token for token.", "", *(f"{note}\n" for note in notes)]
    return "\n".join(lines).rstrip() + "\n"


def _row(name: str, one: Difference) -> str:
    return f"| {name} | {one.positions} | {one.kl:.2e} | {one.max_abs:.2e} | {one.mean_abs:.2e} | {one.same_top:.2%} |"
