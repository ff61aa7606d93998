"""Stand-ins: what is taken for what on which machine, and that nothing is taken without permission."""

from __future__ import annotations

from pathlib import Path

from tests.unit.planning.cases import A100, FAST_CPU, LAPTOP, T4, read

from tunelab.config.known import names
from tunelab.facts.machine import Machine
from tunelab.planning.optimizers import optimizer_arguments, optimizers, refusal
from tunelab.planning.precision import precision
from tunelab.planning.rules import check
from tunelab.planning.stand_ins import said, stand_ins, with_stand_ins
from tunelab.workflow.check import check as check_file


def taken(folder: Path, text: str, machine: Machine) -> dict[str, object]:
    return {key: value for one in stand_ins(read(folder, text), machine) for key, value in one.takes.items()}


def test_what_a_laptop_takes_in_place_of_what(tmp_path: Path) -> None:
    assert taken(tmp_path, "optimizer: paged_adamw_8bit\nfp16: true", LAPTOP) == {"optimizer": "adamw_8bit", "fp16": False, "bf16": "auto"}
    assert taken(tmp_path, "bf16: true", LAPTOP) == {"bf16": "auto"} and taken(tmp_path, "bf16: true", FAST_CPU) == {}
    assert taken(tmp_path, "optimizer: paged_adamw_8bit\nfp16: true", A100) == {} and taken(tmp_path, "bf16: true", T4) == {}
    assert taken(tmp_path, "optimizer: lomo", A100) == {"optimizer": "sgd"}
    assert taken(tmp_path, "optimizer: adamw_tor\nbf16: auto", LAPTOP) == {}, "what is wrong has no stand-in"


def test_the_config_has_the_stand_in_and_a_finding_says_so_at_the_line(tmp_path: Path) -> None:
    config = read(tmp_path, "optimizer: paged_adamw_8bit\nfp16: true")
    found = stand_ins(config, LAPTOP)
    changed = with_stand_ins(config, found)
    assert changed.optimisation.optimizer == changed.raw.get("optimizer") == "adamw_8bit" and precision(changed, LAPTOP) == "fp32"
    assert config.optimisation.optimizer == "paged_adamw_8bit"
    before, after = ({one.code for one in check(one, LAPTOP, None)} for one in (config, changed))
    assert before >= {"TL501", "TL602"} and not after & {"TL501", "TL602"}
    sayings = said(changed, found)
    assert [(one.key, one.line, one.fix) for one in sayings] == [("optimizer", 4, "optimizer: adamw_8bit"), ("fp16", 5, "fp16: false\nbf16: auto")]
    assert sayings[0].message.endswith("memory that does not move. `optimizer: adamw_8bit` stands in.")


def test_nothing_is_taken_without_permission(tmp_path: Path) -> None:
    read(tmp_path, "optimizer: paged_adamw_8bit")
    strict, lenient = (check_file(str(tmp_path / "config.yml"), machine=LAPTOP, stand_ins=allowed) for allowed in (False, True))
    assert "TL501" in {one.code for one in strict.findings} and not strict.runs
    assert "TL690" in {one.code for one in lenient.findings} and "TL501" not in {one.code for one in lenient.findings}


def test_every_name_of_the_dialect_is_in_the_table_and_its_stand_in_runs(tmp_path: Path) -> None:
    assert set(names("optimizer")) <= set(optimizers())
    for machine in (LAPTOP, A100):
        for name in optimizers():
            refused = refusal(name, machine, lambda package: True)
            assert refused is None or refusal(refused.instead, machine, lambda package: True) is None


def test_a_missing_package_is_named_and_what_stands_in_does_not_need_it() -> None:
    refused = refusal("paged_adamw_8bit", LAPTOP, lambda package: package != "bitsandbytes")
    assert refused is not None and refused.instead == "adamw_torch_fused" and "pip install bitsandbytes" in refused.reason
    assert all(one is None or optimizers()[one.instead].package == ""
               for one in (refusal(name, A100, lambda package: False) for name in optimizers()))


def test_arguments_as_text_become_numbers_switches_and_words() -> None:
    assert optimizer_arguments("rank=128, scale=2.5e-1,proj_type=std, centered=True") == {"rank": 128, "scale": 0.25, "proj_type": "std", "centered": True}
    assert optimizer_arguments({"momentum": "0.9"}) == {"momentum": 0.9} and optimizer_arguments(None) == {}
