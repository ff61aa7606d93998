"""GGUF: every family and tokenizer that is written here, random and tiny, says through llama.cpp what it says through transformers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.tiny import write_tokenizer

from tunelab.data.tokenizer import load_tokenizer
from tunelab.errors import ModelError
from tunelab.export.gguf_check import KINDS, TOLERANCE, GgufCheck, fault, remarks
from tunelab.runners.prompt import Prompt

pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")

SIZES = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
         "max_position_embeddings": 256, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
IDS = [5, 6, 7, 8, 9, 10, 40, 41, 42, 3, 2, 1, 77, 78, 79, 80, 99, 150, 200, 201, 202, 300]
GEMMA = {"head_dim": 32, "sliding_window": 8, "query_pre_attn_scalar": 32}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}
GLOBAL_LINEAR = {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                 "sliding_attention": {"rope_type": "default", "rope_theta": 5e3}}
FAMILIES = {
    "llama, tied": ("Llama", {"tie_word_embeddings": True}),
    "llama, untied, biases, wide heads": ("Llama", {"tie_word_embeddings": False, "attention_bias": True, "mlp_bias": True, "head_dim": 32}),
    "llama, llama3 rope": ("Llama", {"rope_parameters": LLAMA3}),
    "llama, linear rope": ("Llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}}),
    "mistral, wide heads": ("Mistral", {"head_dim": 32, "sliding_window": None}),
    "granite": ("Granite", {"attention_multiplier": 0.2, "embedding_multiplier": 3.0, "residual_multiplier": 0.5, "logits_scaling": 2.0}),
    "qwen2, tied": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen2, untied": ("Qwen2", {"tie_word_embeddings": False}),
    "qwen3": ("Qwen3", {"head_dim": 32}),
    "gemma": ("Gemma", {"head_dim": 32}),
    "gemma2, soft caps, window": ("Gemma2", {**GEMMA, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}),
    "gemma3, window, global linear rope": ("Gemma3Text", {**GEMMA, "num_hidden_layers": 7, "rope_parameters": GLOBAL_LINEAR}),
    "smollm3, layer without rope": ("SmolLM3", {"num_hidden_layers": 5}),
    "olmo2": ("Olmo2", {}),
    "phi3, half rotary": ("Phi3", {"sliding_window": None, "partial_rotary_factor": 0.5}),
}
NASTY = ("Hello world!", " leading and  double   spaces ", "tabs\t\tand\nnew\n\n\nlines\r\n", "1234567890 3.14 0x1F",
         "naïve café Ωmega привет 你好世界 こんにちは",
         "emoji 🙂👍🏽 ‍zero\u200bwidth", "don't I'LL they've HTTPServer camelCase snake_case", "def f(x):\n    return {'a': [x**2, -1]}", "ÀÉÎõü ﬁ ½ ²",
         "\u0301combining", "x\u00a0y\u3000z", "<|im_start|>user\nhi<|im_end|>\n", "&<>\"'`~!@#$%^*()_+-={}[]|\\:;?/.,", "a", "\n", "  ", "\x00\x01\x7f")


def _random(name: str, vocabulary: int, **settings: Any) -> Any:
    """A model whose every number is drawn anew, norms and biases too, so that none can be left out unseen."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(vocab_size=vocabulary, **{**SIZES, **settings})
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * (0.3 if parameter.dim() == 1 else 0.08))
    return model.eval()


def _saved(folder: Path, name: str, **settings: Any) -> Any:
    model = _random(name, write_tokenizer(folder), **settings)
    model.save_pretrained(folder)
    return model


def _write(folder: Path, quantize: str = "f32") -> Path:
    from tunelab.export.gguf_write import write_model

    write_model(folder, folder / "model.gguf", load_tokenizer(folder), quantize=quantize)
    return folder / "model.gguf"


