"""The numbers that it was trained with: from adapter_config.json, an Axolotl config, the Trainer's list, and lists and tables that people write."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from tunelab.hub.card import Block, plain_text
from tunelab.hub.evidence import Answer, Candidate, Evidence, ranked
from tunelab.hub.fields.training import AxolotlConfig, config_entries
from tunelab.hub.record import ModelRecord

_ALIASES: dict[str, str] = {
    "learning_rate": "learning rate,lr,peak learning rate,initial learning rate,max learning rate,base learning rate,learning rates,taux d'apprentissage,lernrate,tasa de aprendizaje,学习率,学習率,학습률,скорость обучения",
    "micro_batch_size": "train batch size,per device train batch size,per device batch size,micro batch size,batch size per device,per gpu batch size,batch size per gpu,device train batch size,per device training batch size",
    "batch_size": "batch size,training batch size,batch,batchsize,批大小,バッチサイズ,배치 크기,taille de lot,tamaño de lote",
    "total_train_batch_size": "total train batch size,effective batch size,global batch size,total batch size",
    "eval_batch_size": "eval batch size,per device eval batch size",
    "total_eval_batch_size": "total eval batch size", "num_devices": "num devices", "distributed_type": "distributed type", "seed": "seed,random seed",
    "gradient_accumulation_steps": "gradient accumulation steps,gradient accumulation,grad accumulation,grad accumulation steps,grad accum",
    "optimizer": "optimizer,optimiser,optim,optimizador,optimiseur,优化器,optimizer type",
    "lr_scheduler": "lr scheduler type,lr scheduler,scheduler,learning rate scheduler,lr schedule,learning rate schedule,scheduler type,学习率调度",
    "warmup_steps": "lr scheduler warmup steps,warmup steps,warm up steps", "warmup_ratio": "lr scheduler warmup ratio,warmup ratio,warm up ratio,warmup",
    "num_epochs": "num epochs,epochs,epoch,num train epochs,number of epochs,training epochs,train epochs,no of epochs,épocas,époques,epochen,训练轮数,轮数,エポック数,에폭,эпохи",
    "max_steps": "training steps,max steps,steps,train steps,total steps,num steps,number of steps,total training steps",
    "weight_decay": "weight decay", "max_grad_norm": "max grad norm,gradient clipping,grad clip", "label_smoothing_factor": "label smoothing factor,label smoothing",
    "sequence_len": "max seq length,max sequence length,sequence length,sequence len,max length,context length,max seq len,cutoff len,maximum sequence length,max token length,block size,seq length,最大长度",
    "mixed_precision": "mixed precision training,mixed precision,precision,training precision,dtype,compute dtype,training regime,training dtype",
    "lora_r": "lora r,lora rank,r,rank,lora rank r,r lora rank,rank r,lora dim,秩", "lora_alpha": "lora alpha,alpha,alpha lora",
    "lora_dropout": "lora dropout,dropout lora", "lora_target_modules": "lora target modules,target modules,lora targets,lora target,target module",
    "rl_beta": "dpo beta,beta,kl beta", "val_set_size": "val set size", "neftune_noise_alpha": "neftune noise alpha", "adam_epsilon": "adam epsilon"}
_NAMES = {alias: name for name, aliases in _ALIASES.items() for alias in [name.replace("_", " "), *aliases.split(",")]}
_ONLY_IN_LISTS = frozenset({"r", "rank", "alpha", "beta", "steps", "seed", "warmup", "dtype", "precision", "batch", "epoch", "max length", "context length", "秩", "scheduler"})
"""Names that mean it only among other settings: a context length or a precision is the model's, not the training's."""
_OF_AXOLOTL = frozenset({*_ALIASES, "adapter", "sample_packing", "load_in_4bit", "load_in_8bit", "gradient_checkpointing", "lora_target_linear", "bf16", "fp16", "tf32", "flash_attention",
                         "deepspeed", "peft_use_rslora", "train_on_inputs", "group_by_length", "chat_template", "cosine_min_lr_ratio"})
_LINE = re.compile(r"^[ \t]*(?:[-*•+][ \t]+)?[*_`]{0,3}(?P<name>[^\W\d_][^:：=\n|*`]{0,44}?)[*_`]{0,3}[ \t]*(?P<of>\([^()\n]{1,40}\))?[*_`]{0,3}[ \t]*[:：=][ \t]*[*_`]{0,3}[ \t]*(?P<value>[^\n]{1,200})", re.MULTILINE)
_NUMBER = re.compile(r"\d")
_NUMBER_FIRST = re.compile(r"[~≈<>=±]?\s*[-+]?\.?\d")
_NEAR = re.compile(r"hyper-?\s?parameters?|training|fine-?\s?tuning|lora|qlora|config|settings|optimi[sz]|parameters|setup|超参|訓練|学習|训练|параметр|paramètres|parámetros|학습", re.IGNORECASE)
_TEXTUAL = frozenset({"optimizer", "lr_scheduler", "mixed_precision", "lora_target_modules", "distributed_type"})
MAX_BLOCKS = 3000


def read_hyperparameters(record: ModelRecord, axolotl: AxolotlConfig | None) -> Mapping[str, Answer]:
    """What the card says of learning rate, epochs, batch size, ..., by the dialect's names where it has one; values as they are written."""
    found: dict[str, list[Candidate]] = {}
    for name, candidate in (*_of_adapter(record), *_of_axolotl(record, axolotl), *_in_card(record, axolotl)):
        found.setdefault(name, []).append(candidate)
    return {name: ranked(candidates) for name, candidates in found.items()}


