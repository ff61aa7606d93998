"""The methods as objectives of the training loop. A unit is a pair, or a rated answer; what trl averages over a micro-batch is summed here."""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from tunelab.config import Config
from tunelab.data.sample import Sample
from tunelab.planning.preference import beta_of, reference_kind
from tunelab.planning.schedule import Rows, Schedule
from tunelab.training.objective import Cost
from tunelab.training.preference import losses
from tunelab.training.preference.batch import PairBatch, Shelf
from tunelab.training.preference.scores import Reference, takes_logits_to_keep, token_logps


class _Preference:
    """What the methods share: the rows, the settings, the model's way to be asked."""

    def __init__(self, config: Config, model: torch.nn.Module, samples: tuple[Sequence[Sample], Sequence[Sample]], device: torch.device,
                 reference: Reference | None = None) -> None:
        self._settings, self._reference = config.preference, reference
        self._beta = beta_of(config.preference)
        self._shelf = Shelf(samples, config.data.sequence_len, device)
        self._selective = takes_logits_to_keep(model)
        without_dropout(model)

    def lay_out(self, rows: Rows, *, held_out: bool) -> PairBatch:
        """The rows as one micro-batch on the device."""
        return self._shelf.compared(rows, held_out)

    def tokens(self, rows: Rows, *, held_out: bool) -> int:
        """Tokens of both answers of the rows, prompts included."""
        return self._shelf.tokens(rows, held_out)

    def first_batches(self, schedule: Schedule, steps: int) -> Iterable[PairBatch]:
        """The micro-batches that the untrained model has to be asked about: those of the first `steps` steps, and of the evaluation."""
        if self._reference is None:
            return
        batches = [(rows, False) for step in range(steps) for rows in schedule.micro_batches(step)]
        for rows, held_out in (*batches, *((rows, True) for rows in (schedule.evaluation_batches() if schedule.steps.eval_steps else ()))):
            if not self._reference.knows([index for row in rows for index in row], held_out):
                yield replace(self.lay_out(rows, held_out=held_out), recording=True)

    def told(self, means: Mapping[str, float]) -> dict[str, float]:
        """The measures as they are told, from their means over the units."""
        return dict(means)

    def summed(self, model: Any, batch: PairBatch) -> Cost:
        """The cost of a batch, which each method has its own of."""
        raise NotImplementedError


class Compared(_Preference):
    """DPO with any of its losses, and IPO (arXiv:2305.18290)."""

    def summed(self, model: Any, batch: PairBatch) -> Cost:
        """The weighted sum of the losses, over the pairs."""
        assert self._reference is not None
        reference = self._reference.asked(model, batch, lambda: self._sums(token_logps(model, batch.answers, self._selective)[0], batch).view(2, -1))
        if batch.recording:
            return reference.sum(), {}
        settings, pairs = self._settings, batch.units
        tokens, logits = token_logps(model, batch.answers, self._selective)
        logps, sizes = self._sums(tokens, batch), batch.answers.sizes
        chosen, rejected = (losses.Answers(logps[part], sizes[part]) for part in (slice(0, pairs), slice(pairs, None)))
        nll = -tokens[: batch.answers.first(pairs)].mean()
        compared = losses.Compared(chosen, rejected, reference[0], reference[1], self._beta, settings.dpo_label_smoothing or 0.0, nll)
        names = ["ipo"] if settings.rl == "ipo" else settings.dpo_loss_type or ["sigmoid"]
        weights = (settings.dpo_loss_weights if settings.rl == "dpo" else None) or [1.0] * len(names)
        likely = self._likelihood(tokens, logits, batch) if settings.dpo_use_weighting else 1.0
        loss = sum((losses.DPO_LOSSES[name](compared) * likely).sum() * weight for name, weight in zip(names, weights, strict=True))
        return torch.as_tensor(loss), _rewards(self._beta * compared.up, self._beta * compared.down)

    def _sums(self, tokens: torch.Tensor, batch: PairBatch) -> torch.Tensor:
        """Log-probabilities of the answers; with dpo_ld_alpha the tokens by which one is longer count less (LD-DPO, arXiv:2409.06411, eq. 5)."""
        counts, alpha = batch.answers.counts, self._settings.dpo_ld_alpha
        if alpha is not None:
            shared = [min(pair) for pair in zip(counts[: batch.units], counts[batch.units :], strict=True)] * 2
            weights = [torch.ones(count, device=tokens.device) for count in counts]
            for weight, common in zip(weights, shared, strict=True):
                weight[common:] = alpha
            tokens = tokens * torch.cat(weights)
        return batch.answers.summed(tokens)

    @staticmethod
    def _likelihood(tokens: torch.Tensor, logits: torch.Tensor, batch: PairBatch) -> torch.Tensor:
        """How likely the model itself finds both answers (WPO, arXiv:2406.11827, eq. 2), (pairs,), without a gradient."""
        tokens, logits = tokens.detach(), logits.detach()
        certainty = (2 * logits).logsumexp(-1) - 2 * logits.logsumexp(-1)
        mean = batch.answers.summed(tokens - certainty) / batch.answers.sizes.clamp(min=1)
        chosen, rejected = mean.exp().view(2, -1)
        return chosen * rejected


