"""A model folder in this process's memory, as one or two runners: with its adapter, and with the adapter switched off.

Greedy answers do not depend on the batch in exact arithmetic; in float32 rounding differs in the last bits between batch shapes, so
that an answer could differ only where two tokens are that close. In 16 bits (used on a GPU when the folder says so) this is seen.
"""

from __future__ import annotations

import hashlib
import inspect
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunelab.errors import ModelError, RunnerError, UsageError, needs
from tunelab.facts.safetensors_header import read_header
from tunelab.runners.prompt import Answer, Prompt, Sampling

Render = Callable[[Prompt], tuple[str, list[int]]]
"""A prompt -> (its text, its token ids), exactly as training sees them up to where the answer begins."""


@dataclass(slots=True)
class _Row:
    """One prompt on its way to an answer. `limit` is how many tokens it may still grow to."""

    prompt: Prompt
    text: str
    ids: list[int]
    limit: int
    random: Any = None
    new: list[int] = field(default_factory=list)
    stop: str | None = None
    seconds: float = 0.0
    batch: int = 0


class LocalModel:
    """A Hugging Face folder (safetensors), loaded once, and optionally one PEFT adapter on it; both sides share its memory.

    `render` and `decode` are the caller's, so that no second tokenizer is involved; `decode` gets the new tokens without the stop
    token and leaves special tokens out. `eos_ids` end an answer, and so do the end tokens of the folder's generation config; nothing
    else of that config is used. On a CPU the weights are float32; on a GPU they are what the folder says. No remote code is run and
    no pickle is read. Raises ModelError: not a model, weights missing, an adapter that does not fit.
    """

    def __init__(self, folder: Path, *, adapter: Path | None, render: Render, decode: Callable[[list[int]], str],
                 eos_ids: tuple[int, ...], pad_id: int, batch_size: int = 16) -> None:
        if batch_size < 1:
            raise UsageError(f"The batch size is {batch_size}; expected 1 or more.")
        self.folder, self.adapter, self.batch_size = folder, adapter, batch_size
        self._render, self._decode, self._pad_id = render, decode, pad_id
        self._model = _load_model(folder)
        self._stop_ids = frozenset(eos_ids) | _generation_stops(self._model)
        self._context = getattr(self._model.config, "max_position_embeddings", None)
        parameters = inspect.signature(self._model.forward).parameters
        self._accepts = frozenset(name for name in ("position_ids", "logits_to_keep") if name in parameters)
        self._adapted = _load_adapter(self._model, adapter) if adapter is not None else None

    def base_runner(self, name: str = "base", **facts: Any) -> LocalRunner:
        """The model without its adapter. `facts` are added to the runner's (the template, for example)."""
        return LocalRunner(name, self, False, facts)

    def tuned_runner(self, name: str = "tuned", **facts: Any) -> LocalRunner:
        """The model with its adapter; for a model without an adapter (fully fine-tuned), the model itself."""
        return LocalRunner(name, self, True, facts)

    def facts(self) -> dict[str, Any]:
        """What is in memory: folder, adapter, precision, device, the tokens that end an answer. Not the batch size:
        it is in each answer's details, and a comparison may be gone on with at another one."""
        weights = next(self._model.parameters())
        return {"runner": "local", "model": str(self.folder), "adapter": str(self.adapter) if self.adapter else None,
                "dtype": str(weights.dtype).removeprefix("torch."), "device": weights.device.type,
                "stop_ids": sorted(self._stop_ids)}

    def answer(self, prompts: Sequence[Prompt], sampling: Sampling, *, with_adapter: bool) -> Iterator[Answer]:
        """Answer every prompt, batch by batch, the longest prompts first. Raises RunnerError (out of memory)."""
        if sampling.max_new_tokens < 1 or sampling.temperature < 0:
            raise UsageError(f"max_new_tokens is {sampling.max_new_tokens} and temperature {sampling.temperature}; "
                             "expected at least 1 and at least 0.")
        rows = [self._row(prompt, sampling) for prompt in prompts]
        for row in rows:
            if row.limit < 1:
                yield self._refusal(row)
        open_rows = sorted((row for row in rows if row.limit > 0), key=lambda row: -len(row.ids))
        for start in range(0, len(open_rows), self.batch_size):
            batch = open_rows[start:start + self.batch_size]
            with self._switched(with_adapter):  # never held over a yield: the other side may run in between
                self._generate(batch, sampling)
            yield from (self._answer(row) for row in batch)

    def _row(self, prompt: Prompt, sampling: Sampling) -> _Row:
        text, ids = self._render(prompt)
        room = sampling.max_new_tokens if self._context is None else min(sampling.max_new_tokens, self._context - len(ids))
        random = _generator(sampling.seed, prompt.id) if sampling.temperature > 0 else None
        return _Row(prompt, text, list(ids), room if ids else 0, random)

    def _refusal(self, row: _Row) -> Answer:
        why = "the prompt is empty" if not row.ids else f"the prompt has {len(row.ids)} tokens and the model's context {self._context}"
        return Answer(row.prompt.id, "", "error", row.text, len(row.ids), details={"error": why})

    def _answer(self, row: _Row) -> Answer:
        kept = row.new[:-1] if row.stop == "end" else row.new
        return Answer(row.prompt.id, self._decode(kept), row.stop or "error", row.text, len(row.ids), len(row.new),
                      round(row.seconds, 4), {"batch": row.batch}, tuple(row.ids))

    def _switched(self, with_adapter: bool) -> AbstractContextManager[Any]:
        if self._adapted is None or with_adapter:
            return nullcontext()
        return self._adapted.disable_adapter()

    def _generate(self, rows: list[_Row], sampling: Sampling) -> None:
        """Fill `new`, `stop` and `seconds` (from the batch's start to the row's last token) of every row."""
        import torch

        try:
            with torch.inference_mode():
                self._decode_batch(rows, sampling)
        except torch.OutOfMemoryError as error:
            raise RunnerError(f"Out of memory while answering {len(rows)} prompts at once.", where=str(self.folder),
                              next_step="Take a smaller batch size or fewer new tokens.") from error

    def _decode_batch(self, rows: list[_Row], sampling: Sampling) -> None:
        """Greedy or sampled decoding with a KV cache; prompts are padded on the left, finished rows leave when half have finished."""
        import torch
        from transformers import DynamicCache

        started = time.perf_counter()
        tokens, mask = _left_padded([row.ids for row in rows], self._pad_id, self._model.device)
        cache = DynamicCache(config=self._model.config)
        while True:
            logits = self._next_logits(tokens, mask, cache)
            chosen = _choose(logits, rows, sampling.temperature)
            for row, token in zip(rows, chosen, strict=True):
                if row.stop is None:
                    self._take(row, token, time.perf_counter() - started, len(rows))
            still = [index for index, row in enumerate(rows) if row.stop is None]
            if not still:
                return
            if len(still) <= len(rows) // 2 and all(hasattr(layer, "batch_select_indices") for layer in cache.layers):
                kept = torch.tensor(still, device=mask.device)
                cache.batch_select_indices(kept)
                rows, chosen, mask = [rows[index] for index in still], [chosen[index] for index in still], mask[kept]
            tokens = torch.tensor(chosen, device=mask.device).unsqueeze(1)
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)

    def _next_logits(self, tokens: Any, mask: Any, cache: Any) -> Any:
        """(batch, vocabulary) float32 logits of the next token. Positions count real tokens only, whatever the padding."""
        inputs = {"input_ids": tokens, "attention_mask": mask, "past_key_values": cache, "use_cache": True}
        if "position_ids" in self._accepts:
            inputs["position_ids"] = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -tokens.shape[1]:]
        if "logits_to_keep" in self._accepts:
            inputs["logits_to_keep"] = 1
        return self._model(**inputs).logits[:, -1].float()

    def _take(self, row: _Row, token: int, seconds: float, batch: int) -> None:
        row.new.append(token)
        if token in self._stop_ids:
            row.stop = "end"
        elif len(row.new) >= row.limit:
            row.stop = "length"
        if row.stop:
            row.seconds, row.batch = seconds, batch


