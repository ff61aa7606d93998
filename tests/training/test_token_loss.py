"""The chunked loss is the plain one: value and gradients, for families with odd heads, without ever holding all logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.helpers.tiny import write_config, write_data
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from tunelab.data.sample import Origin, Sample
from tunelab.runs.events import steps
from tunelab.training import attention
from tunelab.training.batch import MicroBatch, lay_out
from tunelab.training.loss import TokenLoss, Weighting
from tunelab.training.noise import add_noise
from tunelab.workflow.train import train

SMALL = {"vocab_size": 160, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
         "head_dim": 8, "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {}, "qwen2": {}, "gemma2": {"final_logit_softcapping": 3.0, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 5.0},
    "gemma3_text": {"final_logit_softcapping": 3.0}, "granite": {"logits_scaling": 8.0, "embedding_multiplier": 12.0}, "cohere": {"logit_scale": 0.25},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}, "phi": {"num_key_value_heads": 4}, "mistral": {}, "olmo2": {}}


def _model(kind: str = "llama", **changes: Any) -> Any:
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    attention.register()
    torch.manual_seed(0)
    config = CONFIG_MAPPING[kind](**{**SMALL, **FAMILIES[kind], **changes})
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention.NAME).train()


def _batch(*lengths: int, vocabulary: int = 160) -> MicroBatch:
    generator = torch.Generator().manual_seed(1)
    rows = [tuple(torch.randint(3, vocabulary, (length,), generator=generator).tolist()) for length in lengths]
    return lay_out([[Sample(ids, ids, Origin(0, "rows", 1)) for ids in rows]], pad_id=0, pad_to=None, device=torch.device("cpu"))


def _plain(model: Any, batch: MicroBatch) -> torch.Tensor:
    logits = model(input_ids=batch.input_ids, position_ids=batch.position_ids, segment_borders=batch.borders, use_cache=False).logits
    return functional.cross_entropy(logits[0, batch.keep].float(), batch.targets, reduction="sum")


def _gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("kind", list(FAMILIES))
def test_value_and_gradients_are_those_of_the_plain_loss(kind: str) -> None:
    model, batch = _model(kind), _batch(9, 6, 11)
    model.eval()  # dropout off; gradients all the same
    loss = TokenLoss(model)
    loss.summed(model, batch)
    assert loss.in_chunks is True
    loss._rows = 7  # chunks that do not divide the 23 positions
    chunked = loss.summed(model, batch)
    plain = _plain(model, batch)
    assert float(chunked) == pytest.approx(float(plain), rel=1e-5)
    mine, theirs = _gradients(model, chunked), _gradients(model, plain)
    assert mine.keys() == theirs.keys()
    for name, gradient in theirs.items():
        torch.testing.assert_close(mine[name], gradient, rtol=1e-4, atol=1e-5 * float(gradient.abs().max() + 1e-3), msg=name)


def test_an_adapter_on_the_head_gets_its_gradients() -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(_model(tie_word_embeddings=False), LoraConfig(r=4, target_modules=["q_proj", "lm_head"], init_lora_weights=False)).eval()
    batch, loss = _batch(9, 6, 11), TokenLoss(model)
    loss.summed(model, batch)
    assert loss.in_chunks is True
    loss._rows = 5
    mine, theirs = _gradients(model, loss.summed(model, batch)), _gradients(model, _plain(model, batch))
    assert mine.keys() == theirs.keys() and any("lm_head" in name for name in mine)
    for name, gradient in theirs.items():
        torch.testing.assert_close(mine[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


class _Largest(TorchDispatchMode):
    """Remembers the most elements that any tensor had."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operator(*args, **(kwargs or {}))
        for one in result if isinstance(result, tuple | list) else [result]:
            if isinstance(one, torch.Tensor):
                self.elements = max(self.elements, one.numel())
        return result


@pytest.mark.parametrize("positions", [2000, 4000])
def test_no_tensor_has_all_positions_by_the_vocabulary(positions: int) -> None:
    vocabulary = 20_000
    model = _model(vocab_size=vocabulary, max_position_embeddings=4096)
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.shape[0] != vocabulary)
    batch, loss = _batch(positions, vocabulary=vocabulary), TokenLoss(model)
    loss.summed(model, batch)
    with _Largest() as largest:
        loss.summed(model, batch).backward()
    assert largest.elements < positions * vocabulary / 2
    assert largest.elements <= max(loss._rows, 1) * vocabulary  # the same whatever the number of positions


def test_two_runs_of_it_are_bit_for_bit_equal() -> None:
    def once() -> dict[str, torch.Tensor]:
        model, batch = _model(), _batch(9, 6, 11)
        loss = TokenLoss(model)
        loss.summed(model, batch)
        return _gradients(model, loss.summed(model, batch))

    first, second = once(), once()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_weights_of_tokens_follow_their_formulas() -> None:
    logits, targets = torch.randn(5, 40, generator=torch.Generator().manual_seed(2)), torch.tensor([3, 9, 0, 39, 7])
    each = functional.cross_entropy(logits, targets, reduction="none")
    assert torch.allclose(Weighting("probability").cost(logits, targets), (each * torch.exp(-each)).sum())
    top = logits.topk(4, dim=-1).values.softmax(-1)
    entropy = -(top * top.log()).sum(-1)
    assert torch.allclose(Weighting("entropy", power=2.0, top=4).cost(logits, targets), (each * entropy**2).sum(), rtol=1e-4)


def test_noise_is_sized_by_each_sample_and_silent_in_evaluation() -> None:
    model, batch = _model(), _batch(4, 16)
    seen: list[torch.Tensor] = []
    add_noise(model, 5.0)
    model.get_input_embeddings().register_forward_hook(lambda _module, _args, output: seen.append(output))
    loss = TokenLoss(model)
    with torch.no_grad():
        loss.summed(model, batch)
        clean = functional.embedding(batch.input_ids, model.get_input_embeddings().weight)
        noise = (seen[-1] - clean)[0]
        for start, end in ((0, 4), (4, 20)):
            limit = 5.0 / ((end - start) * 32) ** 0.5
            assert 0.8 * limit < float(noise[start:end].abs().max()) <= limit * 1.0001
        model.eval()
        loss.summed(model, batch)
        assert torch.equal(seen[-1], clean)


def test_a_run_with_noise_repeats_itself_and_differs_from_one_without(tiny_model: Path, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data.jsonl")

    def losses(name: str, **changes: object) -> list[float]:
        result = train(str(write_config(tmp_path / f"{name}.yml", tiny_model, data, tmp_path / name, max_steps=4, lora_dropout=0, **changes)))
        return [event["loss"] for event in steps(result.folder / "events.jsonl")]

    first = losses("first", neftune_noise_alpha=5)
    assert first == losses("second", neftune_noise_alpha=5) != losses("without")