class Rated(_Preference):
    """KTO (arXiv:2402.01306): single answers, good or bad."""

    def lay_out(self, rows: Rows, *, held_out: bool) -> PairBatch:
        """The rows, and each prompt with its neighbour's answer."""
        return self._shelf.rated(rows, held_out)

    def summed(self, model: Any, batch: PairBatch) -> Cost:
        """The loss summed over the answers. The divergence from the reference is estimated on the mismatched answers of the micro-batch."""
        assert self._reference is not None and batch.good is not None
        reference = self._reference.asked(model, batch, lambda: torch.stack([self._crossed(model, batch), self._own(model, batch)]))
        if batch.recording:
            return reference.sum(), {}
        crossed = self._crossed(model, batch)
        divergence = (crossed - reference[0]).mean().clamp(min=0)
        ratios = self._own(model, batch) - reference[1]
        settings = self._settings
        weights = settings.kto_desirable_weight or 1.0, settings.kto_undesirable_weight or 1.0
        loss = losses.kto(ratios, batch.good, divergence, self._beta, weights).sum()
        rewards = (self._beta * ratios).detach()
        good = batch.good.float()
        right = torch.where(batch.good, ratios > divergence, ratios < divergence).float()
        return loss, {"kl": divergence * batch.units, "good": good.sum(), "rewards/chosen": (rewards * good).sum(),
                      "rewards/rejected": (rewards * (1 - good)).sum(), "rewards/accuracies": right.sum()}

    def told(self, means: Mapping[str, float]) -> dict[str, float]:
        """The rewards of good and of bad answers, each per answer of its kind."""
        found = dict(means)
        good = found.pop("good", 0.0)
        for name, share in (("rewards/chosen", good), ("rewards/rejected", 1 - good)):
            value = found.pop(name, 0.0)
            if share > 0:
                found[name] = value / share
        if 0 < good < 1:
            found["rewards/margins"] = found["rewards/chosen"] - found["rewards/rejected"]
        return found

    def _own(self, model: Any, batch: PairBatch) -> torch.Tensor:
        return batch.answers.summed(token_logps(model, batch.answers, self._selective)[0])

    def _crossed(self, model: Any, batch: PairBatch) -> torch.Tensor:
        assert batch.mismatched is not None
        with torch.no_grad():
            return batch.mismatched.summed(token_logps(model, batch.mismatched, self._selective)[0])


class OddsRatio(_Preference):
    """ORPO (arXiv:2403.07691): ordinary cross entropy on the better answer with its prompt, and the odds ratio."""

    def lay_out(self, rows: Rows, *, held_out: bool) -> PairBatch:
        """The rows; the better answers with their prompts, as all of their tokens are learnt."""
        return self._shelf.compared(rows, held_out, whole_chosen=True)

    def summed(self, model: Any, batch: PairBatch) -> Cost:
        """Cross entropy (per token of the micro-batch, times its pairs) and the weighted odds ratio."""
        tokens, _ = token_logps(model, batch.answers, self._selective)
        chosen, rejected = (batch.answers.summed(tokens) / batch.answers.sizes.clamp(min=1)).view(2, -1)
        nll = -tokens[: batch.answers.first(batch.units)].mean()
        beta = self._beta
        return batch.units * nll + beta * losses.odds_ratio(chosen, rejected).sum(), _rewards(beta * chosen, beta * rejected)


