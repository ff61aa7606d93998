"""Files of an export that need no torch: tensors one by one, the model's config, its licence and README, the folder they go into."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tunelab.errors import FolderError
from tunelab.export.side_files import Made, generation_config, licence_of, model_config, readme
from tunelab.export.stored import Entry, write_file
from tunelab.export.target import check_free, check_room, filled
from tunelab.export.verification import Difference, Verification, fault
from tunelab.facts.safetensors_header import read_header


def _found(dtype: str = "bf16", merged: float = 1e-4, effect: float = 1.0) -> Verification:
    return Verification(dtype, "fp32", 8, "the prompts that tunelab ships", Difference(100, 0.1, 0.01, merged, merged * 9, 0.99),
                        Difference(100, 9.0, 1.0, effect, effect * 9, 0.5), None, 4, 4)


def test_a_file_of_tensors_is_what_the_format_says(tmp_path: Path) -> None:
    entries = [Entry("small", "U8", (3,)), Entry("name \u00e9", "F32", (2, 2)), Entry("half", "BF16", (1,)), Entry("none", "F32", (0, 4))]
    digest = write_file(tmp_path / "x.safetensors", entries, lambda entry: bytes([len(entry.name)]) * entry.size)
    header = read_header(tmp_path / "x.safetensors")
    assert {name: (entry["dtype"], entry["shape"]) for name, entry in header.items()} == {
        "small": ("U8", [3]), "name \u00e9": ("F32", [2, 2]), "half": ("BF16", [1]), "none": ("F32", [0, 4])}
    begin, end = header["name \u00e9"]["data_offsets"]
    data = (tmp_path / "x.safetensors").read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    assert start % 8 == begin % 4 == 0 and data[start + begin:start + end] == b"\x06" * 16
    assert digest == hashlib.sha256(data).hexdigest()


def test_the_config_says_what_merging_changed_and_nothing_about_the_bases_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 10, "tie_word_embeddings": True, "torch_dtype": "float32",
                                                      "_name_or_path": "/home/me", "auto_map": {"AutoModel": "x.py"}}))
    assert model_config(tmp_path, dtype="bf16", rows=12, untied=True) == {
        "model_type": "llama", "vocab_size": 12, "tie_word_embeddings": False, "torch_dtype": "bfloat16"}


@pytest.mark.parametrize(("before", "after"), [(None, 7), (7, 7), (2, [2, 7]), ([2, 3], [2, 3, 7])])
def test_generating_ends_where_training_ends_a_turn(tmp_path: Path, before: object, after: object) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": before, "temperature": 0.6}))
    assert generation_config(tmp_path, 7, 0) == {"eos_token_id": after, "temperature": 0.6, "pad_token_id": 0}


def test_the_licence_is_the_bases(tmp_path: Path) -> None:
    assert "not known here" in licence_of(tmp_path, "me/model")
    assert licence_of(tmp_path, "meta-llama/Llama-3.2-1B") == "the Llama Community License"
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# model")
    assert licence_of(tmp_path, "me/model") == "mit"
    (tmp_path / "origin.json").write_text('{"license": "Apache-2.0"}')
    assert licence_of(tmp_path, "me/model") == "Apache-2.0"


def test_the_readme_says_from_what_and_how_near_without_paths() -> None:
    made = Made("/home/me/models/base", {}, "mit", "/home/me/run", "/home/me/run", None, None, "bf16", "1")
    text = readme(made, _found(), ["Careful."])
    assert "base with the result of the run `run` merged" in text and "1.00e-04" in text and "licence of the base: mit" in text and "Careful." in text
    assert "/home/me" not in text


def test_near_enough() -> None:
    assert fault(_found()) is None
    assert "does not say the same" in str(fault(_found(merged=0.5)))
    assert "does not say the same" in str(fault(_found(merged=float("nan"))))
    assert "changes no prediction" in str(fault(_found(merged=0.0, effect=0.0)))
    assert "the whole effect of the adapter is" in str(fault(_found(merged=1e-4, effect=1e-4)))
    assert fault(_found("fp32", merged=1e-12, effect=1e-9)) is None and fault(_found("fp32", merged=1e-10, effect=1e-9)) is not None
    assert fault(_found("fp32", merged=1e-3)) is not None


def test_folders_that_are_not_free(tmp_path: Path) -> None:
    check_free(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    check_free(tmp_path / "empty")
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="is a file"):
        check_free(tmp_path / "file")
    with pytest.raises(FolderError, match=r"not empty \(it holds empty, file\)"):
        check_free(tmp_path)
    check_room(tmp_path / "new" / "deep", 1000)


def test_a_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "merged"
    with pytest.raises(RuntimeError), filled(out) as folder:
        (folder / "model.safetensors").write_text("half")
        raise RuntimeError
    assert not out.exists() and list(out.parent.iterdir()) == []
    (out.parent / ".merged.killed").mkdir()
    (out.parent / ".merged-other.running").mkdir()
    with filled(out) as folder:
        (folder / "model.safetensors").write_text("whole")
    assert sorted(path.name for path in out.parent.iterdir()) == [".merged-other.running", "merged"]
