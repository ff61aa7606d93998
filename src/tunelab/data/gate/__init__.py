"""The gate before step 1: faults of the tokenised data and of the chat template, looked for in all rows.

A fault that spoils the run stops it, one that only costs something is said (docs/design/gate.md has the limits and why); a person who
means it goes on by naming the code: `tunelab train CONFIG --allow CODE`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

from tunelab.config.config import Config
from tunelab.data.gate import answers, rows, template
from tunelab.data.gate.problem import CODES, GateProblem, Look
from tunelab.data.pair_survey import PairSurvey, survey_pairs
from tunelab.data.prepare import Prepared
from tunelab.data.survey import Survey, end_tokens, survey
from tunelab.data.tokenizer import TextTokenizer
from tunelab.errors import DataError, UsageError

__all__ = ["CODES", "GateProblem", "gate", "known_codes", "pairs_found", "stopped", "stopping"]


def gate(prepared: Prepared, tokenizer: TextTokenizer, config: Config | None = None, found: Survey | None = None) -> tuple[GateProblem, ...]:
    """Everything that is wrong, what stops a run first; empty when nothing is.

    Without a config the template and what the config decides cannot be judged. `found`: a survey of these rows, if there is one already.
    """
    ends = end_tokens(tokenizer, config)
    if config is not None and prepared.width > 1:
        about = answers.problems(pairs_found(prepared, tokenizer, config), prepared.counts, config)
        return tuple(sorted(about, key=lambda one: not one.stops))
    look = Look(prepared, tokenizer, config, survey(prepared, tokenizer, ends) if found is None else found, ends)
    about_template = list(template.problems(look))
    explained = {one.dataset for one in about_template if one.problem.code == "template_end"}
    problems = chain((one.problem for one in about_template), rows.problems(look, frozenset(explained)))
    return tuple(sorted(problems, key=lambda one: not one.stops))


def pairs_found(prepared: Prepared, tokenizer: TextTokenizer, config: Config) -> PairSurvey:
    """A survey of pairs, as the method of the config looks at them."""
    method = config.preference.method
    return survey_pairs(prepared, end_tokens(tokenizer, config), tokenizer.bos_id, config.data.sequence_len, rated=method == "kto",
                        scored=method == "reward")


def known_codes(written: Iterable[str]) -> frozenset[str]:
    """The codes of `--allow`. Raises UsageError for one that the gate does not have."""
    codes = frozenset(written)
    unknown = sorted(codes - CODES.keys())
    if unknown:
        raise UsageError(f"The gate has no problem of the name {', '.join(unknown)}; it has {', '.join(CODES)}.", where="--allow",
                         next_step="Write the code that the gate named.")
    return codes


def stopping(problems: Iterable[GateProblem], allowed: frozenset[str] = frozenset()) -> tuple[GateProblem, ...]:
    """The problems that stop a run: the grave ones that were not allowed by name."""
    return tuple(problem for problem in problems if problem.stops and problem.code not in allowed)


def stopped(problems: Sequence[GateProblem], config: str, allowed: frozenset[str] = frozenset()) -> DataError:
    """The error for problems that stop the run of the config file `config`: every problem, its edit, and how to go on regardless."""
    codes = ",".join(dict.fromkeys([*sorted(allowed), *(problem.code for problem in problems)]))
    edits = " ".join(f"{problem.code}: {problem.fix.rstrip('.')}." for problem in problems) if len(problems) > 1 else f"{problems[0].fix.rstrip('.')}."
    return DataError(" ".join(f"[{problem.code}] {problem.message}" for problem in problems), where="datasets",
                     next_step=f"{edits} To train on it as it is: tunelab train {config} --allow {codes}")