class MarginPerToken(_Preference):
    """SimPO (arXiv:2405.14734), with CPO's cross entropy on the better answer."""

    def summed(self, model: Any, batch: PairBatch) -> Cost:
        """The loss over the pairs, and the weighted cross entropy (per token of the micro-batch, times its pairs)."""
        settings, pairs = self._settings, batch.units
        tokens, _ = token_logps(model, batch.answers, self._selective)
        chosen, rejected = (batch.answers.summed(tokens) / batch.answers.sizes.clamp(min=1)).view(2, -1)
        assert settings.simpo_gamma is not None
        loss = losses.simpo(chosen, rejected, self._beta, settings.simpo_gamma).sum()
        alpha = 1.0 if settings.cpo_alpha is None else settings.cpo_alpha
        if alpha:
            loss = loss - alpha * pairs * tokens[: batch.answers.first(pairs)].mean()
        return loss, _rewards(self._beta * chosen, self._beta * rejected)


class Scored(_Preference):
    """A reward model (Bradley-Terry): the score of a text is what the head says at its last token."""

    def __init__(self, config: Config, model: torch.nn.Module, samples: tuple[Sequence[Sample], Sequence[Sample]], device: torch.device,
                 reference: Reference | None = None) -> None:
        super().__init__(config, model, samples, device, reference)
        self._heard: list[torch.Tensor] = []
        head = next(module for name, module in model.named_modules() if name.rpartition(".")[2] == "score")
        # The model returns the score of one token for each row of a batch, and we lay all texts end to end in one: listen to its head instead.
        head.register_forward_hook(lambda _module, _inputs, scores: self._heard.append(scores))

    def summed(self, model: Any, batch: PairBatch) -> Cost:
        """The loss summed over the pairs."""
        flat = batch.answers.flat
        self._heard.clear()
        model(input_ids=flat.input_ids, position_ids=flat.position_ids, segment_borders=flat.borders, use_cache=False)
        last = torch.tensor(flat.borders[1:], device=flat.input_ids.device) - 1
        chosen, rejected = self._heard.pop()[0, last, 0].float().view(2, -1)
        return losses.bradley_terry(chosen, rejected, self._settings.center_rewards_coefficient).sum(), _rewards(chosen, rejected)


def without_dropout(model: torch.nn.Module) -> None:
    """Switch every dropout off, the adapter's too: an answer is to be compared with another, or with the reference, and not with chance."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


def _rewards(chosen: torch.Tensor, rejected: torch.Tensor) -> dict[str, torch.Tensor]:
    """The measures of pairs, summed over them."""
    chosen, rejected = chosen.detach(), rejected.detach()
    return {"rewards/chosen": chosen.sum(), "rewards/rejected": rejected.sum(), "rewards/margins": (chosen - rejected).sum(),
            "rewards/accuracies": (chosen > rejected).float().sum()}


METHODS: Mapping[str, type[_Preference]] = types.MappingProxyType({
    "dpo": Compared, "ipo": Compared, "kto": Rated, "orpo": OddsRatio, "simpo": MarginPerToken, "reward": Scored})
"""`rl` (or reward, for `reward_model: true`) -> its objective."""


def objective_of(config: Config, model: torch.nn.Module, samples: tuple[Sequence[Sample], Sequence[Sample]], device: torch.device) -> _Preference:
    """The objective of a preference config; the model has its adapter on and has not learnt yet."""
    method = config.preference.method
    assert method is not None
    kind = reference_kind(config)
    return METHODS[method](config, model, samples, device, None if kind is None else Reference(kind == "recorded"))
