"""The published losses on the log-probabilities of answers, one function each. All shapes are (pairs,) unless said otherwise.

Where a paper leaves something open (IPO per token, what is smoothed), it is as in trl 1.16, which Axolotl's configs are written for.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch.nn.functional import logsigmoid

_DISCOPOP_TAU = 0.05


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers of one side of a micro-batch under the model: log-probabilities summed over the answer's tokens, and how many those are."""

    logps: torch.Tensor
    tokens: torch.Tensor

    @property
    def mean(self) -> torch.Tensor:
        """The log-probability per token."""
        return self.logps / self.tokens.clamp(min=1)


@dataclass(frozen=True, slots=True)
class Compared:
    """What a DPO loss looks at. `chosen`, `rejected`: under the model; `ref_chosen`, `ref_rejected`: the same sums under the reference.

    `smoothing`: the share of pairs assumed to be the wrong way round. `chosen_nll`: cross entropy per token of the better answers, a scalar.
    """

    chosen: Answers
    rejected: Answers
    ref_chosen: torch.Tensor
    ref_rejected: torch.Tensor
    beta: float
    smoothing: float
    chosen_nll: torch.Tensor

    @property
    def up(self) -> torch.Tensor:
        """How much likelier the better answer became (log ratio to the reference)."""
        return self.chosen.logps - self.ref_chosen

    @property
    def down(self) -> torch.Tensor:
        """How much likelier the worse answer became."""
        return self.rejected.logps - self.ref_rejected

    @property
    def margin(self) -> torch.Tensor:
        """beta times the difference of the two: the logit that the better answer wins."""
        return self.beta * (self.up - self.down)

    @property
    def margin_per_token(self) -> torch.Tensor:
        """The difference of the two log ratios, each per token of its answer."""
        return self.up / self.chosen.tokens.clamp(min=1) - self.down / self.rejected.tokens.clamp(min=1)


def _sigmoid(it: Compared) -> torch.Tensor:
    """DPO (Rafailov et al. 2023, arXiv:2305.18290, eq. 7)."""
    return -logsigmoid(it.margin)


def _sigmoid_norm(it: Compared) -> torch.Tensor:
    """DPO on log ratios per token (Lambert et al. 2024, arXiv:2411.15124)."""
    return -logsigmoid(it.beta * it.margin_per_token)


def _hinge(it: Compared) -> torch.Tensor:
    """SLiC's hinge (Zhao et al. 2023, arXiv:2305.10425) on DPO's margin."""
    return torch.relu(1 - it.margin)


def _ipo(it: Compared) -> torch.Tensor:
    """IPO (Azar et al. 2023, arXiv:2310.12036, eq. 17), on log ratios per token."""
    return (it.margin_per_token - 1 / (2 * it.beta)) ** 2


def _exo_pair(it: Compared) -> torch.Tensor:
    """EXO (Ji et al. 2024, arXiv:2402.00856, eq. 16) for two answers; needs a smoothing above 0."""
    right, wrong = torch.sigmoid(it.margin), torch.sigmoid(-it.margin)
    return right * (logsigmoid(it.margin) - math.log1p(-it.smoothing)) + wrong * (logsigmoid(-it.margin) - math.log(it.smoothing))


def _nca_pair(it: Compared) -> torch.Tensor:
    """NCA (Chen et al. 2024, arXiv:2402.05369)."""
    up, down = it.beta * it.up, it.beta * it.down
    return -logsigmoid(up) - 0.5 * logsigmoid(-up) - 0.5 * logsigmoid(-down)


def _robust(it: Compared) -> torch.Tensor:
    """Robust DPO (Chowdhury et al. 2024, arXiv:2403.00409); needs a smoothing below a half."""
    clean, flipped = -(1 - it.smoothing) * logsigmoid(it.margin), -it.smoothing * logsigmoid(-it.margin)
    return (clean - flipped) / (1 - 2 * it.smoothing)


def _bco_pair(it: Compared) -> torch.Tensor:
    """BCO (Jung et al. 2024, arXiv:2404.04656) for pairs, without its shift."""
    return -logsigmoid(it.beta * it.up) - logsigmoid(-it.beta * it.down)


def _sppo_hard(it: Compared) -> torch.Tensor:
    """SPPO (Wu et al. 2024, arXiv:2405.00675, eq. 4.7) with the better answer winning for certain."""
    return (it.up - 0.5 / it.beta) ** 2 + (it.down + 0.5 / it.beta) ** 2


def _smoothed(delta: torch.Tensor, it: Compared) -> torch.Tensor:
    return -logsigmoid(it.beta * delta) * (1 - it.smoothing) - logsigmoid(-it.beta * delta) * it.smoothing


