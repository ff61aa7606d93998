"""The checks on all tokenised rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tunelab.config.sections.data import DataSection
from tunelab.data.gate.problem import GateProblem, Look, begins, first_places, some_of

# From which share of the rows on a fault stops the run; docs/design/gate.md says why.
EMPTY_STOPS = 0.10
UNTRAINED_END_STOPS = 0.10
TRUNCATED_STOPS = 0.10
LOST_STOPS, LOST_SAYS = 0.20, 0.01
OVERLAP_STOPS = 0.10

_PLAIN_TEXT = ("completion", "pretrain")
_EMBEDDINGS = frozenset({"embed_tokens", "wte", "embed_in", "word_embeddings", "tok_embeddings", "embeddings"})


def problems(look: Look, explained: frozenset[int]) -> Iterator[GateProblem]:
    """Every fault of the rows. `explained`: datasets whose untrained ends are the template's fault, which is said elsewhere."""
    yield from _empty_mask(look)
    padding = [*_pad_is_end(look)]
    yield from padding
    if not padding:
        yield from _untrained_end(look, explained)
    for check in (_double_bos, _truncated, _rows_lost, _overlap, _trained_padding, _untrained_tokens):
        yield from check(look)


def _empty_mask(look: Look) -> Iterator[GateProblem]:
    silent, counts = look.found.supervised == 0, look.prepared.counts
    rows, of = int(silent.sum()) + counts.without_label, max(counts.read, len(look.found) + counts.without_label)
    if rows:
        places = first_places({*look.places(silent), *counts.examples_without_label})
        yield GateProblem("empty_mask", f"In {some_of(rows, of)} no token carries loss{_first(places)}: there is nothing to learn from them.",
                          "Check that their answers are not empty and that roles_to_train names the role of the answers; or take these rows out",
                          rows, of, rows >= EMPTY_STOPS * of, places)


def _untrained_end(look: Look, explained: frozenset[int]) -> Iterator[GateProblem]:
    found, tokenizer = look.found, look.tokenizer
    judged = (found.supervised > 0) & ~look.of_datasets(explained)
    prose = judged & ~look.of_type(*_PLAIN_TEXT)
    judged = prose if prose.any() else judged  # a piece of a long text ends without EOS by design; in all pieces that would be a fault
    never = judged & ~found.trains_end
    whole = judged.any() and not (judged & found.trains_end).any()
    if not whole:
        never &= prose & ~_is_cut(look)
    rows, of = int(never.sum()), int(judged.sum())
    if not rows:
        return
    asked = {index for index, one in enumerate(look.datasets) if one.train_on_eos == "none"}
    documents = bool((look.of_type("pretrain") | ~judged).all())  # without packing Axolotl adds no end to a document
    stops = not documents and int((never & ~look.of_datasets(asked)).sum()) >= max(1, UNTRAINED_END_STOPS * of)
    places, name = look.places(never), tokenizer.eos_token
    asks = " `train_on_eos: none` asks for that." if asked and not stops else ""
    if tokenizer.eos_id is None and not look.ends:
        message, fix = "The tokenizer names no end-of-text token, so the model cannot learn to stop.", "special_tokens: {eos_token: TOKEN}"
    elif not whole:
        message = f"In {some_of(rows, of)} no token that ends a turn is trained{_first(places)}: they teach the model to go on.{asks}"
        fix = f"End their answers with {name} and let it carry loss (train_on_eos: turn); or take these rows out"
    elif any(not look.ends.isdisjoint(look.sample(int(index)).input_ids) for index in never.nonzero()[0]):
        message = f"{name!r} ends the turns, and no row is trained on it: the model would not learn to stop.{asks}"
        fix = "train_on_eos: turn, with the answering role in roles_to_train"
    else:
        message = f"No row contains the end-of-text token {name!r}: the model would not learn to stop."
        fix = (f"Name the token that ends your template's turns, special_tokens: {{eos_token: TOKEN}}, or end the trained text with {name}")
        fix = f"sample_packing: true closes every document with {name}" if documents else fix
    yield GateProblem("untrained_end", message, fix, rows, of, stops, places)


def _pad_is_end(look: Look) -> Iterator[GateProblem]:
    """Only rows whose labels come from the data can have it: labels made here do not know the padding token."""
    found, tokenizer = look.found, look.tokenizer
    if tokenizer.pad_id is None or tokenizer.pad_id != tokenizer.eos_id:
        return
    own = (found.supervised > 0) & ~look.of_type("input_output")  # there the person writes the labels
    own &= ~look.of_datasets(index for index, one in enumerate(look.datasets) if one.train_on_eos == "none")
    masked = own & found.unlearnt_end & ~found.trains_end
    if masked.any() and not (own & found.trains_end).any():
        rows, of, places = int(masked.sum()), int(own.sum()), look.places(masked)
        name = tokenizer.eos_token
        yield GateProblem("pad_is_end", f"{name!r} both fills rows up and ends answers, and in {some_of(rows, of)} the one that ends the answer is "
                                        f"masked as if it were padding{_first(places)}: the model would not learn to stop.",
                          "Make the labels again with another padding token (special_tokens: {pad_token: TOKEN}), so that the end of the answer keeps "
                          "its label", rows, of, True, places)


