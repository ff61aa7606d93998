"""Rules on freezing by pattern (TL419, TL424)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tunelab.config.finding import Finding, Severity
from tunelab.planning.freezing import Pattern
from tunelab.planning.rules.registry import Context, rule


@rule("TL419", Severity.ERROR, title="A pattern of unfrozen_parameters that thaws nothing",
      why="What no pattern names stays frozen. Axolotl stops only when the model is loaded, or trains nothing at all with a warning.",
      bad=("unfrozen_parameters: ['(']", "unfrozen_parameters: ['model.embed_tokens.weight$[10:5]']"),
      good="unfrozen_parameters: ['model.embed_tokens.weight$[5:10]', model.layers.1.+]")
def thaws_nothing(context: Context) -> Iterator[Finding]:
    """An entry that is no pattern, has an empty range, matches no tensor, or names rows that a tensor has not."""
    shapes = context.shapes
    for index, text in enumerate(context.config.adapter.unfrozen_parameters or ()):
        path = ("unfrozen_parameters", index)
        try:
            pattern = Pattern.read(text)
        except (re.error, RecursionError, OverflowError):
            yield context.finding(f"`{text}` is not a regular expression.", *path, expected="the beginning of a name, such as model.layers.1.mlp")
            continue
        except ValueError as error:
            yield context.finding(f"In `{text}` {error}.", *path, expected="[start:end] with an end above the start")
            continue
        matching = {name: shape for name, shape in shapes.tensors.items() if pattern.matches(name)} if shapes is not None else {}
        if shapes is not None and not matching:
            why = " A dot stands for itself; `.+` stands for anything." if ".*" in text else \
                " The head is the embedding here." if shapes.tied_embeddings and "head" in text else ""
            yield context.finding(f"`{text}` matches no weight of this model.{why}", *path, expected="the beginning of a name such as "
                                  f"{next(iter(shapes.tensors))}", fix=f"unfrozen_parameters: ['{text.replace('.*', '.+')}']"
                                  if ".*" in text and len(context.config.adapter.unfrozen_parameters or ()) == 1 else "")
        for name, shape in matching.items():
            last = (pattern.rows[1] or pattern.rows[0] + 1) if pattern.rows is not None else 0
            if shape and last > shape[0]:
                yield context.finding(f"`{text}` names rows up to {last:,}; {name} has {shape[0]:,}.", *path, expected=f"at most {shape[0]}")
                break


@rule("TL424", Severity.BLOCKED, title="unfrozen_parameters beside an adapter",
      why="Axolotl freezes everything that no pattern names, the adapter's matrices too; most such configs mean to train both, and get one.",
      bad="adapter: lora\nunfrozen_parameters: [lm_head.weight]", good="adapter: lora\nlora_modules_to_save: [lm_head]")
def thawed_beside_lora(context: Context) -> Iterator[Finding]:
    """unfrozen_parameters and adapter."""
    config = context.config
    if config.adapter.adapter is not None and config.adapter.unfrozen_parameters:
        yield context.finding("`unfrozen_parameters` freezes the adapter too; tunelab does not run the two together.", "unfrozen_parameters",
                              expected="lora_modules_to_save for what is trained in full beside the adapter", fix="delete `unfrozen_parameters`")