@dataclass(frozen=True, slots=True)
class LocalRunner:
    """One side of a `LocalModel`."""

    name: str
    model: LocalModel
    with_adapter: bool
    extra_facts: Mapping[str, Any]

    def facts(self) -> dict[str, Any]:
        """The model's facts; `adapter` is None where it is switched off."""
        facts = self.model.facts()
        return {**facts, "adapter": facts["adapter"] if self.with_adapter else None, **self.extra_facts}

    def answer(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Answer]:
        """Answer every prompt; see `LocalModel.answer`."""
        return self.model.answer(prompts, sampling, with_adapter=self.with_adapter)


def _load_model(folder: Path) -> Any:
    """The causal language model in `folder`, in evaluation mode. Raises ModelError, also where weights would be made up at random."""
    if not (folder / "config.json").is_file():
        raise ModelError("There is no config.json; expected a Hugging Face model folder.", where=str(folder))
    with needs("train", "running a model"):
        import torch
        from transformers import AutoModelForCausalLM
    on_gpu = torch.cuda.is_available()
    try:
        with _quiet():
            model, loading = AutoModelForCausalLM.from_pretrained(
                str(folder), dtype="auto" if on_gpu else torch.float32, local_files_only=True, trust_remote_code=False,
                use_safetensors=True, output_loading_info=True)
    except Exception as error:  # transformers raises many kinds; each of them says what the folder lacks
        raise ModelError(f"The model cannot be loaded: {_first_line(error)}", where=str(folder)) from error
    missing = sorted(loading.get("missing_keys", ()))
    if missing:
        raise ModelError(f"{len(missing)} weights are not in the folder and would be random, the first is {missing[0]!r}.",
                         where=str(folder), next_step="Check that all *.safetensors files are there.")
    return model.to("cuda" if on_gpu else "cpu").eval()


