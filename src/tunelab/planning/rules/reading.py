"""The pages of the findings that reading gives: of the config (TL1xx, made by `config.judge` and `config.config`) and of the base model
(TL201 and TL202, made when a verb opens a config). Their `look` finds nothing."""

from __future__ import annotations

from collections.abc import Iterator

from tunelab.config.finding import Finding, Severity
from tunelab.planning.rules.registry import Context, rule


def _found_while_reading(context: Context) -> Iterator[Finding]:
    """Found by the reader of the config, key by key."""
    yield from ()


_PAGES: tuple[tuple[str, Severity, str, str, str | tuple[str, ...], str], ...] = (
    ("TL100", Severity.ERROR, "Not a config",
     "The file is not there, is no UTF-8 text, is no YAML, or its top level is no mapping: there is nothing to check. Said as a finding when "
     "several files are checked in one call.", "- base_model: a list", "base_model: a mapping"),
    ("TL101", Severity.ERROR, "Not a setting",
     "Axolotl drops a name that it does not know without a word, at every level, and the run goes on as if the line were not there.",
     ("learning_rat: 0.0003", "datasets: [{path: a.jsonl, type: alpaca, sharts: 2}]"), "learning_rate: 0.0003"),
    ("TL102", Severity.ERROR, "A value that the setting does not take",
     "The text is of another type, outside the possible range, or not one of the names that exist. Axolotl looks some of them up only when "
     "the run has begun, and lets impossible numbers through.",
     ("learning_rate: -1", "micro_batch_size: 0", "lr_scheduler: cosin", "eval_strategy: no", "trl: {num_generations: many}"),
     "eval_strategy: 'no'"),
    ("TL103", Severity.ERROR, "A required setting is missing", "Without it there is nothing to train, or nothing to train on.",
     "datasets: [{type: alpaca}]", "datasets: [{path: a.jsonl, type: alpaca}]"),
    ("TL104", Severity.ERROR, "Removed from the dialect", "Axolotl stops at this key, some of them with a traceback.",
     ("max_packed_sequence_len: 2048", "rope_scaling: {type: linear, factor: 2.0}", "fsdp_config: {sharding_strategy: FULL_SHARD}"),
     "sequence_len: 2048\nsample_packing: true"),
    ("TL105", Severity.NOTE, "Understood, not acted on, no other training",
     "The setting steers logs, uploads, speed or placement. tunelab does not act on it, and what is learnt is the same.",
     "gradio_title: mine", "output_dir: out"),
    ("TL106", Severity.BLOCKED, "Understood, not acted on, another training",
     "The setting changes what is learnt and this version of tunelab does not act on it. Training without it would be another run than the "
     "file asks for, so it is not started.",
     "relora: true", "adapter: lora"),
    ("TL107", Severity.BLOCKED, "A value that this version does not act on",
     "The value is right in the dialect; this version of tunelab trains with other ones only.",
     "adapter: mora", "adapter: lora"),
    ("TL108", Severity.ERROR, "A setting in the wrong place", "Axolotl drops it there without a word.",
     ("datasets: [{path: a.jsonl, type: alpaca, sequence_len: 2048}]", "train_on_eos: turn", "num_generations: 4"),
     "sequence_len: 2048"),
    ("TL109", Severity.WARNING, "An old spelling", "It still works in Axolotl 0.21.0, which rewrites it; a later version drops it.",
     ("sdp_attention: true", "evaluation_strategy: 'no'", "datasets: [{path: a.jsonl, type: chat_template, message_field_role: from}]",
      "gc_steps: 4"), "attn_implementation: sdpa"),
    ("TL110", Severity.ERROR, "A key written twice", "YAML keeps the later value without a word.",
     "seed: 1\nmax_steps: 5\nseed: 2", "seed: 2\nmax_steps: 5"),
    ("TL111", Severity.WARNING, "A number that YAML reads as text",
     "YAML 1.1 takes `1e-4` for text; a setting with a type turns it into a number, a free mapping passes the text on.",
     "gradient_checkpointing_kwargs: {x: 1e-4}", "gradient_checkpointing_kwargs: {x: 0.0001}"),
    ("TL112", Severity.WARNING, "A variable that nothing fills in", "Axolotl takes `${NAME}` as it stands: a folder of that name is written.",
     "output_dir: ${HOME}/out", "output_dir: ./out"),
    ("TL113", Severity.WARNING, "A secret in the file", "Configs are shared, committed and copied into the run's folder.",
     "comet_api_key: abcdef0123456789", "comet_project_name: mine"),
    ("TL114", Severity.WARNING, "An ignore comment for no rule", "The comment hides nothing; its code is misspelt or gone.",
     "seed: 1  # tunelab: ignore TL999", "seed: 1  # tunelab: ignore TL5"),
    ("TL201", Severity.NOTE, "The base model is not on this disk",
     "Its shapes are not known, so nothing is said about its layers and its memory. A Hub id is looked for on the Hub when it is needed; a "
     "path that does not exist is blocked.", "base_model: org/not-downloaded", "base_model: ./models/SmolLM2-135M"),
    ("TL202", Severity.WARNING, "The base model's shapes cannot be read",
     "Its config.json or its weights are missing or damaged: the plan stays silent about parameters and memory.",
     "base_model: ./models/half-downloaded", "base_model: ./models/SmolLM2-135M"),
    ("TL690", Severity.WARNING, "A stand-in is taken",
     "The machine cannot honour the setting as it is written, and --stand-ins allows the nearest that it can. Without the flag the run is not "
     "started.", ("optimizer: paged_adamw_8bit", "fp16: true"), "optimizer: adamw_torch_fused"),
)

for _code, _severity, _title, _why, _bad, _good in _PAGES:
    rule(_code, _severity, title=_title, why=_why, bad=_bad, good=_good)(_found_while_reading)
