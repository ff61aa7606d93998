"""Every optimizer name of the dialect trains here and survives a checkpoint bit for bit, or is refused with what to use instead."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.helpers.tiny import write_config
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

from tunelab.config import Config, read_config
from tunelab.config.known import names
from tunelab.errors import ConfigError
from tunelab.facts.machine import read_machine
from tunelab.planning.optimizers import optimizers, refusal, state_bytes
from tunelab.planning.rate import Rate
from tunelab.planning.schedules import Course
from tunelab.training.optimizer import build_optimizer, resting, set_rate, wake
from tunelab.training.optimizer.own import AdamC, Adopt, Muon, orthogonal
from tunelab.training.optimizer.state import pack, unpack

NAMES = sorted(names("optimizer"))
LOW_RANK = {"optim_target_modules": ["attn", "mlp"], "optim_args": {"rank": 8, "update_proj_gap": 2}}
RATES = {"sgd": 0.3, "schedule_free_sgd": 1.0, "adagrad": 0.03, "schedule_free_radam": 0.1, "galore_adafactor": 0.03}


def _config(folder: Path, model: Path, name: str, **changes: object) -> Config:
    low = LOW_RANK if name.startswith(("galore", "apollo")) else {}
    path = write_config(folder / "config.yml", model, folder / "data.jsonl", folder / "run", optimizer=name, adapter=None, lora_r=None, lora_alpha=None,
                        lora_dropout=None, lora_target_linear=None, **{"weight_decay": 0.01, "learning_rate": RATES.get(name, 0.003), **low, **changes})
    return read_config(path).config


class _Training:
    """The tiny model in training on one fixed batch."""

    def __init__(self, config: Config, model: Path) -> None:
        self.model: Any = AutoModelForCausalLM.from_pretrained(model)
        self.optimizer: Any = build_optimizer(config, self.model)
        self._rate = Rate(Course("constant", 0, 100, config.optimisation.learning_rate))
        self._tokens = torch.arange(48).view(2, 24) * 7 % 300

    def steps(self, first: int, count: int) -> list[float]:
        """The loss before each of `count` steps."""
        losses = []
        for step in range(first, first + count):
            loss = self.model(input_ids=self._tokens, labels=self._tokens).loss
            loss.backward()
            losses.append(float(loss.detach()))
            set_rate(self.optimizer, self._rate, step)
            self.optimizer.step()
            self.optimizer.zero_grad()
        return losses

    def save(self, folder: Path) -> None:
        """As a checkpoint has it."""
        with resting(self.optimizer):
            tensors, layout = pack(self.optimizer.state_dict())
            save_file(tensors, folder / "optimizer.safetensors")
            (folder / "layout.json").write_text(json.dumps(layout))
            save_file({name: tensor.clone() for name, tensor in self.model.state_dict().items()}, folder / "model.safetensors")

    def load(self, folder: Path) -> None:
        """Take that back."""
        self.model.load_state_dict(load_file(folder / "model.safetensors"))
        self.optimizer.load_state_dict(unpack(json.loads((folder / "layout.json").read_text()), load_file(folder / "optimizer.safetensors")))
        wake(self.optimizer)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_trains_and_survives_a_checkpoint_or_is_refused(name: str, tiny_model: Path, tmp_path: Path) -> None:
    refused = refusal(name, read_machine())
    config = _config(tmp_path, tiny_model, name)
    if refused is not None:
        assert f"`optimizer: {name}`" in refused.reason and refused.instead in NAMES and refusal(refused.instead, read_machine()) is None
        if not optimizers()[name].builder:
            with pytest.raises(ConfigError, match=name):
                build_optimizer(config, torch.nn.Linear(2, 2))
        return
    straight = _Training(config, tiny_model)
    losses = straight.steps(0, 3)
    straight.save(tmp_path)
    measured = sum(tensor.nbytes for tensor in load_file(tmp_path / "optimizer.safetensors").values())
    if "schedule_free" in name:  # the checkpoint also holds the training point
        measured -= sum(4 * one.numel() for one in straight.model.parameters())
    rest = straight.steps(3, 4)
    assert all(abs(loss) < 100 for loss in losses + rest) and rest[-1] < losses[0] - 0.02
    again = _Training(config, tiny_model)
    again.load(tmp_path)
    assert again.steps(3, 4) == rest
    for mine, theirs in zip(again.model.parameters(), straight.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    shapes = [tuple(one.shape) for one in straight.model.parameters()]
    assert measured == pytest.approx(state_bytes(name, shapes, 8, tuple(straight.model.get_input_embeddings().weight.shape)), rel=0.02, abs=16384)


def _of_transformers() -> list[str]:
    from transformers.training_args import OptimizerNames

    return [one.value for one in OptimizerNames if one.value in optimizers() and refusal(one.value, read_machine()) is None]


@pytest.mark.parametrize("name", _of_transformers())
def test_the_library_is_given_what_transformers_gives_it(name: str, tiny_model: Path, tmp_path: Path) -> None:
    config = _config(tmp_path, tiny_model, name, adam_beta2=0.95, weight_decay=0.0)
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    settings = config.optimisation
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "x"), optim=name, learning_rate=settings.learning_rate, adam_beta2=0.95, warmup_steps=2, use_cpu=True, report_to=[],
        optim_args=",".join(f"{key}={value}" for key, value in (settings.optim_args or {}).items()) or None,  # type: ignore[union-attr]
        optim_target_modules=settings.optim_target_modules)
    kind, given = Trainer.get_optimizer_cls_and_kwargs(arguments, model)
    theirs = kind(given.pop("params", list(model.parameters())), **given)
    mine = build_optimizer(config, model, warmup=2)
    assert isinstance(mine, kind)
    unlike = {"params", "lr", "initial_lr", "train_mode", "weight_decay"}  # the Trainer gives each group its decay
    if name.startswith(("galore", "apollo")):
        unlike.add("betas")  # ours reads adam_beta2 there too
    for group in mine.param_groups:
        other = next(one for one in theirs.param_groups if ("rank" in one) == ("rank" in group))
        assert {key: value for key, value in group.items() if key not in unlike} == {
            key: value for key, value in other.items() if key not in unlike}
    for attribute in ("args", "block_size", "is_paged"):
        assert vars(getattr(mine, attribute, object)) == vars(getattr(theirs, attribute, object)) if attribute == "args" else \
            getattr(mine, attribute, None) == getattr(theirs, attribute, None)


def test_what_decays_is_what_transformers_decays(tiny_model: Path, tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = _config(tmp_path, tiny_model, "adamw_torch")
    for model in (AutoModelForCausalLM.from_pretrained(tiny_model), GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=16))):
        decayed = set(Trainer.get_decay_parameter_names(None, model))  # type: ignore[arg-type]
        names_of = {parameter: name for name, parameter in model.named_parameters()}
        groups = {group["weight_decay"]: {names_of[one] for one in group["params"]} for group in build_optimizer(config, model).param_groups}
        assert groups[0.01] == {name for name in names_of.values() if name in decayed} and groups[0.0] == set(names_of.values()) - decayed


def _adapted(tiny_model: Path) -> Any:
    from peft import LoraConfig, get_peft_model

    return get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), LoraConfig(
        r=4, target_modules=["q_proj", "embed_tokens"], bias="all", use_dora=False))


def test_lora_plus_is_pefts(tiny_model: Path, tmp_path: Path) -> None:
    from peft.optimizers import create_loraplus_optimizer

    model = _adapted(tiny_model)
    config = _config(tmp_path, tiny_model, "adamw_torch", loraplus_lr_ratio=16, loraplus_lr_embedding=1e-5)
    theirs = create_loraplus_optimizer(model, torch.optim.AdamW, lr=0.003, loraplus_lr_ratio=16, loraplus_lr_embedding=1e-5, loraplus_weight_decay=0.01)

    def rates(optimizer: Any) -> dict[Any, tuple[float, float]]:
        return {one: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for one in group["params"]}

    assert rates(build_optimizer(config, model)) == rates(theirs) and len(set(rates(theirs).values())) == 3


def test_parts_of_the_model_have_rates_of_their_own(tiny_model: Path, tmp_path: Path) -> None:
    model = _adapted(tiny_model)
    config = _config(tmp_path, tiny_model, "adamw_torch", embedding_lr_scale=0.1, loraplus_lr_ratio=4)
    rates = {name: group["initial_lr"] for group in build_optimizer(config, model).param_groups
             for name, parameter in model.named_parameters() for one in group["params"] if one is parameter}
    assert [rate for name, rate in rates.items() if "lora_embedding" in name] == pytest.approx([0.0003, 0.0003])
    assert {rate for name, rate in rates.items() if "lora_A" in name} == {0.003} and {rate for name, rate in rates.items() if "lora_B" in name} == {0.012}
    groups = [{"name": "a", "modules": ["mlp"], "lr": 0.1}, {"name": "b", "modules": ["q_proj", "gate_proj"], "lr": 0.2}]
    config = _config(tmp_path, tiny_model, "sgd", lr_groups=groups, embedding_lr=0.5)
    full = AutoModelForCausalLM.from_pretrained(tiny_model)
    optimizer = build_optimizer(config, full)
    assert sorted({group["lr"] for group in optimizer.param_groups}) == [0.1, 0.2, 0.3, 0.5]
    assert set_rate(optimizer, Rate(Course("constant_with_warmup", 10, 20, 0.3)), 5) == pytest.approx(0.15)
    assert sorted({group["lr"] for group in optimizer.param_groups}) == pytest.approx([0.05, 0.1, 0.15, 0.25])
    with pytest.raises(ConfigError, match="vision"):
        build_optimizer(_config(tmp_path, tiny_model, "sgd", lr_groups=[{"name": "v", "modules": ["vision"], "lr": 0.1}]), full)


def test_muon_makes_matrices_orthogonal_and_gives_the_rest_adamw() -> None:
    torch.manual_seed(0)
    matrix, vector = torch.randn(6, 4), torch.randn(5)
    mine = [torch.nn.Parameter(matrix.clone()), torch.nn.Parameter(vector.clone())]
    theirs = [torch.nn.Parameter(matrix.clone()), torch.nn.Parameter(vector.clone())]
    muon = Muon([{"params": mine[:1], "matrices": True}, {"params": mine[1:]}], lr=0.01, weight_decay=0.1)
    reference = (torch.optim.Muon(theirs[:1], lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
                 torch.optim.AdamW(theirs[1:], lr=0.01, weight_decay=0.1, betas=(0.95, 0.95)))
    for _ in range(5):
        for one, other in zip(mine, theirs, strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        for optimizer in (muon, *reference):
            optimizer.step()
    assert torch.allclose(mine[0], theirs[0], atol=1e-3), "torch rounds to bfloat16 on the way"
    assert torch.allclose(mine[1], theirs[1], atol=1e-6)
    singular = torch.linalg.svdvals(orthogonal(torch.randn(8, 20), 5))
    assert float(singular.min()) > 0.5 and float(singular.max()) < 1.3


def test_adamc_decays_by_the_square_of_the_schedule() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = AdamC([weight], lr=0.1, weight_decay=0.5)
    optimizer.param_groups[0]["initial_lr"] = 0.1
    for rate in (0.1, 0.05):
        before, weight.grad, optimizer.param_groups[0]["lr"] = weight.detach().clone(), torch.zeros(3), rate
        optimizer.step()
        assert torch.allclose(weight, before * (1 - 0.5 * rate * rate / 0.1))


def test_adopt_only_measures_in_its_first_step() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = Adopt([weight], lr=0.1, betas=(0.9, 0.99))
    weight.grad = torch.tensor([3.0, 4.0])
    optimizer.step()
    assert weight.tolist() == [1.0, -2.0] and optimizer.state[weight]["exp_avg_sq"].tolist() == [9.0, 16.0]
    weight.grad = torch.tensor([1.5, -40.0])
    optimizer.step()
    assert weight.tolist() == pytest.approx([1.0 - 0.1 * 0.1 * 0.5, -2.0 + 0.1 * 0.1]), "the second is clipped at step^(1/4)"


def test_looking_at_the_average_leaves_no_trace(tiny_model: Path, tmp_path: Path) -> None:
    training = _Training(_config(tmp_path, tiny_model, "schedule_free_adamw"), tiny_model)
    training.steps(0, 3)
    before = [one.detach().clone() for one in training.model.parameters()]
    with resting(training.optimizer):
        assert any(not torch.equal(one, other) for one, other in zip(before, training.model.parameters(), strict=True))
    assert all(torch.equal(one, other) for one, other in zip(before, training.model.parameters(), strict=True))
    assert all("training_point" not in state for state in training.optimizer.state.values())


def test_settings_that_an_optimizer_refuses_are_said_in_a_sentence(tiny_model: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    for changes, said in (({"optim_args": {"momentum": -1}}, "refuses its settings"), ({"optim_args": {"momentum": "x"}}, "refuses its settings")):
        with pytest.raises(ConfigError, match=said):
            build_optimizer(_config(tmp_path, tiny_model, "sgd", **changes), model)
    with pytest.raises(ConfigError, match="nothing would be projected"):
        build_optimizer(_config(tmp_path, tiny_model, "galore_adamw", optim_target_modules=["nowhere"]), model)


def test_a_checkpoint_holds_no_foreign_class() -> None:
    with pytest.raises(TypeError, match="no checkpoint can hold"):
        pack({"state": object()})
    with pytest.raises(KeyError):
        unpack({"projector": "os.system", "has": {"map": []}}, {})
