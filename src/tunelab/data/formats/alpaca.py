"""`type: alpaca`: an instruction, an optional input and an answer, in one of four prompt styles.

Prompt and answer are tokenised apart, as Axolotl does it, so no token spans the border between them.
"""

from __future__ import annotations

from dataclasses import dataclass

from tunelab.config.sections.data import Dataset
from tunelab.data.formats.context import Context, require_columns, text_of
from tunelab.data.sample import IGNORE, Row, Sample

_SYSTEM = ("Below is an instruction that describes a task. "
           "Write a response that appropriately completes the request.")
_SYSTEM_WITH_INPUT = ("Below is an instruction that describes a task, paired with an input that provides further context. "
                      "Write a response that appropriately completes the request.")


@dataclass(frozen=True, slots=True)
class _Style:
    system: str
    with_input: str
    without_input: str


_STYLES = {
    "instruct": _Style("{system}\n\n",
                       "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n",
                       "### Instruction:\n{instruction}\n\n### Response:\n"),
    "chat": _Style("SYSTEM: {system}\n",
                   "USER: {instruction}\n{input}\nASSISTANT:",
                   "USER: {instruction}\nASSISTANT:"),
    "chatml": _Style("<|im_start|>system\n{system}<|im_end|>\n",
                     "<|im_start|>user\n{instruction}\n{input}<|im_end|>\n<|im_start|>assistant\n",
                     "<|im_start|>user\n{instruction}<|im_end|>\n<|im_start|>assistant\n"),
    "phi": _Style("<|system|>\n{system}<|end|>\n",
                  "<|user|>\n{instruction}<|end|>{input}<|assistant|>",
                  "<|user|>\n{instruction}<|end|>\n<|assistant|>\n"),
}

STYLES = tuple(_STYLES)
"""The words that may follow `alpaca:`; plain `alpaca` is the first."""


def tokenise(row: Row, dataset: Dataset, context: Context) -> list[Sample]:
    """One sample: the prompt without loss (unless train_on_inputs), then answer and EOS with loss.

    Each half is cut to sequence_len; a row in which that happens is longer than sequence_len and is left out later.
    """
    type_name = dataset.type or "alpaca"
    require_columns(row, type_name, ("instruction", "output"))
    prompt = _prompt(row, _STYLES[type_name.partition(":")[2] or "instruct"])
    tokenizer = context.tokenizer
    before = tokenizer.encode_truncated(prompt, context.sequence_len)
    answer = text_of(row, "output", optional=True)
    after = _answer_ids(answer, context) if answer else []
    labels = [*(before if context.train_on_inputs else [IGNORE] * len(before)), *after]
    return [Sample((*before, *after), tuple(labels), row.origin)]


def _prompt(row: Row, style: _Style) -> str:
    instruction, context = text_of(row, "instruction"), text_of(row, "input", optional=True)
    turn = style.with_input if context else style.without_input
    system = style.system.format(system=_SYSTEM_WITH_INPUT if context else _SYSTEM)
    return system + turn.format(instruction=instruction, input=context)


def _answer_ids(answer: str, context: Context) -> list[int]:
    tokenizer, limit = context.tokenizer, context.sequence_len
    ids = tokenizer.encode_truncated(answer, limit)
    if tokenizer.eos_id is not None and ids[-1:] != [tokenizer.eos_id] and len(ids) < limit:
        ids.append(tokenizer.eos_id)
    if tokenizer.bos_id is not None and ids[:1] == [tokenizer.bos_id]:
        del ids[0]
    return ids
