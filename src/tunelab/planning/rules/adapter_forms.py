"""Rules on LoRA's forms: how it starts, which layers, tokens and modules it trains (TL415, TL417-418, TL423, TL425-427)."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from pathlib import Path

from tunelab.config.finding import Finding, Severity
from tunelab.errors import ModelError
from tunelab.facts.adapter import read_adapter, same_base
from tunelab.planning.lora import EMBEDDING_NAMES, adapter_to_go_on_from, initialisation, rank_of, target_layers
from tunelab.planning.rules.registry import Context, listed, rule

_RUN = ("gaussian", "orthogonal", "pissa", "pissa_niter_16", "olora", "loftq")
_NEED_A_PASS = {"eva": "a pass over the data", "corda": "a pass over the data", "lora_ga": "gradients of the data"}
_LORA = "adapter: lora\nlora_r: 16\nlora_alpha: 32\nlora_target_linear: true\n"


@rule("TL415", Severity.BLOCKED, title="A start of LoRA that tunelab does not run",
      why="eva, corda and lora_ga look at the data before the first step; what is no name at all stops PEFT when the model is loaded.",
      bad=_LORA + "peft_init_lora_weights: eva", good=_LORA + "peft_init_lora_weights: pissa")
def unknown_start(context: Context) -> Iterator[Finding]:
    """peft_init_lora_weights is none that is run."""
    start = initialisation(context.config)
    if context.config.adapter.adapter is None or start == "default" or start in _RUN or re.fullmatch(r"pissa_niter_[1-9]\d*", start):
        return
    if start in _NEED_A_PASS or start == "mica":
        needs = f" It needs {_NEED_A_PASS[start]} before the first step." if start in _NEED_A_PASS else ""
        yield context.finding(f"`peft_init_lora_weights: {start}` is not run by this version.{needs}", "peft_init_lora_weights",
                              expected="pissa, which starts from the weights alone", fix="peft_init_lora_weights: pissa")
        return
    close = difflib.get_close_matches(start, _RUN, n=1, cutoff=0.5)
    yield context.finding(f"`peft_init_lora_weights: {start}` is no way to start.{f' Did you mean `{close[0]}`?' if close else ''}",
                          "peft_init_lora_weights", expected=f"true, {', '.join(_RUN)}", severity=Severity.ERROR,
                          fix=f"peft_init_lora_weights: {close[0]}" if close else "delete `peft_init_lora_weights`")


@rule("TL417", Severity.ERROR, title="An adapter that cannot be gone on from",
      why="An adapter is a change to one model's weights: on another model it does not fit, or fits and means nothing.",
      bad=_LORA + "lora_model_dir: ./no-such-run", good=_LORA.strip())
def foreign_adapter(context: Context) -> Iterator[Finding]:
    """lora_model_dir is no LoRA adapter, was made for another base, or starts from a base that was changed."""
    config, shapes, named = context.config, context.shapes, context.config.adapter.lora_model_dir
    if config.adapter.adapter is None or named is None:
        return
    try:
        saved = read_adapter(Path(named).expanduser())
    except ModelError as error:
        yield context.finding(f"`lora_model_dir: {named}`: {error.message}", "lora_model_dir", expected=error.next_step or "a LoRA adapter's folder")
        return
    wrong = saved.misfits(shapes) if shapes is not None else ()
    base = f"it was trained on {saved.base}" if saved.base else "its config does not name its base"
    if wrong:
        yield context.finding(f"The adapter in `lora_model_dir` was made for another model: {wrong[0]}; {base}.", "lora_model_dir",
                              expected=f"an adapter for {config.model.base_model}", fix="delete `lora_model_dir`")
    elif not same_base(saved.base, config.model.base_model):
        yield context.finding(f"The adapter in `lora_model_dir` was trained on {saved.base}, and `base_model` is {config.model.base_model}.",
                              "lora_model_dir", expected="the same base; if it is, under another name: # tunelab: ignore TL417",
                              fix=f"base_model: {saved.base}")
    if saved.changed_base:
        yield context.finding(f"The adapter starts from {saved.changed_base} and was saved unconverted: it belongs to a changed base.",
                              "lora_model_dir", expected="one saved with peft's path_initial_model_for_weight_conversion, or by tunelab")


@rule("TL418", Severity.WARNING, title="Settings that the adapter in lora_model_dir overrules",
      why="An adapter to go on from has its rank, scale and layers; what the config says about them is not looked at.",
      bad="adapter: lora\nlora_model_dir: ./first-run\nlora_r: 64", good="adapter: lora\nlora_model_dir: ./first-run")
def overruled(context: Context) -> Iterator[Finding]:
    """lora_model_dir beside settings that make a new adapter."""
    config = context.config
    if config.adapter.adapter is None or config.adapter.lora_model_dir is None:
        return
    saved = adapter_to_go_on_from(config)
    same = {"lora_r": saved.rank, "lora_alpha": saved.alpha} if saved is not None else {}
    keys = ("lora_r", "lora_alpha", "lora_target_modules", "lora_rank_pattern", "lora_alpha_pattern", "lora_target_parameters",
            "lora_modules_to_save", "peft_use_dora", "peft_use_rslora", "peft_init_lora_weights", "peft_layers_to_transform",
            "peft_trainable_token_indices", "peft_layer_replication", "peft.loftq_config")
    written = [key for key in keys if context.raw.truthy(key) and same.get(key) != context.raw.get(key)]
    if written:
        verb = "has" if len(written) == 1 else "have"
        yield context.finding(f"{listed(written)} {verb} no effect: the adapter in `lora_model_dir` keeps what it was made with.", written[0],
                              fix="\n".join(f"delete `{key}`" for key in written if "." not in key))


@rule("TL423", Severity.ERROR, title="Layers that the model does not have",
      why="PEFT passes over a number that is too high without a word; when all are, nothing is trained.",
      bad=(_LORA + "peft_layers_to_transform: [-1]", _LORA + "peft_layer_replication: [[4, 2]]"), good=_LORA + "peft_layers_to_transform: [0, 1]")
def layers_beyond(context: Context) -> Iterator[Finding]:
    """peft_layers_to_transform or peft_layer_replication names a layer that is not there; targets as one pattern go with neither."""
    settings, shapes = context.config.adapter, context.shapes
    if settings.adapter is None:
        return
    last = shapes.layers - 1 if shapes is not None else None
    for index, number in enumerate(settings.peft_layers_to_transform or ()):
        if number < 0 or (last is not None and number > last):
            yield context.finding(f"Layer {number} is not in this model; its layers are 0 to {last}." if last is not None else
                                  f"There is no layer {number}; they count from 0.", "peft_layers_to_transform", index)
    for index, (start, end) in enumerate(settings.peft_layer_replication or ()):
        if not 0 <= start < end or (last is not None and end > last + 1):
            yield context.finding(f"[{start}, {end}] is no range of layers{f'; the model has {last + 1}' if last is not None else ''}.",
                                  "peft_layer_replication", index, expected="[from, to) within the model's layers")
    named = settings.lora_target_modules
    if isinstance(named, str) and named.lower() != "all-linear" and settings.peft_layers_to_transform:
        yield context.finding("`peft_layers_to_transform` needs a list of names; `lora_target_modules` is one pattern, which names layers itself.",
                              "peft_layers_to_transform", expected="lora_target_modules: [q_proj, v_proj]", fix="delete `peft_layers_to_transform`")


@rule("TL425", Severity.ERROR, title="A rank that a layer cannot start with",
      why="PiSSA and OLoRA start from a layer's main directions, and a matrix has no more of them than its smaller side; orthogonal starts "
          "from pairs of directions.",
      bad="adapter: lora\nlora_r: 3\nlora_alpha: 32\nlora_target_linear: true\npeft_init_lora_weights: orthogonal",
      good=_LORA + "peft_init_lora_weights: orthogonal")
def rank_too_high(context: Context) -> Iterator[Finding]:
    """pissa, olora or loftq with a rank above a layer's smaller side; orthogonal with an odd rank."""
    config, shapes = context.config, context.shapes
    start = initialisation(config)
    if config.adapter.adapter is None or config.adapter.lora_model_dir is not None:
        return
    if start == "orthogonal" and (config.adapter.lora_r or 8) % 2:
        yield context.finding(f"`peft_init_lora_weights: orthogonal` needs an even rank, and `lora_r` is {config.adapter.lora_r}.", "lora_r",
                              expected="an even number", fix=f"lora_r: {(config.adapter.lora_r or 8) + 1}")
    if not start.startswith(("pissa", "olora", "loftq")) or shapes is None:
        return
    for layer in target_layers(config, shapes):
        if layer.name.rpartition(".")[2] in EMBEDDING_NAMES:
            yield context.finding(f"`peft_init_lora_weights: {start}` starts linear layers only, and {layer.name} is an embedding.",
                                  "lora_target_modules", expected="lora_modules_to_save for the embedding")
        elif rank_of(config, layer) > min(layer.in_features, layer.out_features):
            yield context.finding(f"Rank {rank_of(config, layer)} is above what {layer.name} has: {layer.out_features} x {layer.in_features}.",
                                  "lora_r", expected=f"at most {min(layer.in_features, layer.out_features)}")
            return


