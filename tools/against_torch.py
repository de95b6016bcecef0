"""Equations held against the code that implements them: the page's formula and PyTorch at the same points.

``make ledger`` evaluates the last side of each of these equations, as the page prints it, and compares it
with what is given here for the same values. Both compute in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch.distributions import (
    Categorical,
    LogNormal,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    kl_divergence,
)
from torch.nn import functional

from vaelib import divergences, likelihoods, units
from vaelib.models import VAE
from vaelib.objectives import elbo_terms

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


def log_normal(x: float, mean: float, deviation: float) -> float:
    return likelihoods.gaussian_log_likelihood(row(mean), row(x), log_var(deviation)).item()


def pair(v: Values, name: str) -> torch.Tensor:
    return row_of(v, name, count=2)


def log_chances(v: Values, name: str) -> torch.Tensor:
    """Two probabilities and what they leave, as logits."""
    return row(v[f"{name}1"], v[f"{name}2"], 1 - v[f"{name}1"] - v[f"{name}2"]).log()


def cholesky_factor(v: Values, name: str) -> torch.Tensor:
    entries = [[v[f"{name}11"], 0.0], [v[f"{name}21"], v[f"{name}22"]]]
    return torch.tensor(entries, dtype=torch.float64)


def covariance(v: Values, name: str) -> torch.Tensor:
    return cholesky_factor(v, name) @ cholesky_factor(v, name).mT


def kl_on_three(v: Values) -> float:
    return divergences.categorical_kl(log_chances(v, "q"), log_chances(v, "p")).item()


def slope_of_fit(v: Values, *, target_first: bool) -> float:
    """Differentiate the KL between a mixture and one normal distribution in the latter's mean."""
    mean = torch.tensor(v["m"], dtype=torch.float64, requires_grad=True)
    bumps = Normal(torch.tensor([v["a"], v["b"]], dtype=torch.float64), v["c"])
    shares = Categorical(torch.tensor([v["w"], 1 - v["w"]], dtype=torch.float64))
    p, q = MixtureSameFamily(shares, bumps), Normal(mean, v["s"])
    both = (p.log_prob, q.log_prob) if target_first else (q.log_prob, p.log_prob)
    kl = divergences.kl_by_quadrature(*both, -12, 12)
    return torch.autograd.grad(kl, mean)[0].item()


def gaussian_rate(v: Values) -> float:
    return divergences.gaussian_kl(pair(v, "mu"), log_var(v["sigma1"], v["sigma2"])).item()


def slope_of_gaussian_rate(mean: float, log_variance: float) -> float:
    at = row(mean).requires_grad_()
    return torch.autograd.grad(divergences.gaussian_kl(at, row(log_variance)), at)[0].item()


class Guess(torch.nn.Module):
    """An encoder that gives every x the same q."""

    def __init__(self, mean: float, deviation: float) -> None:
        super().__init__()
        self.mean, self.log_var = mean, 2 * math.log(deviation)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map x to its mean and log-variance."""
        return torch.full_like(x, self.mean), torch.full_like(x, self.log_var)


def elbo_of_linear_vae(v: Values) -> float:
    """Average two draws, at one deviation on either side: exact where the distortion is quadratic."""
    decoder = torch.nn.Linear(1, 1)
    model = VAE(Guess(v["mu"], v["sigma"]), decoder, latent_dim=1, likelihood="gaussian").double()
    state = {"decoder.weight": row(v["w"]), "decoder.bias": row(v["b"])[0]}
    model.load_state_dict({**state, "log_var": log_var(v["s"])[0, 0]})
    noise = row(1.0, -1.0).mT
    return elbo_terms(model, torch.full_like(noise, v["x"]), noise=noise).elbo.mean().item()


def gap_of_linear_vae(v: Values) -> float:
    total = v["w"] ** 2 + v["s"] ** 2
    posterior = Normal(row(v["w"] * (v["x"] - v["b"]) / total), row(v["s"] / math.sqrt(total)))
    return kl_divergence(Normal(row(v["mu"]), row(v["sigma"])), posterior).item()


def rate_of_two(v: Values, *, among_themselves: bool) -> float:
    """Average the KL of two data points' distributions to their mixture, or to the prior."""
    both = torch.cat([log_chances(v, "c"), log_chances(v, "d")])
    mixture = both.exp().mean(0, keepdim=True).log()
    return (
        divergences.categorical_kl(both, mixture if among_themselves else log_chances(v, "p")).mean().item()
    )


