"""Equations held against the code that implements them: the page's formula and PyTorch at the same points.

``make ledger`` evaluates the last side of each of these equations, as the page prints it, and compares it
with what is given here for the same values. Both compute in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import sympy
import torch
from torch.distributions import (
    Categorical,
    LogNormal,
    LowRankMultivariateNormal,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    kl_divergence,
)
from torch.nn import functional

from vaelib import aggregate, divergences, gradients, likelihoods, linear, overlap, sensitivity, units
from vaelib.models import VAE, reparameterize
from vaelib.objectives import elbo_terms, floored_kl
from vaelib.settings import Recipe
from vaelib.symbolic import linear_vae
from vaelib.symbolic.gradients import coins
from vaelib.training import beta_at

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


def averaged(v: Values) -> dict[str, Any]:
    """How a loss takes its squares: the mean over three pixels, on a range of length s."""
    return {"data_dim": 3, "reduction": "mean", "span": v["s"]}


def sigma_of_two_weights(v: Values) -> float:
    return units.sigma_of_weight(v["w"] / v["kappa"], **averaged(v))


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


def slope_of_forward_fit(v: Values) -> float:
    """Differentiate the KL from a mixture to one normal distribution in the latter's mean."""
    mean = torch.tensor(v["m"], dtype=torch.float64, requires_grad=True)
    bumps = Normal(torch.tensor([v["a"], v["b"]], dtype=torch.float64), v["c"])
    shares = Categorical(torch.tensor([v["w"], 1 - v["w"]], dtype=torch.float64))
    target = MixtureSameFamily(shares, bumps)
    kl = divergences.kl_by_quadrature(target.log_prob, Normal(mean, v["s"]).log_prob, -12, 12)
    return torch.autograd.grad(kl, mean)[0].item()


def slope_of_reverse_fit(v: Values) -> float:
    """Differentiate the KL from a normal distribution to two wells in the former's mean."""
    mean = torch.tensor(v["m"], dtype=torch.float64, requires_grad=True)

    def log_target(z: torch.Tensor) -> torch.Tensor:
        return -(z**4) / 4 + v["d"] * z**2 + v["g"] * z - v["k"]

    kl = divergences.kl_by_quadrature(Normal(mean, v["s"]).log_prob, log_target, -25, 25)
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


# Noise for page 8: the trapezoidal rule on a normal density is right to rounding.
NOISE = torch.linspace(-12, 12, 4001, dtype=torch.float64)
CHANCES = torch.softmax(-NOISE.square() / 2, dim=0)


def over_noise(values: torch.Tensor) -> torch.Tensor:
    return (CHANCES * values).sum()


def variance_over_noise(values: torch.Tensor) -> float:
    return over_noise((values - over_noise(values)).square()).item()


def draws_of(v: Values) -> torch.Tensor:
    """Draw z from q, one for each point of the noise."""
    return reparameterize(row(v["mu"]), log_var(v["sigma"]), NOISE.unsqueeze(1)).squeeze(1)


