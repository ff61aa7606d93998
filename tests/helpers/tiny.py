"""A tiny language model with random weights, its tokenizer, data and config: small enough to train in a test."""

from __future__ import annotations

import json
from pathlib import Path

TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
WORDS = ["red", "green", "blue", "one", "two", "three", "north", "south", "apple", "pear"]


def write_tokenizer(folder: Path) -> int:
    """A byte-level BPE tokenizer with ChatML tokens; returns its vocabulary size."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([" ".join(WORDS), "user assistant system say the word twice"], trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "bos_token": "<|im_start|>", "pad_token": "<|endoftext|>",
        "chat_template": TEMPLATE}), encoding="utf-8")
    return int(tokenizer.get_vocab_size())


def write_model(folder: Path, seed: int = 0) -> Path:
    """A random two-layer Llama of about 100,000 parameters, saved as transformers does."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    vocabulary = write_tokenizer(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(vocab_size=vocabulary, hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
                         num_key_value_heads=2, max_position_embeddings=256, tie_word_embeddings=True, eos_token_id=2, bos_token_id=1,
                         pad_token_id=0)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def write_data(path: Path, rows: int = 40) -> Path:
    """Chat rows of differing lengths: say a word twice."""
    lines = []
    for index in range(rows):
        words = [WORDS[(index * 7 + step * 3) % len(WORDS)] for step in range(1 + index % 4)]
        lines.append(json.dumps({"messages": [{"role": "user", "content": f"say {' '.join(words)} {index}"},
                                              {"role": "assistant", "content": " ".join(word for word in words for _ in (0, 1))}]}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_config(path: Path, model: Path, data: Path, output: Path, **changes: object) -> Path:
    """A LoRA config on the tiny model; `changes` override or (None) remove keys."""
    settings: dict[str, object] = {
        "base_model": str(model), "datasets": [{"path": str(data), "type": "chat_template"}], "val_set_size": 0.1, "output_dir": str(output),
        "sequence_len": 128, "sample_packing": True, "adapter": "lora", "lora_r": 4, "lora_alpha": 8, "lora_dropout": 0.1,
        "lora_target_linear": True, "micro_batch_size": 1, "gradient_accumulation_steps": 2, "num_epochs": 3, "learning_rate": 0.01,
        "optimizer": "adamw_torch", "lr_scheduler": "cosine", "warmup_steps": 2, "save_steps": 3, "eval_steps": 5, "seed": 7, "bf16": False,
        **changes}
    path.write_text(json.dumps({key: value for key, value in settings.items() if value is not None}, indent=1), encoding="utf-8")
    return path
