"""The course lab's second task as a person does it: look at models on the Hub, follow their families, note them, report; and the wrong inputs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.helpers.finished import write_finished_run
from tests.helpers.hub_server import HubServer

ROOT = "---\nlicense: apache-2.0\nlanguage: [en]\n---\n# Heron 7B\n\nA pretrained base model, trained from scratch.\n"
TUNED = """---
license: apache-2.0
base_model: marsh/heron-7b
datasets:
- marsh/bird-talk
language: [en]
pipeline_tag: text-generation
tags: [chat]
---
# Heron 7B Chat

This model is a fine-tuned version of [marsh/heron-7b](https://huggingface.co/marsh/heron-7b) on the marsh/bird-talk dataset, for chat.

## Example

**Prompt:** Which bird stands still in shallow water?

**Output:** A heron does.
"""
RIVAL = """---
base_model: marsh/heron-7b-chat
library_name: peft
---
# A LoRA <script>alert(1)</script>

<details><summary>See axolotl config</summary>

```yaml
base_model: marsh/heron-7b-chat
adapter: lora
lora_r: 16
learning_rate: 0.0002
not_a_setting: 1
datasets:
  - path: marsh/bird-talk
    type: alpaca
```
</details>
"""
ADAPTER = {"peft_type": "LORA", "r": 16, "lora_alpha": 32, "base_model_name_or_path": "marsh/heron-7b-chat"}


@pytest.fixture(scope="module")
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        server.add_model("marsh/heron-7b", ROOT, {"config.json": b'{"model_type": "mistral"}'}, downloads=1000)
        server.add_model("marsh/heron-7b-chat", TUNED, {"config.json": b'{"model_type": "mistral"}'}, downloads=500)
        server.add_model("pond/heron-lora", RIVAL, {"adapter_config.json": json.dumps(ADAPTER).encode()}, downloads=20)
        server.add_model("pond/heron-gguf", "---\nbase_model: marsh/heron-7b-chat\n---\n", {"heron.Q4_K_M.gguf": b"GGUF"}, downloads=90)
        server.add("pond/locked", {"README.md": b"# locked"}, kind="models", status=401)
        yield server


@pytest.fixture
def place(hub: HubServer, tmp_path: Path) -> Path:
    """A folder to work in, which has seen nothing of the Hub."""
    return tmp_path


def run(hub: HubServer, cwd: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "tunelab.cli.main", *arguments], capture_output=True, text=True, check=False, cwd=cwd,
                          env={**os.environ, **hub.environment(cwd / ".cache"), "COLUMNS": "300", **environment})


def said(done: subprocess.CompletedProcess[str], code: int, *words: str) -> str:
    both = done.stdout + done.stderr
    assert done.returncode == code, both
    assert "Traceback" not in both
    for word in words:
        assert word in both, f"{word!r} is not in: {both}"
    return both


def test_look_note_and_report(hub: HubServer, place: Path) -> None:
    said(run(hub, place, "hub", "show", "pond/heron-lora"), 0, "marsh/heron-7b-chat", "card metadata, README.md:2", "adapter_config.json",
         "The Axolotl config on the card", "not_a_setting", "is itself a fine-tune of marsh/heron-7b")
    said(run(hub, place, "hub", "tree", "pond/heron-lora"), 0, "by adapter", "by fine-tune", "root: marsh/heron-7b")
    said(run(hub, place, "hub", "note", "marsh/heron-7b-chat", "https://huggingface.co/pond/heron-lora"), 0, "marsh/heron-7b-chat  noted",
         "pond/heron-lora  noted")
    page = (place / "notebook" / "models.md").read_text(encoding="utf-8")
    for words in ("## Model 1: marsh/heron-7b-chat", "**Model Name/Link:** [marsh/heron-7b-chat](https://huggingface.co/marsh/heron-7b-chat)",
                  "**Base Model (if specified):** marsh/heron-7b\n", "marsh/bird-talk", "A heron does.", "## Model 2: pond/heron-lora"):
        assert words in page
    edited = page.replace("(if specified):** marsh/heron-7b\n", "(if specified):** Heron, I say\n")
    (place / "notebook" / "models.md").write_text(edited, encoding="utf-8")
    said(run(hub, place, "hub", "note", "marsh/heron-7b-chat"), 0, "kept as you wrote it: Base Model")
    done = run(hub, place, "report", str(write_finished_run(place)))
    said(done, 0, "report.html")
    for name in ("report.html", "report.md", "report.json"):
        text = (place / "run" / name).read_text(encoding="utf-8")
        assert "Heron, I say" in text and "A heron does." in text, name
    assert "<script>alert(1)" not in (place / "run" / "report.html").read_text(encoding="utf-8")
    said(run(hub, place, "report", "--notebook", "notebook", "--out", "alone"), 0, "alone/report.html")
    assert "2 models looked at" in (place / "alone" / "report.html").read_text(encoding="utf-8")


def test_for_machines(hub: HubServer, place: Path) -> None:
    one = json.loads(run(hub, place, "hub", "show", "marsh/heron-7b-chat", "--json").stdout)
    assert (one["name"], one["link"]) == ("marsh/heron-7b-chat", "https://huggingface.co/marsh/heron-7b-chat")
    assert one["base_model"]["value"] == ["marsh/heron-7b"] and one["datasets"]["value"] == ["marsh/bird-talk"]
    assert one["base_model"]["candidates"][0]["evidence"][0] == {
        "kind": "card metadata", "quote": "base_model: marsh/heron-7b", "file": "README.md", "line": 3}
    two = json.loads(run(hub, place, "hub", "show", "marsh/heron-7b-chat", "pond/heron-lora", "--json").stdout)
    assert [model["name"] for model in two["models"]] == ["marsh/heron-7b-chat", "pond/heron-lora"] and two["failures"] == []
    assert two["models"][1]["axolotl"]["errors"] == 1 and two["models"][1]["about_base"]["base_model"]["value"] == ["marsh/heron-7b"]
    lines = run(hub, place, "hub", "show", "marsh/heron-7b-chat", "pond/heron-lora", "--jsonl").stdout.splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["marsh/heron-7b-chat", "pond/heron-lora"]
    tree = json.loads(run(hub, place, "hub", "tree", "marsh/heron-7b-chat", "--json").stdout)
    assert tree["parents"][0]["name"] == "marsh/heron-7b"
    assert {branch["relation"]: [child["name"] for child in branch["models"]] for branch in tree["children"]} == {
        "adapter": ["pond/heron-lora"], "quantized": ["pond/heron-gguf"]}


def test_pages(hub: HubServer, place: Path) -> None:
    said(run(hub, place, "hub", "show", "marsh/heron-7b-chat", "pond/heron-lora", "--html", "models.html"), 0, "Written: models.html")
    said(run(hub, place, "hub", "tree", "marsh/heron-7b-chat", "--html", "tree.html"), 0, "Written: tree.html")
    models, tree = ((place / name).read_text(encoding="utf-8") for name in ("models.html", "tree.html"))
    assert "pond/heron-lora" in models and "<script>alert(1)" not in models and "alert(1)" not in tree
    assert "<svg" in tree and "quantised copies" in tree


def test_offline_has_what_was_seen(hub: HubServer, place: Path) -> None:
    said(run(hub, place, "hub", "show", "marsh/heron-7b-chat"), 0)
    said(run(hub, place, "hub", "show", "marsh/heron-7b-chat", "--offline"), 0, "marsh/heron-7b")
    said(run(hub, place, "hub", "tree", "marsh/heron-7b-chat", HF_HUB_OFFLINE="1"), 0, "marsh/heron-7b")
    said(run(hub, place, "hub", "show", "never/seen", "--offline"), 2, "never/seen")


def test_cards_on_disk_need_no_hub(hub: HubServer, place: Path) -> None:
    (place / "cards").mkdir()
    for index in range(12):
        (place / "cards" / f"model-{index:02}.md").write_text(TUNED, encoding="utf-8")
    before = len(hub.requests)
    said(run(hub, place, "hub", "show", "cards/model-03.md"), 0, "marsh/heron-7b", "model-03.md:3")
    table = said(run(hub, place, "hub", "show", "cards"), 0, "12 models")
    assert table.count("marsh/heron-7b") == 12
    assert len(json.loads(run(hub, place, "hub", "show", "cards", "--json").stdout)["models"]) == 12
    said(run(hub, place, "hub", "note", "cards/model-00.md", "cards/model-01.md"), 0)
    assert (place / "notebook" / "models.md").read_text(encoding="utf-8").count("## Model ") == 2
    assert len(hub.requests) == before


def test_wrong_inputs(hub: HubServer, place: Path) -> None:
    (place / "empty").mkdir()
    said(run(hub, place, "hub", "show", "marsh/heron-7b-chta"), 2, "marsh/heron-7b-chat")
    said(run(hub, place, "hub", "show", "pond/locked"), 2, "pond/locked")
    said(run(hub, place, "hub", "show", "no/such/file.md"), 2, "no such file", "hub id".replace("hub", "Hub"))
    said(run(hub, place, "hub", "show", "three words here"), 2, "no file or folder", "org/name")
    said(run(hub, place, "hub", "show", "https://huggingface.co/datasets/marsh/bird-talk"), 2, "datasets")
    said(run(hub, place, "hub", "show", "empty"), 2, "no README.md")
    said(run(hub, place, "hub", "show", "marsh/heron-7b-chat", "gone/away"), 2, "marsh/bird-talk", "not read", "gone/away")
    said(run(hub, place, "hub", "tree", "gone/away"), 2, "gone/away")
    said(run(hub, place, "hub", "note", "gone/away"), 2, "gone/away")
    assert not (place / "notebook").exists()
    (place / "file").write_text("x")
    said(run(hub, place, "hub", "note", "marsh/heron-7b-chat", "--notebook", "file"), 2, "is a file")
    said(run(hub, place, "report"), 2, "Nothing to report", "hub note")
    said(run(hub, place, "report", "--notebook", "empty"), 2, "no lab notebook")
    error = json.loads(run(hub, place, "hub", "show", "gone/away", "--json").stdout)["error"]
    assert "gone/away" in error["message"] and error["next_step"]
