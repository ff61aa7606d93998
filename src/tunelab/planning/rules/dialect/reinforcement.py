"""Training by rewards: GRPO and GDPO, their rollouts by vLLM, and EBFT (TL96x-97x)."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tunelab.config.finding import Finding, Severity
from tunelab.planning.rules.dialect import effective
from tunelab.planning.rules.registry import Context, rule

_ROLLOUTS_OF_24_GB = 20_000
_EBFT = "rl: ebft\nebft: {mode: strided}"
_COLOCATE = "rl: grpo\nvllm: {max_model_len: 2048}\ntrl: {use_vllm: true, vllm_mode: colocate"


@rule("TL962", Severity.ERROR, title="gdpo with the way of grpo to add rewards",
      why="What sets GDPO apart from GRPO is that each reward is normalised before they are added; this value asks for the opposite.",
      bad="rl: gdpo\ntrl: {multi_objective_aggregation: sum_then_normalize}", good="rl: gdpo\ntrl: {multi_objective_aggregation: normalize_then_sum}")
def gdpo_sums_first(context: Context) -> Iterator[Finding]:
    """rl: gdpo adds rewards before normalising them."""
    if context.raw.get("rl") == "gdpo" and context.raw.get("trl.multi_objective_aggregation") == "sum_then_normalize":
        yield context.finding("`multi_objective_aggregation: sum_then_normalize` turns `rl: gdpo` into GRPO.",
                              "trl.multi_objective_aggregation", expected="normalize_then_sum, or rl: grpo",
                              fix="multi_objective_aggregation: normalize_then_sum")


@rule("TL966", Severity.ERROR, title="GRPO with fewer than two answers to a prompt",
      why="GRPO compares the answers to one prompt with each other; a single one is exactly average, so nothing is ever learnt.",
      bad="rl: grpo\ntrl: {num_generations: 1}", good="rl: grpo\nmicro_batch_size: 8\ntrl: {num_generations: 8}")
def one_generation(context: Context) -> Iterator[Finding]:
    """trl.num_generations is below 2."""
    generations = context.raw.number("trl.num_generations")
    if context.raw.get("rl") == "grpo" and generations is not None and generations < 2:
        yield context.finding(f"`num_generations: {generations:g}` leaves no other answer to compare with.", "trl.num_generations",
                              expected="2 or more", fix="num_generations: 8")


@rule("TL967", Severity.ERROR, title="generation_batch_size cuts a group of answers",
      why="All answers to a prompt are generated and compared together; TRL stops, after the model is loaded, when a group does not fit.",
      bad="rl: grpo\ntrl: {num_generations: 4, generation_batch_size: 6}", good="rl: grpo\ntrl: {num_generations: 4, generation_batch_size: 8}")
def broken_group(context: Context) -> Iterator[Finding]:
    """trl.generation_batch_size is no multiple of trl.num_generations."""
    size, generations = effective.whole(context.raw, "trl.generation_batch_size"), _group(context)
    if size is not None and generations and size % generations:
        best = max(1, round(size / generations)) * generations
        yield context.finding(f"`generation_batch_size` {size} is not a multiple of `num_generations` {generations}.",
                              "trl.generation_batch_size", expected=f"a multiple of {generations}", fix=f"generation_batch_size: {best}")


@rule("TL968", Severity.BLOCKED, title="The batch of this machine cuts a group of answers",
      why="Without generation_batch_size, micro_batch_size x gradient_accumulation_steps x GPUs answers are generated at a time: a whole "
          "number of groups, and on several GPUs at least a group for each.",
      bad="rl: grpo\nmicro_batch_size: 2\ntrl: {num_generations: 8}", good="rl: grpo\nmicro_batch_size: 8\ntrl: {num_generations: 8}")
def batch_of_this_machine(context: Context) -> Iterator[Finding]:
    """The answers generated at a time on the GPUs of this machine do not make whole groups."""
    raw, devices, generations = context.raw, max(1, len(context.machine.gpus)), _group(context)
    if not generations:
        return
    written, least = effective.whole(raw, "trl.generation_batch_size"), generations * devices
    per_step = max(1, effective.whole(raw, "micro_batch_size") or 1) * devices
    size = per_step * (effective.whole(raw, "gradient_accumulation_steps") or 1) if written is None else written
    if (size % generations and written is not None) or (size % generations == 0 and (devices == 1 or size >= least)):
        return
    where = "on one device" if devices == 1 else f"on {devices} GPUs"
    key = "trl.generation_batch_size" if written is not None else raw.first("gradient_accumulation_steps", "micro_batch_size") or "rl"
    fix = f"generation_batch_size: {least}" if written is not None else f"gradient_accumulation_steps: {math.lcm(least, per_step) // per_step}"
    yield context.finding(f"{size} answers at a time {where}: groups of `num_generations` {generations} do not fit.", key, fix=fix,
                          expected=f"a multiple of {generations}" + (f", {least} or more" if devices > 1 else ""))


def _group(context: Context) -> int | None:
    """How many answers GRPO compares, None when it is not said or not possible."""
    generations = effective.whole(context.raw, "trl.num_generations")
    return generations if context.raw.get("rl") == "grpo" and generations is not None and generations >= 2 else None


@rule("TL978", Severity.ERROR, title="GRPO's Liger loss with context parallelism",
      why="Liger's fused loss needs whole rows; context parallelism gives each GPU a part of one.",
      bad="rl: grpo\ncontext_parallel_size: 2\ntrl: {use_liger_loss: true}", good="rl: grpo\ntrl: {use_liger_loss: true}")
def liger_on_parts(context: Context) -> Iterator[Finding]:
    """rl: grpo, trl.use_liger_loss and context parallelism."""
    if context.raw.get("rl") == "grpo" and context.raw.truthy("trl.use_liger_loss") and effective.context_parallel(context.raw)[1] > 1:
        yield context.finding("`use_liger_loss` does not run on rows that context parallelism has split.", "trl.use_liger_loss",
                              expected="one of the two", fix="delete `use_liger_loss`")


@rule("TL969", Severity.WARNING, safe=True, title="use_vllm without vllm_mode",
      why="Axolotl then takes `server`: it waits for a vLLM server that you have to start yourself.",
      bad="rl: grpo\ntrl: {use_vllm: true}", good="rl: grpo\ntrl: {use_vllm: true, vllm_mode: server}")
def vllm_without_mode(context: Context) -> Iterator[Finding]:
    """trl.use_vllm is on and trl.vllm_mode is not written."""
    if context.raw.truthy("trl.use_vllm") and not context.raw.truthy("trl.vllm_mode"):
        yield context.finding("`use_vllm` without `vllm_mode`: `server` is taken.", "trl.use_vllm", expected="vllm_mode: server or colocate",
                              fix="vllm_mode: server")


@rule("TL970", Severity.ERROR, title="vLLM in the training process cannot do this",
      why="`vllm_mode: colocate` runs vLLM on the GPU that trains, in the same process: rows are not split, merged weights are handed over "
          "directly, and the asynchronous trainer only feeds a server with adapters.",
      bad=(_COLOCATE + "}\ncontext_parallel_size: 2", _COLOCATE + ", vllm_lora_sync: true}",
           _COLOCATE + ", async_prefetch: true}\nadapter: lora", _COLOCATE + ", use_data_producer: true}\nadapter: lora"),
      good=_COLOCATE + "}\nadapter: lora")
def colocated(context: Context) -> Iterator[Finding]:
    """vllm_mode: colocate with context parallelism, vllm_lora_sync, or an adapter and the asynchronous trainer."""
    raw = context.raw
    if not raw.truthy("trl.use_vllm") or raw.get("trl.vllm_mode") != "colocate":
        return
    key, parts = effective.context_parallel(raw)
    if parts > 1:
        yield context.finding("`vllm_mode: colocate` does not run with context parallelism.", key, expected="vllm_mode: server on its own GPU")
    if raw.truthy("trl.vllm_lora_sync"):
        yield context.finding("`vllm_lora_sync` sends adapters to a vLLM server, and `vllm_mode: colocate` has none.", "trl.vllm_lora_sync",
                              expected="vllm_mode: server", fix="delete `vllm_lora_sync`")
    early = raw.first("trl.async_prefetch", "trl.use_data_producer")
    if early and raw.truthy("adapter"):
        yield context.finding(f"`{early[4:]}` with an adapter needs a vLLM server; `vllm_mode: colocate` has none.", early,
                              expected="vllm_mode: server", fix=f"delete `{early[4:]}`")


@rule("TL971", Severity.WARNING, title="vLLM beside the training without a limit",
      why="vLLM then reserves memory for the model's whole context on the GPU that also trains, and often does not start.",
      bad="rl: grpo\ntrl: {use_vllm: true, vllm_mode: colocate}", good=_COLOCATE + "}")
def colocated_without_limit(context: Context) -> Iterator[Finding]:
    """vllm_mode: colocate and no vllm.max_model_len."""
    raw = context.raw
    if raw.truthy("trl.use_vllm") and raw.get("trl.vllm_mode") == "colocate" and not raw.truthy("vllm.max_model_len"):
        yield context.finding("`vllm_mode: colocate` without `vllm.max_model_len`: memory for the model's whole context is reserved.",
                              "trl.vllm_mode", expected="vllm.max_model_len: the longest prompt plus trl.max_completion_length")


@rule("TL972", Severity.ERROR, title="rl: ebft without its section",
      why="Without it, nothing says how anchors are placed and features compared.", bad="rl: ebft", good=_EBFT)
def ebft_without_section(context: Context) -> Iterator[Finding]:
    """rl: ebft and no ebft."""
    if context.raw.get("rl") == "ebft" and not context.raw.truthy("ebft"):
        yield context.finding("`rl: ebft` needs the section `ebft`, which is not written.", "rl",
                              expected="ebft.mode: structured (questions and answers) or strided (plain text)", fix="ebft: {mode: structured}")


@rule("TL973", Severity.ERROR, title="EBFT on plain text: compiled and checkpointed",
      why="Rows of other lengths make other attention masks, and the compiled model's second pass does not recognise its first: the run "
          "stops with a CheckpointError. flex_attention compiles itself anyway.",
      bad=_EBFT + "\ntorch_compile: true\ngradient_checkpointing: true", good=_EBFT + "\ngradient_checkpointing: true")
def ebft_compiled(context: Context) -> Iterator[Finding]:
    """EBFT strided, torch_compile and gradient_checkpointing."""
    if _strided(context) and context.raw.get("torch_compile") is True and context.raw.truthy("gradient_checkpointing"):
        yield context.finding("`torch_compile` with `gradient_checkpointing` stops strided EBFT.", "torch_compile",
                              expected="one of the two", fix="delete `torch_compile`")


@rule("TL974", Severity.WARNING, title="EBFT on plain text: compiled again and again",
      why="Each new row length compiles the whole model anew; flex_attention compiles itself, so nothing is won.",
      bad=_EBFT + "\ntorch_compile: true", good=_EBFT)
def ebft_recompiles(context: Context) -> Iterator[Finding]:
    """EBFT strided and torch_compile."""
    if _strided(context) and context.raw.get("torch_compile") is True and not context.raw.truthy("gradient_checkpointing"):
        yield context.finding("`torch_compile` compiles strided EBFT anew for each row length.", "torch_compile",
                              fix="delete `torch_compile`")


@rule("TL975", Severity.WARNING, safe=True, title="EBFT on plain text: checkpointing becomes reentrant",
      why="The other kind of checkpointing does not find flex_attention's masks again, so Axolotl switches it, whatever the file says.",
      bad=_EBFT + "\nattn_implementation: flex_attention\ngradient_checkpointing: true",
      good=_EBFT + "\nattn_implementation: flex_attention\ngradient_checkpointing: true\ngradient_checkpointing_kwargs: {use_reentrant: true}")
def ebft_reentrant(context: Context) -> Iterator[Finding]:
    """EBFT strided with flex_attention and checkpointing that is not reentrant."""
    raw = context.raw
    if _strided(context) and effective.attention(raw) == "flex_attention" and raw.truthy("gradient_checkpointing") and not effective.reentrant(raw):
        others = raw.get("gradient_checkpointing_kwargs")
        yield context.finding("Strided EBFT with flex_attention: `use_reentrant: true` is set.", "gradient_checkpointing",
                              expected="gradient_checkpointing_kwargs: {use_reentrant: true}",
                              fix="" if others else "gradient_checkpointing_kwargs: {use_reentrant: true}")


@rule("TL976", Severity.ERROR, title="EBFT on plain text: activations moved away",
      why="Moving activations off the GPU replaces the reentrant checkpointing that flex_attention needs here.",
      bad=_EBFT + "\nattn_implementation: flex_attention\nactivation_offloading: true\ngradient_checkpointing: true",
      good=_EBFT + "\nattn_implementation: flex_attention\ngradient_checkpointing: true")
def ebft_offloading(context: Context) -> Iterator[Finding]:
    """EBFT strided with flex_attention and activation_offloading: true."""
    raw = context.raw
    if _strided(context) and effective.attention(raw) == "flex_attention" and effective.offloading(raw) is True:
        key = "activation_offloading" if raw.truthy("activation_offloading") else "gradient_checkpointing"
        yield context.finding("Activations cannot be moved off the GPU in strided EBFT with flex_attention.", key,
                              expected="activation_offloading: false",
                              fix="delete `activation_offloading`" if key[0] == "a" else "gradient_checkpointing: true")


@rule("TL977", Severity.WARNING, title="EBFT on plain text: very long rows",
      why="Every block of a row is continued, for every sample; a model of a billion parameters needs more than 24 GB for this many tokens.",
      bad=_EBFT + "\nsequence_len: 4096", good=_EBFT + "\nsequence_len: 1024")
def ebft_long(context: Context) -> Iterator[Finding]:
    """Tokens of an EBFT step exceed what Axolotl measured for 24 GB."""
    raw = context.raw
    if not _strided(context):
        return
    length, samples = effective.whole(raw, "sequence_len", 512) or 0, effective.whole(raw, "ebft.n_samples_per_prompt", 4) or 0
    generated, stride = effective.whole(raw, "ebft.generate_max_len", 8) or 0, effective.whole(raw, "ebft.stride", 8) or 1
    blocks = (length - generated - (effective.whole(raw, "ebft.context_length", 8) or 0)) // stride + 1
    tokens = (length + blocks * generated) * samples
    if tokens > _ROLLOUTS_OF_24_GB:
        yield context.finding(f"A step of strided EBFT reads {tokens:,} tokens: {blocks} blocks of a row, {samples} times.",
                              "sequence_len" if raw.written("sequence_len") else "ebft", expected=f"at most about {_ROLLOUTS_OF_24_GB:,}: a smaller "
                              "sequence_len or n_samples_per_prompt, a larger stride")


def _strided(context: Context) -> bool:
    """Whether this is EBFT on plain text."""
    return context.raw.text("rl") == "ebft" and context.raw.text("ebft.mode") == "strided"
