"""Evaluation, checkpoints, uploads and exports (TL73x, TL740)."""

from __future__ import annotations

from collections.abc import Iterator

from tunelab.config.finding import Finding, Severity
from tunelab.planning.rules.registry import Context, rule

_METRICS = ("chrf", "comet", "perplexity", "sacrebleu", "ter")
_GGUF = frozenset({
    "F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_0", "Q4_K_M", "Q4_K_S", "Q4_0", "Q4_1", "Q3_K_L", "Q3_K_M", "Q3_K_S",
    "Q2_K", "Q2_K_S", "IQ4_XS", "IQ4_NL", "IQ3_M", "IQ3_S", "IQ3_XS", "IQ3_XXS", "IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S",
    "TQ1_0", "TQ2_0", "MXFP4_MOE"})


@rule("TL730", Severity.ERROR, title="save_strategy: best without a measure",
      why="Nothing says by which number one checkpoint is better than another; Axolotl has no default for it.",
      bad="save_strategy: best\nval_set_size: 0.05\nevals_per_epoch: 2",
      good="save_strategy: best\nmetric_for_best_model: eval_loss\nval_set_size: 0.05\nevals_per_epoch: 2")
def best_by_nothing(context: Context) -> Iterator[Finding]:
    """save_strategy: best and no metric_for_best_model."""
    if context.raw.get("save_strategy") == "best" and not context.raw.truthy("metric_for_best_model"):
        yield context.finding("`save_strategy: best` needs `metric_for_best_model`.", "save_strategy",
                              expected="metric_for_best_model: eval_loss", fix="metric_for_best_model: eval_loss")


@rule("TL731", Severity.ERROR, title="A benchmark that is never run", why="do_bench_eval runs at each evaluation, and nothing says when one is.",
      bad="do_bench_eval: true\nval_set_size: 0.05", good="do_bench_eval: true\nval_set_size: 0.05\nevals_per_epoch: 1")
def benchmark_when(context: Context) -> Iterator[Finding]:
    """do_bench_eval without evals_per_epoch and eval_steps."""
    if context.raw.truthy("do_bench_eval") and not context.raw.first("evals_per_epoch", "eval_steps"):
        yield context.finding("`do_bench_eval` needs `evals_per_epoch` or `eval_steps`.", "do_bench_eval",
                              expected="evals_per_epoch or eval_steps", fix="evals_per_epoch: 1")


@rule("TL732", Severity.WARNING, title="A benchmark brings an empty data set along",
      why="The trainer evaluates only when it has held-out rows; without any, Axolotl downloads axolotl-ai-co/empty-test-ds from the hub as "
          "test_datasets.",
      bad="do_bench_eval: true\nevals_per_epoch: 1", good="do_bench_eval: true\nevals_per_epoch: 1\nval_set_size: 0.05")
def empty_test_rows(context: Context) -> Iterator[Finding]:
    """do_bench_eval without test_datasets and val_set_size."""
    if context.raw.truthy("do_bench_eval") and not context.raw.first("test_datasets", "val_set_size"):
        yield context.finding("`do_bench_eval` without held-out rows: `test_datasets` becomes an empty set from the hub.", "do_bench_eval",
                              expected="test_datasets or val_set_size", fix="val_set_size: 0.05")


@rule("TL733", Severity.ERROR, title="Translation scores on packed rows",
      why="do_causal_lm_eval lets the model answer held-out prompts one by one; packed rows hold several at once. eval_sample_packing "
          "follows sample_packing where it is not written.",
      bad=("do_causal_lm_eval: true\neval_sample_packing: true", "do_causal_lm_eval: true\nsample_packing: true"),
      good="do_causal_lm_eval: true\nsample_packing: true\neval_sample_packing: false")
def packed_scores(context: Context) -> Iterator[Finding]:
    """do_causal_lm_eval, and held-out rows are packed."""
    raw = context.raw
    follows = raw.truthy("sample_packing") and not raw.written("eval_sample_packing") and not raw.truthy("eval_table_size")
    if raw.truthy("do_causal_lm_eval") and (raw.truthy("eval_sample_packing") or follows):
        yield context.finding("`do_causal_lm_eval` needs single rows, and held-out rows are packed.", "do_causal_lm_eval",
                              expected="eval_sample_packing: false", fix="eval_sample_packing: false")


@rule("TL734", Severity.ERROR, title="A score that cannot be computed", why="do_causal_lm_eval knows five measures; Axolotl stops at any other.",
      bad="eval_causal_lm_metrics: [rouge]", good="eval_causal_lm_metrics: [chrf, perplexity]")
def unknown_scores(context: Context) -> Iterator[Finding]:
    """eval_causal_lm_metrics holds another name."""
    named = context.raw.get("eval_causal_lm_metrics")
    for index, name in enumerate(named if isinstance(named, list) else ()):
        if name not in _METRICS:
            yield context.finding(f"`{name}` is no measure of `eval_causal_lm_metrics`.", "eval_causal_lm_metrics", index,
                                  expected=f"some of {', '.join(_METRICS)}")