def _largest_difference(file: Path, model: Any, lengths: tuple[int, ...] = (1, 5, 12, 22)) -> float:
    """Of any token's log-probability, after the first so many IDS."""
    import torch

    from tunelab.runners.gguf import GgufRunner

    with torch.inference_mode():
        ours = torch.log_softmax(model(torch.tensor([IDS])).logits[0].float(), dim=-1)
    runner = GgufRunner(file, exact=True)
    try:
        told = {length: runner.next_logprobs(IDS[:length], ours.shape[1]) for length in lengths}
    finally:
        runner.close()
    assert all(len(one) == ours.shape[1] for one in told.values())
    return max(abs(float(ours[length - 1][token]) - value) for length, one in told.items() for token, value in one.items())


@pytest.mark.parametrize("case", FAMILIES)
def test_each_family_says_what_transformers_says(tmp_path: Path, case: str) -> None:
    name, settings = FAMILIES[case]
    model = _saved(tmp_path, name, **settings)
    assert _largest_difference(_write(tmp_path), model) < (2e-3 if "gemma" in case else 2e-5)  # ggml's GELU is a table in 16 bits


def test_every_family_of_the_table_is_tested() -> None:
    import transformers

    from tunelab.export.gguf_layout import FAMILIES as WRITTEN

    assert {getattr(transformers, f"{name}Config").model_type for name, _ in FAMILIES.values()} == set(WRITTEN)


@pytest.mark.parametrize(("name", "settings"), [("Mistral", {"sliding_window": 8}), ("Phi3", {"sliding_window": 8}),
                                                ("Qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1})])
def test_where_llama_cpp_has_no_window_the_context_ends_with_it(tmp_path: Path, name: str, settings: dict[str, Any]) -> None:
    from tunelab.facts.gguf import read_gguf

    model = _saved(tmp_path, name, **settings)
    file = _write(tmp_path)
    header = read_gguf(file).metadata
    assert header[f"{header['general.architecture']}.context_length"] == 8
    assert _largest_difference(file, model, (1, 5, 7)) < 2e-5


@pytest.mark.parametrize(("name", "settings", "words"), [
    ("Gemma2", {**GEMMA, "query_pre_attn_scalar": 16}, "scaled by 16"),
    ("Gemma3Text", {**GEMMA, "layer_types": ["sliding_attention", "full_attention"]}, "each 6th"),
    ("SmolLM3", {"no_rope_layers": [0, 1]}, "without rotary"),
    ("Llama", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0}}, "'yarn'"),
    ("GPTNeoX", {}, "'gpt_neox' are not written"),
])
def test_what_llama_cpp_would_run_otherwise_is_refused(tmp_path: Path, name: str, settings: dict[str, Any], words: str) -> None:
    _saved(tmp_path, name, **settings)
    with pytest.raises(ModelError, match=words) as caught:
        _write(tmp_path)
    assert "--to merged" in str(caught.value.next_step)


def test_numbers_that_are_not_finite_are_named(tmp_path: Path) -> None:
    model = _random("Llama", write_tokenizer(tmp_path))
    model.model.layers[1].mlp.up_proj.weight.data[3, 4] = float("inf")
    model.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.up_proj\.weight holds numbers that are not finite"):
        _write(tmp_path)
    model.model.layers[1].mlp.up_proj.weight.data[3, 4] = 1e5  # finite, but not in 16 bits
    model.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="not finite in F16") as caught:
        _write(tmp_path, "f16")
    assert "bf16" in str(caught.value.next_step)
    _write(tmp_path, "bf16")


