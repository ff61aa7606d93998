"""Finding a base model: a folder, the Hub's cache, or a sentence that says why neither."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tunelab.errors import ModelError
from tunelab.facts.model import ensure_weights, find_model, has_weights


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hub cache of this test's own, also for a huggingface_hub that is already imported."""
    from huggingface_hub import constants

    folder = tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    return folder


def fill(cache: Path, repo: str, *files: str) -> Path:
    """A snapshot as huggingface_hub lays it out."""
    commit = "0" * 40
    root = cache / f"models--{repo.replace('/', '--')}"
    snapshot = root / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(commit, encoding="utf-8")
    for name in files:
        (snapshot / name).write_text("{}", encoding="utf-8")
    return snapshot


def test_a_folder_is_found_as_it_is(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = find_model(str(model))
    assert (found.folder, found.is_local) == (model, True)
    monkeypatch.chdir(model.parent)
    assert find_model("./model").folder == model and find_model("model").is_local


def test_a_folder_without_config_says_what_it_is(tmp_path: Path, model: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no config\.json") as error:
        find_model(str(tmp_path))
    assert error.value.next_step == f"Did you mean the folder {model}?"
    (model / "config.json").rename(model / "adapter_config.json")
    with pytest.raises(ModelError) as error:
        find_model(str(model))
    assert "LoRA adapter" in (error.value.next_step or "")


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/folder", "a/b/c", "../x", "has space", "~/nothing-like-this"])
def test_a_path_that_is_not_there_is_named_in_full_and_not_asked_for_on_the_hub(
        name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ModelError, match="is not a Hub id") as error:
        find_model(name)
    assert str(Path(name).expanduser().absolute()) in error.value.message


def test_a_file_is_not_a_model(model: Path) -> None:
    with pytest.raises(ModelError, match="is a file"):
        find_model(str(model / "config.json"))


@pytest.mark.parametrize("network", [True, False])
def test_offline_says_both_places_that_were_tried(network: bool, cache: Path) -> None:
    with pytest.raises(ModelError) as error:
        find_model("org/never-seen", network=network)
    assert str(Path("org/never-seen").absolute()) in error.value.message and "Hub" in error.value.message and error.value.next_step
    assert ("HF_HUB_OFFLINE" in error.value.message) is network, "the tests run with HF_HUB_OFFLINE=1"


def test_a_snapshot_in_the_cache_is_used_without_asking(cache: Path) -> None:
    snapshot = fill(cache, "org/name", "config.json", "tokenizer.json")
    found = find_model("org/name", network=False)
    assert found.folder.resolve() == snapshot.resolve() and not found.is_local


def test_half_a_snapshot_is_not_a_model(cache: Path) -> None:
    fill(cache, "org/half", "config.json")
    with pytest.raises(ModelError):
        find_model("org/half", network=False)


def test_weights_are_there_or_it_is_said_why_not(model: Path) -> None:
    found = find_model(str(model))
    with pytest.raises(ModelError, match="no complete"):
        ensure_weights(found)
    (model / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelError) as error:
        ensure_weights(found)
    assert "safetensors" in (error.value.next_step or "")
    (model / "model.safetensors").write_bytes(b"")
    assert ensure_weights(found) == model


def test_all_files_of_an_index_are_needed(model: Path) -> None:
    names = ["model-1.safetensors", "model-2.safetensors"]
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": names[0], "b": names[1]}}), encoding="utf-8")
    (model / names[0]).write_bytes(b"")
    assert not has_weights(model)
    (model / names[1]).write_bytes(b"")
    assert has_weights(model)


@pytest.mark.parametrize("text", ["{", "[]", '{"weight_map": {"a": "../../etc/passwd"}}', '{"weight_map": {"a": 1}}'])
def test_an_index_that_is_damaged_or_points_elsewhere_is_refused(text: str, model: Path) -> None:
    (model / "model.safetensors.index.json").write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match="index"):
        has_weights(model)


def test_an_adapter_s_file_is_no_model(model: Path) -> None:
    (model / "adapter_model.safetensors").write_bytes(b"")
    assert not has_weights(model)
