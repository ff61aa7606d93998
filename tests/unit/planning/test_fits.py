"""On which GPUs a run fits, the smallest change, and how long it takes there."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.planning.cases import A100, read_anything

from tunelab.facts.lookup import table_shapes
from tunelab.facts.machine import Gpu
from tunelab.planning.devices import device_of, devices
from tunelab.planning.duration import estimate_seconds, operations_per_token
from tunelab.planning.fits import Fit, changes, fits, fits_on
from tunelab.planning.memory import estimate
from tunelab.planning.precision import precision
from tunelab.planning.workload import Workload, workload_of

FULL = "sequence_len: 2048\nmicro_batch_size: 2\n"
LORA = FULL + "adapter: lora\nlora_r: 16\nlora_target_linear: true\n"


def work(folder: Path, text: str, model: str = "meta-llama/Llama-3.1-8B") -> Workload:
    shapes = table_shapes(model)
    assert shapes is not None
    return workload_of(read_anything(folder, text).config, shapes, A100, tokens=4096, supervised=1400)


def table(folder: Path, text: str, model: str = "meta-llama/Llama-3.1-8B", tokens: int | None = 10_000_000) -> dict[str, Fit]:
    config = read_anything(folder, text).config
    found = fits_on(work(folder, text, model), tokens, lambda device: precision(config, device.machine()))
    return {one.device: one for one in found}


def test_the_table_has_the_usual_gpus() -> None:
    names = [one.name for one in devices()]
    assert len(names) >= 20 and {"NVIDIA T4", "NVIDIA RTX 4090", "NVIDIA A100 80GB", "NVIDIA H100 80GB", "AMD MI300X"} <= set(names)
    assert [one.memory_bytes for one in devices()] == sorted(one.memory_bytes for one in devices())


@pytest.mark.parametrize(("told", "mib", "name"), [
    ("Tesla T4", 15360, "NVIDIA T4"), ("NVIDIA A100-SXM4-80GB", 81920, "NVIDIA A100 80GB"), ("NVIDIA A100-PCIE-40GB", 40960, "NVIDIA A100 40GB"),
    ("NVIDIA H100 80GB HBM3", 81559, "NVIDIA H100 80GB"), ("NVIDIA GeForce RTX 4090", 24564, "NVIDIA RTX 4090"),
    ("NVIDIA GeForce RTX 4060 Ti", 16380, "NVIDIA RTX 4060 Ti 16GB"), ("NVIDIA A10G", 23028, "NVIDIA A10G"), ("NVIDIA L40S", 46068, "NVIDIA L40S"),
    ("Tesla V100-SXM2-32GB", 32768, "NVIDIA V100 32GB"), ("NVIDIA GeForce GTX 1080", 8192, None), ("NVIDIA GeForce RTX 4060 Ti", 8188, None)])
def test_a_gpu_is_known_by_what_nvidia_smi_calls_it(told: str, mib: int, name: str | None) -> None:
    found = device_of(Gpu(told, mib * 2**20))
    assert (found.name if found else None) == name


def test_lora_of_8_billion_fits_where_it_is_known_to(tmp_path: Path) -> None:
    found = table(tmp_path, LORA)
    assert found["NVIDIA A100 80GB"].verdict == "fits" and found["NVIDIA A100 80GB"].count == 1
    small = found["NVIDIA RTX 4090"]
    assert small.verdict == "fits with a change" and small.change.splitlines()[0] == "gradient_checkpointing: true"
    assert small.changed_bytes is not None and small.changed_bytes < 24.5e9 < small.bytes
    assert "qlora" in found["NVIDIA T4"].change


def test_full_fine_tuning_of_70_billion_needs_many(tmp_path: Path) -> None:
    found = table(tmp_path, FULL + "gradient_checkpointing: true", "meta-llama/Llama-3.1-70B")
    assert found["NVIDIA RTX 3090"].verdict == "does not fit" and found["NVIDIA RTX 3090"].seconds is None
    assert found["NVIDIA H200"].change, "as LoRA it fits on one"
    assert found["NVIDIA B200"].count == 8


def test_each_change_takes_less_and_the_first_are_harmless(tmp_path: Path) -> None:
    base = work(tmp_path, FULL)
    found = list(changes(base))
    assert [one.edit.split(":")[0] for one in found[:3]] == ["gradient_checkpointing", "micro_batch_size", "optimizer"]
    lora = work(tmp_path, LORA)
    assert all(estimate(one.work, cuda=True).total < estimate(lora, cuda=True).total for one in changes(lora))
    assert found[1].work.micro_batch_size * found[1].work.accumulation == base.micro_batch_size * base.accumulation, "the same step"
    tight = list(changes(work(tmp_path, "adapter: qlora\nload_in_4bit: true\ngradient_checkpointing: true\nsequence_len: 256")))
    assert tight == [], "nothing is proposed that is there already"


def test_a_margin_stays_free(tmp_path: Path) -> None:
    plan = estimate(work(tmp_path, LORA), cuda=True)
    assert not fits(plan, plan.total) and fits(plan, round(1.1 * plan.total) + 500_000_000)


def test_time_is_a_range_from_the_table(tmp_path: Path) -> None:
    found = table(tmp_path, LORA)["NVIDIA H100 80GB"].seconds
    assert found is not None and found.high == pytest.approx(2 * found.low) and "25% to 50% of 989" in found.basis
    # 4 operations per weight and token for the frozen weights, 10 million tokens, 989 TFLOPS at half
    assert found.low == pytest.approx(4 * 7.5e9 * 1e7 / 989e12 / 0.5, rel=0.15)
    assert table(tmp_path, LORA, tokens=None)["NVIDIA H100 80GB"].seconds is None


def test_operations_per_token(tmp_path: Path) -> None:
    full, lora = work(tmp_path, FULL), work(tmp_path, LORA)
    ratio = operations_per_token(lora) / operations_per_token(full)
    assert 0.64 < ratio < 0.72, "4 of 6 passes, and a little for the adapter"
    checked = work(tmp_path, FULL + "gradient_checkpointing: true")
    assert operations_per_token(checked) / operations_per_token(full) == pytest.approx(8 / 6, rel=0.01)
    h100, a100 = (next(one for one in devices() if one.name == name) for name in ("NVIDIA H100 80GB", "NVIDIA A100 80GB"))
    assert estimate_seconds(full, a100, 1000).low == pytest.approx(estimate_seconds(full, h100, 1000).low * 989 / 312)
    assert estimate_seconds(full, h100, 1000, count=4).low == pytest.approx(estimate_seconds(full, h100, 1000).low / 4)
