"""Examples that cards show, in the many forms that people give them; what is none stays none; every text returned stands in the card."""

from __future__ import annotations

import html
import json
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunelab.hub.card import read_card
from tunelab.hub.fields.example import Example, read_examples
from tunelab.hub.record import ModelRecord


def _examples(text: str) -> tuple[Example, ...]:
    return read_examples(ModelRecord("harbour/lamp", read_card(text)))


def _front(yaml: str) -> str:
    return f"---\n{yaml}\n---\n# Lamp\n"


SHOWN: dict[str, tuple[str, str, str | None]] = {
    "widget text": (_front("widget:\n- text: The boat is late again.\n  example_title: Late"), "The boat is late again.", None),
    "widget string": (_front('widget:\n- "The boat is late again."'), "The boat is late again.", None),
    "widget mapping": (_front('widget:\n  text: "The boat is late again."'), "The boat is late again.", None),
    "widget messages": (_front("widget:\n- messages:\n  - role: system\n    content: Be brief.\n  - role: user\n    content: When does it sail?"), "When does it sail?", None),
    "widget with output": (_front("widget:\n- text: Is it late?\n  output:\n    text: Yes, by an hour."), "Is it late?", "Yes, by an hour."),
    "widget with output string": (_front("widget:\n- text: Is it late?\n  output: Yes, by an hour."), "Is it late?", "Yes, by an hour."),
    "widget with labels": (_front("widget:\n- text: It is late again!\n  output:\n  - label: NEGATIVE\n    score: 0.9"), "It is late again!", "NEGATIVE 0.9"),
    "widget question": (_front("widget:\n- text: Who steers?\n  context: Ola steers the boat."), "Who steers?", None),
    "widget in broken yaml": (_front("tags: [a, \"b\nwidget:\n- text: The boat is late: again.\n- text: 'no"), "The boat is late: again.", None),
    "widget hello": (_front("widget:\n- text: Hello!"), "Hello!", None),
    "user and assistant in a fence": ("## Example\n```\nUser: Name a bird.\nAssistant: Heron.\n```", "Name a bird.", "Heron."),
    "q and a in prose": ("Q: How many oars has it?\nA: Two.", "How many oars has it?", "Two."),
    "alpaca": ("```\n### Instruction:\nName a bird.\n\n### Input:\nNear water.\n\n### Response:\nHeron.\n```", "Name a bird.\n\nNear water.", "Heron."),
    "inst": ("```\n<s>[INST] Name a bird. [/INST] Heron.</s>\n```", "Name a bird.", "Heron."),
    "llama 3": ("```\n<|start_header_id|>user<|end_header_id|>\n\nName a bird.<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHeron.<|eot_id|>\n```",
                "Name a bird.", "Heron."),
    "zephyr": ("```\n<|system|>\nBe brief.</s>\n<|user|>\nName a bird.</s>\n<|assistant|>\nHeron.</s>\n```", "Name a bird.", "Heron."),
    "gemma": ("```\n<start_of_turn>user\nName a bird.<end_of_turn>\n<start_of_turn>model\nHeron.<end_of_turn>\n```", "Name a bird.", "Heron."),
    "input and output in a fence": ("```\nInput: Name a small bird.\nOutput: Wren.\n```", "Name a small bird.", "Wren."),
    "prompt and completion": ("Prompt: Name a bird.\n\nCompletion: Heron.", "Name a bird.", "Heron."),
    "bold labels": ("**Prompt:** Name a bird.\n\n**Output:** Heron.", "Name a bird.", "Heron."),
    "bold labels with the colon outside": ("**Prompt**: Name a bird.\n**Output**: Heron.", "Name a bird.", "Heron."),
    "bold labels without colons": ("## Samples\n\n**Prompt**\n\nName a bird.\n\n**Output**\n\nHeron.", "Name a bird.", "Heron."),
    "labels over fences": ("Input:\n```\nName a bird.\n```\nOutput:\n```\nHeron.\n```", "Name a bird.", "Heron."),
    "labels over quotes": ("**Input:**\n> Name a bird.\n\n**Output:**\n> Heron.", "Name a bird.", "Heron."),
    "headings": ("## Examples\n### Prompt\nName a bird.\n### Response\nHeron.", "Name a bird.", "Heron."),
    "numbered headings": ("## Examples\n### Example 1 - Input\n```\nName a bird.\n```\n### Example 1 - Output\n```\nHeron.\n```", "Name a bird.", "Heron."),
    "sentences that announce": ("Given the following prompt:\n```\nName a bird.\n```\nthe model answers:\n```\nHeron.\n```", "Name a bird.", "Heron."),
    "quotes": ("## Sample\n> **User:** Name a bird.\n>\n> **Lamp:** Heron.", "Name a bird.", "Heron."),
    "items": ("- Human: Name a bird.\n- Bot: Heron.", "Name a bird.", "Heron."),
    "one line": ("## Example\nInput: Name a bird. Output: Heron.", "Name a bird.", "Heron."),
    "list of bold pairs": ("## Examples\n1. **Prompt:** Name a bird. **Response:** Heron.\n2. **Prompt:** Name a fish. **Response:** Cod.", "Name a bird.", "Heron."),
    "br": ("**User:** Name a bird.<br>**Lamp:** Heron.", "Name a bird.", "Heron."),
    "details": ("<details><summary>Example</summary>\n\n**Prompt:** Name a bird.\n\n**Output:** Heron.\n\n</details>", "Name a bird.", "Heron."),
    "details in html": ("<details><summary>Example</summary>\n<p><b>Prompt:</b> Name a bird.</p>\n<p><b>Output:</b> Heron.</p>\n</details>", "Name a bird.", "Heron."),
    "table": ("| Prompt | Output |\n|---|---|\n| Name a bird. | Heron. |", "Name a bird.", "Heron."),
    "table of articles": ("| Article | Summary |\n|---|---|\n| The ferry was cancelled because of high waves on Tuesday. | Ferry cancelled. |", "The ferry was cancelled because", "Ferry cancelled."),
    "table with two answers": ("| Question | Base model | Fine-tuned |\n|---|---|---|\n| Which bird lives near water? | I am a model. | Heron. |", "Which bird lives", "Heron."),
    "table on its side": ("## Example\n| | |\n|---|---|\n| **Prompt** | Name a bird that lives near water |\n| **Output** | Heron |", "Name a bird that", "Heron"),
    "table of languages": ("| English | German |\n|---|---|\n| The boat is very late. | Das Boot ist sehr spät. |", "The boat is very late.", "Das Boot"),
    "messages in json": ('```json\n{"messages": [{"role": "user", "content": "Name a bird."}, {"role": "assistant", "content": "Heron."}]}\n```', "Name a bird.", "Heron."),
    "sharegpt": ('```json\n[{"from": "human", "value": "Name a bird."}, {"from": "gpt", "value": "Heron."}]\n```', "Name a bird.", "Heron."),
    "object in json": ('## Example\n```json\n{"prompt": "Name a bird.", "completion": "Heron."}\n```', "Name a bird.", "Heron."),
    "messages in python": ("```python\nmessages = [\n  {'role': 'user', 'content': 'Name a bird.'},\n  {'role': 'assistant', 'content': 'Heron.'},\n]\n```", "Name a bird.", "Heron."),
    "comment with output": ('```python\nfrom transformers import pipeline\npipe = pipeline("text-generation", model="harbour/lamp")\nprint(pipe("Name a bird."))\n# Output: Heron.\n```',
                            "Name a bird.", "Heron."),
    "comment with an arrow": ('```python\npipe("Name a bird.")  # => Heron.\n```', "Name a bird.", "Heron."),
    "comment with a list": ("```python\nclf = pipeline('sentiment-analysis', model='x/y')\nclf('The boat is late!')\n# [{'label': 'NEGATIVE', 'score': 0.9}]\n```", "The boat is late!", "NEGATIVE"),
    "comment of several lines": ('```python\nprint(f("Name two birds."))\n# Output:\n# Heron\n# Wren\n```', "Name two birds.", "Heron\nWren"),
    "doctest": ("```python\n>>> from transformers import pipeline\n>>> unmask = pipeline('fill-mask')\n>>> unmask(\"The [MASK] is late.\")\n[{'token_str': 'boat'}]\n```", "The [MASK] is late.", "boat"),
    "result under code": ("```python\nclf = pipeline('text-classification')\nclf('The boat is late!')\n\n[{'label': 'NEGATIVE'}]\n```", "The boat is late!", "NEGATIVE"),
    "result in the next fence": ("```python\nm = AutoModel.from_pretrained('x')\nprompt = \"Name a bird.\"\nprint(m.say(prompt))\n```\nOutput:\n```\nHeron.\n```", "Name a bird.", "Heron."),
    "result in a docstring": ('```python\nprompt = "Name a bird."\nprint(generate(prompt))\n"""\nHeron.\n"""\n```', "Name a bird.", "Heron."),
    "long prompt in code": ('```python\ntext = """\nThe ferry was late.\nIt rained.\n"""\nprint(summarize(text))\n# Output: Ferry late.\n```', "The ferry was late.\nIt rained.", "Ferry late."),
    "question and context in code": ("```python\nqa(question='Who steers?', context='Ola steers the boat.')\n# {'answer': 'Ola'}\n```", "Who steers?\n\nOla steers the boat.", "Ola"),
    "chat in a terminal": ("```\n>>> Why is the sky blue?\nBecause of scattering.\n```", "Why is the sky blue?", "Because of scattering."),
    "arrows": ("## Examples\n- `The boat is late!` → negative\n- `What a view!` → positive", "The boat is late!", "negative"),
    "german": ("## Beispiel\n**Frage:** Wer steuert?\n\n**Antwort:** Ola.", "Wer steuert?", "Ola."),
    "spanish": ("### Ejemplo\nEntrada: El barco llega tarde.\nSalida: negativo", "El barco llega tarde.", "negativo"),
    "french": ("### Exemple\nUtilisateur : Qui tient la barre ?\nAssistant : Ola.", "Qui tient la barre ?", "Ola."),
    "russian": ("Пример:\n\nВопрос: Кто рулит?\nОтвет: Ола.", "Кто рулит?", "Ола."),
    "chinese": ("## 示例\n问：谁在掌舵?\n答：奥拉。", "谁在掌舵?", "奥拉。"),
    "japanese": ("## 生成例\n```\n### 指示:\n鳥の名前を一つ挙げて。\n\n### 応答:\nアオサギ。\n```", "鳥の名前を一つ挙げて。", "アオサギ。"),
    "rinna": ("```\nユーザー: 鳥の名前は?\nシステム: アオサギです。\n```", "鳥の名前は?", "アオサギです。"),
    "korean": ("### 예시\n질문: 누가 조종하나요?\n답변: 올라.", "누가 조종하나요?", "올라."),
    "arabic": ("**السؤال:** من يقود القارب؟\n\n**الجواب:** أولا.", "من يقود القارب؟", "أولا."),
    "prompts only": ("## Example prompts\n- Name a bird that lives near water.", "Name a bird that lives near water.", None),
    "fence of a prompt before an output": ("### Example:\n```\ntranslate: the boat is late\n```\nModel output:\n```\ndas Boot ist spät\n```", "translate: the boat is late", "das Boot"),
    "comment that explains": ('```python\nresult = analyse("The boat is late again today.")\nprint(result["curve"])   # the curve of feelings\n```', "The boat is late again today.", None),
    "javascript": ("```js\nlet out = await pipe('I love the boat!');\n// [{'label': 'POSITIVE', 'score': 0.9}]\n```", "I love the boat!", "POSITIVE"),
    "trailing word": ('```python\nprint(classify("The boat is late!"))  # NEGATIVE\n```', "The boat is late!", "NEGATIVE"),
    "languages": ("## Example\nEnglish: The boat is late.\nGerman: Das Boot ist spät.", "The boat is late.", "Das Boot"),
    "premise": ("## Example\nPremise: The boat is late.\nHypothesis: It is on time.\nLabel: contradiction", "The boat is late.\n\nIt is on time.", "contradiction"),
    "customer": ("Customer: When does it sail?\nAgent: At noon.", "When does it sail?", "At noon."),
    "corrections": ("## Examples\nIncorrect: He go to the boat.\nCorrect: He goes to the boat.", "He go to the boat.", "He goes to the boat."),
    "indented in html": ("<b>User:</b> Name a bird.<br>\n<b>Assistant:</b> Heron.<br>", "Name a bird.", "Heron."),
}