@rule("TL426", Severity.ERROR, title="Tokens to train that the vocabulary does not have",
      why="PEFT takes row numbers as they are: a number beyond the table stops the run in its first step.",
      bad=_LORA + "peft_trainable_token_indices: [-1]", good=_LORA + "peft_trainable_token_indices: [128]")
def tokens_beyond(context: Context) -> Iterator[Finding]:
    """A token id in peft_trainable_token_indices below 0, or beyond vocabulary and added tokens."""
    chosen, shapes = context.config.adapter.peft_trainable_token_indices, context.shapes
    if context.config.adapter.adapter is None or not chosen:
        return
    model = context.config.model
    special = model.special_tokens.model_dump() if model.special_tokens is not None else {}
    new = len(model.tokens or ()) + sum(len(one) if isinstance(one, list) else 1 for one in special.values() if one)
    end = shapes.vocab_size + new if shapes is not None else None
    for ids in chosen.values() if isinstance(chosen, dict) else (chosen,):
        wrong = [one for one in ids if one < 0 or (end is not None and one >= end)]
        if wrong:
            yield context.finding(f"There is no token {wrong[0]}{f'; the vocabulary has {end:,}' if end is not None else ''}.",
                                  "peft_trainable_token_indices", expected=f"0 to {end - 1}" if end is not None else "0 and above")


