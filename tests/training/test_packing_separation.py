"""Packed samples never see each other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tunelab.data.sample import Origin, Sample
from tunelab.errors import ModelError
from tunelab.training.batch import lay_out
from tunelab.training.model import load_base


def _sample(*ids: int) -> Sample:
    return Sample(ids, ids, Origin(0, "x", 1))


def _logits(model: torch.nn.Module, samples: list[Sample]) -> list[torch.Tensor]:
    batch = lay_out([samples], pad_id=0, pad_to=None, device=torch.device("cpu"))
    with torch.no_grad():
        logits = model(input_ids=batch.input_ids, position_ids=batch.position_ids, segment_borders=batch.borders, use_cache=False).logits[0]
    return [logits[start:end] for start, end in zip(batch.borders[:-1], batch.borders[1:], strict=True)]


def test_changing_one_sample_leaves_the_others_logits_unchanged(tiny_model: Path) -> None:
    model = load_base(tiny_model, torch.float32).eval()
    first, second, third = _sample(5, 6, 7, 8), _sample(20, 21, 22), _sample(30, 31, 32, 33, 34)
    before = _logits(model, [first, second, third])
    after = _logits(model, [first, _sample(99, 98, 97), third])
    assert torch.equal(before[0], after[0])
    assert torch.equal(before[2], after[2])
    assert not torch.equal(before[1], after[1])


def test_a_packed_sample_has_the_logits_it_has_alone(tiny_model: Path) -> None:
    from transformers import AutoModelForCausalLM

    packed = load_base(tiny_model, torch.float32).eval()
    plain = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    samples = [_sample(5, 6, 7, 8), _sample(20, 21, 22), _sample(30, 31, 32, 33, 34)]
    for sample, logits in zip(samples, _logits(packed, samples), strict=True):
        with torch.no_grad():
            alone = plain(input_ids=torch.tensor([sample.input_ids])).logits[0]
        torch.testing.assert_close(logits, alone, rtol=1e-5, atol=1e-5)


def test_padding_changes_nothing_and_carries_no_loss(tiny_model: Path) -> None:
    model = load_base(tiny_model, torch.float32).eval()
    sample = _sample(5, 6, 7, 8)
    padded = lay_out([[sample]], pad_id=0, pad_to=16, device=torch.device("cpu"))
    assert padded.tokens == 16
    assert padded.supervised == 3  # the first token has nothing before it that could predict it
    with torch.no_grad():
        logits = model(input_ids=padded.input_ids, position_ids=padded.position_ids, segment_borders=padded.borders, use_cache=False).logits
    assert torch.equal(logits[0, :4], _logits(model, [sample])[0])


def test_no_sample_is_trained_to_predict_the_first_token_of_the_next() -> None:
    batch = lay_out([[_sample(5, 6), _sample(7, 8, 9)]], pad_id=0, pad_to=None, device=torch.device("cpu"))
    assert batch.keep.tolist() == [0, 2, 3]
    assert batch.targets.tolist() == [6, 8, 9]


@pytest.mark.parametrize("window", [2, 3])
def test_a_sliding_window_is_kept_within_each_sample(window: int) -> None:
    from tunelab.training.attention import segment_attention

    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 2, 9, 4) for _ in range(3))
    module = torch.nn.Module().eval()
    out, _ = segment_attention(module, query, key, value, None, segment_borders=(0, 5, 9), sliding_window=window)
    changed = key.clone()
    changed[:, :, 0] += 10.0
    moved, _ = segment_attention(module, query, changed, value, None, segment_borders=(0, 5, 9), sliding_window=window)
    assert not torch.equal(out[:, :window], moved[:, :window])
    assert torch.equal(out[:, window:], moved[:, window:])


def test_an_architecture_that_drops_the_borders_is_refused() -> None:
    from tunelab.training.attention import segment_attention

    tensors = [torch.zeros(1, 1, 2, 2) for _ in range(3)]
    with pytest.raises(ModelError, match="kept apart"):
        segment_attention(torch.nn.Linear(1, 1), *tensors, None)


@pytest.mark.parametrize(("kind", "changes"), [("bloom", {}), ("qwen3_next", {}), ("lfm2", {"num_hidden_layers": 2,
                                                                                           "layer_types": ["conv", "full_attention"]})])
def test_an_architecture_with_a_state_along_the_row_is_refused_when_it_is_loaded(kind: str, changes: dict[str, object]) -> None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    from tunelab.training.attention import require_separation

    config = CONFIG_MAPPING[kind](**changes)
    model = object.__new__(MODEL_FOR_CAUSAL_LM_MAPPING[type(config)])
    model.__dict__["config"] = config
    with pytest.raises(ModelError, match="kept apart"):
        require_separation(model)


@pytest.mark.parametrize("window", [None, 3])
def test_cudas_kernel_gets_the_same_question(monkeypatch: pytest.MonkeyPatch, window: int | None) -> None:
    """The kernel needs a GPU; what it is asked is answered here after its documentation: (left, 0) looks back over `left` tokens."""
    from tunelab.training import attention

    def documented(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, offsets: torch.Tensor, offsets_k: torch.Tensor, longest: int,
                   longest_k: int, *, scale: float | None, window_size: tuple[int, int], enable_gqa: bool) -> torch.Tensor:
        assert offsets.dtype == torch.int32 and torch.equal(offsets, offsets_k) and longest == longest_k == 5 and enable_gqa and window_size[1] == 0
        segment = torch.bucketize(torch.arange(query.shape[0]), offsets[1:], right=True)
        back = torch.arange(query.shape[0])[:, None] - torch.arange(query.shape[0])[None, :]
        sees = (segment[:, None] == segment[None, :]) & (back >= 0) & (back <= (window_size[0] if window_size[0] >= 0 else 99))
        return torch.nn.functional.scaled_dot_product_attention(*(one.transpose(0, 1)[None] for one in (query, key, value)), attn_mask=sees, scale=scale,
                                                                enable_gqa=True)[0].transpose(0, 1)

    torch.manual_seed(0)
    query, key, value = torch.randn(1, 4, 9, 8), torch.randn(1, 2, 9, 8), torch.randn(1, 2, 9, 8)
    options = {"segment_borders": (0, 5, 9), "sliding_window": window, "scaling": 0.3}
    one_by_one, _ = attention.segment_attention(torch.nn.Module().eval(), query, key, value, None, **options)
    monkeypatch.setattr(attention, "varlen_attn", documented)
    monkeypatch.setattr(attention, "_has_kernel", lambda *_: True)
    at_once, _ = attention.segment_attention(torch.nn.Module().eval(), query, key, value, None, **options)
    torch.testing.assert_close(at_once, one_by_one)
