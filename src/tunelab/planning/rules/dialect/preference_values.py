"""Values of the preference methods that trl refuses once the model is loaded, and settings that the chosen method does not read (TL982-TL989)."""

from __future__ import annotations

from collections.abc import Iterator

from tunelab.config.finding import Finding, Severity
from tunelab.planning.preference import beta_of
from tunelab.planning.rules.registry import Context, listed, rule

_SMOOTHED = frozenset({"robust", "exo_pair", "aot", "aot_unpaired"})
_SORTED = frozenset({"aot", "aot_unpaired"})
_READ_BY = {
    "dpo_label_smoothing": ("dpo",), "dpo_ld_alpha": ("dpo", "ipo"), "dpo_use_weighting": ("dpo", "ipo"),
    "precompute_ref_log_probs": ("dpo", "ipo", "kto"), "kto_desirable_weight": ("kto",), "kto_undesirable_weight": ("kto",), "simpo_gamma": ("simpo",),
    "cpo_alpha": ("simpo",), "center_rewards_coefficient": ("reward",), "rl_beta": ("dpo", "ipo", "kto", "orpo", "simpo"),
    "orpo_alpha": ("dpo", "ipo", "kto", "orpo", "simpo"), "num_labels": ("reward",)}
_OTHER_METHODS = ("grpo", "gdpo", "ebft")


@rule("TL982", Severity.ERROR, title="SimPO without its margin",
      why="The loss needs the margin by which the better answer has to win; Axolotl hands an empty value on, and the first step fails.",
      bad="rl: simpo\nrl_beta: 2.0", good="rl: simpo\nrl_beta: 2.0\nsimpo_gamma: 1.0")
def no_margin(context: Context) -> Iterator[Finding]:
    """rl: simpo without simpo_gamma."""
    settings = context.config.preference
    if settings.rl == "simpo" and settings.simpo_gamma is None and not context.raw.written("simpo_gamma"):
        half = beta_of(settings) / 2
        yield context.finding("`rl: simpo` needs `simpo_gamma`, the margin by which the better answer has to win.", "rl",
                              expected="simpo_gamma: about half of rl_beta", fix=f"simpo_gamma: {half:g}")


@rule("TL983", Severity.ERROR, title="KTO with one row at a time",
      why="KTO measures how far the model has moved by giving each prompt the answer of its neighbour in the micro-batch; alone, a row is its own "
          "neighbour and the measure is the reward itself. trl's trainer does not start.",
      bad="rl: kto\nremove_unused_columns: false\nmicro_batch_size: 1", good="rl: kto\nremove_unused_columns: false\nmicro_batch_size: 2")
def no_neighbour(context: Context) -> Iterator[Finding]:
    """rl: kto and a micro_batch_size of 1."""
    if context.config.preference.rl == "kto" and context.config.optimisation.micro_batch_size == 1:
        place = "micro_batch_size" if context.raw.written("micro_batch_size") else "rl"
        yield context.finding("`rl: kto` needs at least two rows in a micro-batch.", place, expected="2 or more", fix="micro_batch_size: 2")


@rule("TL984", Severity.ERROR, title="A DPO loss with a smoothing that it cannot take",
      why="exo_pair takes the logarithm of the smoothing, and robust divides by what is left of a half; weighting by likelihood belongs to a pair, and "
          "the losses that sort pairs lose it.",
      bad=("rl: dpo\ndpo_loss_type: [exo_pair]", "rl: dpo\ndpo_loss_type: [robust]\ndpo_label_smoothing: 0.5",
           "rl: dpo\ndpo_loss_type: [aot]\ndpo_use_weighting: true"),
      good="rl: dpo\ndpo_loss_type: [exo_pair]\ndpo_label_smoothing: 0.001")
def impossible_smoothing(context: Context) -> Iterator[Finding]:
    """exo_pair without smoothing, robust with a half or more, aot with weighting."""
    settings = context.config.preference
    losses, smoothing = settings.dpo_loss_type or [], settings.dpo_label_smoothing or 0.0
    if settings.rl != "dpo":
        return
    if "exo_pair" in losses and smoothing == 0:
        yield context.finding("The loss `exo_pair` needs `dpo_label_smoothing` above 0.", "dpo_loss_type", expected="dpo_label_smoothing: 0.001",
                              fix="dpo_label_smoothing: 0.001")
    if "robust" in losses and smoothing >= 0.5:
        yield context.finding(f"The loss `robust` takes a `dpo_label_smoothing` below 0.5; {smoothing:g} is written.", "dpo_label_smoothing",
                              expected="below 0.5", fix="dpo_label_smoothing: 0.1")
    if settings.dpo_use_weighting and _SORTED & {*losses}:
        yield context.finding("`dpo_use_weighting` does not work with the losses aot and aot_unpaired.", "dpo_use_weighting", expected="false",
                              fix="delete `dpo_use_weighting`")


