"""The names that `type` may have, for those who only ask about names: what reads such rows is in `formats`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType

SHAREGPT_EDIT = "type: chat_template, field_messages: conversations, message_property_mappings: {role: from, content: value}"
"""The edit for conversations whose messages hold `from` and `value`."""

TYPES = (
    "alpaca", "alpaca:chat", "alpaca:chatml", "alpaca:instruct", "alpaca:phi", "alpaca_chat", "alpaca_chat.load", "alpaca_chat.load_camel_ai",
    "alpaca_chat.load_concise", "alpaca_chat.load_no_prompt", "alpaca_chat.load_qa", "alpaca_instruct", "alpaca_instruct.load",
    "alpaca_instruct.load_no_prompt", "alpaca_w_system", "alpaca_w_system.load", "alpaca_w_system.load_chat", "alpaca_w_system.load_instruct",
    "alpaca_w_system.load_open_orca", "alpaca_w_system.load_open_orca_chatml", "chat_template", "chat_template.load", "completion",
    "completion.load", "concisechoice", "concisechoice:chat", "concisechoice:chatml", "concisechoice:instruct", "concisechoice:phi",
    "context_qa", "context_qa.load", "context_qa.load_404", "context_qa.load_v2", "creative_acr.load_answer", "creative_acr.load_critique",
    "creative_acr.load_revise", "explainchoice", "explainchoice:chat", "explainchoice:chatml", "explainchoice:instruct", "explainchoice:phi",
    "gpteacher", "gpteacher:chat", "gpteacher:chatml", "gpteacher:instruct", "gpteacher:phi", "input_output", "input_output.load", "jeopardy",
    "jeopardy:chat", "jeopardy:chatml", "jeopardy:instruct", "jeopardy:phi", "llama2_chat", "llama2_chat.load", "messages", "metharme",
    "metharme.load", "oasst", "oasst:chat", "oasst:chatml", "oasst:instruct", "oasst:phi", "orcamini", "orcamini.load", "pygmalion",
    "pygmalion.load", "reflection", "reflection:chat", "reflection:chatml", "reflection:instruct", "reflection:phi", "summarizetldr",
    "summarizetldr:chat", "summarizetldr:chatml", "summarizetldr:instruct", "summarizetldr:phi")
"""The values of `type` that tunelab trains on without `rl`."""

COMMON_TYPES = ("chat_template", "alpaca", "alpaca_chat", "alpaca_w_system", "gpteacher", "completion", "input_output", "a mapping of one's own")
"""What a message names of the many types."""

_PAIR_NAMES = ("argilla_chat", "icr", "intel", "prompt_pairs", "ultra")
_PAIRS = ("chat_template", "chat_template.default", "chat_template.argilla_chat",
          *(f"{layout}{way}" for layout in ("chatml", "llama3") for way in ("", ".default", *(f".{name}" for name in _PAIR_NAMES))),
          "passthrough", "passthrough.default", "zephyr.nectar")

PREFERENCE_TYPES: Mapping[str, tuple[str, ...]] = MappingProxyType({
    **dict.fromkeys(("dpo", "ipo", "simpo"), _PAIRS),
    "kto": tuple(f"{layout}.{name}" for layout in ("chatml", "llama3") for name in ("argilla", "argilla_chat", "intel", "prompt_pairs", "ultra")),
    "orpo": ("chat_template.argilla", "passthrough"),
    "reward": ("bradley_terry.chat_template",)})
"""The values of `type` by method: `rl`, or reward for `reward_model: true`."""

_MEANT = {
    **dict.fromkeys(("text", "plain", "raw", "pretraining", "guanaco"), "completion"),
    **dict.fromkeys(("chat", "chatml", "llama3", "llama-3", "mistral", "vicuna", "openai", "ultrachat", "slimorca", "tool", "tools", "conversation",
                     "conversations", "tokenizer_default"), "chat_template"),
    **dict.fromkeys(("instruct", "instruction", "instructions"), "alpaca"),
    **dict.fromkeys(("openorca", "open_orca", "open-orca"), "alpaca_w_system.load_open_orca"),
    "qa": "alpaca_chat.load_qa"}
"""Names that people write though they are no types -> the type that reads such rows."""


def unknown_type_edit(type_name: str) -> str:
    """The YAML that is most likely meant by a type that is not known."""
    if type_name.startswith("sharegpt"):
        return SHAREGPT_EDIT
    return f"type: {closest_type(type_name) or 'chat_template'}"


def closest_type(type_name: str) -> str | None:
    """The known type that is most likely meant by a name that is none: by what it says, else by its spelling."""
    dotted = type_name.replace(":load_", ".load_")
    close = difflib.get_close_matches(type_name, TYPES, n=1, cutoff=0.6)
    return _MEANT.get(type_name.lower()) or (dotted if dotted in TYPES else close[0] if close else None)
