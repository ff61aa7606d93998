"""Base + adapter -> one model's weights, file by file as the base's are laid out, with one tensor in memory at a time.

Each changed weight is computed in float32 by peft's own code and rounded once, to the dtype that it is written in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from tunelab.errors import ModelError
from tunelab.export.skeleton import Part, Skeleton, check_values, put_on, quiet
from tunelab.export.stored import BYTES, Entry, write_file
from tunelab.facts.model import weight_paths
from tunelab.facts.safetensors_header import read_header

DTYPES = {"fp32": "F32", "fp16": "F16", "bf16": "BF16"}
"""--dtype -> the safetensors format's spelling."""

_TORCH = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Layout:
    """What will be written: for each file its tensors. `sources` says for a tensor which parameter and part of the adapter changes it."""

    files: Mapping[str, tuple[Entry, ...]]
    sources: Mapping[str, tuple[str, Part | None]]
    untied: bool
    dtype: str

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(entry.size for entries in self.files.values() for entry in entries)


@dataclass(frozen=True, slots=True)
class Merged:
    """What was written. The adapter moves `moved` weights (numbers, not tensors), and `changed` of them after rounding; `dtype` is the
    most used one, as fp32, fp16 or bf16; `checksums`: SHA-256 by file; `rows`: the embedding's where the adapter changed their number."""

    dtype: str
    parameters: int
    moved: int
    changed: int
    untied: bool
    rows: int | None
    checksums: Mapping[str, str]