@rule("TL735", Severity.WARNING, title="An upload with nothing to upload on the way",
      why="Checkpoints go to the hub when they are saved; with save_strategy no or best that is never or seldom.",
      bad="hub_model_id: me/model\nsave_strategy: 'no'", good="hub_model_id: me/model\nsave_strategy: epoch")
def nothing_uploaded(context: Context) -> Iterator[Finding]:
    """hub_model_id with a save_strategy other than steps or epoch."""
    strategy = context.raw.get("save_strategy")
    if context.raw.truthy("hub_model_id") and strategy not in ("steps", "epoch", None):
        yield context.finding(f"`hub_model_id` with `save_strategy: {strategy}`: checkpoints are seldom or never uploaded.", "save_strategy",
                              expected="steps or epoch", fix="save_strategy: epoch")


@rule("TL736", Severity.ERROR, title="Weights in the old file format",
      why="Transformers 5 writes safetensors and nothing else; Axolotl stops rather than write another format than asked for.",
      bad="save_safetensors: false", good="save_safetensors: true")
def old_format(context: Context) -> Iterator[Finding]:
    """save_safetensors: false."""
    if context.raw.get("save_safetensors") is False:
        yield context.finding("`save_safetensors: false` asks for a format that is not written any more.", "save_safetensors",
                              expected="true, or nothing", fix="delete `save_safetensors`")


@rule("TL737", Severity.WARNING, title="A run of Weights & Biases with an id and no name",
      why="wandb_run_id is the key by which a run is found and continued; Axolotl shows it as the run's name too where wandb_name is not "
          "written.",
      bad="wandb_project: mine\nwandb_run_id: run1", good="wandb_project: mine\nwandb_name: run1")
def id_as_name(context: Context) -> Iterator[Finding]:
    """wandb_run_id without wandb_name."""
    if context.raw.truthy("wandb_run_id") and not context.raw.truthy("wandb_name"):
        shown = context.raw.get("wandb_run_id")
        yield context.finding(f"`wandb_run_id` becomes `wandb_name` too: {shown}.", "wandb_run_id", expected="wandb_name",
                              fix=f"wandb_name: {shown}")


@rule("TL738", Severity.NOTE, title="full_determinism chooses a seed",
      why="A run that is to repeat bit by bit needs a seed; 42 is taken where none is written.",
      bad="full_determinism: true", good="full_determinism: true\nseed: 7")
def chosen_seed(context: Context) -> Iterator[Finding]:
    """full_determinism without seed."""
    if context.raw.truthy("full_determinism") and not context.raw.written("seed"):
        yield context.finding("`full_determinism: true` makes Axolotl take `seed: 42`.", "full_determinism", fix="seed: 42")


@rule("TL739", Severity.ERROR, title="A GGUF format that does not exist",
      why="llama.cpp knows a fixed list of formats; Axolotl looks before the long conversion begins.",
      bad=("export: {quantize: [Q4]}", "export: {quantize: 'q4_k_m, q4'}"), good="export: {quantize: [Q4_K_M]}")
def unknown_format(context: Context) -> Iterator[Finding]:
    """export.quantize holds another name."""
    written = context.raw.get("export.quantize")
    asked = written.split(",") if isinstance(written, str) else written if isinstance(written, list) else []
    unknown = [str(one).strip() for one in asked if str(one).strip().upper() not in _GGUF]
    if unknown:
        yield context.finding(f"`quantize` names {', '.join(unknown)}, which llama.cpp does not know.", "export.quantize",
                              expected="such as Q4_K_M, Q5_K_M, Q8_0")


@rule("TL740", Severity.ERROR, title="An export that cannot be quantised",
      why="llama.cpp makes each small format from a file in 16 or 32 bits, and writes each to a file of its own, told apart by {ftype}.",
      bad=("export: {outtype: q8_0, quantize: [Q4_K_M]}", "export: {outfile: model.gguf, quantize: [Q4_K_M]}"),
      good="export: {outtype: f16, outfile: 'model-{ftype}.gguf', quantize: [Q4_K_M]}")
def export_parts(context: Context) -> Iterator[Finding]:
    """export.quantize from a quantised outtype, or to one outfile."""
    raw, outtype, outfile = context.raw, context.raw.text("export.outtype"), context.raw.text("export.outfile")
    if not raw.truthy("export.quantize"):
        return
    if outtype in ("q8_0", "tq1_0", "tq2_0"):
        yield context.finding(f"`outtype: {outtype}` cannot be quantised once more.", "export.outtype", expected="f16, bf16 or f32",
                              fix="outtype: f16")
    if outfile and "{ftype}" not in outfile:
        yield context.finding("`outfile` names one file for several formats.", "export.outfile", expected="{ftype} in the name")