def _of_adapter(record: ModelRecord) -> Iterator[tuple[str, Candidate]]:
    for key, name in (("r", "lora_r"), ("lora_alpha", "lora_alpha"), ("lora_dropout", "lora_dropout"), ("target_modules", "lora_target_modules")):
        value = record.adapter.get(key)
        if isinstance(value, list):
            value = ", ".join(sorted(str(one) for one in value[:64] if isinstance(one, str)))
        if isinstance(value, (int, float, str)) and not isinstance(value, bool) and str(value):
            yield name, Candidate(str(value)[:500], 0.97, (Evidence("adapter_config.json", f"{key}: {value}", "adapter_config.json"),))


def _of_axolotl(record: ModelRecord, axolotl: AxolotlConfig | None) -> Iterator[tuple[str, Candidate]]:
    for key, value, at in config_entries(axolotl):
        if key in _OF_AXOLOTL and value and value not in ("null", "~"):
            line = axolotl.line + at if axolotl else 0
            yield key, Candidate(value, 0.93, (Evidence("card text", record.card.quote(line), record.card.file, line),))


def _in_card(record: ModelRecord, axolotl: AxolotlConfig | None) -> Iterator[tuple[str, Candidate]]:
    config = range(axolotl.line, axolotl.line + axolotl.text.count("\n") + 1) if axolotl else range(0)
    for block in record.card.blocks[:MAX_BLOCKS]:
        if block.kind in ("heading", "quote") or len(block.text) > 20_000 or block.line in config or block.line + 1 in config:
            continue
        is_near = any(_NEAR.search(one) for one in block.headings[-2:])
        said: Iterator[tuple[str, str, int, bool]] = iter(())
        if block.kind == "table":
            said = _in_table(block)
        elif (":" in block.text or "=" in block.text or "：" in block.text) and (block.kind != "fence" or (
                is_near and "merge_method" not in block.text and not block.info.startswith(("py", "json", "bash", "sh")))):
            said = _in_lines(block)
        for label, written, line, is_list in said:
            name = _named(label, is_near or is_list)
            value = _value(name, written) if name else None
            if name and value:
                sure = 0.95 if label in ("learning_rate", "train_batch_size", "lr_scheduler_type", "num_epochs") and is_near else 0.85 if is_near else 0.75
                yield name, Candidate(value, sure, (Evidence("card text", record.card.quote(line) or label, record.card.file, line),))


def _named(label: str, is_near: bool) -> str | None:
    plain = " ".join(re.sub(r"[^\w'.]+|_", " ", label.casefold()).replace(".", "").split())
    name = _NAMES.get(plain)
    return None if name and plain in _ONLY_IN_LISTS and not is_near else name


def _in_lines(block: Block) -> Iterator[tuple[str, str, int, bool]]:
    """(label, value, line, whether it is one of several) of "label: value" lines."""
    found = list(_LINE.finditer(block.text))
    offset = 1 if block.kind == "fence" else 0
    for one in found:
        line = min(block.line + offset + block.text.count("\n", 0, one.start("name")), block.end) if block.kind != "html" else block.line
        yield one.group("name").strip(), one.group("value"), line, len(found) > 2


def _in_table(block: Block) -> Iterator[tuple[str, str, int, bool]]:
    """Tables that have one setting a row, or one a column with a single row below."""
    rows = block.rows
    if len(rows) == 2 and len(rows[0]) > 2:
        for head, value in zip(rows[0], rows[1], strict=False):
            yield plain_text(head), value, block.end, len(rows[0]) > 3
        return
    for number, row in enumerate(rows[:60]):
        if len(row) in (2, 3) and row[1].strip():
            yield plain_text(row[0]), row[1], min(block.line + number + (1 if number else 0), block.end), len(rows) > 3


def _value(name: str, written: str) -> str | None:
    """The value, without Markdown's marks and a remark behind it; None when it is none."""
    value = plain_text(written).strip(" \t`*_|\"'")
    value = value.split("  ")[0].strip().rstrip(",;") if name not in _TEXTUAL else value
    if name not in _TEXTUAL:
        if not _NUMBER_FIRST.match(value) or len(value) > 60:
            return None
        return re.split(r"\s+(?:\(|#|//|-|–|—|with|for|per)|\s*[,;]\s+(?=\D)", value)[0].strip().rstrip(".") or None
    if name == "optimizer":
        value = re.sub(r"^Use (?:OptimizerNames\.)?", "", value)
        value = re.split(r"\s+with\s+|\s*\(", value)[0]
    return value if value and len(value) <= 120 and value.casefold() not in ("none", "n/a", "[more information needed]", "-") else None