def log_mixture(v: Values, means: torch.Tensor) -> torch.Tensor:
    """The log-density at x of two normal distributions with the chances c1 and c2."""
    bumps = torch.distributions.Normal(means, row(v["sigma1"], v["sigma2"])[0])
    chances = torch.distributions.Categorical(row(v["c1"], v["c2"])[0])
    return torch.distributions.MixtureSameFamily(chances, bumps).log_prob(row(v["x"])[0, 0])


def slope_of_mixture(v: Values) -> float:
    """Its derivative in the first mean, by automatic differentiation."""
    means = row(v["mu1"], v["mu2"])[0].requires_grad_()
    return torch.autograd.grad(log_mixture(v, means), means)[0][0].item()


def best_normal(v: Values) -> float:
    """The mean log-likelihood of three weighted points under the normal with their mean and variance."""
    points, shares = row_of(v, "x")[0], row_of(v, "d")[0]
    shares = shares / shares.sum()
    mean = (shares * points).sum()
    variance = (shares * (points - mean).square()).sum()
    each = likelihoods.gaussian_log_likelihood(mean.expand(3, 1), points[:, None], variance.log())
    return (shares * each).sum().item()


def interval_ends(v: Values) -> tuple[torch.Tensor, ...]:
    return tuple(row(v[name]) for name in ("a_q", "b_q", "a_p", "b_p"))


def in_a_plane(v: Values) -> list[torch.Tensor]:
    """Return mean and covariance of q and of p from the entries of their Cholesky factors."""
    found = []
    for name in "qp":
        across, below, up = (v[f"l_{name}{k}"] for k in (1, 2, 3))
        factor = torch.tensor([[across, 0.0], [below, up]], dtype=torch.float64)
        found += [row_of(v, f"m_{name}", 2).squeeze(0), factor @ factor.mT]
    return found


def coins_kl(a: float, b: float) -> float:
    return divergences.bernoulli_kl(torch.logit(row(a)), torch.logit(row(b))).item()


def pull(v: Values) -> float:
    """How fast KL grows with the distance of the means, by automatic differentiation."""
    mean = row(v["delta"]).requires_grad_()
    divergences.gaussian_kl(mean, torch.zeros_like(mean)).sum().backward()
    assert mean.grad is not None
    return mean.grad.item()


