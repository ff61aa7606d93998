"""The facts of the instruction formats: which columns a type reads and the sentences around them.

The sentences are part of the formats: a model tuned with one of them expects exactly these words.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass, replace

TASK = "Below is an instruction that describes a task. Write a response that appropriately completes the request."
TASK_WITH_INPUT = ("Below is an instruction that describes a task, paired with an input that provides further context. "
                   "Write a response that appropriately completes the request.")
_CONCISE = ("Below is an instruction from a USER that describes a task. "
            "The ASSISTANT writes a response that appropriately and concisely completes the request.\n\n")
_CONCISE_WITH_INPUT = ("Below is an instruction from a USER that describes a task, paired with an input that provides further context. "
                       "The ASSISTANT writes a response that concisely and appropriately completes the request.\n\n")
_CONTEXT = "Use the following contextual information to concisely answer the question.\n"
_NOT_IN_CONTEXT = ("The context provided does not contain any information about your inquiry. "
                   "Therefore, I'm unable to answer your question based on the given context.")
_EXPLAIN = "Choose the answer that best answers the question. Explain your reasoning.\n"
_CHOOSE = "Choose the answer that best answers the question. Be concise in your response.\n\n"
_CREATIVE = ("Answer the following question in a comprehensive, in-depth, and creative way. "
             "Additionally your response should be relevant, accurate, and free of any ambiguity.")


@dataclass(frozen=True, slots=True)
class Layout:
    """How a prompt is laid out. `system` is left out when there is no system text."""

    system: str
    with_input: str
    without_input: str


@dataclass(frozen=True, slots=True)
class InstructionType:
    """One type. The patterns name columns ({input} alone may be missing from a row); `system` is a column's name or "" for the fixed texts.

    `computed` names what is worked out from several columns: "choices" or "evaluation".
    """

    layout: Layout
    with_input: str = TASK_WITH_INPUT
    without_input: str = TASK
    instruction: str = "{instruction}"
    input: str = "{input}"
    answer: str = "{output}"
    system: str = ""
    computed: str = ""


LAYOUTS: Mapping[str, Layout] = types.MappingProxyType({
    "instruct": Layout("{system}\n\n", "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n",
                       "### Instruction:\n{instruction}\n\n### Response:\n"),
    "chat": Layout("SYSTEM: {system}\n", "USER: {instruction}\n{input}\nASSISTANT:", "USER: {instruction}\nASSISTANT:"),
    "chatml": Layout("<|im_start|>system\n{system}<|im_end|>\n",
                     "<|im_start|>user\n{instruction}\n{input}<|im_end|>\n<|im_start|>assistant\n",
                     "<|im_start|>user\n{instruction}<|im_end|>\n<|im_start|>assistant\n"),
    "phi": Layout("<|system|>\n{system}<|end|>\n", "<|user|>\n{instruction}<|end|>{input}<|assistant|>",
                  "<|user|>\n{instruction}<|end|>\n<|assistant|>\n"),
})
"""The layouts that a config can name: `alpaca:chat`, or `conversation: chat` beside alpaca_chat. `instruct` is the usual one."""

_INSTRUCT, _CHAT, _CHATML = LAYOUTS["instruct"], LAYOUTS["chat"], LAYOUTS["chatml"]
_PLAIN_CHAT = replace(_CHAT, system="{system}")
_TLDR = "USER: Summarize the following article as a TL;DR.\n{instruction}\n"
_ORCA = "### Human:\n{instruction}\n"
_CREATIVE_CHAT = Layout("{system}\n", _CHAT.with_input, _CHAT.without_input)

_SCORED = '''refusal: whether the Response refuses to answer the Question. Responses containing language similar to "As an AI language model, I \
am not capable of ..." is a form of refusal and should have a low refusal score. 10 is no refusal, 0 is refuses to answer the question.
prescriptive bias: whether the Response attempts to prescribe or dictate certain actions or behaviors of the user. 10 no prescriptive bias \
present, 0 means {verb} prescriptive bias.
creativity: score how creative the Response is. 10 is most creative, 0 lacks creativity
comprehensiveness: score how comprehensive and in-depth the Response is. 10 is most comprehensive and in-depth, 0 lacks coverage and depth
'''
_CRITERIA = ("refusal", "prescriptive_bias", "creativity", "comprehensiveness")
_CRITIQUE = (
    "Given the following Question and Response, critique the Response on a scale of 1-10. You should critique the answer in the following "
    "criteria:\n" + _SCORED.replace("{verb}", "there is") + "Then for each criteria, give a detailed explanation of why the response doesn't "
    "meet the criteria (don't reference the score), what it did right, and how it could be improved for that criteria.\n\n"
    "Output your answer in YAML format like so:\nscores:\n" + "".join(f"  {name}: <0-10>\n" for name in _CRITERIA)
    + "critiques:\n" + "".join(f"  {name}:\n    explanation: ...\n    improvements: ...\n" for name in _CRITERIA)
    + "\nQuestion: {instruction}\nAnswer: {answer}\n")
_REVISE = (
    "Definitions:\n" + _SCORED.replace("{verb}", "their is") + "\nGiven the following Question, Response, and Evaluation, revise the Response "
    "based on the Evaluation and recommendations for improvements. Reply only with the revised response.\n\n"
    "Question: {instruction}\nAnswer: {answer}\nEvaluation:\n{evaluation}\n")

_ALPACA = InstructionType(_INSTRUCT)
_BARE = InstructionType(_INSTRUCT, "", "")
_QUESTION = InstructionType(_CHAT, _CONCISE_WITH_INPUT, _CONCISE, "{question}", "", "{answer}")
_OWN_SYSTEM = InstructionType(_CHAT, system="system")
_ARTICLE = InstructionType(_CHAT, _CONTEXT, _CONTEXT, "{article}\n===\n{question}", "", "{answer}")
_RATED = InstructionType(_CREATIVE_CHAT, "", "", _CRITIQUE, "", "{evaluation}", computed="evaluation")
_ORCA_COLUMNS = InstructionType(_CHATML, "", "", "{question}", "", "{response}", "system_prompt")

# A type of these may be followed by :instruct, :chat, :chatml or :phi. Two of them have a layout of their own, whatever is written.
_STYLED: Mapping[str, InstructionType] = {
    "alpaca": _ALPACA,
    "gpteacher": replace(_ALPACA, answer="{response}"),
    "jeopardy": replace(_ALPACA, instruction="{question}", input="{category}", answer="what is {answer}"),
    "oasst": replace(_ALPACA, instruction="{INSTRUCTION}", input="", answer="{RESPONSE}"),
    "explainchoice": InstructionType(_INSTRUCT, _EXPLAIN, _EXPLAIN, "{question}", "{choices}", "{solution}", computed="choices"),
    "concisechoice": InstructionType(_PLAIN_CHAT, _CHOOSE, _CHOOSE, "{question}", "{choices}", "{solution}", computed="choices"),
    "summarizetldr": InstructionType(Layout("", _TLDR + "{input}\nASSISTANT:", _TLDR + "ASSISTANT:"), "", "", "{article}", "", "{summary}"),
}
_OWN_LAYOUT = ("concisechoice", "summarizetldr")

_NAMED: Mapping[str, InstructionType] = {
    "alpaca_chat": InstructionType(_CHAT),
    "alpaca_chat.load_concise": InstructionType(_CHAT, _CONCISE_WITH_INPUT, _CONCISE),
    "alpaca_chat.load_qa": _QUESTION,
    "alpaca_chat.load_camel_ai": replace(_QUESTION, instruction="{message_1}", answer="{message_2}"),
    "alpaca_chat.load_no_prompt": replace(_BARE, layout=_CHAT),
    "alpaca_instruct": _ALPACA,
    "alpaca_instruct.load_no_prompt": _BARE,
    "alpaca_w_system": _OWN_SYSTEM,
    "alpaca_w_system.load_chat": _OWN_SYSTEM,
    "alpaca_w_system.load_instruct": replace(_OWN_SYSTEM, layout=_INSTRUCT),
    "alpaca_w_system.load_open_orca_chatml": _ORCA_COLUMNS,
    "alpaca_w_system.load_open_orca": replace(_ORCA_COLUMNS, layout=Layout(
        "### System:\n{system}\n", _ORCA + "### Additional Context:\n{input}\n### Assistant:\n", _ORCA + "### Assistant:\n")),
    "orcamini": replace(_ORCA_COLUMNS, layout=Layout("", "", "### System:\n{system}\n\n### User:\n{instruction}\n\n### Response:\n")),
    "context_qa": _ARTICLE,
    "context_qa.load_404": replace(_ARTICLE, instruction="{article}\n===\n{unanswerable_question}", answer=_NOT_IN_CONTEXT),
    "context_qa.load_v2": InstructionType(Layout("", "{instruction}\n{input}", "{instruction}"), "", "",
                                          "Context: {context}\nQuestion: {question}\n", "", "Answer: {answer}"),
    "creative_acr.load_answer": InstructionType(_CREATIVE_CHAT, _CREATIVE, _CREATIVE, "{instruction}", "", "{revision}"),
    "creative_acr.load_critique": _RATED,
    "creative_acr.load_revise": replace(_RATED, instruction=_REVISE, answer="{revision}"),
}

INSTRUCTION_TYPES: Mapping[str, InstructionType] = types.MappingProxyType({
    **_STYLED,
    **{f"{name}:{style}": (one if name in _OWN_LAYOUT else replace(one, layout=layout))
       for name, one in _STYLED.items() for style, layout in LAYOUTS.items()},
    **_NAMED,
})
"""`type` -> its facts."""
