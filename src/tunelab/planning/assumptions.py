"""What the numbers of a plan take for granted, as sentences that stand beside them."""

from __future__ import annotations

from tunelab.config.config import Config
from tunelab.facts.dataset import DataFacts
from tunelab.facts.machine import Machine
from tunelab.facts.shapes import ModelShapes
from tunelab.planning.lora import lora_parameters, saved_parameters, target_layers
from tunelab.planning.memory import MemoryPlan
from tunelab.planning.optimizers import optimizer_state
from tunelab.planning.preference import about_reference
from tunelab.planning.rules.hardware import parameters_in_name
from tunelab.planning.workload import is_eager

_FROM_FILES = ("safetensors headers", "config.json")


def assumptions(config: Config, shapes: ModelShapes | None, machine: Machine, data: DataFacts | None, speed: float | None,
                memory: MemoryPlan | None, processes: int = 1) -> list[str]:
    """The sentences, model first."""
    reference = about_reference(config)
    return [*_about_model(config, shapes), *_about_data(data), *([reference] if reference else []),
            *_about_memory(config, shapes, machine, memory, processes),
            *([f"Time is for {speed:,.0f} tokens per second, training alone: loading, evaluation and saving come on top."] if speed else [])]


def _about_model(config: Config, shapes: ModelShapes | None) -> list[str]:
    if shapes is None:
        size = parameters_in_name(config.model.base_model)
        return ["The base model is not at hand: " + ("its size is read off its name; " if size else "")
                + "trainable parameters, memory and disk are not known."]
    said = []
    if shapes.source not in _FROM_FILES:
        said.append(f"The model's shapes come from {shapes.source}, not from the model's own safetensors files.")
    if shapes.quantised:
        said.append(f"The base model is stored quantised ({shapes.quantised}); parameters are counted as if it were not.")
    if config.adapter.lora_model_dir is not None:
        said.append("lora_model_dir: ranks and layers are those of the config; the adapter there may have others.")
    if _saved_share(config, shapes) > 0.5:
        said.append("Most of what is trained are whole modules (lora_modules_to_save), not LoRA matrices.")
    return said


def _about_data(data: DataFacts | None) -> list[str]:
    if data is None:
        return ["The data is not at hand: rows, tokens, steps and time are not known; memory is for full rows with loss on a third "
                "of their tokens."]
    if data.source == "row statistics":
        return ["Tokens come from row statistics (four characters a token), not from a tokenizer: they, the steps and the time can be a third off."]
    if data.total_positions is None and len(set(data.batches_per_epoch)) > 1:
        return ["Epochs differ a little in how their rows are packed; tokens are scaled up from the first."]
    return []


def _about_memory(config: Config, shapes: ModelShapes | None, machine: Machine, memory: MemoryPlan | None, processes: int) -> list[str]:
    if shapes is None or memory is None:
        return []
    said = ["Memory is the peak on the GPU; CUDA itself takes about 0.5 GB more. UNVALIDATED: it was not held against runs on a GPU."
            if machine.has_cuda else
            "Memory is the peak of the whole process, libraries included; held against real runs of a small model on Linux (docs/design/plan.md)."]
    if config.adapter.adapter is None:
        said.append("Trained weights, gradients and optimizer state are counted in 32 bits, as this loop holds them; stacks that train in bfloat16 "
                    "throughout take about half.")
    if is_eager(config) and not machine.has_cuda:
        said.append("Attention keeps no square of scores here; the GPU table counts it, as attn_implementation is eager.")
    if not optimizer_state(config.optimisation.optimizer).known:
        said.append(f"What {config.optimisation.optimizer} keeps is not known here; it is counted like AdamW: two 32-bit numbers per trained parameter.")
    if processes > 1 and not machine.has_cuda:
        said.append(f"Memory is that of one of {processes} processes; on one machine they take {processes} times as much together.")
    if memory.devices > 1:
        said.append(f"Memory is that of one of {memory.devices} devices." if machine.has_cuda else
                    "Shards were measured on two processes: what is planned was up to a tenth off, and up to a quarter too low for LoRA under stage 3.")
    if memory.host:
        said.append(f"Besides, {memory.host / 1e9:,.1f} GB of main memory hold what is offloaded.")
    return said


def _saved_share(config: Config, shapes: ModelShapes) -> float:
    if config.adapter.adapter is None:
        return 0.0
    saved, lora = saved_parameters(config, shapes), lora_parameters(config, target_layers(config, shapes))
    return saved / (saved + lora) if saved + lora else 0.0
