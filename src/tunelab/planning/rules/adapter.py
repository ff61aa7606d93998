"""Rules on what is trained: LoRA and its targets (TL4xx). Its forms: `adapter_forms`; packed base weights: `packed`; freezing: `freezing`."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from tunelab.config.finding import Finding, Severity
from tunelab.facts.shapes import ModelShapes
from tunelab.planning.lora import DEFAULT_ALPHA, DEFAULT_R, default_targets, is_pattern, matches_any, target_layers, unmatched_saved
from tunelab.planning.rules.registry import Context, listed, rule

_LORA_KEYS = ("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "lora_target_linear", "lora_modules_to_save",
              "lora_rank_pattern", "lora_alpha_pattern", "lora_fan_in_fan_out", "lora_model_dir")


@rule("TL401", Severity.WARNING, title="LoRA settings without an adapter",
      why="Without adapter: lora everything is trained: many times more memory, and a full model instead of a small adapter.",
      bad="lora_r: 16\nlora_alpha: 32", good="adapter: lora\nlora_r: 16\nlora_alpha: 32\nlora_target_linear: true")
def no_adapter(context: Context) -> Iterator[Finding]:
    """lora_* keys and no adapter."""
    written = [key for key in _LORA_KEYS if context.written(key)]
    if not context.raw.truthy("adapter") and written:
        verb = "has" if len(written) == 1 else "have"
        yield context.finding(f"{listed(written)} {verb} no effect: `adapter` is not set, so every weight is trained.", written[0],
                              expected="adapter: lora", fix="adapter: lora")


@rule("TL402", Severity.WARNING, title="lora_r or lora_alpha is not written",
      why="The library's default of 8 is used, which may not be what was meant.",
      bad="adapter: lora\nlora_target_linear: true", good="adapter: lora\nlora_r: 16\nlora_alpha: 32\nlora_target_linear: true")
def no_rank(context: Context) -> Iterator[Finding]:
    """An adapter without its rank or scale."""
    settings = context.config.adapter
    if settings.adapter is None or settings.lora_model_dir is not None:
        return
    defaults = {"lora_r": (settings.lora_r, DEFAULT_R), "lora_alpha": (settings.lora_alpha, int(DEFAULT_ALPHA))}
    missing = [key for key, (value, _) in defaults.items() if value is None]
    if missing:
        used = " and ".join(f"{key}: {defaults[key][1]}" for key in missing)
        yield context.finding(f"{listed(missing)} {'is' if len(missing) == 1 else 'are'} not written; PEFT's default is used: {used}.",
                              "adapter",
                              fix="\n".join(f"{key}: {defaults[key][1]}" for key in missing))


@rule("TL403", Severity.NOTE, title="No layers are named for LoRA",
      why="PEFT then adapts its default for the architecture, usually q_proj and v_proj; all linear layers usually learn better.",
      bad="adapter: lora\nlora_r: 16\nlora_alpha: 32", good="adapter: lora\nlora_r: 16\nlora_alpha: 32\nlora_target_linear: true")
def no_target(context: Context) -> Iterator[Finding]:
    """An adapter without lora_target_modules and lora_target_linear."""
    settings = context.config.adapter
    if settings.adapter is None or settings.lora_target_modules or settings.lora_target_linear or settings.lora_model_dir is not None:
        return
    names = default_targets(context.shapes) if context.shapes is not None else ("q_proj", "v_proj")
    used = listed(names) if names else "all linear layers"
    yield context.finding(f"Neither `lora_target_modules` nor `lora_target_linear` is written; the default for this architecture "
                          f"is used: {used}.",
                          "adapter", fix="lora_target_linear: true")


@rule("TL404", Severity.ERROR, title="LoRA targets that match nothing",
      why="No layer gets LoRA matrices, so nothing would be trained.",
      bad="adapter: lora\nlora_r: 16\nlora_alpha: 32\nlora_target_modules: [c_attn]",
      good="adapter: lora\nlora_r: 16\nlora_alpha: 32\nlora_target_modules: [q_proj, v_proj]")
def nothing_targeted(context: Context) -> Iterator[Finding]:
    """lora_target_modules fits no layer of this model."""
    shapes, settings = context.shapes, context.config.adapter
    if shapes is None or settings.adapter is None or settings.lora_target_modules is None or not _patterns_ok(context):
        return
    if settings.peft_layers_to_transform and not any(0 <= one < shapes.layers for one in settings.peft_layers_to_transform):
        return  # TL423 says it
    if not target_layers(context.config, shapes):
        yield context.finding("`lora_target_modules` matches no layer of this model, so nothing would be trained.", "lora_target_modules",
                              expected=f"some of {', '.join(_layer_names(shapes))}", fix=_target_fix(settings.lora_target_modules, shapes))


@rule("TL405", Severity.WARNING, title="A LoRA target that matches nothing",
      why="The name is passed over without a word; if it is misspelt, those layers are not trained.",
      bad="adapter: lora\nlora_r: 16\nlora_alpha: 32\nlora_target_modules: [q_proj, v_projj]",
      good="adapter: lora\nlora_r: 16\nlora_alpha: 32\nlora_target_modules: [q_proj, v_proj]")
def target_unmatched(context: Context) -> Iterator[Finding]:
    """Some names of lora_target_modules fit no layer."""
    shapes, named = context.shapes, context.config.adapter.lora_target_modules
    if shapes is None or context.config.adapter.adapter is None or not isinstance(named, list):
        return
    unmatched = [index for index, name in enumerate(named) if not matches_any(name, shapes)]
    for index in unmatched if len(unmatched) < len(named) else ():
        close = difflib.get_close_matches(named[index], _layer_names(shapes), n=1)
        hint = f" Did you mean `{close[0]}`?" if close else ""
        kept = list(dict.fromkeys((close[0] if close else "") if at == index else name for at, name in enumerate(named)))
        yield context.finding(f"`{named[index]}` in `lora_target_modules` matches no layer of this model.{hint}",
                              "lora_target_modules", index,
                              expected=f"one of {', '.join(_layer_names(shapes))}",
                              fix=f"lora_target_modules: [{', '.join(name for name in kept if name)}]")


@rule("TL406", Severity.ERROR, title="A pattern that is not a regular expression",
      why="lora_target_modules as one text, and the names in lora_rank_pattern and lora_alpha_pattern, are regular expressions.",
      bad="adapter: lora\nlora_r: 16\nlora_alpha: 32\nlora_target_modules: '*.q_proj'",
      good="adapter: lora\nlora_r: 16\nlora_alpha: 32\nlora_target_modules: '.*q_proj'")
def broken_pattern(context: Context) -> Iterator[Finding]:
    """A pattern cannot be compiled."""
    for path, text in _patterns(context):
        if not is_pattern(text):
            guess = f".{text}" if text.startswith("*") and is_pattern(f".{text}") else ""
            yield context.finding(f"`{text}` is not a regular expression.", *path, expected="a pattern such as .*(q_proj|v_proj)",
                                  fix=f"{path[0]}: '{guess}'" if guess and len(path) == 1 else "")


@rule("TL410", Severity.NOTE, title="The folder's name says QLoRA, the settings say LoRA",
      why="QLoRA holds the base weights in 4 bits; plain LoRA holds them in 16 or 32 and needs about four times the memory for them.",
      bad="adapter: lora\nlora_r: 16\nlora_alpha: 32\noutput_dir: ./qlora-out",
      good="adapter: lora\nlora_r: 16\nlora_alpha: 32\noutput_dir: ./lora-out")
def misnamed(context: Context) -> Iterator[Finding]:
    """output_dir is called qlora and the adapter is plain LoRA."""
    config = context.config
    if config.adapter.adapter == "lora" and not config.model.load_in_4bit and "qlora" in config.run.output_dir.lower():
        yield context.finding("The folder's name says QLoRA, but this is plain LoRA: base weights stay in 16 or 32 bits, about "
                              "four times the memory "
                              "of QLoRA's 4 bits.", "output_dir", fix=f"output_dir: {_renamed(config.run.output_dir)}")


@rule("TL411", Severity.NOTE, title="lora_alpha is far from lora_r",
      why="The update is multiplied by lora_alpha / lora_r; far from 1-2 it acts like another learning rate.",
      bad="adapter: lora\nlora_r: 8\nlora_alpha: 128", good="adapter: lora\nlora_r: 8\nlora_alpha: 16")
def odd_scale(context: Context) -> Iterator[Finding]:
    """lora_alpha / lora_r is above 4 or below a quarter."""
    settings = context.config.adapter
    if settings.adapter is None or settings.lora_r is None or settings.lora_alpha is None:
        return
    scale = settings.lora_alpha / settings.lora_r
    if scale > 4 or scale < 0.25:
        effect = f"as if learning_rate were about {scale:g} times higher" if scale > 1 else "so the adapter learns slowly"
        yield context.finding(f"`lora_alpha` / `lora_r` is {settings.lora_alpha:g} / {settings.lora_r} = {scale:.3g}: the LoRA "
                              "update is multiplied by "
                              f"that, {effect}.", "lora_alpha", expected="1 to 2 times lora_r", fix=f"lora_alpha: {2 * settings.lora_r}")


@rule("TL412", Severity.WARNING, title="A module to save that the model does not have",
      why="It is passed over without a word, and is then not trained.",
      bad="adapter: lora\nlora_r: 16\nlora_alpha: 32\nlora_modules_to_save: [embed_token]",
      good="adapter: lora\nlora_r: 16\nlora_alpha: 32\nlora_modules_to_save: [embed_tokens]")
def saved_unmatched(context: Context) -> Iterator[Finding]:
    """A name of lora_modules_to_save fits no module."""
    if context.shapes is None or context.config.adapter.adapter is None:
        return
    for name in unmatched_saved(context.config, context.shapes):
        yield context.finding(f"`{name}` in `lora_modules_to_save` is no module of this model.", "lora_modules_to_save",
                              expected="such as embed_tokens, lm_head")


@rule("TL413", Severity.NOTE, title="lora_target_modules beside lora_target_linear",
      why="lora_target_linear: true takes every linear layer; names in lora_target_modules are then only added to them, never a "
          "choice among them.",
      bad="adapter: lora\nlora_r: 16\nlora_alpha: 32\nlora_target_linear: true\nlora_target_modules: [q_proj]",
      good="adapter: lora\nlora_r: 16\nlora_alpha: 32\nlora_target_modules: [q_proj]")
def both_targets(context: Context) -> Iterator[Finding]:
    """Both ways to say which layers are adapted."""
    settings = context.config.adapter
    if settings.adapter is not None and settings.lora_target_linear and settings.lora_target_modules:
        yield context.finding("`lora_target_linear: true` takes every linear layer, so the names in `lora_target_modules` choose nothing.",
                              "lora_target_modules", fix="delete `lora_target_linear`")


def _patterns(context: Context) -> Iterator[tuple[tuple[str | int, ...], str]]:
    settings = context.config.adapter
    if isinstance(settings.lora_target_modules, str):
        yield ("lora_target_modules",), settings.lora_target_modules
    for key in ("lora_rank_pattern", "lora_alpha_pattern"):
        yield from (((key, pattern), pattern) for pattern in getattr(settings, key) or ())


def _patterns_ok(context: Context) -> bool:
    return all(is_pattern(text) for _, text in _patterns(context))


def _layer_names(shapes: ModelShapes) -> list[str]:
    """The last parts of the linear layers' names: q_proj, k_proj, ..."""
    return list(dict.fromkeys(layer.name.rpartition(".")[2] for layer in shapes.linear_layers))


