"""Every rule fires on its own bad example and is silent on its good one; then the cases that one example cannot show."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.planning.cases import A100, FAST_CPU, LAPTOP, T4, read, read_anything, smol_shapes

from tunelab.config.finding import Finding, Severity
from tunelab.config.selection import without_ignored
from tunelab.facts.machine import Machine
from tunelab.planning.rules import Rule, all_rules, check, several, zero
from tunelab.planning.rules.hardware import parameters_in_name

LORA = "adapter: lora\nlora_r: 16\nlora_alpha: 32\nlora_target_linear: true"


def found(folder: Path, text: str, machine: Machine = LAPTOP, *, with_shapes: bool = True) -> dict[str, Finding]:
    """code -> finding; the last one of a code when there are several."""
    shapes = smol_shapes(folder) if with_shapes else None
    return {finding.code: finding for finding in check(read(folder, text), machine, shapes)}


def said(folder: Path, rule: Rule, text: str) -> dict[str, Finding]:
    """What an example gives: the reader's own findings for TL1xx, the rules' for all others."""
    if not rule.code.startswith("TL1"):
        return found(folder, text, machine_for(rule), with_shapes=with_shapes_for(rule))
    findings = read_anything(folder, text)
    return {finding.code: finding for finding in without_ignored(findings.source, findings.findings, [one.code for one in all_rules()])}


def machine_for(rule: Rule) -> Machine:
    """The example of a rule on good hardware is about a machine that has it."""
    return {"TL620": FAST_CPU, "TL639": T4}.get(rule.code, LAPTOP)


def with_shapes_for(rule: Rule) -> bool:
    """The examples of rules on names are about models that are not at hand."""
    return rule.code not in ("TL471", "TL607", "TL673")


ELSEWHERE = ("TL100", "TL201", "TL202", "TL690")  # found when a verb opens a config: tests/unit/workflow


@pytest.mark.parametrize(("rule", "bad"), [(rule, bad) for rule in all_rules() if rule.code not in ELSEWHERE for bad in rule.bad],
                         ids=lambda one: one.code if isinstance(one, Rule) else "")
def test_the_bad_example_of_a_rule_fires_with_its_severity(rule: Rule, bad: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for topic in (several, zero):  # what is not installed is said whether or not it is installed where the tests run
        monkeypatch.setattr(topic, "is_installed", lambda package: False)
    finding = said(tmp_path, rule, bad)[rule.code]
    assert finding.severity is rule.severity
    assert (finding.key or rule.code == "TL114") and finding.message.endswith((".", "?"))
    assert finding.line is not None and finding.column is not None


@pytest.mark.parametrize("rule", [rule for rule in all_rules() if rule.code not in ELSEWHERE], ids=lambda rule: rule.code)
def test_the_good_example_of_a_rule_is_silent_about_it(rule: Rule, tmp_path: Path) -> None:
    assert rule.code not in said(tmp_path, rule, rule.good)


def test_there_are_rules_of_every_topic_and_each_says_why() -> None:
    rules = all_rules()
    assert len(rules) > 200
    assert {rule.code[:3] for rule in rules} == {f"TL{topic}" for topic in range(1, 10)}
    assert all(rule.title and rule.why.endswith(".") and rule.look.__doc__ for rule in rules)


def test_a_plain_lora_config_has_no_findings(tmp_path: Path) -> None:
    assert found(tmp_path, f"{LORA}\nnum_epochs: 2\nval_set_size: 0.05\nevals_per_epoch: 2\nsave_steps: 100\nwarmup_steps: 5\n"
                           "lora_mlp_kernel: false") == {}


def test_findings_come_by_line_and_stand_at_their_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zero, "is_installed", lambda package: False)
    findings = check(read(tmp_path, "fp16: true\noptimizer: paged_adamw_8bit\ndeepspeed: zero2.json"), LAPTOP, None)
    assert [(one.line, one.key) for one in findings] == [(4, "fp16"), (5, "optimizer"), (5, "optimizer"), (6, "deepspeed")]
    assert all(one.severity is Severity.BLOCKED for one in findings)


@pytest.mark.parametrize("key", ["datasets", "test_datasets"])
def test_openhermes_is_taken_for_its_columns_and_says_so(key: str, tmp_path: Path) -> None:
    finding = found(tmp_path, f"{key}: [{{path: a.jsonl, type: openhermes}}]")["TL302"]
    assert finding.severity is Severity.WARNING and finding.safe and finding.key == f"{key}[0].type"
    assert all(word in finding.message for word in ("openhermes", "`chat_template`", "`conversations`", "`from`", "`value`"))
    assert finding.fix == "type: chat_template\nfield_messages: conversations\nmessage_property_mappings: {role: from, content: value}"
    own = found(tmp_path, f"{key}: [{{path: a.jsonl, type: openhermes, field_messages: talk, message_field_role: who}}]")["TL302"]
    assert own.fix == "type: chat_template\nfield_messages: talk\nmessage_property_mappings: {role: who, content: value}"
    assert found(tmp_path, f"rl: dpo\n{key}: [{{path: a.jsonl, type: openhermes}}]")["TL302"].severity is Severity.ERROR


@pytest.mark.parametrize("type_name", ["sharegpt", "sharegpt:chat"])
def test_share_gpt_types_get_the_edit_that_reads_such_rows(type_name: str, tmp_path: Path) -> None:
    finding = found(tmp_path, f"datasets: [{{path: a.jsonl, type: '{type_name}'}}]")["TL302"]
    assert finding.key == "datasets[0].type"
    assert finding.fix == "type: chat_template\nfield_messages: conversations\nmessage_property_mappings: {role: from, content: value}"
    mended = "datasets:\n  - path: a.jsonl\n" + "".join(f"    {line}\n" for line in finding.fix.splitlines())
    assert found(tmp_path, mended) == {}


def test_a_misspelt_type_is_guessed(tmp_path: Path) -> None:
    finding = found(tmp_path, "datasets: [{path: a.jsonl, type: alpacca}]")["TL302"]
    assert "Did you mean `alpaca`?" in finding.message and finding.fix == "type: alpaca" and finding.severity is Severity.ERROR
    assert found(tmp_path, "datasets: [{path: a.jsonl, type: instruct}]")["TL302"].fix == "type: alpaca"
    assert found(tmp_path, "datasets: [{path: a.jsonl, type: zzz}]")["TL302"].fix == "type: chat_template"


def test_shards_say_how_much_is_trained_on_and_what_decides_which(tmp_path: Path) -> None:
    message = found(tmp_path, "seed: 7\ndatasets: [{path: a.jsonl, type: alpaca, shards: 10}]")["TL303"].message
    assert "1/10 of the rows" in message and "which tenth" in message and "`seed` (7)" in message
    assert "TL303" not in found(tmp_path, "datasets: [{path: a.jsonl, type: alpaca, shards: 1}]")


def test_evaluation_switched_off_still_wastes_the_held_out_rows(tmp_path: Path) -> None:
    assert "TL306" in found(tmp_path, "val_set_size: 100\neval_strategy: 'no'")
    assert "TL307" not in found(tmp_path, "eval_strategy: 'no'")


def test_the_sequence_limit_is_only_known_with_the_model(tmp_path: Path) -> None:
    assert "8,192" in found(tmp_path, "sequence_len: 8193")["TL308"].message
    assert "TL308" not in found(tmp_path, "sequence_len: 8192")
    assert "TL308" not in found(tmp_path, "sequence_len: 8193", with_shapes=False)


def test_padding_is_worth_it_on_a_gpu(tmp_path: Path) -> None:
    assert "TL309" not in found(tmp_path, "sample_packing: true\npad_to_sequence_len: true", A100)


def test_missing_rank_and_alpha_say_which_default_is_used(tmp_path: Path) -> None:
    both = found(tmp_path, "adapter: lora\nlora_target_linear: true")["TL402"]
    assert "`lora_r` and `lora_alpha` are not written" in both.message and both.fix == "lora_r: 8\nlora_alpha: 8"
    one = found(tmp_path, "adapter: lora\nlora_r: 16\nlora_target_linear: true")["TL402"]
    assert one.fix == "lora_alpha: 8"


def test_targets_that_match_nothing_are_an_error_and_one_of_several_a_warning(tmp_path: Path) -> None:
    lora = "adapter: lora\nlora_r: 8\nlora_alpha: 16\nlora_target_modules: "
    nothing = found(tmp_path, lora + "[q_prj, Wqkv]")
    assert nothing["TL404"].fix == "lora_target_modules: [q_proj]" and "TL405" not in nothing
    one = found(tmp_path, lora + "[q_proj, v_prj, o_proj]")
    assert one["TL405"].key == "lora_target_modules[1]" and one["TL405"].fix == "lora_target_modules: [q_proj, v_proj, o_proj]"
    assert "TL404" not in one
    assert "TL404" not in found(tmp_path, lora + "[q_prj]", with_shapes=False)
    assert "TL404" in found(tmp_path, lora + "'q_proj'"), "a text must match the whole name"
    assert "TL404" not in found(tmp_path, lora + "'.*q_proj'")


def test_packed_weights_run_and_without_a_gpu_their_price_is_said(tmp_path: Path) -> None:
    complete = found(tmp_path, f"{LORA.replace('lora', 'qlora', 1)}\nload_in_4bit: true")
    assert complete["TL407"].severity is Severity.NOTE and "TL408" not in complete and "TL420" not in complete
    assert "TL407" in found(tmp_path, f"{LORA}\nload_in_8bit: true")
    assert {"TL409", "TL420"} <= set(found(tmp_path, f"{LORA}\nload_in_4bit: true\nload_in_8bit: true"))


def test_a_misspelt_start_of_lora_is_an_error_with_the_closest_name(tmp_path: Path) -> None:
    wrong = found(tmp_path, f"{LORA}\npeft_init_lora_weights: pisa")["TL415"]
    assert wrong.severity is Severity.ERROR and wrong.fix == "peft_init_lora_weights: pissa"
    assert "TL415" not in found(tmp_path, f"{LORA}\npeft_init_lora_weights: pissa_niter_8")
    assert "TL415" not in found(tmp_path, f"{LORA}\npeft_init_lora_weights: false"), "false is taken as unset"


@pytest.mark.parametrize(("name", "instead"), [("paged_adamw_8bit", "adamw_8bit"), ("paged_adamw_32bit", "adamw_torch_fused"),
                                               ("paged_lion_8bit", "lion_8bit")])
def test_paged_optimizers_need_a_gpu_and_name_what_stands_in(name: str, instead: str, tmp_path: Path) -> None:
    finding = found(tmp_path, f"optimizer: {name}")["TL501"]
    assert "needs a CUDA GPU" in finding.message and instead in finding.message and "--stand-ins" in finding.expected
    assert finding.fix == f"optimizer: {instead}" and not finding.safe
    assert "TL501" not in {one.code for one in check(read(tmp_path, f"optimizer: {name}"), A100, None)}


def test_other_optimizers(tmp_path: Path) -> None:
    for name in ("adamw_torch", "adamw_torch_fused", "sgd", "adafactor", "muon", "adopt_adamw"):
        assert not {"TL501", "TL502"} & set(found(tmp_path, f"optimizer: {name}")), name
    assert found(tmp_path, "optimizer: adamw_hf")["TL502"].fix == "optimizer: adamw_torch"
    assert "inside the backward pass" in found(tmp_path, "optimizer: lomo")["TL502"].message
    wrong = found(tmp_path, "optimizer: adamw_torch_fusd")["TL502"]
    assert "Did you mean `adamw_torch_fused`?" in wrong.message and wrong.severity is Severity.ERROR

def test_learning_rates_are_judged_by_the_method(tmp_path: Path) -> None:
    assert "TL504" in found(tmp_path, f"{LORA}\nlearning_rate: 5.0e-7")
    assert "TL504" not in found(tmp_path, "learning_rate: 5.0e-7"), "low, but full fine-tuning goes there"
    assert "TL504" in found(tmp_path, "learning_rate: 0.01")
    assert "TL504" not in found(tmp_path, "learning_rate: 0.01\noptimizer: sgd")


def test_number_formats_are_judged_by_the_machine(tmp_path: Path) -> None:
    assert "TL602" not in found(tmp_path, "fp16: true", T4)
    assert "TL603" in found(tmp_path, "bf16: true", T4)
    assert "TL603" not in found(tmp_path, "bf16: true", FAST_CPU)
    assert "TL604" in found(tmp_path, "tf32: true", T4)
    assert "TL604" not in found(tmp_path, "tf32: true", A100)
    both = found(tmp_path, "fp16: true\nbf16: true")
    assert both["TL601"].fix == "bf16: auto\ndelete `fp16`" and "TL602" not in both


def test_a_model_too_large_is_told_from_shapes_or_name(tmp_path: Path) -> None:
    lora = f"base_model: mistralai/Mistral-7B-v0.1\n{LORA}"
    assert "read off its name" in found(tmp_path, lora, LAPTOP, with_shapes=False)["TL607"].message
    assert "TL607" not in found(tmp_path, lora, A100, with_shapes=False)
    assert "TL607" in found(tmp_path, "base_model: mistralai/Mistral-13B", A100, with_shapes=False), "full fine-tuning needs 32 bits"
    tiny = Machine("Linux", 1, 500_000_000, 400_000_000)
    assert "read off" not in found(tmp_path, lora, tiny)["TL607"].message
    assert "TL607" not in found(tmp_path, lora, Machine("Linux", 1, 0, 0)), "memory that is not known is not judged"


@pytest.mark.parametrize(("name", "parameters"), [
    ("teknium/OpenHermes-2.5-Mistral-7B", 7_000_000_000), ("HuggingFaceTB/SmolLM2-135M-Instruct", 135_000_000), ("a/Mixtral-8x7B", 56_000_000_000),
    ("Qwen/Qwen2.5-0.5B", 500_000_000), ("models/llama3_8b", 8_000_000_000), ("microsoft/Phi-3-mini-4k-instruct", None), ("gpt2", None)])
def test_sizes_are_read_off_names(name: str, parameters: int | None) -> None:
    assert parameters_in_name(name) == parameters


def test_strategies_and_intervals(tmp_path: Path) -> None:
    assert "TL703" in found(tmp_path, "save_strategy: 'no'\nsaves_per_epoch: 2")
    assert "TL703" not in found(tmp_path, "save_steps: 20")
    assert "TL705" in found(tmp_path, "val_set_size: 10\neval_strategy: steps")
    assert "TL706" in found(tmp_path, "save_strategy: best\nval_set_size: 10\neval_strategy: 'no'")


def test_model_classes(tmp_path: Path) -> None:
    assert "TL203" not in found(tmp_path, "model_type: MistralForCausalLM", with_shapes=False)
    assert "TL204" in found(tmp_path, "model_type: MistralForCausalLM", with_shapes=False)
    right = found(tmp_path, "model_type: LlamaForCausalLM")
    assert "TL204" in right and "TL203" not in right


def test_templates_of_datasets_are_judged_too(tmp_path: Path) -> None:
    finding = found(tmp_path, "datasets: [{path: a.jsonl, type: chat_template, chat_template: command_a}]")["TL206"]
    assert finding.key == "datasets[0].chat_template"


def test_what_is_not_acted_on_is_said_unless_it_is_off(tmp_path: Path) -> None:
    assert "attn_implementation" in found(tmp_path, "attn_implementation: flash_attention_2")["TL801"].message
    assert "TL801" not in found(tmp_path, "flash_attention: false\nlora_mlp_kernel:")


def test_the_rules_look_at_nothing_heavy() -> None:
    import subprocess
    import sys

    code = ("import sys; import tunelab.planning.rules, tunelab.planning.plan, tunelab.planning.explain; "
            "print([name for name in ('torch', 'transformers', 'numpy', 'huggingface_hub', 'tokenizers') if name in sys.modules])")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