class Merge:
    """One merge: opened (everything is checked, nothing written), then written. Raises ModelError."""

    def __init__(self, base: Path, adapter: Path, dtype: str | None = None) -> None:
        check_values(adapter)
        self._skeleton = put_on(base, adapter)
        self._base = _Base(base, self._skeleton)
        self.layout = _lay_out(self._base, self._skeleton, DTYPES[dtype] if dtype else None)
        self.rows = self._skeleton.rows
        self._waiting: dict[str, torch.Tensor] = {}
        self._moved = self._changed = 0

    def write(self, folder: Path, said: Callable[[int, int], None] | None = None) -> Merged:
        """Write the weights into an empty folder, and their index; `said` is told bytes done and in all. Raises OSError, ModelError."""
        done, checksums, layout = 0, {}, self.layout

        def content(entry: Entry) -> Any:
            nonlocal done
            done += entry.size
            if said is not None:
                said(done, layout.size)
            return self._bytes(entry)

        for name, entries in layout.files.items():
            checksums[name] = write_file(folder / name, entries, content)
        if len(layout.files) > 1:
            names = {entry.name: name for name, entries in layout.files.items() for entry in entries}
            index = {"metadata": {"total_size": layout.size}, "weight_map": names}
            (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
        if self._changed == 0:
            raise ModelError(f"The adapter has no effect: rounded to {layout.dtype}, every weight is the base's.",
                             next_step="Keep more digits: --dtype fp32")
        parameters = sum(entry.size // BYTES[entry.dtype] for entries in layout.files.values() for entry in entries)
        return Merged(layout.dtype, parameters, self._moved, self._changed, layout.untied,
                      self.rows if self._skeleton.resized else None, checksums)

    def _bytes(self, entry: Entry) -> Any:
        """The bytes of one tensor of the merged model. Raises ModelError when a number does not fit the dtype."""
        source = self.layout.sources.get(entry.name)
        value = self._merged(entry.name, *source) if source is not None else self._base.stored(entry.name)
        if entry.dtype not in _TORCH:
            return value.contiguous().view(-1).view(torch.uint8).numpy()
        written = value.to(_TORCH[entry.dtype])
        if not torch.isfinite(written).all():
            raise ModelError(f"{entry.name} holds numbers that are not finite" + (" in fp16: they are too large for it." if entry.dtype == "F16" else "."),
                             next_step="Write another: --dtype bf16, or --dtype fp32" if entry.dtype == "F16" else "Download the base model again.")
        if source is not None:
            self._count(self._base.stored(entry.name) if self._base.has(entry.name) else self._base(source[0]), value, written)
        return written.contiguous().view(-1).view(torch.uint8).numpy()

    def _count(self, before: torch.Tensor, value: torch.Tensor, written: torch.Tensor) -> None:
        """How many numbers the adapter moves, and how many of them rounding leaves moved."""
        if before.shape != written.shape:
            self._moved, self._changed = self._moved + written.numel(), self._changed + written.numel()
            return
        self._moved += int((value.float() != before.float()).sum())
        self._changed += int((written != before.to(written.dtype)).sum())

    def _merged(self, stored: str, name: str, part: Part | None) -> torch.Tensor:
        """The value of a changed tensor; a part's other tensors wait until the file comes to them."""
        if stored not in self._waiting:
            for parameter, value in _values(self._skeleton, self._base, name, part).items():
                names = self._skeleton.as_stored(parameter, value) if self._base.whole else {self._base.name(parameter): value}
                self._waiting.update({key: tensor for key, tensor in names.items() if self.layout.sources.get(key, ("",))[0] == parameter})
        return self._waiting.pop(stored)


def _values(skeleton: Skeleton, base: _Base, name: str, part: Part | None) -> dict[str, torch.Tensor]:
    if part is not None:
        return part.merged(base)
    return {name: skeleton.given[name] if name in skeleton.given else base(name)}


class _Base:
    """The base's tensors, read from its files one at a time.

    `whole`: the files name and cut the weights otherwise than the model in memory (experts stored one by one), so that the model is
    loaded; by transformers, which knows how.
    """

    def __init__(self, folder: Path, skeleton: Skeleton) -> None:
        self._folder, self._skeleton = folder, skeleton
        self.headers = {path.name: read_header(path) for path in weight_paths(folder)}
        self._places = {name: file for file, header in self.headers.items() for name in header}
        self._open: dict[str, Any] = {}
        self._model: Any = None
        self._prefix = f"{skeleton.model.base_model_prefix}."
        changed = [name for part in skeleton.parts for name in part.names()]
        self.whole = any(set(skeleton.as_stored(name, torch.empty(skeleton.shapes[name], device="meta"))) != {name} for name in changed)

    def entry(self, stored: str) -> Entry:
        """How a tensor stands in the base's files."""
        found = self.headers[self._places[stored]][stored]
        return Entry(stored, found["dtype"], tuple(found["shape"]))

    def has(self, stored: str) -> bool:
        """Whether the base's files hold a tensor of this name."""
        return stored in self._places

    def name(self, parameter: str) -> str:
        """The name of a parameter in the files: the same, or without the prefix of the inner model (GPT-2's first files). For the other
        of two tied weights, which no file holds, its own name."""
        short = parameter.removeprefix(self._prefix)
        return short if parameter not in self._places and short in self._places else parameter

    def stored(self, name: str) -> torch.Tensor:
        """A tensor as it stands in a file."""
        file = self._places[name]
        if file not in self._open:
            self._open[file] = safe_open(self._folder / file, "pt")
        return self._open[file].get_tensor(name)

    def __call__(self, parameter: str) -> torch.Tensor:
        """The value of a parameter of the model. Raises ModelError when no file holds it."""
        if self.whole:
            return self._loaded().get_parameter(parameter).detach()
        tied = self._skeleton.tied
        names = [parameter, *([tied[parameter]] if parameter in tied else [one for one, other in tied.items() if other == parameter])]
        for name in map(self.name, names):
            if name in self._places:
                return self.stored(name)
        raise ModelError(f"The base model's files hold no weight {parameter}.", where=str(self._folder), next_step="Download the base model again.")

    def _loaded(self) -> Any:
        if self._model is None:
            with quiet():
                self._model = AutoModelForCausalLM.from_pretrained(self._folder, dtype="auto", local_files_only=True, use_safetensors=True,
                                                                   trust_remote_code=False)
        return self._model


def _lay_out(base: _Base, skeleton: Skeleton, dtype: str | None) -> Layout:
    """Which tensors go into which file, in which dtype. Raises ModelError for weights that cannot be merged into."""
    owners: dict[str, Part | None] = {name: part for part in skeleton.parts for name in part.names()}
    owners |= dict.fromkeys(skeleton.given, None)
    untied = _are_apart(skeleton, base, owners)
    if untied:  # both of the pair are written, also the one that the adapter leaves alone
        owners |= {name: owners.get(name) for pair in skeleton.tied.items() for name in pair}
    sources: dict[str, tuple[str, Part | None]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for name, part in owners.items():
        empty = torch.empty(skeleton.shapes[name], device="meta")
        for key, value in (skeleton.as_stored(name, empty) if base.whole else {base.name(name): empty}).items():
            if base.has(key) or untied:
                sources[key], shapes[key] = (name, part), tuple(value.shape)
            elif name not in {one for pair in skeleton.tied.items() for one in pair}:
                raise ModelError(f"The base model's files hold no weight {key}.", where=str(base._folder), next_step="Download the base model again.")
    files = [[replace(entry, dtype=dtype if dtype and entry.dtype in _TORCH else entry.dtype, shape=shapes.get(entry.name, entry.shape))
              for entry in map(base.entry, header)] for header in base.headers.values()]
    added = [key for key in sources if not base.has(key)]
    files[-1].extend(Entry(key, _pair_dtype(key, skeleton, base, dtype), shapes[key]) for key in added)
    _check_dtypes(base, sources)
    names = ["model.safetensors"] if len(files) == 1 else [f"model-{n:05}-of-{len(files):05}.safetensors" for n in range(1, len(files) + 1)]
    return Layout(dict(zip(names, map(tuple, files), strict=True)), sources, untied, _most_used(files))


def _are_apart(skeleton: Skeleton, base: _Base, owners: Mapping[str, Part | None]) -> bool:
    """Whether the adapter makes two weights differ that were one in the base (input embedding and output head)."""
    for one, other in skeleton.tied.items():
        if one in owners or other in owners:
            first, second = (_values(skeleton, base, name, owners.get(name))[name] for name in (one, other))
            if not torch.equal(first.float(), second.float()):
                return True
    return False


def _pair_dtype(key: str, skeleton: Skeleton, base: _Base, dtype: str | None) -> str:
    partners = [base.name(other) for one, other in (*skeleton.tied.items(), *((b, a) for a, b in skeleton.tied.items())) if one == key]
    return dtype or next(base.entry(name).dtype for name in partners if base.has(name))


def _check_dtypes(base: _Base, changed: Mapping[str, Any]) -> None:
    packed = next((name for name in changed if base.has(name) and base.entry(name).dtype not in _TORCH), None)
    if packed is not None:
        raise ModelError(f"The base stores {packed} as {base.entry(packed).dtype}: merging into rounded weights would round twice.",
                         where=str(base._folder), next_step="Name the original 16-bit model: --base ORG/NAME, or --base FOLDER")


def _most_used(files: list[list[Entry]]) -> str:
    sizes = {word: sum(entry.size // BYTES[entry.dtype] for entries in files for entry in entries if entry.dtype == spelling)
             for word, spelling in DTYPES.items()}
    return max(sizes, key=lambda word: sizes[word])