@pytest.mark.parametrize("name", SHOWN)
def test_what_is_shown_is_found(name: str) -> None:
    card, prompt, output = SHOWN[name]
    found = [one for one in _examples(card) if one.prompt.startswith(prompt)]
    assert found, _examples(card)
    assert output is None or any(output in (one.output or "") for one in found), found


NONE: dict[str, str] = {
    "pipeline": '```python\nfrom transformers import pipeline\npipe = pipeline("text-generation", model="harbour/lamp")\n```',
    "prompt without a result": '```python\nmodel = AutoModel.from_pretrained("harbour/lamp")\nprompt = "Name a bird that lives near water."\nprint(model.generate(prompt))\n```',
    "trl": '```python\nquestion = "If you had a time machine, but could only go to the past or the future once and never return, which would you choose and why?"\n'
           'print(generator([{"role": "user", "content": question}])[0])\n```',
    "template": "```\n### Instruction:\n{instruction}\n\n### Response:\n{output}\n```",
    "template in braces": "```\n<|im_start|>user\n{{ prompt }}<|im_end|>\n<|im_start|>assistant\n```",
    "template in angles": "```\nUSER: <prompt>\nASSISTANT: <answer>\n```",
    "your text": "Input: Your text here\n\nOutput: ...",
    "only a system message": "```\n<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n```",
    "widget of a template": _front('widget:\n- text: "{prompt}"'),
    "shell": '## Usage\n```bash\n./main -m lamp.gguf -p "Name a bird."\nollama run lamp\n```',
    "requirements": "## Example\n```\ntransformers==4.41\ntorch>=2.1\n```",
    "log": "```\nEpoch 1: loss 0.3\nEpoch 2: loss 0.2\n```",
    "training table": "| Training Loss | Epoch | Step | Validation Loss |\n|---|---|---|---|\n| 0.2 | 1.0 | 100 | 0.3 |",
    "hyper-parameters": "- learning_rate: 2e-05\n- train_batch_size: 16\n- optimizer: Adam with betas=(0.9,0.999)",
    "yaml": "```yaml\nbase_model: a/b\ninput: x y z\noutput: u v w\n```",
    "bibtex": "```bibtex\n@misc{x, title={Question: what is it? Answer: a model}}\n```",
    "data rows": '## Training data\nAn example of the data:\n```json\n{"instruction": "Name a bird.", "output": "Heron."}\n```',
    "data format": "The data set has this format:\n\n- question: the title of a thread\n- answer: its best reply",
    "few shots": "## Few-shot evaluation\nQ: Name a bird.\nA: Heron.",
    "data rows under another heading": 'The training data looks like this.\n\n```json\n{"instruction": "Name a bird.", "output": "Heron."}\n```',
    "questions on the project": "## Notes\nQ: Which licence has this model?\nA: Apache 2.0.",
    "generic call": '```python\nprint(pipe("Hello, how are you?"))\n```',
    "faq": "## FAQ\n**Q: Can I use it for work?**\n\nA: Yes.",
    "input and output specified": "**Input:** Models input text only.\n\n**Output:** Models generate text and code only.",
    "gemma's inputs": "### Inputs and outputs\n-   **Input:** Text string, such as a question, a prompt, or a document.\n-   **Output:** Generated English-language text in response to the input.",
    "results": "## Results\n| Model | Accuracy |\n|---|---|\n| Lamp | 0.9 |",
    "labels": "| Label | Description |\n|---|---|\n| politics | Articles about elections and governments |",
    "quantised files": "| Name | Quant method | Use case |\n|---|---|---|\n| lamp.Q4_K_M.gguf | Q4_K_M | medium, balanced quality |",
    "sentence transformers": "```python\nsentences = ['The weather is lovely today.', \"It's so sunny outside!\"]\nembeddings = model.encode(sentences)\nprint(embeddings.shape)\n# (2, 384)\n```",
    "unfilled": "- **Developed by:** [More Information Needed]\n- **Input:** [More Information Needed]\n- **Output:** [More Information Needed]",
    "special tokens": "```\nUser: <|user-message|>\\n\nBot: <|bot-message|>\\n\n```",
}