@rule("TL985", Severity.WARNING, title="A label smoothing that no loss reads",
      why="Only robust, exo_pair and the aot losses smooth labels; with others, the default among them, the value does nothing, in Axolotl neither.",
      bad="rl: dpo\ndpo_label_smoothing: 0.1", good="rl: dpo\ndpo_loss_type: [robust]\ndpo_label_smoothing: 0.1")
def unread_smoothing(context: Context) -> Iterator[Finding]:
    """dpo_label_smoothing without a loss that reads it."""
    settings = context.config.preference
    losses = [str(name) for name in settings.dpo_loss_type or ("sigmoid",)]
    if settings.rl == "dpo" and settings.dpo_label_smoothing and not _SMOOTHED & {*losses}:
        yield context.finding(f"`dpo_label_smoothing` does nothing with {listed(losses)}.", "dpo_label_smoothing",
                              expected="a loss that reads it: dpo_loss_type: [robust]", fix="delete `dpo_label_smoothing`")


@rule("TL986", Severity.WARNING, title="A preference setting that this run does not read",
      why="Each method has its own settings; Axolotl drops those of the others without a word.",
      bad=("rl: dpo\nkto_desirable_weight: 1.3", "rl: orpo\nsimpo_gamma: 1.0", "cpo_alpha: 0.5"), good="rl: simpo\nsimpo_gamma: 1.0\ncpo_alpha: 0.5")
def of_another_method(context: Context) -> Iterator[Finding]:
    """A setting of a preference method that is not the one of this file."""
    method = context.config.preference.method
    if context.raw.get("rl") in _OTHER_METHODS:
        return
    said = "`reward_model: true`" if method == "reward" else f"`rl: {method}`" if method else "ordinary fine-tuning"
    for key, methods in _READ_BY.items():
        if method not in methods and context.raw.get(key) not in (None, False):
            wanted = " or ".join("reward_model" if one == "reward" else f"rl: {one}" for one in methods)
            yield context.finding(f"`{key}` is not read by {said}.", key, expected=wanted, fix=f"delete `{key}`")


@rule("TL987", Severity.NOTE, title="Dropout is off for preferences",
      why="An answer is compared with another one, or with what the reference says of it; with dropout chance would be compared too. trl switches it off "
          "as well, without a word.",
      bad="rl: dpo\nadapter: lora\nlora_r: 8\nlora_dropout: 0.1", good="rl: dpo\nadapter: lora\nlora_r: 8")
def no_dropout(context: Context) -> Iterator[Finding]:
    """lora_dropout with a preference method."""
    if context.config.preference.method is not None and context.config.adapter.lora_dropout:
        yield context.finding("`lora_dropout` is 0 while preferences are learnt.", "lora_dropout", fix="delete `lora_dropout`")


@rule("TL988", Severity.ERROR, title="A reward model with packed rows",
      why="A score is read at the end of each text, and a packed row has only one end for Axolotl's trainer.",
      bad="reward_model: true\nsample_packing: true", good="reward_model: true")
def packed_scores(context: Context) -> Iterator[Finding]:
    """reward_model with sample_packing."""
    if context.config.preference.method == "reward" and context.raw.truthy("sample_packing"):
        yield context.finding("`sample_packing` does not work with `reward_model: true`.", "sample_packing", expected="false",
                              fix="delete `sample_packing`")


@rule("TL989", Severity.BLOCKED, title="A setting of ordinary fine-tuning in a preference run",
      why="Preference methods and reward models have losses of their own, which neither weight single tokens nor put noise on the embeddings in this "
          "version.",
      bad=("rl: dpo\nneftune_noise_alpha: 5", "reward_model: true\nuse_dft: true"), good="rl: dpo")
def of_texts_alone(context: Context) -> Iterator[Finding]:
    """NEFTune or weights of tokens with `rl` or reward_model."""
    if context.config.preference.method is None:
        return
    for name in ("neftune_noise_alpha", "use_dft", "use_eaft"):
        if context.config.value(name):
            yield context.finding(f"`{name}` is read in ordinary fine-tuning only.", name, fix=f"delete `{name}`")
