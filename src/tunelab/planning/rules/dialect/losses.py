"""Losses that exclude each other (TL569-572)."""

from __future__ import annotations

from collections.abc import Iterator

from tunelab.config.finding import Finding, Severity
from tunelab.planning.rules.dialect import effective
from tunelab.planning.rules.registry import Context, listed, rule

_CROSS_ENTROPIES = ("cut_cross_entropy", "chunked_cross_entropy", "liger_cross_entropy", "liger_fused_linear_cross_entropy")
_NOT_WITH_WEIGHTED_TOKENS = ("rl", "reward_model", "process_reward_model", "cut_cross_entropy", "liger_fused_linear_cross_entropy",
                             "chunked_cross_entropy")


@rule("TL565", Severity.ERROR, title="Two ways to compute the cross-entropy",
      why="Each takes the place of the model's own loss, and only one can stand there.",
      bad="liger_cross_entropy: true\nchunked_cross_entropy: true", good="chunked_cross_entropy: true")
def two_cross_entropies(context: Context) -> Iterator[Finding]:
    """More than one of cut, chunked, Liger's and Liger's fused cross-entropy."""
    written = [key for key in _CROSS_ENTROPIES if context.raw.truthy(key)]
    if len(written) > 1:
        yield context.finding(f"{listed(written)} are all ways to compute one loss.", written[1], expected="one of them",
                              fix="\n".join(f"delete `{key}`" for key in written[1:]))


@rule("TL569", Severity.ERROR, title="use_dft and use_eaft", why="Both weight the tokens of the loss, each in its own way.",
      bad="use_dft: true\nuse_eaft: true", good="use_dft: true")
def two_weightings(context: Context) -> Iterator[Finding]:
    """use_dft and use_eaft."""
    if context.raw.truthy("use_dft", "use_eaft"):
        yield context.finding("`use_dft` and `use_eaft` are both on; a token can have one weight.", "use_eaft", expected="one of them",
                              fix="delete `use_eaft`")


@rule("TL570", Severity.ERROR, title="A weighted loss where there is none to weight",
      why="use_dft and use_eaft weight the tokens of plain training. Preference methods and reward models have other losses, fused losses never "
          "give the single tokens, and context parallelism splits what belongs together.",
      bad=("use_dft: true\nchunked_cross_entropy: true", "use_eaft: true\nrl: orpo", "use_dft: true\ncontext_parallel_size: 2"),
      good="use_dft: true")
def weighting_misplaced(context: Context) -> Iterator[Finding]:
    """use_dft or use_eaft with another kind of loss or with context parallelism."""
    raw = context.raw
    key = raw.first("use_dft", "use_eaft")
    if key is None or raw.truthy("use_dft", "use_eaft"):
        return
    for other in _NOT_WITH_WEIGHTED_TOKENS:
        if raw.truthy(other):
            yield context.finding(f"`{key}` does not work with `{other}`.", other, expected="one of the two", fix=f"delete `{other}`")
    place, parts = effective.context_parallel(raw)
    if parts > 1:
        yield context.finding(f"`{key}` does not work with context parallelism.", place, expected="one of the two")


@rule("TL571", Severity.ERROR, title="Noise of no size", why="NEFTune adds noise of this size to the embeddings; to train without it, leave it out.",
      bad=("neftune_noise_alpha: 0", "neftune_noise_alpha: -5"), good="neftune_noise_alpha: 5")
def no_noise(context: Context) -> Iterator[Finding]:
    """neftune_noise_alpha (or its old spelling) is 0 or less."""
    for key in ("neftune_noise_alpha", "noisy_embedding_alpha"):
        alpha = context.raw.number(key)
        if alpha is not None and alpha <= 0:
            yield context.finding(f"`{key}: {alpha:g}` is not a size of noise.", key, expected="a number above 0, such as 5", fix=f"delete `{key}`",
                                  safe=alpha == 0)
