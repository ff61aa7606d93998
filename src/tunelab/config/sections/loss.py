"""What is minimised in ordinary fine-tuning, and the noise that is put on its input."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tunelab.config.setting import Section, Setting


class LossSection(Section):
    """Weights of tokens, noise on embeddings."""

    use_dft: Annotated[bool | None, Setting(
        "Multiplies each token's loss by the probability that the model gives the token, without a gradient through the factor (dynamic fine-tuning, "
        "arXiv 2508.05629). Very unlikely tokens then no longer cause huge updates.",
        "Quality: often generalises better than plain training on reasoning data; can be worse when the facts are new to the model. Loss values are "
        "much lower, also in evaluation.", "unset", ("use_eaft", "cut_cross_entropy", "chunked_cross_entropy", "context_parallel_size"),
        "use_dft: true")] = None
    use_eaft: Annotated[bool | None, Setting(
        "Weights each token's loss by how uncertain the model is there: the entropy of its likeliest tokens, without a gradient through it.",
        "Quality: less forgetting on data that contradicts the model, since confident tokens count little. Loss values change, also in evaluation.",
        "unset", ("eaft_alpha", "eaft_k", "use_dft", "cut_cross_entropy", "liger_fused_linear_cross_entropy"), "use_eaft: true\neaft_alpha: 1.0")] = None
    eaft_alpha: Annotated[float, Setting(
        "Power to which the entropy is raised before it weights the token.",
        "Quality: 0 gives plain cross entropy; above 1 nearly all learning sits in the uncertain tokens. The loss grows or shrinks with it, so the "
        "learning rate may need a change.", "1.0", ("use_eaft", "eaft_k", "learning_rate"), "eaft_alpha: 0.5")] = 1.0
    eaft_k: Annotated[int, Field(gt=0), Setting(
        "How many of the highest logits the entropy is taken over.", "Quality: 20 hold nearly all probability. Speed: next to none.", "20",
        ("use_eaft", "eaft_alpha"), "eaft_k: 20")] = 20
    neftune_noise_alpha: Annotated[float | None, Setting(
        "Adds uniform noise to the input embeddings while training (NEFTune, arXiv 2310.05914), scaled by alpha / sqrt(length x width) with the length "
        "of each sample; evaluation is without noise.",
        "Quality: can make chat answers fuller on small instruction sets; little use for exact tasks. Memory and speed: next to none.",
        "unset; 5, up to 15", ("noisy_embedding_alpha", "rl"), "neftune_noise_alpha: 5")] = None