@pytest.mark.parametrize("name", NONE)
def test_what_is_none_stays_none(name: str) -> None:
    assert _examples(NONE[name]) == ()


def test_evidence_is_the_line_of_the_prompt() -> None:
    card = "# Lamp\n\ntext\n\n```\n### Instruction:\nName a bird.\n\n### Response:\nHeron.\n```\n"
    (example,) = _examples(card)
    assert (example.evidence.line, example.evidence.quote, example.template) == (7, "Name a bird.", "alpaca")


def test_texts_are_not_cut_and_keep_their_marks() -> None:
    answer = "SELECT COUNT(*) FROM a_b WHERE x <> 'y'; " * 200
    (example,) = _examples(f"**Question:** How many `a_b` are there in all?\n\n**SQL:** {answer}")
    assert example.output == answer.strip()


def test_the_surest_come_first() -> None:
    found = _examples("## Example\n**Prompt:** Name a bird.\n\n**Output:** Heron.\n\n## Example prompts\n- Name a fish that swims.\n")
    assert [one.prompt for one in found] == ["Name a bird.", "Name a fish that swims."]
    assert found[0].confidence > found[1].confidence


def _loose(text: str) -> str:
    """What is left when white space, quotes, escapes and marks are taken away."""
    text = html.unescape(re.sub(r"\\[nt\"'\\]", "", text))
    return re.sub(r"[\W_]+", "", text)