def _load_adapter(model: Any, adapter: Path) -> Any:
    """`model` wrapped with the adapter; the layers are put into `model` itself. Raises ModelError."""
    if not (adapter / "adapter_config.json").is_file() or not (adapter / "adapter_model.safetensors").is_file():
        raise ModelError("The adapter folder needs adapter_config.json and adapter_model.safetensors.", where=str(adapter))
    with needs("train", "loading an adapter"):
        from peft import PeftModel
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            _make_room(model, adapter)
            adapted = PeftModel.from_pretrained(model, str(adapter), is_trainable=False)
    except Exception as error:  # peft raises many kinds: a size that differs, a module that is not there, an unknown adapter kind
        raise ModelError(f"The adapter does not fit the model: {_first_line(error)}", where=str(adapter)) from error
    if any("missing adapter keys" in str(one.message) for one in said):
        raise ModelError("The adapter's file lacks some of the weights that its config asks for.", where=str(adapter))
    if adapted.active_peft_config.is_prompt_learning:
        raise ModelError("The adapter adds virtual prompt tokens; expected one that changes layers (LoRA, IA3 and the like).",
                         where=str(adapter))
    return adapted.eval()


def _make_room(model: Any, adapter: Path) -> None:
    """An adapter that was trained with new tokens brings its embedding: give the base as many rows."""
    embedding = model.get_input_embeddings()
    name = next((name for name, module in model.named_modules() if module is embedding), "")
    brought = [entry["shape"][0] for tensor, entry in read_header(adapter / "adapter_model.safetensors").items()
               if tensor.startswith(f"base_model.model.{name}.") and tensor.endswith(".weight") and "lora_" not in tensor]
    if brought and brought[0] != embedding.num_embeddings:
        model.resize_token_embeddings(brought[0], mean_resizing=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' progress bar off the terminal while loading: a library does not print."""
    from transformers.utils import logging

    was_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_on:
            logging.enable_progress_bar()


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300] if lines else type(error).__name__


def _generation_stops(model: Any) -> frozenset[int]:
    found = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    return frozenset(found if isinstance(found, list | tuple) else [] if found is None else [found])


def _left_padded(prompts: list[list[int]], pad_id: int, device: Any) -> tuple[Any, Any]:
    """(batch, longest) token ids and the attention mask of the same shape, 0 on the padding."""
    import torch

    width = max(len(ids) for ids in prompts)
    tokens = [[pad_id] * (width - len(ids)) + ids for ids in prompts]
    mask = [[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts]
    return torch.tensor(tokens, device=device), torch.tensor(mask, device=device)


def _choose(logits: Any, rows: list[_Row], temperature: float) -> list[int]:
    """The next token of every row: the likeliest, or drawn with the row's own random numbers."""
    import torch

    if temperature == 0:
        return [int(token) for token in logits.argmax(dim=-1).tolist()]
    probabilities = torch.softmax(logits.cpu() / temperature, dim=-1)
    return [int(torch.multinomial(probabilities[index], 1, generator=row.random)) for index, row in enumerate(rows)]


def _generator(seed: int, prompt_id: str) -> Any:
    """Random numbers that depend on the seed and the prompt only: the same in any batch and any order."""
    import torch

    digest = hashlib.sha256(f"{seed}:{prompt_id}".encode("utf-8", "surrogatepass")).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