@rule("TL427", Severity.BLOCKED, title="One adapter for embedding and head",
      why="With peft_ensure_weight_tying, PEFT gives the head matrices that only look at the embedding's; an optimizer then keeps two states for "
          "one set of numbers and steps it twice.",
      bad="adapter: lora\nlora_r: 16\nlora_alpha: 32\nlora_target_modules: [q_proj, embed_tokens]\npeft_ensure_weight_tying: true",
      good="adapter: lora\nlora_r: 16\nlora_alpha: 32\nlora_target_modules: [q_proj]\nlora_modules_to_save: [embed_tokens]\n"
           "peft_ensure_weight_tying: true")
def tied_matrices(context: Context) -> Iterator[Finding]:
    """peft_ensure_weight_tying with embedding or head among lora_target_modules."""
    settings = context.config.adapter
    named = settings.lora_target_modules
    ends = [one for one in named if one in (*EMBEDDING_NAMES, "lm_head", "embed_out")] if isinstance(named, list) else []
    if settings.adapter is not None and settings.peft_ensure_weight_tying and ends:
        yield context.finding(f"`peft_ensure_weight_tying` is not run with LoRA on {listed(ends)}.", "peft_ensure_weight_tying",
                              expected="lora_modules_to_save: [embed_tokens], which is shared with the head", fix="delete `peft_ensure_weight_tying`")
