"""Memory by component: numbers that can be checked by hand, or were measured on real runs."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from tests.unit.planning.cases import A100, LAPTOP, T4, read_anything, smol_shapes

from tunelab.config import Config
from tunelab.facts.lookup import table_shapes
from tunelab.facts.machine import Machine
from tunelab.facts.shapes import ModelShapes
from tunelab.planning.fleet import Fleet, fleet_of, fully_sharded
from tunelab.planning.memory import PARTS, MemoryPlan, estimate, estimate_evaluation, estimate_memory, estimate_merge, weight_bytes
from tunelab.planning.optimizers import optimizer_state, optimizers, state_bytes
from tunelab.planning.packing import four_bit_settings
from tunelab.planning.workload import Workload, with_lora, with_rows, workload_of

LORA = "adapter: lora\nlora_r: 16\nlora_alpha: 32\nlora_target_linear: true\n"
FEW = "adapter: lora\nlora_r: 8\nlora_alpha: 16\nlora_target_modules: [q_proj, v_proj]\n"
GC = "gradient_checkpointing: true\n"


def read(folder: Path, text: str) -> Config:
    """A config as far as it is read: what this version cannot run is planned all the same."""
    return read_anything(folder, text).config


def memory(folder: Path, text: str, tokens: int = 512, supervised: int = 170, machine: Machine = LAPTOP) -> MemoryPlan:
    return estimate_memory(read(folder, text), smol_shapes(folder), machine, tokens_per_batch=tokens, supervised_per_batch=supervised)


def llama(folder: Path, text: str, machine: Machine = A100, tokens: int = 2048) -> Workload:
    return workload_of(read(folder, text), big(), machine, tokens=tokens, supervised=tokens // 3)


def big() -> ModelShapes:
    shapes = table_shapes("meta-llama/Llama-3.1-8B")
    assert shapes is not None
    return shapes


# Peak resident memory of real runs of SmolLM2-135M in 32 bits on a CPU, in MB, as their manifests held it (bench/memory.py).
@pytest.mark.parametrize(("text", "tokens", "supervised", "measured"), [
    (LORA, 486, 197, 2370), (LORA, 995, 424, 3657), (LORA, 128, 55, 1412), (LORA, 1465, 768, 4897), (LORA, 1024, 48, 3559), (FEW, 486, 197, 1835),
    (LORA.replace("16", "64", 1), 255, 108, 1915), (LORA + "lora_dropout: 0.05", 486, 197, 2813),
    (LORA + "gradient_accumulation_steps: 4", 256, 111, 1922), (LORA + GC, 486, 197, 1602), (LORA + GC, 995, 424, 2228), (LORA + GC, 2026, 835, 3576),
    (FEW + GC, 486, 197, 1376), ("", 128, 55, 3065), ("", 486, 197, 3427), ("", 995, 424, 4100), ("optimizer: sgd", 486, 197, 2226), (GC, 486, 197, 3096),
    (GC, 995, 424, 3185), ("gradient_accumulation_steps: 2", 256, 108, 3519)])
def test_the_estimate_is_near_what_was_measured(text: str, tokens: int, supervised: int, measured: float, tmp_path: Path) -> None:
    assert memory(tmp_path, text, tokens, supervised).total / 1e6 == pytest.approx(measured, rel=0.07)


def test_the_parts_add_up_and_the_static_ones_are_exact(tmp_path: Path) -> None:
    parts = memory(tmp_path, LORA)
    assert parts.weights == 4 * 134_515_008 and parts.adapter == 4 * 4_884_480 and parts.optimizer == 8 * 4_884_480
    assert sum(asdict(parts)[name] for name in PARTS) == parts.total and parts.validated


def test_what_saves_memory_saves_it(tmp_path: Path) -> None:
    full, lora = memory(tmp_path, ""), memory(tmp_path, LORA)
    assert lora.total < full.total and lora.optimizer * 20 < full.optimizer
    assert memory(tmp_path, LORA + GC).total < 0.75 * lora.total
    assert memory(tmp_path, LORA, tokens=256).activations * 2 == pytest.approx(lora.activations, rel=0.01)
    assert memory(tmp_path, "optimizer: sgd").optimizer == 0
    assert memory(tmp_path, FEW).activations < lora.activations


def test_accumulated_gradients_stay_through_the_next_pass(tmp_path: Path) -> None:
    def gradients(text: str) -> int:
        return memory(tmp_path, text, tokens=4096, machine=A100).gradients

    assert gradients("gradient_accumulation_steps: 2\nbf16: false") == 4 * 134_515_008 and gradients("bf16: false") == 0


def test_a_gpu_is_not_validated_and_holds_no_libraries(tmp_path: Path) -> None:
    half = memory(tmp_path, LORA, machine=A100)
    assert half.weights == 2 * 134_515_008 and half.framework == 0 and not half.validated


def test_quantised_weights_as_in_the_papers(tmp_path: Path) -> None:
    shapes = big()
    four, eight = llama(tmp_path, "adapter: qlora\nload_in_4bit: true\nlora_target_linear: true"), llama(tmp_path, LORA + "load_in_8bit: true")
    matrices = sum(layer.in_features * layer.out_features for layer in shapes.linear_layers)
    ends, norms = 2 * 128256 * 4096, (2 * 32 + 1) * 4096
    assert weight_bytes(four) == pytest.approx(matrices * (4 + 0.127) / 8 + 2 * ends + 2 * norms, rel=1e-4), "QLoRA: 0.127 bits of scales a weight"
    assert weight_bytes(replace(four, double_quant=False)) == pytest.approx(matrices * 4.5 / 8 + 2 * ends + 2 * norms, rel=1e-4)
    assert weight_bytes(eight) == pytest.approx(matrices + 2 * ends, rel=0.01)
    assert weight_bytes(llama(tmp_path, LORA)) == 2 * shapes.parameters and weight_bytes(llama(tmp_path, "")) == 4 * shapes.parameters


@pytest.mark.parametrize(("name", "each"), [("adamw_torch", 8), ("adamw_bnb_8bit", 2.03), ("paged_adamw_32bit", 8), ("lion_8bit", 1.02), ("lion_32bit", 4),
                                            ("sgd", 0), ("ademamix", 12), ("ademamix_8bit", 3.05), ("adamw_torch_4bit", 1.03), ("ao_adamw_4bit", 1.06),
                                            ("muon", 4),
                                            ("schedule_free_adamw", 8), ("came_pytorch", 4), ("adafactor", 0)])
def test_optimizers_keep_what_their_papers_say(name: str, each: float) -> None:
    assert state_bytes(name, [(4096, 4096)]) == pytest.approx(each * 4096 * 4096, abs=0.005 * 4096 * 4096 + 100_000)


def test_low_rank_and_factored_states() -> None:
    assert state_bytes("adafactor", [(1000, 500)]) == 4 * 1500
    assert state_bytes("galore_adamw", [(4096, 1024)], rank=128) == 128 * 4096 * 8 + 4 * 128 * 1024
    assert state_bytes("adamw_bnb_8bit", [(4000,)]) == 8 * 4000, "small tensors stay in 32 bits"
    assert optimizer_state("lomo").no_gradients and not optimizer_state("adamw_none").known and len(optimizers()) > 40


def test_attention_that_writes_its_square_grows_with_it(tmp_path: Path) -> None:
    plain, eager = (llama(tmp_path, LORA + extra, tokens=4096) for extra in ("sequence_len: 4096", "sequence_len: 4096\nattn_implementation: eager"))
    difference = estimate(eager, cuda=True).activations - estimate(plain, cuda=True).activations
    assert difference == pytest.approx(32 * 32 * 4096 * 4096 * 6, rel=0.01), "layers x heads x rows x columns, in 32 and in 16 bits"


def test_autocast_s_copies_and_adamw_s_temporaries_on_a_gpu(tmp_path: Path) -> None:
    full = estimate(llama(tmp_path, "optimizer: adamw_torch_fused"), cuda=True)
    assert full.buffers == pytest.approx(2 * big().parameters, rel=0.01)
    loop = estimate(llama(tmp_path, "optimizer: adamw_torch"), cuda=True)
    assert loop.moment == "optimizer's step" and loop.gradients == 8 * big().parameters


def test_zero_s_stages_split_what_they_split(tmp_path: Path) -> None:
    work = llama(tmp_path, "", tokens=512)
    parameters = big().parameters
    one = estimate(work, cuda=True)
    stages = [estimate(work, cuda=True, fleet=Fleet(f"ZeRO-{stage}", 8, 8, stage)) for stage in range(4)]
    assert (one.weights, one.optimizer) == (4 * parameters, 8 * parameters)
    assert stages[0].optimizer == 8 * parameters and stages[0].communication == 4 * parameters, "DDP's buckets"
    assert [stage.optimizer for stage in stages[1:]] == [parameters + parameters // 2] * 3, "with the 32-bit copies that DeepSpeed updates"
    assert stages[3].weights == parameters // 2 and stages[3].total < stages[2].total < stages[1].total < one.total
    assert 0 < stages[3].communication < 6e9


def test_offloading_moves_bytes_to_main_memory(tmp_path: Path) -> None:
    work = llama(tmp_path, "")
    off = estimate(work, cuda=True, fleet=Fleet("FSDP", 4, 4, 3, offload_weights=True, offload_optimizer=True))
    assert off.weights == off.optimizer == 0 and off.host == pytest.approx(16 * big().parameters, rel=0.01)
    assert off.total < estimate(work, cuda=True, fleet=fully_sharded(4)).total


def test_the_fleet_is_what_the_config_asks_for(tmp_path: Path) -> None:
    four = replace(A100, gpus=A100.gpus * 4)
    assert fleet_of(read(tmp_path, ""), four).devices == 1, "one device unless a key spreads the run"
    assert fleet_of(read(tmp_path, "fsdp_config: {fsdp_version: 2}"), LAPTOP).devices == 1
    fsdp = fleet_of(read(tmp_path, "fsdp_config: {offload_params: true}"), four)
    assert (fsdp.kind, fsdp.devices, fsdp.stage, fsdp.offload_weights) == ("FSDP", 4, 3, True)
    assert fleet_of(read(tmp_path, "fsdp_config: {reshard_after_forward: false}"), four).stage == 2
    assert fleet_of(read(tmp_path, "ddp: true"), four) == Fleet("DDP", 4)
    wide = fleet_of(read(tmp_path, "dp_shard_size: 4\ntensor_parallel_size: 2\nfsdp_config: {}"), four)
    assert (wide.devices, wide.shards, wide.tensor) == (8, 4, 2)


def test_processes_without_a_gpu_are_a_fleet_too(tmp_path: Path) -> None:
    assert fleet_of(read(tmp_path, ""), LAPTOP, 2) == Fleet("DDP", 2)
    assert fleet_of(read(tmp_path, "deepspeed: zero2.json"), LAPTOP, 2) == Fleet("ZeRO-2", 2, 2, 2)
    assert fleet_of(read(tmp_path, "deepspeed: {zero_optimization: {}}"), LAPTOP, 2).kind == "DDP", "stage 0 splits nothing"


def test_fsdp_s_own_checkpointing_counts_where_something_is_sharded(tmp_path: Path) -> None:
    config = read(tmp_path, "fsdp_config: {activation_checkpointing: true}")
    one, two = (workload_of(config, big(), LAPTOP, tokens=512, supervised=170, processes=count) for count in (1, 2))
    assert not one.checkpointing and two.checkpointing


def test_deepspeed_configs_are_read_or_told_by_their_names(tmp_path: Path) -> None:
    def fleet(asked: object) -> Fleet:
        return fleet_of(read(tmp_path, f"deepspeed: {json.dumps(asked)}"), LAPTOP, 2)

    (tmp_path / "z.json").write_text(json.dumps({"zero_optimization": {"stage": 3, "offload_optimizer": {"device": "cpu"}, "reduce_bucket_size": "auto",
                                                                       "stage3_max_live_parameters": 5e6}}), encoding="utf-8")
    assert fleet("z.json") == Fleet("ZeRO-3", 2, 2, 3, offload_optimizer=True, bucket=0, live=5_000_000)
    assert fleet("deepspeed_configs/zero3_bf16_cpuoffload_all.json") == Fleet("ZeRO-3", 2, 2, 3, offload_weights=True, offload_optimizer=True)
    assert fleet("deepspeed_configs/zero1.json").stage == 1 and fleet("theirs.json").stage == 2
    assert fleet({"zero_optimization": {"stage": "x"}}) == Fleet("DDP", 2)


def test_evaluation_takes_less_and_merging_the_stored_weights(tmp_path: Path) -> None:
    work = llama(tmp_path, LORA)
    assert estimate_evaluation(work, cuda=True).total < estimate(work, cuda=True).total
    merge = estimate_merge(big(), work.extra)
    assert merge.weights == 2 * big().parameters and merge.total < 20e9


def test_changing_a_workload(tmp_path: Path) -> None:
    work = llama(tmp_path, "micro_batch_size: 4\nsequence_len: 512")
    one = with_rows(work, micro_batch_size=1)
    assert (one.accumulation, one.tokens, one.micro_batch_size) == (4, 512, 1) and with_rows(work, sequence_len=256).tokens == 1024
    lora = with_lora(work, 4)
    assert lora.trained_parameters == 41_943_040, "rank 16 on every linear layer of Llama 3.1 8B" and lora.bits == 4
    assert estimate(lora, cuda=True).total < 0.2 * estimate(work, cuda=True).total


def test_a_mixture_keeps_the_experts_that_are_visited(tmp_path: Path) -> None:
    shapes = table_shapes("Qwen/Qwen3-30B-A3B")
    assert shapes is not None
    work = workload_of(read(tmp_path, FEW), shapes, A100, tokens=2048, supervised=700)
    assert estimate(work, cuda=True).activations < 40e9
    adapted = workload_of(read(tmp_path, LORA), shapes, A100, tokens=2048, supervised=700)
    assert estimate(adapted, cuda=True).activations > 2 * 28e9, "PEFT keeps the sum of experts and their LoRA products"


def test_half_precision_on_an_older_gpu(tmp_path: Path) -> None:
    assert memory(tmp_path, LORA, machine=T4).precision == "fp16"


def test_experts_are_quantised_only_when_asked(tmp_path: Path) -> None:
    shapes = table_shapes("Qwen/Qwen3-30B-A3B")
    assert shapes is not None
    four = "adapter: qlora\nload_in_4bit: true\nlora_target_modules: [q_proj]\n"
    plain, packed = (workload_of(read(tmp_path, four + more), shapes, A100, tokens=512, supervised=100) for more in ("", "quantize_moe_experts: true"))
    assert weight_bytes(plain) > 57e9 > 18e9 > weight_bytes(packed), "bitsandbytes packs linear layers, and experts are one tensor"


def test_the_settings_of_packed_weights_are_axolotl_s_under_the_config_s() -> None:
    assert four_bit_settings(None) == {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
    assert four_bit_settings({"bnb_4bit_quant_type": "fp4", "blocksize": 64}) == {"bnb_4bit_quant_type": "fp4", "bnb_4bit_use_double_quant": True}