@pytest.mark.parametrize("name", SHOWN)
def test_nothing_is_invented(name: str) -> None:
    card = SHOWN[name][0]
    for one in _examples(card):
        for part in [*one.prompt.split("\n\n"), *(one.output or "").split("\n")]:
            assert _loose(part) in _loose(re.sub(r"(?m)^\s*# ?", "", card)) or all(word in card for word in part.split())


_PIECES = st.sampled_from([
    "User: ", "Assistant: ", "Q: ", "A: ", "**Prompt:** ", "**Output:** ", "### Instruction:\n", "### Response:\n", "[INST] ", " [/INST]", "<|im_start|>user\n", "<|im_end|>\n", "```\n", "```python\n",
    "print(f('Name a bird.'))\n", "# Output: ", "\n\n", "\n", "> ", "- ", "| Prompt | Output |\n|---|---|\n| ", " | ", "Name a bird near water.", "The heron stands still.", "{prompt}", '{"role": "user", "content": "',
    '"}, {"role": "assistant", "content": "', "## Example\n", ">>> ", "<br>", "<details>", "'", '"""', "→", "a\\nb"])


@settings(max_examples=200, deadline=None)
@given(st.lists(_PIECES, max_size=25).map("".join))
def test_any_card_gives_only_what_stands_in_it(card: str) -> None:
    have = _loose(re.sub(r"</?[a-z][^<>]*>|#", "", card))
    for one in _examples(card):
        for part in re.split(r"\n", one.prompt + "\n" + (one.output or "")):
            assert _loose(re.sub(r"</?[a-z][^<>]*>|#", "", part)) in have