@pytest.mark.parametrize("quantize", KINDS)
def test_every_format_is_read_by_llama_cpp(tmp_path: Path, quantize: str) -> None:
    """Rows of 256, so that super-blocks are used."""
    model = _saved(tmp_path, "Llama", hidden_size=256, intermediate_size=256, num_hidden_layers=8)
    import torch

    from tunelab.runners.gguf import GgufRunner

    with torch.inference_mode():
        ours = torch.log_softmax(model(torch.tensor([IDS])).logits[0, -1].double(), dim=-1)
    runner = GgufRunner(_write(tmp_path, quantize), exact=True)
    told = runner.next_logprobs(IDS, len(ours))
    runner.close()
    divergence = sum(float(ours[token].exp()) * (float(ours[token]) - value) for token, value in told.items())
    assert abs(divergence) < TOLERANCE[quantize]


# Tokenizers


def _byte_level(folder: Path, split: Any = None, **model: Any) -> None:
    """A trained byte-level BPE tokenizer that splits text so before merging."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(**model))
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split is None or not isinstance(split, pre_tokenizers.Split))
    tokenizer.pre_tokenizer = level if split is None else pre_tokenizers.Sequence([split, level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([*NASTY, *NASTY, "the user says 12 123 1234 don't DON'T  code\n\n  indented\t\ttabs"], trainer)
    _saved_tokenizer(folder, tokenizer)


def _saved_tokenizer(folder: Path, tokenizer: Any, **roles: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    roles = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", **roles}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **roles}), encoding="utf-8")


def _regex(digits: str) -> Any:
    from tokenizers import Regex, pre_tokenizers

    words, rest = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+", r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    return pre_tokenizers.Split(Regex(f"{words}|{digits}|{rest}"), "isolated")


def _gpt2(folder: Path) -> None:
    _byte_level(folder)


def _smollm(folder: Path) -> None:
    from tokenizers import pre_tokenizers

    _byte_level(folder, pre_tokenizers.Digits(individual_digits=True))


def _qwen2(folder: Path) -> None:
    _byte_level(folder, _regex(r"\p{N}"))


def _llama3(folder: Path) -> None:
    _byte_level(folder, _regex(r"\p{N}{1,3}"), ignore_merges=True)


def _dbrx(folder: Path) -> None:
    _byte_level(folder, _regex(r"\p{N}{1,3}"))


def _tekken(folder: Path) -> None:
    from tokenizers import Regex, pre_tokenizers

    pattern = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
               r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    _byte_level(folder, pre_tokenizers.Split(Regex(pattern), "isolated"), ignore_merges=True)


def _sentencepiece(folder: Path, prefix: bool) -> None:
    """As Llama 2's (a space before the text) or Gemma's (none): ▁ for spaces, bytes for what is not in the vocabulary."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, trainers

    steps = [*([normalizers.Prepend("▁")] if prefix else []), normalizers.Replace(" ", "▁")]
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Sequence(steps)
    trained.train_from_iterator([text for text in NASTY if text.isascii() and text.isprintable()] * 3, trainers.BpeTrainer(vocab_size=300))
    read = json.loads(trained.to_str())["model"]
    first = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    vocabulary = {token: index for index, token in enumerate([*first, *(token for token in read["vocab"] if token not in first)])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [tuple(one) for one in read["merges"]], unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           *([decoders.Strip(" ", 1, 0)] if prefix else [])])
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in ("<unk>", "<s>", "</s>")])
    _saved_tokenizer(folder, tokenizer, eos_token="</s>", bos_token="<s>", pad_token="<unk>", unk_token="<unk>")


TOKENIZERS: dict[str, Callable[[Path], None]] = {
    "gpt-2": _gpt2, "smollm": _smollm, "qwen2": _qwen2, "llama-bpe": _llama3, "dbrx": _dbrx, "tekken": _tekken,
    "sentencepiece, prefix": lambda folder: _sentencepiece(folder, True), "sentencepiece": lambda folder: _sentencepiece(folder, False)}


def _with_tokenizer(folder: Path, extra: int = 0) -> Any:
    """A random model for the tokenizer in a folder, with so many more rows than that has tokens."""
    tokenizer = load_tokenizer(folder)
    _random("Llama", tokenizer.vocab_size + extra).save_pretrained(folder)
    return tokenizer


