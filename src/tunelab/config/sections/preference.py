"""Learning from comparisons: which of two answers is better (DPO, IPO, ORPO, SimPO, reward models), or whether one answer is good (KTO)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tunelab.config.setting import Section, Setting, Support

DpoLoss = Literal["sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired", "apo_zero", "apo_down",
                  "discopop", "sft", "sigmoid_norm"]


class PreferenceSection(Section):
    """The method and its settings. Without `rl` and `reward_model` it is ordinary fine-tuning, and nothing here is read."""

    rl: Annotated[Literal["dpo", "ipo", "kto", "orpo", "simpo"] | None, Setting(
        "Learn from preferences instead of from texts: dpo, ipo, orpo and simpo from pairs of a better and a worse answer, kto from single answers "
        "marked good or bad. Grpo, gdpo and ebft, which sample answers while they train, are not run by this version.",
        "Memory: both answers of a pair go through the model together. Speed: dpo, ipo and kto also run the reference model (with an adapter: the base "
        "with the adapter off; without: once before step 1); orpo and simpo have none. Sample packing is refused, dropout is off.",
        "dpo for pairs, kto for thumbs up or down; unset: ordinary fine-tuning. ipo is the older spelling of dpo_loss_type: [ipo]",
        ("rl_beta", "dpo_loss_type", "sample_packing", "remove_unused_columns", "datasets[].type"), "rl: dpo")] = None
    rl_beta: Annotated[float | None, Field(gt=0), Setting(
        "dpo, ipo, kto: how strongly the model is tied to the reference. orpo: the weight of the odds-ratio term. simpo: the scale of the scores.",
        "Quality: low lets the model move far and drift; high keeps it near the start.",
        "0.1 (if unset); 2.0 to 2.5 for simpo", ("rl", "orpo_alpha", "simpo_gamma"), "rl: dpo\nrl_beta: 0.1")] = None
    dpo_loss_type: Annotated[list[DpoLoss] | None, Field(min_length=1), Setting(
        "One or more DPO losses; several are added with dpo_loss_weights. sigmoid is DPO as published (arXiv 2305.18290); ipo overfits less to pairs "
        "that look certain, robust expects wrong labels, sft adds cross entropy on the better answer.",
        "Quality: decides what a margin is worth. The losses of different types cannot be compared.",
        "[sigmoid] (if unset); [sigmoid, sft] to keep better answers likely", ("dpo_loss_weights", "rl_beta", "dpo_label_smoothing", "rl"),
        "rl: dpo\ndpo_loss_type: [sigmoid, sft]\ndpo_loss_weights: [1.0, 0.2]")] = None
    dpo_loss_weights: Annotated[list[float] | None, Field(min_length=1), Setting(
        "A factor for each entry of dpo_loss_type, in its order.",
        "Quality: balances the losses. A single weight only scales the gradient, which Adam mostly undoes.", "1.0 each (if unset)", ("dpo_loss_type",),
        "rl: dpo\ndpo_loss_type: [sigmoid, sft]\ndpo_loss_weights: [1.0, 0.2]")] = None
    dpo_label_smoothing: Annotated[float | None, Field(ge=0, lt=1), Setting(
        "The share of pairs that are assumed to be the wrong way round. The losses robust, exo_pair, aot and aot_unpaired read it; the others do not.",
        "Quality: less trust in noisy preferences.", "0.1 for robust, 0.001 for exo_pair", ("dpo_loss_type",),
        "rl: dpo\ndpo_loss_type: [robust]\ndpo_label_smoothing: 0.1")] = None
    dpo_ld_alpha: Annotated[float | None, Field(ge=0, le=1), Setting(
        "The weight of the tokens by which one answer is longer than the other (LD-DPO, arXiv 2409.06411): 1 counts them fully, 0 not at all.",
        "Quality: below 1 there is less reason to make answers longer.", "unset (1); 0.3 to 0.7", ("dpo_loss_type", "rl"),
        "rl: dpo\ndpo_ld_alpha: 0.5")] = None
    dpo_use_weighting: Annotated[bool | None, Setting(
        "Weight each pair by how likely the model itself finds both answers (WPO, arXiv 2406.11827).",
        "Quality: pairs that the model would never write count less.", "unset", ("dpo_loss_type",), "rl: dpo\ndpo_use_weighting: true")] = None
    precompute_ref_log_probs: Annotated[bool | None, Setting(
        "Run the reference model over all data once before step 1 instead of in every step. For dpo, ipo and kto.",
        "Speed: a wait at the start, then no reference pass; it pays for several epochs. The result is the same. Without an adapter it is always done: "
        "the alternative is a second copy of the model in memory.", "unset; true for several epochs", ("rl", "num_epochs", "adapter"),
        "rl: dpo\nprecompute_ref_log_probs: true")] = None
    dpo_padding_free: Annotated[bool | None, Setting(
        "Lay the answers of a batch end to end instead of filling them up to the longest.", "tunelab always does.", "unset",
        support=Support.UNDERSTOOD)] = None
    kto_desirable_weight: Annotated[float | None, Field(ge=0), Setting(
        "kto: the factor on the loss of answers marked good. 0 counts as unset.",
        "Quality: raise it where good answers are rarer; the paper keeps weight x count of the two sides between 1:1 and 4:3.",
        "1.0 (if unset)", ("kto_undesirable_weight", "rl"), "rl: kto\nremove_unused_columns: false\nkto_desirable_weight: 1.33")] = None
    kto_undesirable_weight: Annotated[float | None, Field(ge=0), Setting(
        "kto: the factor on the loss of answers marked bad. 0 counts as unset.", "Quality: raise it where bad answers are the rarer kind.",
        "1.0 (if unset)", ("kto_desirable_weight", "rl"), "rl: kto\nremove_unused_columns: false\nkto_undesirable_weight: 1.0")] = None
    orpo_alpha: Annotated[float | None, Field(gt=0), Setting(
        "The weight of the odds-ratio term beside the ordinary loss on the better answer (arXiv 2403.07691). rl_beta wins where both are written; "
        "Axolotl reads it for every other method too.",
        "Quality: higher pushes better and worse answers further apart, lower is closer to ordinary fine-tuning.", "0.1 (if unset)", ("rl", "rl_beta"),
        "rl: orpo\norpo_alpha: 0.1")] = None
    simpo_gamma: Annotated[float | None, Setting(
        "simpo: the margin by which the better answer's score per token has to win (arXiv 2405.14734). It has to be written.",
        "Quality: larger separates more, and may cost fluency. What counts is its ratio to rl_beta.", "0.5 to 1.5; half of rl_beta to start with",
        ("rl_beta", "cpo_alpha", "rl"), "rl: simpo\nrl_beta: 2.0\nsimpo_gamma: 1.0\ncpo_alpha: 0.0")] = None
    cpo_alpha: Annotated[float | None, Field(ge=0), Setting(
        "simpo: the weight of cross entropy on the better answer (from CPO, arXiv 2401.08417).",
        "Quality: above 0 keeps the better text likely and the run steady.", "1.0 (if unset); 0.0 for SimPO as published", ("simpo_gamma", "rl"),
        "rl: simpo\nrl_beta: 2.0\nsimpo_gamma: 1.0\ncpo_alpha: 0.0")] = None
    reward_model: Annotated[bool | None, Setting(
        "Train a model that scores answers, from pairs: it gets a head with one number in place of the vocabulary (Bradley-Terry).",
        "Memory: no logits, but two texts a row. Quality: the result ranks answers and does not write any.",
        "unset; true with type: bradley_terry.chat_template", ("center_rewards_coefficient", "datasets[].type"), "reward_model: true")] = None
    num_labels: Annotated[Literal[1] | None, Setting(
        "How many numbers the head of a reward model gives: one.", "None.", "leave it out", ("reward_model",), "num_labels: 1",
        Support.UNDERSTOOD)] = None
    center_rewards_coefficient: Annotated[float | None, Setting(
        "reward_model: adds this times the square of the sum of a pair's rewards, which keeps the scores around zero (arXiv 2312.09244).",
        "Quality: scores that can be compared across prompts, at hardly any cost in ranking.", "unset; 0.01", ("reward_model",),
        "reward_model: true\ncenter_rewards_coefficient: 0.01")] = None

    @property
    def method(self) -> Literal["dpo", "ipo", "kto", "orpo", "simpo", "reward"] | None:
        """What is trained from comparisons; None for ordinary fine-tuning. `reward_model` counts where no `rl` is written."""
        return self.rl or ("reward" if self.reward_model else None)
