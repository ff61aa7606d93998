"""Merging: every kind of adapter, into the base's own weights and dtype, held against peft's own answer; and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.tiny import write_config, write_data, write_tokenizer

from tunelab.errors import FolderError, LockedError, ModelError, RunError, StorageError
from tunelab.workflow.export import Exported, merge

ALL = {"target_modules": "all-linear"}
EXPERTS = {"target_modules": ["q_proj"], "target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]}
IDS = [[5, 6, 7, 8, 9, 10, 40, 41, 42, 3, 2, 1]]

Adapt = Callable[..., Path]


@pytest.fixture
def adapt(tmp_path: Path) -> Adapt:
    """Put a LoRA adapter with random values on a model and save it; returns its folder."""

    def made(base: Path, *, rows: int | None = None, scale: float = 0.05, name: str = "adapter", **settings: Any) -> Path:
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        torch.manual_seed(3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if rows is not None:
                model.resize_token_embeddings(rows, mean_resizing=False)
            adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, task_type="CAUSAL_LM", **settings))
            adapted.peft_config["default"].base_model_name_or_path = str(base)
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter.data += torch.randn_like(parameter) * scale
            adapted.save_pretrained(tmp_path / name)
        return tmp_path / name

    return made


def _write(folder: Path, model: Any) -> Path:
    write_tokenizer(folder)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 whose files name the weights as its first releases did, without `transformer.`."""
    from safetensors.torch import load_file, save_file
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("models") / "gpt2"
    size = write_tokenizer(folder)
    _write(folder, GPT2LMHeadModel(GPT2Config(vocab_size=size, n_embd=48, n_layer=2, n_head=4, n_positions=256, bos_token_id=1, eos_token_id=2)))
    weights = load_file(folder / "model.safetensors")
    save_file({name.removeprefix("transformer."): value for name, value in weights.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def mixtral(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mixture of experts: in its file each expert's matrices are tensors of their own, in memory one tensor holds them all."""
    from transformers import MixtralConfig, MixtralForCausalLM

    folder = tmp_path_factory.mktemp("models") / "mixtral"
    size = write_tokenizer(folder)
    return _write(folder, MixtralForCausalLM(MixtralConfig(vocab_size=size, hidden_size=48, intermediate_size=64, num_hidden_layers=1,
                                                           num_attention_heads=4, num_key_value_heads=2, num_local_experts=3)))


def _logits(folder: Path, adapter: Path | None = None, rows: int | None = None) -> Any:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, loading = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
        assert not loading["missing_keys"] and not loading["unexpected_keys"]
        if rows is not None:
            model.resize_token_embeddings(rows, mean_resizing=False)
        if adapter is not None:
            model = PeftModel.from_pretrained(model, adapter)
    with torch.inference_mode():
        return model.eval()(input_ids=torch.tensor(IDS)).logits


def _assert_same(merged: Path, base: Path, adapter: Path, rows: int | None = None) -> None:
    import torch

    theirs = _logits(base, adapter, rows)
    torch.testing.assert_close(_logits(merged), theirs, atol=2e-5, rtol=1e-4)
    assert not torch.allclose(_logits(base)[..., :300], theirs[..., :300], atol=1e-3)


def _tensors(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return {name: value for path in sorted(folder.glob("*.safetensors")) for name, value in load_file(path).items()}


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}


def _hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".merged")]


def test_a_merged_model_says_what_base_and_adapter_say(tiny_model: Path, tmp_path: Path, adapt: Adapt) -> None:
    before = _digests(tiny_model)
    result = merge(adapt(tiny_model, **ALL))
    found = result.verification
    assert result.folder == tmp_path / "adapter" / "merged"
    _assert_same(result.folder, tiny_model, tmp_path / "adapter")
    assert found.merged.kl < 1e-10 < found.effect.kl and found.merged.same_top == 1 and found.merged.max_abs < 1e-4
    assert (found.greedy_same, found.greedy, found.dtype, found.trained) == (4, 4, "fp32", None)
    assert json.loads((result.folder / "verification.json").read_text())["merged"]["positions"] == found.merged.positions > 50
    assert _digests(tiny_model) == before
    assert {name: digest for name, digest in _digests(result.folder).items() if name.endswith("safetensors")} == result.origin["sha256"]


@pytest.mark.parametrize("settings", [
    {**ALL, "use_rslora": True}, {**ALL, "use_dora": True}, {**ALL, "rank_pattern": {"q_proj": 8}, "alpha_pattern": {"k_proj": 32}},
    {"target_modules": ["q_proj"], "layers_to_transform": [1]}, {"target_modules": ["q_proj"], "target_parameters": ["k_proj.weight"]},
    {"target_modules": ["q_proj"], "trainable_token_indices": [40, 41]},
], ids=["rslora", "dora", "patterns", "layers", "parameters", "token rows"])
def test_kinds_of_adapter(tiny_model: Path, tmp_path: Path, adapt: Adapt, settings: dict[str, Any]) -> None:
    _merged_only(tiny_model, adapt(tiny_model, scale=0.1, **settings), tmp_path / "out")


@pytest.mark.parametrize(("settings", "untied"), [
    ({**ALL, "modules_to_save": ["embed_tokens"]}, True), ({**ALL, "modules_to_save": ["embed_tokens", "lm_head"]}, True),
    ({**ALL, "modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}, False), ({"target_modules": ["lm_head"]}, True),
    ({"target_modules": ["embed_tokens", "q_proj"]}, True),
], ids=["embedding", "both", "both, tied", "lora on the head", "lora on the embedding"])
def test_embedding_and_head_that_were_one_weight(tiny_model: Path, tmp_path: Path, adapt: Adapt, settings: dict[str, Any], untied: bool) -> None:
    merged = _merged_only(tiny_model, adapt(tiny_model, **settings), tmp_path / "out")
    assert merged.untied is untied
    assert ("lm_head.weight" in _tensors(tmp_path / "out")) is untied


@pytest.mark.parametrize("settings", [ALL, {**ALL, "modules_to_save": ["embed_tokens", "lm_head"]}], ids=["kept beside", "trained"])
def test_rows_for_new_tokens(tiny_model: Path, tmp_path: Path, adapt: Adapt, settings: dict[str, Any]) -> None:
    merged = _merged_only(tiny_model, adapt(tiny_model, rows=410, **settings), tmp_path / "out", rows=410)
    assert merged.rows == 410
    assert _tensors(tmp_path / "out")["model.embed_tokens.weight"].shape == (410, 48)


def test_weights_that_are_stored_transposed_under_older_names(gpt2: Path, tmp_path: Path, adapt: Adapt) -> None:
    _merged_only(gpt2, adapt(gpt2, target_modules=["c_attn", "c_fc"], fan_in_fan_out=True, lora_bias=True), tmp_path / "out")
    assert set(_tensors(tmp_path / "out")) == set(_tensors(gpt2))


def test_experts(mixtral: Path, tmp_path: Path, adapt: Adapt) -> None:
    _merged_only(mixtral, adapt(mixtral, scale=0.2, **EXPERTS), tmp_path / "out")
    assert set(_tensors(tmp_path / "out")) == set(_tensors(mixtral))


def _merged_only(base: Path, adapter: Path, out: Path, rows: int | None = None) -> Any:
    """The weights and config alone, held against peft's own model."""
    from tunelab.export.merge import Merge
    from tunelab.export.side_files import model_config

    out.mkdir()
    merged = Merge(base, adapter).write(out)
    (out / "config.json").write_text(json.dumps(model_config(base, dtype=merged.dtype, rows=merged.rows, untied=merged.untied)))
    _assert_same(out, base, adapter, rows)
    return merged


def test_files_and_dtypes_stay_the_bases_and_each_weight_is_rounded_once(tiny_model: Path, tmp_path: Path, adapt: Adapt) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    base = tmp_path / "base"
    AutoModelForCausalLM.from_pretrained(tiny_model).to(torch.bfloat16).save_pretrained(base, max_shard_size="100KB")
    shutil.copy(tiny_model / "tokenizer.json", base)
    shutil.copy(tiny_model / "tokenizer_config.json", base)
    adapter = adapt(base, **ALL)
    result = merge(adapter, out=tmp_path / "out")
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) == len(list(base.glob("*.safetensors"))) > 1
    stored, before = _tensors(tmp_path / "out"), _tensors(base)
    lora = _tensors(adapter)
    assert {value.dtype for value in stored.values()} == {torch.bfloat16}
    name = "model.layers.0.self_attn.q_proj"
    exact = before[f"{name}.weight"].float() + 2 * lora[f"base_model.model.{name}.lora_B.weight"] @ lora[f"base_model.model.{name}.lora_A.weight"]
    assert torch.equal(stored[f"{name}.weight"], exact.to(torch.bfloat16))
    assert torch.equal(stored["model.norm.weight"], before["model.norm.weight"])
    assert 0 < result.verification.merged.kl < 1e-4 and json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"


def test_another_dtype_on_request(tiny_model: Path, tmp_path: Path, adapt: Adapt) -> None:
    import torch

    result = merge(adapt(tiny_model, **ALL), dtype="fp16", out=tmp_path / "out")
    assert {value.dtype for value in _tensors(tmp_path / "out").values()} == {torch.float16}
    assert result.verification.dtype == "fp16" and result.verification.merged.kl > 0


def test_an_adapter_that_vanishes_in_rounding_is_refused(tiny_model: Path, tmp_path: Path, adapt: Adapt) -> None:
    faint = adapt(tiny_model, scale=2e-5, **ALL)
    with pytest.raises((ModelError, RunError), match=r"merging in bf16 changes|no effect: rounded to bf16") as caught:
        merge(faint, dtype="bf16", out=tmp_path / "out")
    assert "--dtype fp32" in str(caught.value.next_step)
    assert not (tmp_path / "out").exists() and _hidden(tmp_path) == []
    merge(faint, out=tmp_path / "out")


def test_an_adapter_without_effect_is_refused(tiny_model: Path, tmp_path: Path, adapt: Adapt) -> None:
    with pytest.raises(ModelError, match="no effect: all its lora_B weights are zero"):
        merge(adapt(tiny_model, scale=0.0, **ALL))


def _spoilt(adapter: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    from safetensors.torch import load_file, save_file

    tensors = load_file(adapter / "adapter_model.safetensors")
    change(tensors)
    save_file(tensors, adapter / "adapter_model.safetensors")
    return adapter


def test_nan_is_named(tiny_model: Path, adapt: Adapt) -> None:
    name = "base_model.model.model.layers.1.mlp.up_proj.lora_B.weight"
    adapter = _spoilt(adapt(tiny_model, **ALL), lambda tensors: tensors[name].view(-1)[3:4].fill_(float("nan")))
    with pytest.raises(ModelError, match=r"model\.layers\.1\.mlp\.up_proj\.lora_B\.weight holds NaN"):
        merge(adapter)


def test_an_incomplete_adapter_is_refused(tiny_model: Path, adapt: Adapt) -> None:
    def cut(tensors: dict[str, Any]) -> None:
        del tensors["base_model.model.model.layers.1.mlp.up_proj.lora_B.weight"]

    with pytest.raises(ModelError, match=r"lacks 1 of the weights.*model\.layers\.1\.mlp\.up_proj\.lora_B"):
        merge(_spoilt(adapt(tiny_model, **ALL), cut))


@pytest.mark.parametrize("changes", [{"num_hidden_layers": 1}, {"num_hidden_layers": 3}, {"hidden_size": 64}])
def test_an_adapter_of_another_base_is_refused(tiny_model: Path, tmp_path: Path, adapt: Adapt, changes: dict[str, int]) -> None:
    from transformers import AutoConfig, LlamaForCausalLM

    other = tmp_path / "other"
    LlamaForCausalLM(AutoConfig.from_pretrained(tiny_model, **changes)).save_pretrained(other)
    shutil.copy(tiny_model / "tokenizer.json", other)
    with pytest.raises(ModelError, match=r"another base|on this base|does not fit") as caught:
        merge(adapt(tiny_model, target_modules=["q_proj", "down_proj"]), base=str(other), out=tmp_path / "out")
    assert "--base" in str(caught.value.next_step)
    assert not (tmp_path / "out").exists()


def test_a_merge_that_does_not_say_the_same_is_removed(tiny_model: Path, tmp_path: Path, adapt: Adapt, monkeypatch: pytest.MonkeyPatch) -> None:
    from tunelab.export.skeleton import Part

    true = Part.merged
    monkeypatch.setattr(Part, "merged", lambda self, base: {name: value * 1.05 for name, value in true(self, base).items()})
    with pytest.raises(RunError, match="does not say the same as base"):
        merge(adapt(tiny_model, **ALL), out=tmp_path / "out")
    assert not (tmp_path / "out").exists() and _hidden(tmp_path) == []


def test_no_more_than_a_few_base_weights_are_held_at_a_time(tiny_model: Path, tmp_path: Path, adapt: Adapt, monkeypatch: pytest.MonkeyPatch) -> None:
    import weakref

    from tunelab.export import merge as module

    read, handed_out, held = module._Base.stored, [], []

    def counted(self: Any, name: str) -> Any:
        tensor = read(self, name)
        handed_out.append(weakref.ref(tensor))
        held.append(sum(one() is not None for one in handed_out))
        return tensor

    monkeypatch.setattr(module._Base, "stored", counted)
    job = module.Merge(tiny_model, adapt(tiny_model, **ALL))
    (tmp_path / "out").mkdir()
    job.write(tmp_path / "out")
    assert len(held) > 20 and max(held) <= 2


# Runs, folders, faults of the disk


@pytest.fixture(scope="module")
def run(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished LoRA run with checkpoints; tests copy it when they change it."""
    from tunelab.workflow.train import train

    folder = tmp_path_factory.mktemp("run")
    return train(str(write_config(folder / "config.yml", tiny_model, write_data(folder / "data.jsonl"), folder / "run", num_epochs=2))).folder


def test_a_run_is_merged_and_the_folder_is_a_model_that_compare_takes(run: Path, tiny_model: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from tunelab.runners.prompt import Sampling
    from tunelab.workflow.compare import Asking, compare

    result = merge(run, out=tmp_path / "out")
    assert result.verification.prompts_from == "rows that the run held out" and result.verification.prompts == 4
    assert (tmp_path / "out" / "README.md").read_text().startswith("---\nbase_model:")
    assert str(tmp_path) not in (tmp_path / "out" / "README.md").read_text()
    assert json.loads((tmp_path / "out" / "generation_config.json").read_text())["eos_token_id"] == 2
    assert "say red" in AutoTokenizer.from_pretrained(tmp_path / "out").apply_chat_template([{"role": "user", "content": "say red"}], tokenize=False)
    (tmp_path / "prompts.txt").write_text("say red\nsay blue pear\n")
    compared = compare(str(tmp_path / "out"), f"run:{run}", Asking((str(tmp_path / "prompts.txt"),), None, Sampling(8)),
                       out=tmp_path / "comparison.jsonl")
    assert all(record.base and record.tuned and record.base.text == record.tuned.text for record in compared.comparison.records)


def test_a_checkpoint_of_a_run_that_did_not_finish(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "status": "interrupted"}))
    with pytest.raises(FolderError, match="interrupted, not finished") as caught:
        merge(copy)
    assert "--checkpoint" in str(caught.value.next_step) and "--resume" in str(caught.value.next_step)
    step = max(int(path.name.removeprefix("checkpoint-")) for path in copy.glob("checkpoint-*"))
    result = merge(copy, checkpoint=step, out=tmp_path / "out")
    assert result.origin["step"] == step
    with pytest.raises(FolderError, match="no checkpoint of step 999"):
        merge(copy, checkpoint=999, out=tmp_path / "other")
    weights = copy / f"checkpoint-{step}" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(StorageError, match="checksum differs"):
        merge(copy, checkpoint=step, out=tmp_path / "other")


def test_a_run_on_packed_weights_is_merged_into_the_original_ones(run: Path, tiny_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["config"]["sections"]["model"]["load_in_4bit"] = True
    (copy / "manifest.json").write_text(json.dumps(manifest))
    result = merge(copy, out=tmp_path / "out")
    _assert_same(tmp_path / "out", tiny_model, copy)
    assert any("trained against 4-bit weights" in note for note in result.notes)
    assert result.verification.trained is not None or any("cannot be run here" in note for note in result.notes)
    assert result.verification.trained is None or result.verification.trained.kl > 100 * result.verification.merged.kl


@pytest.mark.skipif(sys.platform == "win32", reason="file sizes cannot be limited here")
@pytest.mark.parametrize("limit", [5_000, 100_000])
def test_a_full_disk_is_a_sentence_and_leaves_nothing(tiny_model: Path, tmp_path: Path, adapt: Adapt, limit: int) -> None:
    import resource

    adapter = adapt(tiny_model, **ALL)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(StorageError, match="Writing the merged model failed"):
            merge(adapter, out=tmp_path / "merged")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "merged").exists() and _hidden(tmp_path) == []


def test_too_little_room_is_seen_before_anything_is_written(tiny_model: Path, tmp_path: Path, adapt: Adapt, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = adapt(tiny_model, **ALL)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1000))  # type: ignore[attr-defined]
    with pytest.raises(StorageError, match="and the disk has"):
        merge(adapter, out=tmp_path / "merged")
    assert not (tmp_path / "merged").exists() and _hidden(tmp_path) == []


def test_killed_in_the_middle_it_leaves_no_folder_and_the_next_try_cleans_up(tiny_model: Path, tmp_path: Path, adapt: Adapt) -> None:
    adapter = adapt(tiny_model, **ALL)
    code = ("import time, tunelab.export.merge as m\nreal = m.Merge._bytes\n"
            "def slow(self, entry):\n    time.sleep(0.3)\n    return real(self, entry)\n"
            "m.Merge._bytes = slow\nfrom tunelab.cli.main import main; main()")
    process = subprocess.Popen([sys.executable, "-c", code, "export", str(adapter), "--to", "merged", "--out", str(tmp_path / "merged")],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".merged.*/model.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.05)
    with pytest.raises(LockedError):
        merge(adapter, out=tmp_path / "merged")
    process.kill()
    process.wait()
    assert not (tmp_path / "merged").exists() and list(tmp_path.glob(".merged.*/"))
    result: Exported = merge(adapter, out=tmp_path / "merged")
    assert (result.folder / "config.json").exists() and _hidden(tmp_path) == []
