"""diff, init, check --fix and the SARIF log, through the library's verbs on real files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunelab.cli.show.findings import sarif
from tunelab.config import Severity, read_config
from tunelab.errors import FolderError, UsageError
from tunelab.planning.rules import all_rules
from tunelab.planning.starter import Hardware, Method
from tunelab.workflow.check import check, check_all, fix
from tunelab.workflow.diff import diff
from tunelab.workflow.init import init

OLD = """\
# an old config, as people still copy it
base_model: org/some-model
learning_rate: 2e-4   # as text
datasets:
  - path: chats.jsonl   # ours
    type: sharegpt
sdp_attention: true
evaluation_strategy: "no"
debug:
gptq_groupsize: 128
dataset_processes: 4
output_dir: ./out
"""


def test_fix_makes_an_old_config_modern_and_keeps_every_comment(tmp_path: Path) -> None:
    path = tmp_path / "old.yml"
    path.write_text(OLD, encoding="utf-8")
    done = fix(str(path))
    text = path.read_text(encoding="utf-8")
    assert {one.code for one in done.applied} == {"TL109", "TL302"}
    for line in ("# an old config, as people still copy it", "learning_rate: 2e-4   # as text", "  - path: chats.jsonl   # ours",
                 "attn_implementation: sdpa", 'eval_strategy: "no"', "dataset_num_proc: 4", "type: chat_template"):
        assert line in text, line
    assert "sharegpt" not in text and "gptq" not in text and "debug" not in text
    assert not [one for one in done.checked.findings if one.severity is Severity.ERROR or one.safe]
    assert fix(str(path)).applied == () and path.read_text(encoding="utf-8") == text


def test_a_file_that_cannot_be_written_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "old.yml"
    path.write_text(OLD.replace("org/some-model", "[broken"), encoding="utf-8")
    with pytest.raises(UsageError):
        fix(str(path))
    assert "[broken" in path.read_text(encoding="utf-8")


def test_old_spellings_defaults_and_number_formats_are_no_difference(tmp_path: Path) -> None:
    one, two = tmp_path / "a.yml", tmp_path / "b.yml"
    base = "base_model: org/m\ndatasets: [{path: a.jsonl, type: alpaca}]\n"
    one.write_text(base + "learning_rate: 2e-4\nsdp_attention: true\nevaluation_strategy: 'no'\nmicro_batch_size: 1\nval_set_size: 0\nwarmup_steps: '5'\n")
    two.write_text(base + "# another text\nlearning_rate: 0.0002\nattn_implementation: sdpa\neval_strategy: 'no'\nwarmup_steps: 5\n")
    assert diff(str(one), str(two)).differences == ()


def test_each_difference_is_explained_in_both_runs(tmp_path: Path) -> None:
    one, two = tmp_path / "a.yml", tmp_path / "b.yml"
    base = "base_model: org/m\nlearning_rate: 0.0001\n"
    one.write_text(base + "datasets: [{path: a.jsonl, type: alpaca}]\nmicro_batch_size: 2\ntrl: {num_generations: 4}\n")
    two.write_text(base + "datasets: [{path: b.jsonl, type: alpaca}, {path: c.jsonl, type: alpaca}]\ngradient_accumulation_steps: 4\n")
    found = {difference.name: difference for difference in diff(str(one), str(two)).differences}
    assert set(found) == {"datasets[0].path", "datasets[1].path", "datasets[1].type", "micro_batch_size", "gradient_accumulation_steps",
                          "trl.num_generations"}
    assert (found["micro_batch_size"].first, found["micro_batch_size"].second) == (2, 1)
    assert found["micro_batch_size"].here_first != found["micro_batch_size"].here_second
    assert found["trl.num_generations"].second is None and found["trl.num_generations"].effect


@pytest.mark.parametrize("method", list(Method))
@pytest.mark.parametrize("hardware", list(Hardware))
def test_every_starter_is_right_and_commented(method: Method, hardware: Hardware, tmp_path: Path) -> None:
    path = tmp_path / "c.yml"
    init(path, "org/my-model", method=method, hardware=hardware, data="rows.jsonl", output="out")
    checked = check(str(path))
    assert checked.ok and not [one for one in checked.findings if one.severity is Severity.WARNING], checked.findings
    keys = [line for line in path.read_text(encoding="utf-8").splitlines() if line[:1].isalpha()]
    assert len(keys) > 20 and path.read_text(encoding="utf-8").count("# ") > len(keys)
    with pytest.raises(FolderError):
        init(path, "org/other", method=method, hardware=hardware, data="rows.jsonl", output="out")
    assert read_config(path).config.model.base_model == "org/my-model"


def test_init_names_its_choices() -> None:
    with pytest.raises(UsageError, match="no method"):
        init(Path("x.yml"), "a/b", method="magic", hardware="cpu", data="d", output="o")


def test_the_sarif_log_points_at_each_line(tmp_path: Path) -> None:
    path = tmp_path / "c.yml"
    path.write_text(OLD, encoding="utf-8")
    findings = check(str(path)).findings
    log = sarif([(str(path), findings)], all_rules(), "1.0")
    run = log["runs"][0]
    assert log["version"] == "2.1.0" and len(run["results"]) == len(findings)
    assert {result["ruleId"] for result in run["results"]} == {rule["id"] for rule in run["tool"]["driver"]["rules"]} == {one.code for one in findings}
    assert {result["level"] for result in run["results"]} <= {"error", "warning", "note"}
    assert all(result["locations"][0]["physicalLocation"]["region"]["startLine"] >= 1 for result in run["results"])


def test_codes_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    (tmp_path / "c.yml").write_text(OLD, encoding="utf-8")
    with pytest.raises(UsageError, match="XY"):
        check(str(tmp_path / "c.yml"), select=["XY1"])


def test_of_several_files_a_broken_one_does_not_hide_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("a: 1\n  b: [", encoding="utf-8")
    (tmp_path / "b.yml").write_text(OLD, encoding="utf-8")
    broken, missing, other = check_all([str(tmp_path / "a.yml"), str(tmp_path / "c.yml"), str(tmp_path / "b.yml")])
    assert [one.code for one in broken.findings] == ["TL100"] and broken.findings[0].line == 2
    assert missing.findings[0].message == "No such file." and not missing.ok
    assert any(one.code == "TL302" for one in other.findings)
