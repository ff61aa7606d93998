"""{"kind": "similarity", "metric": "rouge-l", "references": ["..."], "at_least": 0.3}: how near the answer is to the nearest reference.

Metrics, all between 0 and 1: rouge-1, rouge-2, rouge-l (F measures; Lin 2004, by the library rouge-score), chrf (Popovic 2015) and bleu (Papineni
2002, sentence level with exponential smoothing), both by sacrebleu.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunelab.errors import needs
from tunelab.grading.result import Grade

METRICS = ("rouge-1", "rouge-2", "rouge-l", "chrf", "bleu")
_MAX = 20_000
"""Characters of an answer that are compared; an endless one must not take minutes."""


def check_similarity(grader: Mapping[str, Any]) -> str | None:
    """What is wrong with the grader, or None."""
    if grader.get("metric") not in METRICS:
        return f"`metric` must be one of: {', '.join(METRICS)}"
    references = grader.get("references")
    if not isinstance(references, list) or not references or not all(isinstance(one, str) and one.strip() for one in references):
        return "`references` must be a list of texts"
    bound = grader.get("at_least")
    return None if isinstance(bound, int | float) and not isinstance(bound, bool) and 0 < bound <= 1 else "`at_least` must be a number up to 1"


def grade_similarity(grader: Mapping[str, Any], text: str) -> Grade:
    """The score is the metric's value; an answer passes from `at_least` on."""
    value = similarity(grader["metric"], text[:_MAX], grader["references"])
    passed = value >= grader["at_least"]
    reason = f"{grader['metric']} is {value:.2f}, {'at least' if passed else 'less than'} {grader['at_least']:g}"
    return Grade(passed, value, reason, {grader["metric"]: value})


def similarity(metric: str, text: str, references: list[str]) -> float:
    """The largest value over the references; 0 for an answer without words."""
    if not text.strip():
        return 0.0
    with needs("grade", f"The metric {metric}"):
        if metric.startswith("rouge"):
            from rouge_score.rouge_scorer import RougeScorer

            name = {"rouge-1": "rouge1", "rouge-2": "rouge2", "rouge-l": "rougeL"}[metric]
            scorer = RougeScorer([name], use_stemmer=False)
            return round(max(float(scorer.score(reference, text)[name].fmeasure) for reference in references), 4)
        from sacrebleu.metrics import BLEU, CHRF
    of = CHRF() if metric == "chrf" else BLEU(effective_order=True)
    return round(max(min(1.0, float(of.sentence_score(text, [reference]).score) / 100) for reference in references), 4)