def _double_bos(look: Look) -> Iterator[GateProblem]:
    doubled = look.found.double_bos
    rows, of = int(doubled.sum()), len(look.found)
    if rows:
        places = look.places(doubled)
        yield GateProblem("double_bos", f"{begins(some_of(rows, of))} begin with {look.tokenizer.bos_token!r} twice{_first(places)}: once from the "
                                        "text and once from the tokenizer.",
                          "Take the token out of the data or the template, or use type: chat_template, which adds none", rows, of, True, places)


def _truncated(look: Look) -> Iterator[GateProblem]:
    cut, counts = _is_cut(look) & ~look.of_type(*_PLAIN_TEXT), look.prepared.counts
    shortened = max(int(cut.sum()), counts.truncated)
    rows, of = shortened + counts.cut, max(len(look.found), counts.cut)
    if not rows:
        return
    places, limit = counts.examples_truncated or look.places(cut), look.config.data.sequence_len if look.config is not None else 0
    where = f"{_first(places)}, at sequence_len ({limit:,} tokens)" if shortened else f": texts longer than 64 x sequence_len ({limit:,} tokens)"
    documents = bool(look.of_type("pretrain").all())
    fix = "sample_packing: true cuts documents into windows and loses nothing" if documents else "Raise sequence_len, or split or shorten these rows"
    yield GateProblem("truncated", f"{begins(some_of(rows, of))} {'is' if rows == 1 else 'are'} cut off{where}; what they teach has no end.",
                      fix, rows, of, rows >= TRUNCATED_STOPS * of and not documents, places)


def _is_cut(look: Look) -> Any:
    """For each sample whether it stops inside what is learnt, at the limit."""
    limit = look.config.data.sequence_len if look.config is not None else None
    return look.found.open_end & (look.found.lengths >= limit) if limit is not None else look.found.lengths < 0


def _rows_lost(look: Look) -> Iterator[GateProblem]:
    counts = look.prepared.counts
    rows, of = counts.too_long + counts.too_short, max(counts.read, counts.kept + counts.too_long + counts.too_short + counts.without_label)
    if rows < max(1, LOST_SAYS * of):
        return
    limit = f" ({look.config.data.sequence_len:,} tokens)" if look.config is not None else ""
    parts = [f"{counts.too_long:,} longer than sequence_len{limit}"] if counts.too_long else []
    parts += [f"{counts.too_short:,} with less than two tokens"] if counts.too_short else []
    places = tuple(counts.examples_too_long)
    fix = "Raise sequence_len, or split or shorten these rows" if counts.too_long else "Check the column that the type reads, or take the empty rows out"
    yield GateProblem("rows_lost", f"{begins(some_of(rows, of))} {'is' if rows == 1 else 'are'} left out: {' and '.join(parts)}{_first(places)}.", fix,
                      rows, of, rows >= LOST_STOPS * of, places)


def _overlap(look: Look) -> Iterator[GateProblem]:
    import numpy as np

    found = look.found
    both = (np.arange(len(found)) >= found.train) & (found.same_as < found.train)
    rows, of = int(both.sum()), len(found) - found.train
    if rows:
        places = look.places(both)
        dedup = "dataset_exact_deduplication: true, or take" if "dataset_exact_deduplication" in DataSection.model_fields else "Take"
        yield GateProblem("overlap", f"{begins(some_of(rows, of, 'held-out rows'))} {'is' if rows == 1 else 'are'} trained on too, token for "
                                     f"token{_first(places)}: the held-out loss would look better than it is.",
                          f"{dedup} the repeated rows out of the data", rows, of, rows >= OVERLAP_STOPS * of, places)


def _trained_padding(look: Look) -> Iterator[GateProblem]:
    padded = look.found.trained_padding
    rows, of = int(padded.sum()), len(look.found)
    if rows:
        places = look.places(padded)
        yield GateProblem("trained_padding", f"{begins(some_of(rows, of))} end in padding ({look.tokenizer.pad_token!r}) that carries "
                                             f"loss{_first(places)}: the model would learn to write it.",
                          "Label padding with -100 in the data, or leave it out: tunelab pads rows itself", rows, of, True, places)


def _untrained_tokens(look: Look) -> Iterator[GateProblem]:
    config, found = look.config, look.found
    if config is None or config.adapter.adapter is None or not found.new_tokens.any():
        return
    modules = {*(config.adapter.lora_modules_to_save or ()), *_as_list(config.adapter.lora_target_modules)}
    last_parts = {name.split(".")[-1] for name in modules}
    rows, of, names = int(found.new_tokens.sum()), len(found), ", ".join(repr(token) for token in look.tokenizer.added_tokens[:5])
    places = look.places(found.new_tokens)
    if not last_parts & _EMBEDDINGS:
        yield GateProblem("untrained_tokens", f"{begins(some_of(rows, of))} hold tokens that are new to the model ({names}){_first(places)}; the adapter "
                                              "does not train the embedding, so their rows stay random numbers.",
                          "lora_modules_to_save: [embed_tokens, lm_head]", rows, of, True, places)


def _as_list(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def _first(places: tuple[Any, ...]) -> str:
    return f", first at {places[0]}" if places else ""
