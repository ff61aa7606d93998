"""The comparison file loses nothing and doubles nothing, whatever happens to the process or the disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from tunelab.comparison import ComparisonFile, make_header, read_comparison
from tunelab.errors import FolderError, LockedError, StorageError
from tunelab.runners import Answer, Prompt, Sampling

PROMPTS = tuple(Prompt(name, ({"role": "user", "content": f"say {name}"},), {"kind": "exact", "expected": name}) for name in "abc")
HEADER = make_header(PROMPTS, {"base": {"model": "m"}, "tuned": {"model": "m", "adapter": "x"}}, Sampling())
HOSTILE = "\x1b[2J\x1b]0;t\x07\u202e<script>\r\n\u2028\x85\ud800\0 \u00e9"


def _filled(path: Path, *pairs: tuple[str, str]) -> Path:
    with ComparisonFile.open(path, HEADER) as file:
        for side, name in pairs:
            file.add(side, Answer(name, name, "end"))
    return path


def test_write_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "c.jsonl"
    answer = Answer("a", HOSTILE, "length", "prompt", 3, 4, 0.5, {"batch": 2})
    with ComparisonFile.open(path, HEADER) as file:
        file.add("base", answer)
        file.add("tuned", Answer("a", "a", "end"))
    comparison = read_comparison(path)
    record = comparison.records[0]
    assert record.prompt == PROMPTS[0] and record.base == answer and record.outcome == "won"
    assert comparison.records[1].base is None and comparison.records[1].outcome == "ungraded" and not comparison.complete
    assert comparison.sampling == Sampling() and comparison.sides["tuned"]["adapter"] == "x"
    raw = path.read_bytes()
    assert all(32 <= byte < 127 or byte == 10 for byte in raw), "what a model writes stays inert in the file"
    assert raw.count(b"\n") == 3


def test_going_on_knows_what_is_answered(tmp_path: Path) -> None:
    path = _filled(tmp_path / "c.jsonl", ("base", "a"), ("tuned", "b"))
    with ComparisonFile.open(path, HEADER) as file:
        assert file.answered == {("base", "a", 0), ("tuned", "b", 0)}
        with pytest.raises(ValueError, match="answered already"):
            file.add("base", Answer("a", "again", "end"))
        file.add("base", Answer("b", "b", "end"))
    assert len(path.read_text().splitlines()) == 4


def test_cut_at_any_byte_it_goes_on(tmp_path: Path) -> None:
    whole = _filled(tmp_path / "whole.jsonl", ("base", "a"), ("base", "b")).read_bytes()
    ends = [index + 1 for index, byte in enumerate(whole) if byte == 10]
    path = tmp_path / "cut.jsonl"
    for length in [*range(60), *range(ends[0] - 3, len(whole) + 1)]:
        path.write_bytes(whole[:length])
        with ComparisonFile.open(path, HEADER) as file:
            assert len(file.answered) == max(0, sum(end <= length for end in ends) - 1)
            for name in ("a", "b"):
                if ("base", name, 0) not in file.answered:
                    file.add("base", Answer(name, name, "end"))
        assert path.read_bytes() == whole


def test_reading_leaves_out_a_half_line_and_changes_nothing(tmp_path: Path) -> None:
    path = _filled(tmp_path / "c.jsonl", ("base", "a"))
    with path.open("ab") as file:
        file.write(b'{"side": "base", "prompt_id": "b", "te')
    before = path.read_bytes()
    assert [record.base is not None for record in read_comparison(path).records] == [True, False, False]
    assert path.read_bytes() == before


@pytest.mark.parametrize(("change", "said"), [
    ({"sampling": Sampling(max_new_tokens=9)}, "sampling.max_new_tokens was 128, is now 9"),
    ({"tuned": {"model": "m", "adapter": "y"}}, 'sides.tuned.adapter was "x", is now "y"'),
    ({"prompts": PROMPTS[:2]}, "prompts was 3 ('c' not asked now), is now 2 (none new)"),
    ({"prompts": (Prompt("a", ({"role": "user", "content": "other"},), PROMPTS[0].grader), *PROMPTS[1:])}, "prompt.a.messages"),
])
def test_another_header_says_what_differs(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = _filled(tmp_path / "c.jsonl", ("base", "a"))
    before = path.read_bytes()
    parts = {"prompts": PROMPTS, "base": {"model": "m"}, "tuned": {"model": "m", "adapter": "x"}, "sampling": Sampling(), **change}
    with pytest.raises(FolderError) as caught:
        ComparisonFile.open(path, make_header(parts["prompts"], {"base": parts["base"], "tuned": parts["tuned"]}, parts["sampling"]))
    assert said in caught.value.message and path.read_bytes() == before


@pytest.mark.parametrize("content", [b"my notes", b"my notes\n", b"{}\n", b"[1]\n", b'{"tunelab_comparison": 99}\n', b"\xff\xfe\n",
                                     b"[" * 99999 + b"\n"])
def test_another_kind_of_file_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(FolderError):
        ComparisonFile.open(path, HEADER)
    with pytest.raises(FolderError):
        read_comparison(path)
    assert path.read_bytes() == content


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = _filled(tmp_path / "c.jsonl", ("base", "a"), ("base", "b"))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b'{"side": "base"}\n' + lines[2])
    for attempt in (lambda: read_comparison(path), lambda: ComparisonFile.open(path, HEADER)):
        with pytest.raises(StorageError) as caught:
            attempt()
        assert caught.value.where == f"{path}:2"
    path.write_bytes(b'{"tunelab_comparison": 1}\n')
    with pytest.raises(StorageError, match="first line"):
        read_comparison(path)


def test_no_file_and_no_folder(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="no comparison"):
        read_comparison(tmp_path / "missing.jsonl")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        ComparisonFile.open(tmp_path / "file" / "c.jsonl", HEADER)


def test_two_writers_are_kept_apart(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    path = tmp_path / "c.jsonl"
    with ComparisonFile.open(path, HEADER), pytest.raises(LockedError):
        ComparisonFile.open(path, HEADER)
    ComparisonFile.open(path, HEADER).close()


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    path = _filled(tmp_path / "c.jsonl", ("base", "a"))
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with ComparisonFile.open(path, HEADER) as file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 50, hard))  # the disk is full in the middle of the next line
        try:
            with pytest.raises(StorageError, match="The 1 answers before it are kept"):
                file.add("base", Answer("b", "b" * 500, "end"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert path.read_bytes() == before and ("base", "b", 0) not in file.answered
        file.add("base", Answer("b", "b" * 500, "end"))
    assert [record.base is not None for record in read_comparison(path).records] == [True, True, False]


def test_killed_while_writing_it_resumes(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    script = tmp_path / "writer.py"
    script.write_text(textwrap.dedent("""
        import sys
        from pathlib import Path
        from tunelab.comparison import ComparisonFile, make_header
        from tunelab.runners import Answer, Prompt, Sampling
        prompts = [Prompt(str(n), ({"role": "user", "content": "x"},)) for n in range(100_000)]
        with ComparisonFile.open(Path(sys.argv[1]), make_header(prompts[:10], {"base": {}, "tuned": {}}, Sampling())) as file:
            for prompt in prompts:
                if ("base", prompt.id, 0) not in file.answered:
                    file.add("base", Answer(prompt.id, "word " * 2000, "end"))
    """), encoding="utf-8")
    counts = []
    for _ in range(3):
        before = path.stat().st_size if path.exists() else 0
        process = subprocess.Popen([sys.executable, str(script), str(path)], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
        deadline = time.monotonic() + 30
        while not (path.exists() and path.stat().st_size > before + 30_000) and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL) if os.name == "posix" else process.kill()
        process.wait()
        ids = [json.loads(line)["prompt_id"] for line in path.read_bytes().split(b"\n")[1:-1]]
        assert ids == [str(n) for n in range(len(ids))], "no answer lost, none doubled"
        counts.append(len(ids))
    assert 0 < counts[0] < counts[1] < counts[2]
