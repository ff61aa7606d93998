"""Texts that are no config: bounded (no alias is unfolded, no level followed for ever), refused in one clear sentence, or read as what they are."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path

import pytest

from tunelab.config import read_config
from tunelab.config.source import MAX_DEPTH
from tunelab.errors import ConfigError

GOOD = "base_model: some/model\nlearning_rate: 0.0002\n"


def refused(folder: Path, data: bytes) -> str:
    path = folder / "c.yml"
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200_000_000
    assert str(caught.value.where).startswith(str(path)) and "\n" not in caught.value.message and len(caught.value.message) < 300
    return caught.value.message


def test_ten_megabytes(tmp_path: Path) -> None:
    assert "10,000,000 bytes" in refused(tmp_path, b"a: 1\n" * 2_000_000)


@pytest.mark.parametrize("text", ["[" * 100_000, "a: " + "{b: " * 5_000, "\n".join(" " * n + f"k{n}:" for n in range(1_000)), "- " * 50_000 + "x",
                                  "? " * 20_000 + "x"], ids=["flow", "maps", "block", "dashes", "keys"])
def test_deep_nesting(text: str, tmp_path: Path) -> None:
    message = refused(tmp_path, text.encode())
    assert str(MAX_DEPTH) in message or "Not valid YAML" in message or "mapping or a list" in message


@pytest.mark.parametrize("text", [
    "\n".join(["a0: &a0 [x, x, x, x, x, x, x, x, x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12))]),
    "\n".join(["a0: &a0 {k: v}", *(f"a{n}: &a{n} {{x: *a{n - 1}, y: *a{n - 1}}}" for n in range(1, 60))]),
    "a: &a [*a]", "a: &a {b: *a}", "<<: *nothing"], ids=["lists", "maps", "itself", "itself in a map", "nothing"])
def test_alias_bombs(text: str, tmp_path: Path) -> None:
    assert refused(tmp_path, text.encode())


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    assert "not UTF-8" in refused(tmp_path, random.Random(3).randbytes(50_000))
    assert "not UTF-8" in refused(tmp_path, GOOD.encode("utf-16"))
    assert "control character (U+0000)" in refused(tmp_path, GOOD.encode() + b"a: \x00\n")
    assert "not UTF-8" in refused(tmp_path, "base_model: caf\u00e9\n".encode("latin-1"))


@pytest.mark.parametrize(("text", "said"), [
    ("base_model: a\n\tlearning_rate: 1\n", "Not valid YAML"), ("- a\n- b\n", "YAML list"), ("just words\n", "YAML str"), ("", "empty"),
    ("a: 1\n---\nb: 2\n", "more than one YAML document"), ("a: !!python/object/apply:os.system [ls]\n", "tag"),
    ("a: !!python/name:os.system\n", "Not valid YAML"), ("{[a, b]: 1}\n", "mapping or a list"), ("a: 'x\n", "Not valid YAML"),
    ("a: @b\n", "Not valid YAML"), ("a: 2024-99-99\n", "Not valid YAML")])
def test_yaml_that_is_no_config(text: str, said: str, tmp_path: Path) -> None:
    assert said in refused(tmp_path, text.encode())


def test_a_tab_gets_its_hint(tmp_path: Path) -> None:
    (tmp_path / "c.yml").write_text("datasets:\n\t- path: a\n")
    with pytest.raises(ConfigError) as caught:
        read_config(tmp_path / "c.yml")
    assert "tabs" in str(caught.value.next_step) and str(caught.value.where).endswith("c.yml:2:1")


def test_ten_thousand_datasets_are_each_judged(tmp_path: Path) -> None:
    path = tmp_path / "c.yml"
    path.write_text(GOOD + "datasets:\n" + "".join(f"  - path: data/{n}.jsonl\n    type: alpaca\n    sharts: 2\n" for n in range(10_000)))
    reading = read_config(path)
    assert len(reading.config.data.datasets) == 10_000
    assert sum(one.code == "TL101" for one in reading.findings) == 10_000
    assert {one.line for one in reading.findings} == {6 + 3 * n for n in range(10_000)}


def test_windows_text_with_a_mark_is_fine(tmp_path: Path) -> None:
    (tmp_path / "c.yml").write_bytes(b"\xef\xbb\xbf" + (GOOD + "bogus_key: 1\n").replace("\n", "\r\n").encode())
    assert ("bogus_key", 3) in [(one.key, one.line) for one in read_config(tmp_path / "c.yml").findings]