def _target_fix(named: str | list[str], shapes: ModelShapes) -> str:
    """The names that come closest; every linear layer when none does."""
    names = _layer_names(shapes)
    close = [match for name in ([named] if isinstance(named, str) else named) for match in difflib.get_close_matches(name, names, n=1)]
    return f"lora_target_modules: [{', '.join(dict.fromkeys(close))}]" if close else "lora_target_modules: [q_proj, v_proj]" \
        if "q_proj" in names else "delete `lora_target_modules`\nlora_target_linear: true"


def _renamed(folder: str) -> str:
    at = folder.lower().rindex("qlora")
    return folder[:at] + folder[at + 1 :]


@rule("TL414", Severity.NOTE, title="Axolotl switches on its fused LoRA kernels",
      why="With plain LoRA, Axolotl 0.21.0 sets lora_mlp_kernel, lora_qkv_kernel, lora_o_kernel and lora_embedding_kernel to true and warns that "
          "they should be written out. They compute the same numbers faster; tunelab has none.",
      bad="adapter: lora\nlora_r: 16\nlora_alpha: 32\nlora_target_linear: true",
      good="adapter: lora\nlora_r: 16\nlora_alpha: 32\nlora_target_linear: true\nlora_mlp_kernel: false")
def fused_kernels(context: Context) -> Iterator[Finding]:
    """lora or qlora with none of the lora_*_kernel keys, where nothing stands against them."""
    raw = context.raw
    kernels = ("lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel", "lora_embedding_kernel")
    against = raw.first("rl", "nvfp4_merge_aware", "trust_remote_code") or (raw.text("adapter") == "lora" and raw.truthy("load_in_8bit"))
    if raw.text("adapter") in ("lora", "qlora") and not any(raw.written(key) for key in kernels) and not against:
        yield context.finding(f"Axolotl sets {listed(kernels)} to true here; tunelab has no such kernels and computes the same.", "adapter")