def log_terms(v: Values, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return log p(x | z) and log p(z) - log q(z | x) of the smallest model, p(x | z) = N(z, 1)."""
    q = Normal(torch.tensor(v["mu"], dtype=torch.float64), v["sigma"])
    return Normal(z, 1.0).log_prob(row(v["x"])[0]), Normal(0.0, 1.0).log_prob(z) - q.log_prob(z)


def slope_of_choice(v: Values) -> float:
    """Differentiate the mean of three values in the parameter that moves their logits."""
    at = row(v["phi"]).requires_grad_()
    chances = torch.softmax(row_of(v, "h") + row_of(v, "r") * at, dim=-1)
    return torch.autograd.grad((chances * row_of(v, "f")).sum(), at)[0].item()


def slope_along_the_path(v: Values) -> float:
    at = row(v["phi"]).requires_grad_()[0]
    z = reparameterize(v["m"] + v["a"] * at, 2 * at.log(), NOISE)
    return torch.autograd.grad(over_noise((v["t"] * z).exp()), at)[0].item()


def score_of_mean(v: Values) -> float:
    at = row(v["mu"]).requires_grad_()
    return torch.autograd.grad(Normal(at, v["sigma"]).log_prob(row(v["z"])).sum(), at)[0].item()


def parts_of_coins(v: Values) -> gradients.Parts:
    """Some images, a coin for the latent of each, and the gradients that go with its sides."""
    images = [k for k in range(len(coins)) if f"g{k}0" in v]
    heads = torch.tensor([float(coins[k]) for k in images], dtype=torch.float64)
    g = torch.tensor([[v[f"g{k}0"], v[f"g{k}1"]] for k in images], dtype=torch.float64)
    sides = torch.stack([1 - heads, heads], dim=1)
    means = (sides * g).sum(1)
    within = (sides * (g - means[:, None]).square()).sum(1).mean()
    return gradients.Parts(means.var(correction=0).item(), within.item())


def price_of_draws(v: Values, draws: float) -> float:
    """Multiply what an image with its draws costs with the variance that it leaves."""
    parts = gradients.Parts(v["V_x"], v["V_z"])
    return (v["c_x"] + draws * v["c_z"]) * gradients.batch_variance(parts, images=1, draws=draws)


def least_price(v: Values) -> float:
    parts = gradients.Parts(v["V_x"], v["V_z"])
    draws = gradients.best_draws(parts, image_cost=v["c_x"], draw_cost=v["c_z"])
    return (v["c_x"] + draws * v["c_z"]) * (v["V_x"] + v["V_z"] / draws)


def numbers(matrix: sympy.Matrix, v: Values) -> torch.Tensor:
    """Return a matrix of symbols and numbers at the values."""
    known = {symbol: v[symbol.name] for symbol in matrix.free_symbols}
    return torch.tensor(matrix.subs(known).tolist(), dtype=torch.float64)


def linear_decoder(weight: sympy.Matrix, v: Values) -> linear.Decoder:
    return linear.Decoder(numbers(weight, v), torch.tensor(v["sigma"] ** 2, dtype=torch.float64))


def linear_evidence(covariance: torch.Tensor, v: Values) -> float:
    """The largest that two latents can give to data with that covariance."""
    return linear.evidence(
        covariance, linear.maximum_likelihood(covariance, 2, variance=v["sigma"] ** 2)
    ).item()


def normal_images(decoder: linear.Decoder) -> LowRankMultivariateNormal:
    """What a linear decoder says about images, by PyTorch."""
    size = len(decoder.weight)
    return LowRankMultivariateNormal(
        torch.zeros(size, dtype=torch.float64), decoder.weight, decoder.variance.expand(size)
    )


def linear_posterior(v: Values) -> float:
    """The posterior's density by Bayes' rule, every density of it by PyTorch."""
    decoder, x, z = linear_decoder(linear_vae.column, v), row_of(v, "x", 2)[0], row(v["z"])[0]
    likelihood = Normal(decoder.weight @ z, decoder.variance.sqrt()).log_prob(x).sum()
    prior = Normal(0.0, 1.0).log_prob(z).sum()
    return (likelihood + prior - normal_images(decoder).log_prob(x)).exp().item()


def linear_distortion(v: Values) -> float:
    covariance = numbers(linear_vae.second_moments(linear_vae.LARGER), v)
    encoder = linear.Encoder(numbers(linear_vae.rows, v), row_of(v, "d", 2)[0])
    return linear.terms(covariance, linear_decoder(linear_vae.weight, v), encoder).distortion.item()


def slope_of_evidence(v: Values) -> float:
    """By autograd, with respect to the last entry of W."""
    weight, variance = linear_decoder(linear_vae.column, v)
    weight.requires_grad_()
    covariance = numbers(linear_vae.second_moments(linear_vae.IMAGES), v)
    (slope,) = torch.autograd.grad(linear.evidence(covariance, linear.Decoder(weight, variance)), weight)
    return slope[-1].item()


def gap_of_turned(v: Values) -> float:
    turn, covariance = numbers(linear_vae.turn(v["rho"]), v), torch.diag(row_of(v, "lambda", 2)[0])
    return linear.rotation_gap(
        linear.maximum_likelihood(covariance, 2, variance=v["sigma"] ** 2, rotation=turn)
    ).item()


def slope_of_floored(v: Values) -> float:
    """By how much the floored KL rises with the rate of one latent, which is moved through its mean."""
    mean = (2 * row(v["R1"])).sqrt().requires_grad_()  # at the prior's width the rate is half of its square
    priced = floored_kl(mean, torch.zeros_like(mean), v["f"]).sum()
    rate = divergences.gaussian_kl(mean, torch.zeros_like(mean)).sum()
    (of_priced,), (of_rate,) = (torch.autograd.grad(term, mean) for term in (priced, rate))
    return (of_priced / of_rate).item()


def at_a_price(v: Values, price: float) -> linear.Terms:
    """One latent at a weight of the KL term: best where the noise is so much larger."""
    covariance, noise = row(v["lambda"]), torch.tensor(v["sigma"] ** 2, dtype=torch.float64)
    decoder = linear.maximum_likelihood(covariance, 1, variance=price * noise.item())
    return linear.terms(covariance, linear.Decoder(decoder.weight, noise), linear.best_encoder(decoder))


def three_values(v: Values) -> torch.Tensor:
    """A function's values at three drawn places, from its coefficients."""
    z = row_of(v, "z")[0]
    return v.get("f0", 0.0) + v["f1"] * z + v["f2"] * z.square()  # f0 moves no error


def mean_of_levels(v: Values) -> float:
    """The mean over three places with the chances of page 4."""
    return (row_of(v, "f") * row(1 / 2, 1 / 3, 1 / 6)).sum().item()


def squared_ratio(v: Values) -> float:
    """Integrate p^2 / q of two normal densities where it lives."""
    p = Normal(torch.tensor(v["mu"], dtype=torch.float64), v["sigma_p"])
    q = Normal(torch.zeros((), dtype=torch.float64), math.sqrt((v["sigma_p"] ** 2 + v["g"]) / 2))
    return divergences.quadrature(lambda z: (2 * p.log_prob(z) - q.log_prob(z)).exp(), -40, 40).item()


def log_weights(v: Values) -> tuple[torch.Tensor, torch.Tensor]:
    """Return three log-weights, and the parameter that moves them."""
    theta = row(v["theta"]).requires_grad_()
    return (row_of(v, "c") + row_of(v, "d") * theta)[0], theta


def slope_of_log_mean(v: Values) -> float:
    log_w, theta = log_weights(v)
    return torch.autograd.grad(torch.logsumexp(log_w, dim=0), theta)[0].item()


def slope_with_weights(v: Values) -> float:
    log_w, theta = log_weights(v)
    return torch.autograd.grad((torch.softmax(log_w, dim=0) * log_w).sum(), theta)[0].item()


def two_dice(v: Values) -> torch.Tensor:
    """Two distributions over three values."""
    return torch.cat([row(v[f"{q}1"], v[f"{q}2"], 1 - v[f"{q}1"] - v[f"{q}2"]) for q in "qp"])


def bounds_of_coins(v: Values) -> tuple[torch.Tensor, torch.Tensor]:
    """What the best guess between two coins lies between, by their Bhattacharyya coefficient."""
    both = torch.cat([row(v[side], 1 - v[side]) for side in "ab"])
    return overlap.error_bounds(overlap.overlap(both).coefficient[0, 1])


class BentLogits(torch.nn.Module):
    """A decoder of two pixels, log(t1 z^2) and log(t2 z); a module has a parameter."""

    def __init__(self, v: Values) -> None:
        super().__init__()
        self.factors = torch.nn.Parameter(row(v["t1"], v["t2"])[0])

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Map latents (B, 1) to logits (B, 2)."""
        return torch.cat([(self.factors[:1] * z**2).log(), (self.factors[1:] * z).log()], -1)


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
    # Page 4
    "def-monte-carlo": lambda v: three_values(v).mean().item(),
    "eq-standard-error": lambda v: (three_values(v).var() / 3).item(),
    "eq-log-of-mean": lambda v: math.log(mean_of_levels(v)),
    "def-weight": lambda v: sum(log_terms(v, row(v["z"]))).exp().item(),
    "eq-weight-variance": lambda v: (
        (torch.softmax(row_of(v, "a").log(), -1).square() / torch.softmax(row_of(v, "b").log(), -1))
        .sum()
        .item()
        - 1
    ),
    "eq-normal-weights": squared_ratio,
    "eq-exponential-bound": lambda v: (row(v["p_x"]).log() + torch.digamma(row(4.0)) - math.log(4)).item(),
    "eq-iwae-gradient": slope_of_log_mean,
    "eq-undetached": slope_with_weights,
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
    "eq-forward-fit": slope_of_forward_fit,
    "eq-reverse-fit": slope_of_reverse_fit,
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
    # Page 8
    "def-reparameterization": lambda v: reparameterize(
        row(v["mu"]), log_var(v["sigma"]), row(v["epsilon"])
    ).item(),
    "eq-draw-law": lambda v: Normal(row(v["mu"]), v["sigma"]).log_prob(row(v["a_point0"])).exp().item(),
    "eq-score-gradient": slope_of_choice,
    "eq-pathwise-gradient": slope_along_the_path,
    "eq-normal-score": score_of_mean,
    "eq-square-variances": lambda v: variance_over_noise(draws_of(v).square() * NOISE / v["sigma"]),
    "eq-cosine-variances": lambda v: variance_over_noise((v["omega"] * NOISE).cos() * NOISE),
    "eq-oracle": lambda v: over_noise(
        (v["phi"] ** 3 + math.exp(v["phi"]) * NOISE).square()
        + (v["phi"] ** 3 + math.exp(v["phi"]) * NOISE).sin()
    ).item(),
    "def-sgvb-sampled": lambda v: sum(log_terms(v, pair(v, "z"))).mean().item(),
    "def-sgvb": lambda v: (
        log_terms(v, pair(v, "z"))[0].mean() - divergences.gaussian_kl(row(v["mu"]), log_var(v["sigma"]))
    ).item(),
    "eq-sgvb-variances": lambda v: variance_over_noise(sum(log_terms(v, draws_of(v)))),
    "eq-wrong-deviation": lambda v: over_noise(
        log_terms(v, draws_of({**v, "sigma": v["sigma"] ** 2}))[0] - log_terms(v, draws_of(v))[0]
    ).item(),
    "eq-total-variance": lambda v: sum(parts_of_coins(v)),
    "eq-batch-variance": lambda v: gradients.batch_variance(parts_of_coins(v), images=2, draws=3),
    "eq-without-replacement": lambda v: gradients.batch_variance(
        parts_of_coins(v), images=2, draws=3, population=5
    ),
    "eq-best-draws": least_price,
    "eq-one-more-draw": lambda v: price_of_draws(v, v["L"] + 1) - price_of_draws(v, v["L"]),
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
    # Page 9
    "def-ppca-covariance": lambda v: normal_images(
        linear_decoder(linear_vae.weight_3_2[2:, :], v)
    ).covariance_matrix.item(),
    "eq-ppca-evidence": lambda v: linear.evidence(
        numbers(linear_vae.second_moments(linear_vae.IMAGES), v), linear_decoder(linear_vae.column, v)
    ).item(),
    "eq-ppca-posterior": linear_posterior,
    "eq-linear-terms": linear_distortion,
    "eq-linear-encoder": lambda v: (
        linear.best_encoder(linear_decoder(linear_vae.small, v)).weight[-1, -1].item()
    ),
    "eq-diagonal-gap": lambda v: linear.rotation_gap(linear_decoder(linear_vae.small, v)).item(),
    "eq-ppca-gradient": slope_of_evidence,
    "eq-water-filling": lambda v: linear.rates(row(v["lambda1"]), v["sigma"] ** 2).item(),
    "eq-rotation-gap": gap_of_turned,
    "eq-ppca-profile": lambda v: linear_evidence(torch.diag(row_of(v, "lambda", 5)[0]), v),
    "eq-best-variance": lambda v: linear.best_variance(
        row(9.0, 8.0, v["lambda3"], v["lambda4"], v["lambda5"])[0], 2
    ).item(),
    # Page 14
    "eq-weighted-terms": lambda v: at_a_price(v, v["beta"]).rate.sum().item(),
    "eq-price-is-slope": lambda v: at_a_price(
        v, v["lambda"] * math.exp(-2 * v["R"]) / v["sigma"] ** 2
    ).distortion.item(),
    # Page 15
    "eq-one-loss": lambda v: (
        v["kappa"]
        * (
            units.gaussian_nll(squared_error(v), sigma_of_two_weights(v), 3)
            + rate_of_coin(v)
            - units.minus_elbo_of_loss(0.0, weight=v["w"], kl_weight=v["kappa"], **averaged(v))
        )
    ),
    "eq-exchange-rate": lambda v: 2 * sigma_of_two_weights(v) ** 2 * (v["T"] / v["kappa"] - v["R"]),
    "eq-density-floor": lambda v: units.gaussian_nll(0.0, v["sigma"], 3),
    "eq-level-bound": lambda v: units.level_bound(
        -log_normal(v["x"], v["mu"], v["sigma"]),
        sigma=v["sigma"],
        data_dim=1,
        levels=round(1 / v["h"]) + 1,
    ),
    "eq-coin-price": lambda v: (
        units.entropy_floor(row_of(v, "x")).item()
        # What one more nat allows in squared error, turned over: the price of a squared error of 1.
        + (row_of(v, "x") - row_of(v, "pi")).square().sum().item() / units.squared_error_bound(1.0, 0.0)
    ),
    # Page 16
    "eq-best-guess": lambda v: overlap.overlap(two_dice(v)).error[0, 1].item(),
    "def-bhattacharyya": lambda v: overlap.overlap(two_dice(v)).coefficient[0, 1].item(),
    "eq-guess-above": lambda v: bounds_of_coins(v)[1].item(),
    "eq-guess-below": lambda v: bounds_of_coins(v)[0].item(),
    "eq-gaussian-bhattacharyya": lambda v: overlap.gaussian_bhattacharyya(
        row(v["mu_a"]), row(v["sigma_a"])[None] ** 2, row(v["mu_b"]), row(v["sigma_b"])[None] ** 2
    ).item(),
    "def-decoder-information": lambda v: sensitivity.information(
        VAE(torch.nn.Identity(), BentLogits(v), latent_dim=1), row(v["z"])
    ).item(),
    "eq-rate-of-widths": lambda v: aggregate.kl_of_latents(
        torch.cat([row(v["mu1b"]), row(v["mu2b"])]), torch.cat([log_var(v["sigma1b"]), log_var(v["sigma2b"])])
    ).item(),
    # Page 19
    "def-kl-warm-up": lambda v: beta_at(v["t"], v["w"], Recipe(beta=v["beta"])),
    "eq-free-bits": slope_of_floored,
    "eq-free-rate": lambda v: linear.floored_rates(
        row(v["lambda"]), v["sigma"] ** 2, v["f"], beta=v["beta"]
    ).item(),
    "eq-halving": lambda v: (
        divergences.gaussian_kl(row(v["mu"]), log_var(v["sigma"] / 2))
        - divergences.gaussian_kl(row(v["mu"]), log_var(v["sigma"]))
    ).item(),
}