@pytest.mark.parametrize("nasty", ["User: a\n" * 12_000, "A: " * 30_000, "```\n>>> f('a b')\n" * 5_000, "[INST]" * 16_000, "**Prompt:**" * 9_000, "```python\n" + "f('''a b''') # -> x\n" * 5_000,
                                   "| Prompt | Output |\n|---|---|\n" + "| a b c d | e |\n" * 6_000, "```python\n" + '"""' * 30_000, "```json\n" + '{"role": "user", "content": "a b"},' * 2_500,
                                   "### Instruction:\n" * 6_000, "- a → b\n" * 12_000, "## Example\n" * 9_000, "<b>" * 30_000, "`" * 100_000, "{" * 100_000, "```\n# Output:\n" * 8_000])
def test_nasty_cards_are_read_soon(nasty: str) -> None:
    card = read_card(nasty)
    assert card.blocks is not None
    begun = time.perf_counter()
    read_examples(ModelRecord("x", card))
    assert time.perf_counter() - begun < 2


def test_odd_widgets() -> None:
    for widget in (3, None, [None, 3, [], {}, {"text": None}, {"text": 5}, {"messages": [1, {"role": "user"}]}, {"output": "x"}, {"text": ["a b"], "output": {"text": 7}}], {"a": {"b": 1}}, "text"):
        read_examples(ModelRecord("x", read_card(f"---\n{json.dumps({'widget': widget})}\n---\n")))
