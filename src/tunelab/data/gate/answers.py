"""The checks on pairs of answers, on rated answers, and on the conversations of a reward model."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tunelab.config.config import Config
from tunelab.data.counts import Counts
from tunelab.data.gate.problem import GateProblem, begins, first_places, some_of
from tunelab.data.pair_survey import PairFigures, PairSurvey

# From which share of the rows on a fault stops the run. An equal or an empty answer is never right, so one is enough (Axolotl stops at an empty one too).
TRUNCATED_STOPS = OPEN_END_STOPS = OVERLAP_STOPS = PARTED_STOPS = 0.10
LOST_STOPS, LOST_SAYS = 0.20, 0.01
LENGTH_BIAS_SAYS, LENGTH_BIAS_FROM = 0.80, 20


def problems(found: PairSurvey, counts: Counts, config: Config) -> Iterator[GateProblem]:
    """Every fault of the rows."""
    noun = "rated answers" if found.rated else "pairs"

    def flagged(code: str, has: Callable[[PairFigures], bool], says: str, fix: str, stops_from: float) -> Iterator[GateProblem]:
        rows = [row for row in found.rows if has(row)]
        if rows:
            places, of = first_places({row.origin for row in rows}), len(found.rows)
            yield GateProblem(code, f"{begins(some_of(len(rows), of, noun))} {says}, first at {places[0]}.", fix, len(rows), of,
                              len(rows) >= stops_from * of, places)

    yield from flagged("empty_answer", lambda row: row.empty, "with an empty answer: nothing but the token that ends it",
                       "Check the columns that the type reads, or take these rows out", 0)
    yield from flagged("same_answers", lambda row: row.same, "whose better and worse answers are the same: they teach nothing", "Take these rows out", 0)
    yield from flagged("prompt_differs", lambda row: row.parted, "whose two answers do not follow the same tokens: a prompt's end merges with the answer",
                       "End prompts with a token of their own (a line break, the template's assistant turn)", PARTED_STOPS)
    yield from flagged("untrained_end", lambda row: row.open_end, "in which an answer does not end in a token that ends a turn: the model would not learn "
                       "to stop", "End the answers with the end-of-text token (special_tokens: {eos_token: TOKEN})", OPEN_END_STOPS)
    yield from flagged("truncated", lambda row: row.cut, f"in which an answer is cut off at sequence_len ({config.data.sequence_len:,} tokens): what is "
                       "compared has no end", "Raise sequence_len, or shorten these rows", TRUNCATED_STOPS)
    yield from flagged("double_bos", lambda row: row.double_bos, "that begin with two BOS tokens: one from the text and one from the tokenizer",
                       "Take the token out of the data or the template", 0)
    yield from _overlap(found, noun)
    yield from _rows_lost(counts, config)
    yield from _labels(found, config) if found.rated else _longer(found)


def _overlap(found: PairSurvey, noun: str) -> Iterator[GateProblem]:
    held_out = found.rows[found.train:]
    rows = [row for row in held_out if row.same_as < found.train]
    if rows:
        places = first_places({row.origin for row in rows})
        some = begins(some_of(len(rows), len(held_out), f"held-out {noun}"))
        yield GateProblem("overlap", f"{some} {'is' if len(rows) == 1 else 'are'} trained on too, token for token, first at {places[0]}: the held-out "
                                     "loss would look better than it is.",
                          "dataset_exact_deduplication: true, or take the repeated rows out of the data", len(rows), len(held_out),
                          len(rows) >= OVERLAP_STOPS * len(held_out), places)


def _rows_lost(counts: Counts, config: Config) -> Iterator[GateProblem]:
    rows, of = counts.too_long, max(counts.read, counts.kept + counts.too_long)
    if rows and rows >= LOST_SAYS * of:
        places = tuple(counts.examples_too_long)
        yield GateProblem("rows_lost", f"{begins(some_of(rows, of))} {'is' if rows == 1 else 'are'} left out: prompt and longer answer have more than "
                                       f"sequence_len ({config.data.sequence_len:,}) tokens, first at {places[0]}.",
                          "Raise sequence_len, or shorten these rows", rows, of, rows >= LOST_STOPS * of, places)


def _labels(found: PairSurvey, config: Config) -> Iterator[GateProblem]:
    """KTO compares good answers with bad ones; the paper (arXiv:2402.01306, eq. 8) keeps weight x count of the two between 1:1 and 4:3."""
    rows = found.rows[:found.train]
    good = sum(row.good for row in rows)
    bad = len(rows) - good
    if not good or not bad:
        kind = "good" if good else "bad"
        yield GateProblem("one_label", f"All {len(rows):,} rated answers are {kind}: KTO has nothing to tell them from.",
                          f"Add rows whose label is {'false' if good else 'true'}", len(rows), len(rows))
        return
    weights = config.preference.kto_desirable_weight or 1.0, config.preference.kto_undesirable_weight or 1.0
    ratio = weights[0] * good / (weights[1] * bad)
    if not 0.995 <= ratio <= 1.335:
        wanted = weights[1] * bad / good
        yield GateProblem("label_balance", f"{good:,} rated answers are good and {bad:,} bad; with their weights that is {ratio:.2f} to 1, and the "
                                           "authors of KTO advise between 1 to 1 and 4 to 3.",
                          f"kto_desirable_weight: {wanted:.2f} (to {1.33 * wanted:.2f})" if wanted >= 0.1 else f"kto_undesirable_weight: {1 / wanted:.2f}",
                          len(rows), len(rows), False)


def _longer(found: PairSurvey) -> Iterator[GateProblem]:
    """Length is the easiest thing to learn from pairs; most data sets teach it by accident."""
    rows = found.rows[:found.train]
    for longer, word in ((sum(row.chosen > row.rejected for row in rows), "longer"), (sum(row.chosen < row.rejected for row in rows), "shorter")):
        if len(rows) >= LENGTH_BIAS_FROM and longer >= LENGTH_BIAS_SAYS * len(rows):
            yield GateProblem("length_bias", f"In {some_of(longer, len(rows), 'pairs')} the better answer is the {word} one: the model may learn length "
                                             "and little else.",
                              "Where that is not what you want: add pairs the other way round, or lower dpo_ld_alpha", longer, len(rows), False)