def _assert_split_alike(folder: Path, tokenizer: Any, texts: tuple[str, ...]) -> None:
    from tunelab.runners.gguf import GgufRunner

    runner = GgufRunner(_write(folder))
    try:
        told = {text: runner.fed(Prompt("text", (), raw=text)).ids for text in texts}
    finally:
        runner.close()
    assert told == {text: tuple(tokenizer.encode(text, special=False)) for text in texts}


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_texts_become_the_same_tokens(tmp_path: Path, kind: str) -> None:
    from tunelab.facts.gguf import read_gguf

    TOKENIZERS[kind](tmp_path)
    _assert_split_alike(tmp_path, _with_tokenizer(tmp_path, extra=5), NASTY)
    assert read_gguf(tmp_path / "model.gguf").metadata["tokenizer.ggml.pre"] == ("default" if "sentence" in kind else kind)


def test_tokens_that_were_added_and_rows_beyond_them(tmp_path: Path) -> None:
    from tokenizers import AddedToken, Tokenizer

    write_tokenizer(tmp_path)
    backend = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    backend.add_special_tokens([AddedToken("<tool>", special=True)])
    backend.add_tokens([AddedToken("colour", normalized=False)])
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = _with_tokenizer(tmp_path, extra=30)
    texts = ("a <tool> of one colour<tool>", "say colours, not color")
    assert len(tokenizer.encode(texts[0], special=False)) < 12
    _assert_split_alike(tmp_path, tokenizer, texts)
    _random("Llama", tokenizer.vocab_size - 1).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="rows"):
        _write(tmp_path)


def test_a_tokenizer_that_is_not_known_here_is_refused(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0), ("b", -2.0)], 0, False))
    _saved_tokenizer(tmp_path, tokenizer)
    _with_tokenizer(tmp_path)
    with pytest.raises(ModelError, match="kind Unigram") as caught:
        _write(tmp_path)
    assert "--to merged" in str(caught.value.next_step)
    _byte_level(tmp_path, pre_tokenizers.Punctuation())
    _with_tokenizer(tmp_path)
    with pytest.raises(ModelError, match="no pre-tokenizer that is known here"):
        _write(tmp_path)


# What is found wrong


def _found(**changes: Any) -> GgufCheck:
    return GgufCheck(**{"kind": "q4_k_m", "prompts": 4, "prompts_from": "", "positions": 8, "kl": 0.01, "max_kl": 0.1, "max_logprob": 0.1, "same_top": 1.0,
                        "effect": 1.0, "greedy": 4, "greedy_same": 4, "greedy_tokens": 40, "greedy_equal": 40, "texts": 9, "texts_equal": 9, "split": "",
                        "renders_alike": True, **changes})


@pytest.mark.parametrize(("changes", "words"), [
    ({"kl": 0.31}, "0.31 nats per position apart"), ({"kl": float("nan")}, "nan nats"), ({"kl": 0.2, "effect": 0.1}, "the whole effect"),
    ({"kind": "f16", "kl": 6e-4, "effect": 1e-3}, "the whole effect"), ({"kind": "f32", "kl": 2e-5, "effect": 1e-3}, "the whole effect"),
    ({"texts_equal": 8, "split": "x"}, "splits 1 of 9 texts")])
def test_a_file_that_does_not_say_the_same_is_at_fault(changes: dict[str, Any], words: str) -> None:
    assert fault(_found()) is None and remarks(_found()) == ()
    assert words in str(fault(_found(**changes)))


@pytest.mark.parametrize(("changes", "words"), [({"kl": 0.06, "effect": 0.1}, "60% of what training changed"),
                                                ({"renders_alike": False}, "tunelab parity")])
def test_what_is_near_the_limit_is_said(changes: dict[str, Any], words: str) -> None:
    assert fault(_found(**changes)) is None and words in remarks(_found(**changes))[0]
