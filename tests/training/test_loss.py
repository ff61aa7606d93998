"""The loss in chunks is the plain loss: for every family's way from decoder to logits, for every kind of head, in memory that does not grow."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from tunelab.data.sample import Origin, Sample
from tunelab.training import attention
from tunelab.training.batch import MicroBatch, lay_out
from tunelab.training.loss import TokenLoss, Weighting
from tunelab.training.noise import add_noise

PLAIN = Weighting()
SMALL = {"vocab_size": 160, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
         "head_dim": 8, "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {}, "qwen2": {}, "qwen3": {}, "mistral": {"sliding_window": 4}, "olmo2": {}, "phi": {"num_key_value_heads": 4},
    "gemma2": {"final_logit_softcapping": 3.0, "attn_logit_softcapping": 2.0, "sliding_window": 4}, "gemma3_text": {"sliding_window": 4},
    "granite": {"logits_scaling": 8.0}, "cohere": {"logit_scale": 0.25}, "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "gpt_oss": {"sliding_window": 4, "num_local_experts": 4}}


def _model(kind: str, implementation: str = attention.NAME, **changes: Any) -> Any:
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    attention.register()
    torch.manual_seed(0)
    config = CONFIG_MAPPING[kind](**{**SMALL, **FAMILIES[kind], **changes})
    return AutoModelForCausalLM.from_config(config, attn_implementation=implementation).eval()


def _batch(lengths: tuple[int, ...] = (9, 6, 11), vocabulary: int = 160) -> MicroBatch:
    draw = torch.Generator().manual_seed(1)
    samples = [Sample(ids, ids, Origin(0, "x", 1)) for ids in (tuple(torch.randint(3, vocabulary, (n,), generator=draw).tolist()) for n in lengths)]
    return lay_out([samples], pad_id=0, pad_to=None, device=torch.device("cpu"))


def _plain(model: Any, batch: MicroBatch) -> torch.Tensor:
    logits = model(input_ids=batch.input_ids, position_ids=batch.position_ids, segment_borders=batch.borders, use_cache=False).logits[0, batch.keep]
    return functional.cross_entropy(logits.float(), batch.targets, reduction="sum")


def _gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    (loss / 23).backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def _in_chunks_of(rows: int, model: Any, batch: MicroBatch, weighting: Weighting | None = None) -> torch.Tensor:
    loss = TokenLoss(model, weighting or Weighting())
    loss.summed(model, batch)  # decides
    assert loss.in_chunks is True
    loss._rows = rows
    return loss.summed(model, batch)


@pytest.mark.parametrize("kind", FAMILIES)
def test_loss_and_gradients_are_those_of_the_models_own_logits(kind: str) -> None:
    model, batch = _model(kind), _batch()
    mine = _in_chunks_of(7, model, batch)  # 23 supervised tokens: 7 does not divide them
    found = _gradients(model, mine)
    plain = _plain(model, batch)
    torch.testing.assert_close(mine, plain, rtol=1e-6, atol=0)
    expected = _gradients(model, plain)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6 * float(gradient.abs().max()) + 1e-8)


@pytest.mark.parametrize("kind", FAMILIES)
def test_packed_samples_have_the_logits_that_they_have_alone(kind: str) -> None:
    packed, batch = _model(kind), _batch()
    alone = _model(kind, "eager")
    alone.load_state_dict(packed.state_dict())
    with torch.no_grad():
        logits = packed(input_ids=batch.input_ids, position_ids=batch.position_ids, segment_borders=batch.borders, use_cache=False).logits[0]
        for start, end in zip(batch.borders[:-1], batch.borders[1:], strict=True):
            torch.testing.assert_close(logits[start:end], alone(input_ids=batch.input_ids[:, start:end], use_cache=False).logits[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("settings", [
    {"target_modules": ["q_proj"]}, {"target_modules": ["q_proj", "lm_head"]}, {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    {"target_modules": ["q_proj"], "trainable_token_indices": {"embed_tokens": [5, 6]}}], ids=["frozen", "LoRA", "saved", "tokens"])
def test_every_kind_of_head_gets_its_gradients(settings: dict[str, Any]) -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(_model("llama", tie_word_embeddings="trainable_token_indices" in settings),
                           LoraConfig(task_type="CAUSAL_LM", r=4, init_lora_weights=False, **settings)).eval()
    batch = _batch()
    found, expected = _gradients(model, _in_chunks_of(5, model, batch)), _gradients(model, _plain(model, batch))
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)


def test_two_runs_are_identical_and_the_first_batch_draws_no_other_random_numbers_than_later_ones() -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(_model("llama"), LoraConfig(task_type="CAUSAL_LM", r=4, lora_dropout=0.3, init_lora_weights=False,
                                                       target_modules=["q_proj", "lm_head"])).train()
    batch, loss, results = _batch(), TokenLoss(model), []
    for fresh in (loss, loss, TokenLoss(model)):
        torch.manual_seed(3)
        one = fresh.summed(model, batch)
        results.append((one.detach(), _gradients(model, one), torch.get_rng_state()))
    for other in results[1:]:
        assert torch.equal(results[0][0], other[0]) and torch.equal(results[0][2], other[2])
        assert all(torch.equal(results[0][1][name], other[1][name]) for name in results[0][1])


def test_weighted_losses_are_axolotls() -> None:
    model, batch = _model("llama"), _batch()
    logits = model(input_ids=batch.input_ids, position_ids=batch.position_ids, segment_borders=batch.borders, use_cache=False).logits[0, batch.keep]
    chosen = logits.log_softmax(-1).gather(1, batch.targets[:, None])[:, 0]
    expected = _gradients(model, -(chosen.exp().detach() * chosen).sum())
    found = _gradients(model, _in_chunks_of(7, model, batch, Weighting("probability")))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-8)
    with torch.no_grad():
        likeliest = _plain_logits(model, batch).topk(3).values.softmax(-1)
        weights = (-(likeliest * likeliest.log()).sum(-1)) ** 2
        each = functional.cross_entropy(_plain_logits(model, batch), batch.targets, reduction="none")
        torch.testing.assert_close(_in_chunks_of(7, model, batch, Weighting("entropy", 2.0, 3)), (each * weights).sum(), rtol=1e-5, atol=0)


def _plain_logits(model: Any, batch: MicroBatch) -> torch.Tensor:
    return model(input_ids=batch.input_ids, position_ids=batch.position_ids, segment_borders=batch.borders, use_cache=False).logits[0, batch.keep]


def test_a_head_that_is_not_understood_is_run_as_the_model_runs_it() -> None:
    model, batch = _model("llama"), _batch()
    own = type(model).forward

    class Odd(type(model)):  # type: ignore[misc]
        """Adds something that only the decoder's own call knows."""

        def forward(self, logits_to_keep: Any = 0, **options: Any) -> Any:
            out = own(self, logits_to_keep=logits_to_keep, **options)
            out.logits = out.logits + (1.0 if options.get("input_ids") is not None else 0.0) * torch.arange(160)
            return out

    model.__class__ = Odd
    loss = TokenLoss(model)
    torch.testing.assert_close(loss.summed(model, batch), _plain(model, batch))
    assert loss.in_chunks is False


