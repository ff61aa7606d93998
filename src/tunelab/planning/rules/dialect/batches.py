"""Sizes of a batch, noise, and learning rates by group (TL53x)."""

from __future__ import annotations

from collections.abc import Iterator

from tunelab.config.finding import Finding, Severity
from tunelab.planning.rules.registry import Context, rule


@rule("TL530", Severity.WARNING, title="batch_size counts the steps and changes no batch",
      why="Axolotl 0.21.0 accumulates gradients by gradient_accumulation_steps alone (1 where it is not written), but divides the rows by "
          "batch_size to count the steps: the run takes small batches and ends before it has read all rows.",
      bad="micro_batch_size: 2\nbatch_size: 8", good="micro_batch_size: 2\ngradient_accumulation_steps: 4")
def whole_batch(context: Context) -> Iterator[Finding]:
    """batch_size is written."""
    raw = context.raw
    size, micro = raw.number("batch_size"), raw.number("micro_batch_size", 1) or 1
    if not size:
        return
    part = f"; only {micro / size:.0%} of the rows are read" if size > micro and not raw.truthy("gradient_accumulation_steps") else ""
    fix = f"gradient_accumulation_steps: {size / micro:.0f}\ndelete `batch_size`" if size % micro == 0 else "delete `batch_size`"
    yield context.finding(f"`batch_size: {size:g}` makes no larger batch in Axolotl, it only shortens the run{part}.", "batch_size",
                          expected="micro_batch_size and gradient_accumulation_steps",
                          fix="delete `batch_size`" if raw.truthy("gradient_accumulation_steps") else fix)


@rule("TL531", Severity.ERROR, title="batch_size with too much or too little beside it",
      why="A batch is the micro batch times the accumulation; batch_size alone does not say how it is made up, and beside "
          "gradient_accumulation_steps it repeats or contradicts it.",
      bad=("batch_size: 8", "gradient_accumulation_steps: 4\nbatch_size: 8"), good="micro_batch_size: 2\ngradient_accumulation_steps: 4")
def batch_does_not_follow(context: Context) -> Iterator[Finding]:
    """batch_size alone, or beside gradient_accumulation_steps."""
    raw = context.raw
    if not raw.truthy("batch_size"):
        return
    if raw.truthy("gradient_accumulation_steps"):
        yield context.finding("`batch_size` and `gradient_accumulation_steps` are both set.", "batch_size", expected="one of the two",
                              fix="delete `batch_size`")
    elif not raw.truthy("micro_batch_size"):
        yield context.finding("`batch_size` alone does not say how many rows are computed at a time.", "batch_size",
                              expected="micro_batch_size", fix="micro_batch_size: 1")


@rule("TL532", Severity.WARNING, title="Evaluation in batches of another size",
      why="Memory is freed and asked for in other sizes at every evaluation; a run that just fits may then stop.",
      bad="micro_batch_size: 2\neval_batch_size: 8", good="micro_batch_size: 2\neval_batch_size: 2")
def other_evaluation_batch(context: Context) -> Iterator[Finding]:
    """eval_batch_size is not micro_batch_size."""
    raw = context.raw
    if raw.truthy("eval_batch_size", "micro_batch_size") and raw.get("eval_batch_size") != raw.get("micro_batch_size"):
        micro = raw.get("micro_batch_size")
        yield context.finding(f"`eval_batch_size` is {raw.get('eval_batch_size')} and `micro_batch_size` {micro}.", "eval_batch_size",
                              expected=f"{micro}, or nothing", fix="delete `eval_batch_size`")


@rule("TL533", Severity.ERROR, title="The noise on embeddings given twice",
      why="noisy_embedding_alpha is the old spelling of neftune_noise_alpha.",
      bad="noisy_embedding_alpha: 5.0\nneftune_noise_alpha: 5.0", good="neftune_noise_alpha: 5.0")
def two_noises(context: Context) -> Iterator[Finding]:
    """Both spellings of NEFTune's strength."""
    if context.raw.truthy("noisy_embedding_alpha", "neftune_noise_alpha"):
        yield context.finding("`noisy_embedding_alpha` and `neftune_noise_alpha` are one setting, given twice.", "noisy_embedding_alpha",
                              expected="neftune_noise_alpha alone", fix="delete `noisy_embedding_alpha`")


@rule("TL534", Severity.ERROR, title="Two plans for learning rates by group",
      why="lr_groups gives named layers a learning rate, LoRA+ gives the second LoRA matrix another one; the optimizer takes one plan.",
      bad="adapter: lora\nloraplus_lr_ratio: 16.0\nlr_groups: [{name: o, modules: [o_proj], lr: 0.0001}]",
      good="adapter: lora\nlr_groups: [{name: o, modules: [o_proj], lr: 0.0001}]")
def two_rate_plans(context: Context) -> Iterator[Finding]:
    """lr_groups and loraplus_lr_ratio."""
    if context.raw.truthy("lr_groups", "loraplus_lr_ratio"):
        yield context.finding("`lr_groups` and `loraplus_lr_ratio` are both set.", "loraplus_lr_ratio", expected="one of the two",
                              fix="delete `loraplus_lr_ratio`")
