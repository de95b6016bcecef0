"""The derivations of page 15 against oracles that share no code: torch.distributions, mpmath, autograd."""

import json
from collections.abc import Callable
from pathlib import Path

import mpmath
import pytest
import sympy as sp
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from vaelib import units
from vaelib.symbolic import four_losses, losses, verify
from vaelib.symbolic.claims import ClaimError

PAGE = Path(__file__).parent.parent / "book" / "15-four-repositories.ipynb"
PIXELS, SAID = (0.2, 0.9, 0.4), (0.3, 0.6, 0.35)


def at(expression: sp.Expr, **values: float) -> float:
    """Evaluate with numbers for the symbols of these names."""
    named = {symbol: values[symbol.name] for symbol in expression.free_symbols}
    return float(expression.evalf(20, subs=named))


def numbers(**rows: tuple[float, ...]) -> dict[str, float]:
    return {f"{name}{d}": value for name, row in rows.items() for d, value in enumerate(row, start=1)}


def double(*entries: float) -> torch.Tensor:
    return torch.tensor(entries, dtype=torch.float64)


def printed(label: str) -> str:
    """The equation as the page has it."""
    cells = json.loads(PAGE.read_text())["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return text.split(f":label: {label}\n", 1)[1].split("```", 1)[0].strip()


@pytest.mark.parametrize(("w", "kappa", "s"), [(600.0, 1.0, 2.0), (1.0, 0.001, 2.0), (3.0, 0.7, 255.0)])
def test_implied_variance_makes_the_gradients_of_a_loss_those_of_a_normal_decoder(
    w: float, kappa: float, s: float
) -> None:
    variance = at(four_losses.implied_variance(), w=w, kappa=kappa, s=s)
    slopes = []
    for minus_log in (
        lambda mean: w * (s * double(*PIXELS) - s * mean).square().mean(),
        lambda mean: -kappa * Normal(mean, variance**0.5).log_prob(double(*PIXELS)).sum(),
    ):
        mean = double(*SAID).requires_grad_()
        slopes.append(torch.autograd.grad(minus_log(mean), mean)[0])
    # A few roundings of float64.
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-12, atol=0)


def test_implied_deviation_is_the_one_that_units_computes() -> None:
    for w, kappa, s in ((600.0, 1.0, 2.0), (1.0, 0.001, 2.0), (0.5, 4.0, 1.0)):
        variance = at(four_losses.implied_variance(), w=w, kappa=kappa, s=s)
        sigma = units.sigma_of_weight(w / kappa, data_dim=3, reduction="mean", span=s)
        assert sigma**2 == pytest.approx(variance, rel=1e-14)


def test_gap_of_the_coins_is_their_divergence_less_twice_the_squared_error() -> None:
    gap = at(four_losses.coin_price(), **numbers(x=PIXELS, pi=SAID))
    divergence = kl_divergence(Bernoulli(probs=double(*PIXELS)), Bernoulli(probs=double(*SAID))).sum()
    squares = (double(*PIXELS) - double(*SAID)).square().sum()
    assert gap == pytest.approx((divergence - 2 * squares).item(), abs=1e-14)
    assert gap > 0


def test_a_price_above_two_is_no_bound_for_coins_that_are_all_but_fair() -> None:
    grey, said = double(0.5), double(0.5 + 1e-3)
    divergence = kl_divergence(Bernoulli(probs=grey), Bernoulli(probs=said)).item()
    square = (grey - said).square().item()
    assert 2 * square < divergence < 2.0001 * square


def test_gap_above_the_floor_of_a_density_is_what_the_error_costs() -> None:
    normal = Normal(double(*SAID), 0.7)
    at_best = Normal(double(*SAID), 0.7).log_prob(double(*SAID)).sum()
    found = at(four_losses.density_gap(), sigma=0.7, **numbers(x=PIXELS, mu=SAID))
    assert found == pytest.approx((at_best - normal.log_prob(double(*PIXELS)).sum()).item(), abs=1e-14)


@pytest.mark.parametrize("width", [1 / 255, 0.5, 2.0])
def test_mean_over_a_bin_differs_from_its_middle_by_a_24th_and_bounds_the_mass(width: float) -> None:
    four_losses.level_lemma()
    x, mean, sigma = 0.3, 0.55, 0.4
    ends = [x - width / 2, x + width / 2]
    average = mpmath.quad(lambda u: -mpmath.log(mpmath.npdf(u, mean, sigma)), ends) / width
    mass = mpmath.quad(lambda u: mpmath.npdf(u, mean, sigma), ends)
    middle = -float(mpmath.log(mpmath.npdf(x, mean, sigma)))
    # Gauss-Legendre in 15 digits, of smooth functions.
    assert float(average) == pytest.approx(middle + width**2 / (24 * sigma**2), abs=1e-12)
    assert -float(mpmath.log(mass)) <= float(average - mpmath.log(width)) + 1e-12


@pytest.mark.parametrize(
    ("label", "right", "wrong"),
    [
        # The KL term's weight forgotten in the constant, which is what adding 150 nats to 0.064 would be.
        ("eq-one-loss", r"&= \kappa \left( -\log", r"&= \left( -\log"),
        # The variance of a loss whose range was taken for [0, 1].
        ("eq-one-loss", r"\frac{\kappa D}{2 w s^2}", r"\frac{\kappa D}{2 w}"),
        ("eq-exchange-rate", r"\frac{T}{\kappa}", r"T"),
        ("eq-density-floor", r"\frac{D}{2}", r"D"),
        ("eq-coin-price", r"+ 2 \sum", r"+ 4 \sum"),
        ("eq-level-bound", r"- \log h + \frac{h^2}{24 \sigma^2}", r"- \log h + \frac{h^2}{12 \sigma^2}"),
        ("eq-level-bound", r"\frac{1}{h} \int", r"\int"),
    ],
)
def test_what_is_easily_got_wrong_is_turned_down(label: str, right: str, wrong: str) -> None:
    latex = printed(label)
    assert right in latex
    with pytest.raises(ClaimError):
        verify(label, latex.replace(right, wrong))


@pytest.mark.parametrize(
    "broken", [lambda: 3 * losses.squared_error(losses.x, losses.mu), lambda: sp.Integer(0)]
)
def test_a_gap_that_is_not_the_pages_proves_nothing(
    broken: Callable[[], sp.Expr], monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = four_losses.CLAIMS["eq-density-floor"]
    monkeypatch.setitem(
        four_losses.CLAIMS, "eq-density-floor", type(claim)(**{**vars(claim), "proof": broken})
    )
    with pytest.raises(ClaimError, match="the sides do not differ"):
        verify("eq-density-floor", printed("eq-density-floor"))