def test_a_batch_without_supervised_tokens_costs_nothing_and_has_a_gradient() -> None:
    model, batch = _model("llama"), _batch((1,))
    loss = TokenLoss(model)
    loss.summed(model, _batch())
    none = loss.summed(model, batch)
    none.backward()
    assert none == 0 and all(weight.grad is not None for weight in model.parameters())


class _Largest(TorchDispatchMode):  # type: ignore[misc]
    """The largest tensor that any operation gives, in numbers."""

    numbers = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for one in _tensors(result):
            self.numbers = max(self.numbers, one.numel())
        return result


def _tensors(result: Any) -> Iterator[torch.Tensor]:
    for one in result if isinstance(result, (tuple, list)) else (result,):
        if isinstance(one, torch.Tensor):
            yield one


def test_no_tensor_grows_with_tokens_times_vocabulary() -> None:
    model = _model("llama", vocab_size=2000, max_position_embeddings=512).requires_grad_(False)
    model.model.requires_grad_(True)
    largest = []
    for length in (100, 400):
        loss, batch = TokenLoss(model), _batch((length,), 2000)
        loss.summed(model, batch)
        loss._rows = 16
        with _Largest() as seen:
            loss.summed(model, batch).backward()
        largest.append(seen.numbers)
    assert largest[0] == largest[1] == 2000 * 32  # the embedding's gradient; the logits of a chunk are half of it


def test_noise_is_transformers_for_a_sample_alone_and_each_samples_own_in_a_row() -> None:
    from transformers.integrations.neftune import neftune_post_forward_hook

    model, theirs = _model("llama").train(), copy.deepcopy(_model("llama")).train()
    add_noise(model, 5.0)
    embedding = theirs.get_input_embeddings()
    embedding.neftune_noise_alpha = 5.0
    embedding.register_forward_hook(neftune_post_forward_hook)
    batch = _batch((9,))
    torch.manual_seed(4)
    mine = _plain(model, batch)
    torch.manual_seed(4)
    torch.testing.assert_close(mine, _plain(theirs, batch))
    assert not torch.equal(mine, _plain(model, batch))
    seen: list[torch.Tensor] = []
    model.get_input_embeddings().register_forward_hook(lambda _module, _args, output: seen.append(output.detach()))
    packed = _batch((4, 60))
    _plain(model, packed)
    noise = (seen[0] - model.get_input_embeddings().weight.detach()[packed.input_ids]).abs()
    assert 0.9 < float(noise[:, :4].max()) * (4 * 32) ** 0.5 / 5 <= 1.001 and 0.9 < float(noise[:, 4:].max()) * (60 * 32) ** 0.5 / 5 <= 1.001
    model.eval()
    assert torch.equal(_plain(model, packed), _plain(_model("llama"), packed))
