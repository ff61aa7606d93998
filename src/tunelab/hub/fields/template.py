"""Which prompt template it was trained with: ChatML, Alpaca, Llama-2, Vicuna, ...: shown by its marks, or named in words."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tunelab.hub.card import Block
from tunelab.hub.evidence import Answer, Candidate, Evidence, ranked
from tunelab.hub.fields.turns import template_of
from tunelab.hub.record import ModelRecord

_NAMES: tuple[tuple[str, str], ...] = (
    ("chatml", r"chat[- ]?ml"), ("alpaca", r"(?:stanford )?alpaca"), ("llama2", r"llama[- ]?2(?:[- ]chat)?"), ("llama3", r"llama[- ]?3(?:\.\d)?(?:[- ](?:chat|instruct))?"),
    ("mistral", r"(?:mistral|mixtral)(?:[- ](?:instruct|chat))?"), ("vicuna", r"vicuna(?:[- ]?v?1\.[15])?"), ("zephyr", r"zephyr"), ("gemma", r"gemma(?:[- ]?[23])?"), ("phi3", r"phi[- ]?3"),
    ("openchat", r"openchat(?:-correct)?|gpt4 correct"), ("command-r", r"command[- ]?r"), ("deepseek", r"deepseek"), ("metharme", r"metharme|pygmalion"), ("guanaco", r"guanaco"),
    ("orca", r"orca(?:[- ]hashes)?"), ("tulu", r"t[uü]lu"), ("falcon", r"falcon"), ("human-assistant", r"human[-/ ]assistant"))
_ANY = "|".join(f"(?P<{{0}}{index}>{pattern})" for index, (_, pattern) in enumerate(_NAMES))
_SUBJECT = r"(?:prompt(?:ing)?|chat|instruct(?:ion)?|conversation|dialogue|message|input)?[- ]{0,2}(?:templates?|format(?:ting|s)?|style|prompts?)\b"
_WORDS = re.compile(rf"(?<![\w/-])(?:{_ANY.format('a')})['\"`’*_\])]{{0,3}}s?[- ]{{1,3}}(?:\w{{1,12}} )?{_SUBJECT}|"
                    rf"\b(?:prompt|chat|instruct(?:ion)?|conversation)?[- ]{{0,2}}(?:templates?|format)\b[*_]{{0,2}}(?::|\s(?:is|used|was|of|=))?[*_]{{0,2}}[ :]{{1,2}}(?:(?:the|is|follows|used) ){{0,2}}"
                    rf"['\"`*_\[(]{{0,3}}(?:{_ANY.format('b')})(?![\w/])", re.IGNORECASE)
_KEY = re.compile(r"^[ \t]*(?:-[ \t]+)?(?:chat_template|prompt_template|prompt_style|conversation|chat_template_type|template):[ \t]*[\"']?([\w.-]{3,24})", re.MULTILINE)
_OWN = re.compile(r"prompt|template|format|chat|example|conversation|usage|inference|how to|テンプレート|模板|프롬프트|提示", re.IGNORECASE)
_WORTH = re.compile(r"[Tt]emplate|[Ff]ormat|[Pp]rompt|[Ss]tyle")
_OTHERS = re.compile(r"\b(?:unlike|instead of|not|rather than|differs? from|dataset|data set|converted (?:from|to))\W+(?:\w+\W+){0,3}\Z", re.IGNORECASE)
_KEYED = {"chatml": "chatml", "alpaca": "alpaca", "llama-2": "llama2", "llama2": "llama2", "llama-3": "llama3", "llama3": "llama3", "mistral": "mistral", "vicuna": "vicuna", "vicuna_v1.1": "vicuna",
          "zephyr": "zephyr", "gemma": "gemma", "gemma2": "gemma", "phi3": "phi3", "phi_3": "phi3", "phi-3": "phi3", "qwen": "chatml", "qwen2": "chatml", "qwen2.5": "chatml", "qwen-2.5": "chatml",
          "command_r": "command-r", "cohere": "command-r", "deepseek": "deepseek", "metharme": "metharme", "falcon": "falcon", "tulu": "tulu", "openchat": "openchat"}


def read_template(record: ModelRecord) -> Answer:
    """The prompt template's name; what the card shows counts more than what it mentions."""
    return ranked([*_in_files(record), *_in_card(record)])


def _in_files(record: ModelRecord) -> Iterator[Candidate]:
    tokenizer = record.config.get("tokenizer_config")
    for file, written in (("config.json", tokenizer.get("chat_template") if isinstance(tokenizer, dict) else None), ("config.json", record.config.get("chat_template")),
                          ("GGUF", record.gguf.get("chat_template"))):
        name = template_of(written[:20_000]) if isinstance(written, str) else ""
        if name and isinstance(written, str):
            yield Candidate(name, 0.95, (Evidence("config.json" if file == "config.json" else "weights header", written[:200], file),), "by its chat template")
    for key in ("prompt_template", "chat_template"):
        for text, _ in record.card.strings(key):
            name = template_of(text) or _KEYED.get(text.casefold(), "")
            if name:
                line = record.card.line(key)
                yield Candidate(name, 0.92, (Evidence("card metadata", record.card.quote(line), record.card.file, line),))
    for tag, path in record.card.strings("tags"):
        if tag.casefold() in ("chatml", "alpaca", "vicuna"):
            line = record.card.line(*path)
            yield Candidate(tag.casefold(), 0.6, (Evidence("card metadata", record.card.quote(line) or tag, record.card.file, line),))


def _in_card(record: ModelRecord) -> Iterator[Candidate]:
    card, shown = record.card, 0
    for block in card.blocks:
        if len(block.text) > 20_000:
            continue
        for name, at, sure in _said(block):
            inside = block.kind not in ("html", "table")
            line = min(block.line + (block.kind == "fence") + block.text.count("\n", 0, at), block.end) if inside else block.line
            shown += 1
            yield Candidate(name, round(sure - min(0.1, 0.01 * shown), 2), (Evidence("card text", card.quote(line), card.file, line),))


def _said(block: Block) -> Iterator[tuple[str, int, float]]:
    """(template, offset, confidence) of what a block shows or names."""
    text = block.text
    if block.kind == "fence" or "<|" in text or "[INST]" in text or "###" in text:
        name = template_of(text)
        if name:
            is_own = any(_OWN.search(one) for one in block.headings[-2:])
            yield name, 0, (0.88 if is_own else 0.75) if block.kind == "fence" else 0.7
    if block.kind == "fence":
        for found in _KEY.finditer(text) if "template" in text or "conversation" in text else ():
            named = _KEYED.get(found.group(1).casefold())
            if named:
                yield named, found.start(1), 0.75
        return
    for found in _WORDS.finditer(text) if block.kind != "table" and _WORTH.search(text) else ():
        if not _OTHERS.search(text, max(0, found.start() - 60), found.start()):
            yield _NAMES[int((found.lastgroup or "a0")[1:])][0], found.start(), 0.9 if block.kind == "heading" else 0.8