AGAINST_TORCH: dict[str, Callable[[Values], float]] = {
    # Page 1
    "def-normal": lambda v: math.exp(log_normal(v["x"], v["mu"], v["sigma"])),
    "eq-conjugate": lambda v: math.exp(
        log_normal(v["x"], v["z"], v["sigma"])
        + log_normal(v["z"], v["m"], v["s"])
        - log_normal(v["x"], v["m"], math.hypot(v["s"], v["sigma"]))
    ),
    "eq-conjugate-evidence": lambda v: math.exp(log_normal(v["x"], v["m"], math.hypot(v["s"], v["sigma"]))),
    # Page 2
    "eq-mixture": lambda v: log_mixture(v, row(v["mu1"], v["mu2"])[0]).exp().item(),
    "eq-mixture-gradient": slope_of_mixture,
    "eq-normal-fit": best_normal,
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
    "eq-best-sigma": lambda v: -units.gaussian_nll(squared_error(v), math.sqrt(squared_error(v) / 3), 3),
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
    # Page 5
    "def-entropy": lambda v: Categorical(logits=log_chances(v, "q")).entropy().item(),
    "def-cross-entropy": lambda v: functional.cross_entropy(
        log_chances(v, "p"), log_chances(v, "q").exp()
    ).item(),
    "def-kl": kl_on_three,
    "eq-kl-cross-entropy": kl_on_three,
    "eq-bernoulli-kl": lambda v: divergences.bernoulli_kl(
        torch.logit(row(v["pi_q"])), torch.logit(row(v["pi_p"]))
    ).item(),
    "eq-categorical-kl": kl_on_three,
    "eq-normal-entropy": lambda v: Normal(row(v["mu"]), row(v["sigma"])).entropy().item(),
    "eq-change-of-variables": lambda v: LogNormal(row(v["mu_q"]), row(v["sigma_q"])).entropy().item(),
    "eq-forward-fit": lambda v: slope_of_fit(v, target_first=True),
    "eq-reverse-fit": lambda v: slope_of_fit(v, target_first=False),
    # Page 6
    "eq-linear-posterior": lambda v: math.exp(log_normal(v["x"], v["b"], math.hypot(v["w"], v["s"]))),
    "eq-linear-elbo": elbo_of_linear_vae,
    "eq-linear-gap": gap_of_linear_vae,
    "def-index-information": lambda v: rate_of_two(v, among_themselves=True),
    "eq-surgery": lambda v: rate_of_two(v, among_themselves=False),
    # Page 7
    "eq-gaussian-log-ratio": lambda v: (
        log_normal(v["z"], v["mu_q"], v["sigma_q"]) - log_normal(v["z"], v["mu_p"], v["sigma_p"])
    ),
    "eq-gaussian-kl-1d": lambda v: kl_divergence(
        Normal(row(v["mu_q"]), row(v["sigma_q"])), Normal(row(v["mu_p"]), row(v["sigma_p"]))
    ).item(),
    "eq-kl-additivity": lambda v: (
        divergences.categorical_kl(log_chances(v, "a"), log_chances(v, "c"))
        + divergences.categorical_kl(log_chances(v, "b"), log_chances(v, "d"))
    ).item(),
    "eq-gaussian-kl-diagonal": lambda v: divergences.diagonal_gaussian_kl(
        pair(v, "mu"), log_var(v["sigma1"], v["sigma2"]), pair(v, "m"), log_var(v["s1"], v["s2"])
    ).item(),
    "def-normal-vector": lambda v: (
        MultivariateNormal(pair(v, "mu_q"), scale_tril=cholesky_factor(v, "l"))
        .log_prob(pair(v, "z"))
        .exp()
        .item()
    ),
    "eq-gaussian-kl-full": lambda v: divergences.full_gaussian_kl(
        pair(v, "mu_q"), covariance(v, "l"), pair(v, "mu_p"), covariance(v, "m")
    ).item(),
    "eq-gaussian-kl": gaussian_rate,
    "eq-gaussian-kl-gradient": lambda v: slope_of_gaussian_rate(v["mu"], v["v"]),
    "eq-gaussian-kl-reverse": lambda v: divergences.reverse_gaussian_kl(
        pair(v, "mu"), log_var(v["sigma1"], v["sigma2"])
    ).item(),
    "eq-gaussian-kl-log-variance": lambda v: divergences.diagonal_gaussian_kl(
        pair(v, "mu"), pair(v, "v"), pair(v, "m"), pair(v, "w")
    ).item(),
    # Page 11
    "eq-training-kl": gaussian_rate,
    # Page 10
    "def-js": lambda v: (
        (coins_kl(v["a"], (v["a"] + v["b"]) / 2) + coins_kl(v["b"], (v["a"] + v["b"]) / 2)) / 2
    ),
    "eq-uniform-tv": lambda v: divergences.uniform_total_variation(*interval_ends(v)).item(),
    "eq-uniform-shift": lambda v: divergences.uniform_total_variation(
        row(v["delta"]), row(1 + v["delta"]), row(0.0), row(1.0)
    ).item(),
    "eq-gaussian-tv": lambda v: divergences.gaussian_total_variation(
        row(v["mu_q"]), log_var(v["sigma"]), row(v["mu_p"]), log_var(v["sigma"])
    ).item(),
    "eq-gaussian-w2": lambda v: divergences.diagonal_gaussian_wasserstein2(
        row(v["mu_q"]), log_var(v["sigma_q"]), row(v["mu_p"]), log_var(v["sigma_p"])
    ).item(),
    "eq-gaussian-w2-full": lambda v: divergences.full_gaussian_wasserstein2(*in_a_plane(v)).item(),
    "eq-pull": pull,
    "eq-pinsker": lambda v: math.sqrt(coins_kl(v["a"], v["b"]) / 2),
    "eq-matched": lambda v: (
        torch.distributions.Normal(0.0, row(v["s"], v["c"]).norm()).log_prob(row(v["z"])).exp().item()
    ),
}
