"""Equations held against the code that implements them: the page's formula and PyTorch at the same points.

``make ledger`` evaluates the last side of each of these equations, as the page prints it, and compares it
with what is given here for the same values. Both compute in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch

from vaelib import divergences, likelihoods, units

# A few hundred roundings of float64 at most, or the panels of the formula's own quadrature.
RELATIVE = 1e-9

Values = Mapping[str, float]


def row(*entries: float) -> torch.Tensor:
    """Return one sample's parameters."""
    return torch.tensor([entries], dtype=torch.float64)


def log_var(*deviations: float) -> torch.Tensor:
    return 2 * row(*deviations).log()


def row_of(v: Values, name: str, count: int = 3) -> torch.Tensor:
    """Return the entries name1, name2, ... of one sample."""
    return row(*(v[f"{name}{d}"] for d in range(1, count + 1)))


def squared_error(v: Values) -> float:
    return (row_of(v, "x") - row_of(v, "mu")).square().sum().item()


def rate_of_coin(v: Values) -> float:
    return divergences.bernoulli_kl(torch.logit(row(v["q"])), torch.logit(row(v["p"]))).item()


def bernoulli_loss(v: Values) -> float:
    return -likelihoods.bernoulli_log_likelihood(torch.logit(row_of(v, "pi")), row_of(v, "x")).item()


def coin_on_grey_levels(p: float) -> float:
    """What the continuous Bernoulli divides by, from its density and the coin's mass at some grey."""
    probability, grey = row(p), row(0.3)
    coin = likelihoods.bernoulli_log_likelihood(torch.logit(probability), grey)
    density = torch.distributions.ContinuousBernoulli(probability).log_prob(grey).sum(-1)
    return (coin - density).exp().item()


AGAINST_TORCH: dict[str, Callable[[Values], float]] = {
    "eq-gaussian-kl": lambda v: divergences.gaussian_kl(
        row(v["mu1"], v["mu2"]), log_var(v["sigma1"], v["sigma2"])
    ).item(),
    # Page 3
    "eq-bernoulli": lambda v: -bernoulli_loss(v),
    "eq-logits": lambda v: -likelihoods.bernoulli_log_likelihood(row_of(v, "l"), row_of(v, "x")).item(),
    "eq-gaussian": lambda v: likelihoods.gaussian_log_likelihood(
        row_of(v, "mu"), row_of(v, "x"), log_var(v["sigma"])
    ).item(),
    "eq-dial": lambda v: (
        units.gaussian_nll(squared_error(v), units.sigma_of_weight(v["w"], data_dim=3), 3)
        + rate_of_coin(v)
        - 1.5 * math.log(math.pi / v["w"])
    ),
    "eq-best-variance": lambda v: -units.gaussian_nll(squared_error(v), math.sqrt(squared_error(v) / 3), 3),
    "eq-calibrated": lambda v: (
        1.5 / units.beta_of_weight(v["w"], squared_error=squared_error(v), data_dim=3) + rate_of_coin(v)
    ),
    "eq-reduction": lambda v: (
        squared_error(v) / (2 * units.sigma_of_weight(v["w"], data_dim=3, reduction="mean", span=v["s"]) ** 2)
    ),
    "eq-change-of-range": lambda v: (
        -units.change_of_range(units.gaussian_nll(squared_error(v), v["sigma"], 3), data_dim=3, span=v["s"])
    ),
    "eq-binarization": lambda v: -bernoulli_loss(v),
    "eq-entropy-floor": lambda v: units.entropy_floor(row_of(v, "x")).item(),
    "eq-no-density": lambda v: coin_on_grey_levels(v["p"]),
    "eq-speckle": lambda v: torch.distributions.Bernoulli(row_of(v, "pi")).variance.sum().item(),
}
