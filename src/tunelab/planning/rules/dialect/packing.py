"""How rows share a batch: packing, padding, balance of labels (TL34x)."""

from __future__ import annotations

from collections.abc import Iterator

from tunelab.config.finding import Finding, Severity
from tunelab.planning.rules.dialect.effective import attention, keeps_rows_apart
from tunelab.planning.rules.registry import Context, rule


@rule("TL341", Severity.ERROR, title="balance_labels where samples cannot be exchanged",
      why="It deals samples out so that each step has about as many answer tokens; an order that something else has fixed, a stream, or "
          "rows without labels leave it nothing to deal.",
      bad=("balance_labels: true\ngroup_by_length: true", "balance_labels: true\nsample_packing: true\nsample_packing_sequentially: true",
           "balance_labels: true\ncurriculum_sampling: true", "balance_labels: true\nreward_model: true",
           "balance_labels: true\naccelerator_config: {split_batches: true}"),
      good="balance_labels: true\nsample_packing: true")
def nothing_to_balance(context: Context) -> Iterator[Finding]:
    """balance_labels beside a setting that fixes the order or has no labels."""
    raw = context.raw
    if not raw.truthy("balance_labels"):
        return
    other = None if raw.truthy("sample_packing") else raw.first("streaming", "pretraining_dataset", "group_by_length")
    other = other or raw.first("sample_packing_sequentially", "curriculum_sampling", "rl", "reward_model", "process_reward_model")
    other = other or ("diffusion_lm" if raw.written("diffusion_lm") else raw.first("accelerator_config.split_batches"))
    if other:
        yield context.finding(f"`balance_labels` does not work with `{other}`.", "balance_labels", expected="one of the two",
                              fix="delete `balance_labels`")


@rule("TL342", Severity.ERROR, title="A window for balance_labels that does not apply",
      why="label_balance_window_optim_steps says over how many steps balance_labels deals samples out; it needs that, and rows to look "
          "ahead in.",
      bad=("label_balance_window_optim_steps: 4",
           "balance_labels: true\nsample_packing: true\nstreaming: true\nmax_steps: 10\nlabel_balance_window_optim_steps: 4"),
      good="balance_labels: true\nlabel_balance_window_optim_steps: 4")
def unused_window(context: Context) -> Iterator[Finding]:
    """label_balance_window_optim_steps above 1 without balance_labels, or with a stream."""
    raw = context.raw
    if (raw.number("label_balance_window_optim_steps") or 0) <= 1:
        return
    if not raw.truthy("balance_labels"):
        yield context.finding("`label_balance_window_optim_steps` needs `balance_labels: true`.", "label_balance_window_optim_steps",
                              expected="balance_labels: true", fix="balance_labels: true")
    elif stream := raw.first("streaming", "pretraining_dataset"):
        yield context.finding(f"`label_balance_window_optim_steps` looks ahead, and `{stream}` does not allow that.",
                              "label_balance_window_optim_steps", expected="1", fix="delete `label_balance_window_optim_steps`")


@rule("TL343", Severity.ERROR, title="Answers cannot be written from packed rows",
      why="eval_table_size lets the model answer held-out prompts one by one; packed rows hold several at once.",
      bad="sample_packing: true\neval_table_size: 4", good="sample_packing: true\neval_sample_packing: false\neval_table_size: 4")
def packed_table(context: Context) -> Iterator[Finding]:
    """eval_table_size with sample_packing, and eval_sample_packing is not false."""
    if context.raw.truthy("sample_packing", "eval_table_size") and context.raw.get("eval_sample_packing") is not False:
        yield context.finding("`eval_table_size` needs single rows, and evaluation is packed too.", "eval_table_size",
                              expected="eval_sample_packing: false", fix="eval_sample_packing: false")


@rule("TL344", Severity.NOTE, title="Held-out rows are packed too",
      why="eval_sample_packing follows sample_packing where it is not written. Axolotl stops when the held-out rows are too few for it.",
      bad="sample_packing: true\nval_set_size: 0.1\nevals_per_epoch: 2",
      good="sample_packing: true\nval_set_size: 0.1\nevals_per_epoch: 2\neval_sample_packing: false")