def _aot(it: Compared) -> torch.Tensor:
    """AOT (Melnyk et al. 2024, arXiv:2406.05882): margins of the model against those of the reference, each sorted over the micro-batch."""
    own, reference = it.chosen.logps - it.rejected.logps, it.ref_chosen - it.ref_rejected
    return _smoothed(own.sort().values - reference.sort().values, it)


def _aot_unpaired(it: Compared) -> torch.Tensor:
    """AOT without pairs: better answers against worse ones, each sorted over the micro-batch."""
    return _smoothed(it.up.sort().values - it.down.sort().values, it)


def _apo_zero(it: Compared) -> torch.Tensor:
    """APO-zero (D'Oosterlinck et al. 2024, arXiv:2408.06266, eq. 7): better answers up, worse ones down."""
    return 1 - torch.sigmoid(it.beta * it.up) + torch.sigmoid(it.beta * it.down)


def _apo_down(it: Compared) -> torch.Tensor:
    """APO-down (eq. 8 there): both down, worse ones more."""
    return torch.sigmoid(it.beta * it.up) + 1 - torch.sigmoid(it.margin)


def _discopop(it: Compared) -> torch.Tensor:
    """DiscoPOP (Lu et al. 2024, arXiv:2406.08414, eq. 5)."""
    share = torch.sigmoid(it.margin / _DISCOPOP_TAU)
    return -logsigmoid(it.margin) * (1 - share) + torch.exp(-it.margin) * share


def _sft(it: Compared) -> torch.Tensor:
    """Ordinary cross entropy on the better answers, per token of the micro-batch."""
    return it.chosen_nll.expand(len(it.chosen.logps))


DPO_LOSSES: Mapping[str, Callable[[Compared], torch.Tensor]] = types.MappingProxyType({
    "sigmoid": _sigmoid, "hinge": _hinge, "ipo": _ipo, "exo_pair": _exo_pair, "nca_pair": _nca_pair, "robust": _robust, "bco_pair": _bco_pair,
    "sppo_hard": _sppo_hard, "aot": _aot, "aot_unpaired": _aot_unpaired, "apo_zero": _apo_zero, "apo_down": _apo_down, "discopop": _discopop,
    "sft": _sft, "sigmoid_norm": _sigmoid_norm})
"""`dpo_loss_type` -> the loss of each pair."""


def kto(log_ratios: torch.Tensor, good: torch.Tensor, divergence: torch.Tensor, beta: float, weights: tuple[float, float]) -> torch.Tensor:
    """KTO (Ethayarajh et al. 2024, arXiv:2402.01306, eq. 7 and 8), for each answer.

    `log_ratios`: model against reference, (answers,); `good`: which of them are desirable; `divergence`: the estimate of the KL term, a scalar
    of at least 0 without a gradient; `weights`: of desirable and undesirable answers.
    """
    signed = torch.where(good, log_ratios - divergence, divergence - log_ratios)
    weight = torch.where(good, weights[0], weights[1])
    return weight * (1 - torch.sigmoid(beta * signed))


def odds_ratio(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
    """ORPO's term (Hong et al. 2024, arXiv:2403.07691, eq. 6 and 7): how unlikely it is that the better answer has the higher odds.

    The log-probabilities are per token.
    """
    return -logsigmoid((chosen - rejected) - (_log1mexp(chosen) - _log1mexp(rejected)))


def simpo(chosen: torch.Tensor, rejected: torch.Tensor, beta: float, gamma: float) -> torch.Tensor:
    """SimPO (Meng et al. 2024, arXiv:2405.14734, eq. 6); the log-probabilities are per token."""
    return -logsigmoid(beta * (chosen - rejected) - gamma)


def bradley_terry(chosen: torch.Tensor, rejected: torch.Tensor, centering: float | None) -> torch.Tensor:
    """The loss of a reward model (Ouyang et al. 2022, arXiv:2203.02155, eq. 1) on the scores of pairs; `centering` pulls them around zero
    (Eisenstein et al. 2023, arXiv:2312.09244)."""
    loss = -logsigmoid(chosen - rejected)
    return loss if centering is None else loss + centering * (chosen + rejected) ** 2


def _log1mexp(x: torch.Tensor) -> torch.Tensor:
    """log(1 - exp(x)) for x < 0, without cancellation on either side of -ln 2 (Maechler 2012)."""
    return torch.where(x < -math.log(2), torch.log1p(-torch.exp(x)), torch.log(-torch.expm1(x)))