def evaluation_packed(context: Context) -> Iterator[Finding]:
    """Packing and evaluation, and eval_sample_packing is not written."""
    raw = context.raw
    evaluates = raw.first("val_set_size", "test_datasets") and raw.first("eval_steps", "evals_per_epoch", "eval_strategy")
    if raw.truthy("sample_packing") and evaluates and not raw.written("eval_sample_packing") and not raw.truthy("eval_table_size"):
        yield context.finding("`sample_packing: true` packs the held-out rows as well, since `eval_sample_packing` is not written.",
                              "sample_packing", expected="eval_sample_packing", fix="eval_sample_packing: true")


@rule("TL345", Severity.WARNING, title="Packed rows that see each other",
      why="In Axolotl only some attention implementations keep the samples of a packed row apart; with the others, or none written, each "
          "sample also reads the ones before it. tunelab always keeps them apart.",
      bad=("sample_packing: true", "sample_packing: true\nattn_implementation: varlen"),
      good="sample_packing: true\nattn_implementation: flash_attention_2")
def not_kept_apart(context: Context) -> Iterator[Finding]:
    """sample_packing without an attention implementation that masks."""
    raw, chosen = context.raw, attention(context.raw)
    native_diffusion = raw.written("diffusion_lm") and not raw.truthy("diffusion_lm.from_causal_lm")
    if not raw.truthy("sample_packing") or native_diffusion or keeps_rows_apart(chosen) or chosen in ("sdpa", "eager"):
        return
    said = f"with `attn_implementation: {chosen}`" if chosen else "without `attn_implementation`"
    yield context.finding(f"`sample_packing: true` {said}: in Axolotl, samples of one row see each other; here they never do.", "sample_packing",
                          expected="flash_attention_2, flex_attention, sdpa or eager", fix="attn_implementation: flash_attention_2")


@rule("TL346", Severity.NOTE, title="Packed rows of changing length",
      why="On a GPU, rows that are not filled up change the size of every batch, and memory falls into pieces; on a CPU padding is only "
          "time lost.",
      bad="sample_packing: true\npad_to_sequence_len: false", good="sample_packing: true\npad_to_sequence_len: true")
def unpadded_pack(context: Context) -> Iterator[Finding]:
    """sample_packing with pad_to_sequence_len: false."""
    if not context.raw.truthy("sample_packing") or context.raw.get("pad_to_sequence_len") is not False:
        return
    if context.machine.has_cuda:
        yield context.finding("`pad_to_sequence_len: false` gives packed rows of changing length; memory of a GPU falls into pieces.",
                              "pad_to_sequence_len", expected="true", fix="pad_to_sequence_len: true", severity=Severity.WARNING)
    else:
        yield context.finding("`pad_to_sequence_len: false` is right on this machine; on a GPU Axolotl asks for true beside "
                              "`sample_packing`.", "pad_to_sequence_len")


@rule("TL347", Severity.WARNING, title="A reward model on rows of changing length",
      why="Axolotl fills the rows of a reward model up to sequence_len where nothing is written, and warns where that is switched off.",
      bad=("reward_model: true", "reward_model: true\npad_to_sequence_len: false"), good="reward_model: true\npad_to_sequence_len: true")
def unpadded_reward(context: Context) -> Iterator[Finding]:
    """reward_model without pad_to_sequence_len: true."""
    if context.raw.truthy("reward_model") and not context.raw.truthy("pad_to_sequence_len"):
        off = context.raw.written("pad_to_sequence_len")
        yield context.finding("`reward_model` with `pad_to_sequence_len: false`: rows of changing length." if off else
                              "`reward_model: true` makes Axolotl take `pad_to_sequence_len: true`, which is not written.",
                              "pad_to_sequence_len" if off else "reward_model", expected="pad_to_sequence_len: true",
                              fix="pad_to_sequence_len: true")
