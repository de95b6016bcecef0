"""The derivations of page 16 against quadrature, enumeration, and climbing."""

import itertools
import math

import mpmath
import pytest
import scipy.optimize
import sympy as sp
import torch
from torch.distributions import Normal, kl_divergence

from vaelib.symbolic import inside


def at(expression: sp.Expr, **values: float) -> float:
    """Evaluate with numbers for the symbols of these names."""
    named = {symbol: values[symbol.name] for symbol in expression.free_symbols}
    return float(expression.evalf(20, subs=named))


def test_distance_of_the_roots_is_the_mean_of_the_geometric_means() -> None:
    def integral(function: object) -> float:
        return float(mpmath.quad(function, [-mpmath.inf, -2, -1, 0, 1, 2, 4, mpmath.inf]))

    def q(z: mpmath.mpf) -> mpmath.mpf:
        return mpmath.npdf(z, 0.3, 0.7)

    def p(z: mpmath.mpf) -> mpmath.mpf:
        return mpmath.npdf(z, 1.1, 1.4)

    z = sp.Symbol("z", real=True)
    densities = (
        lambda place: inside.normal(place, sp.Float(0.3), sp.Float(0.49)),
        lambda place: inside.normal(place, sp.Float(1.1), sp.Float(1.96)),
    )
    ours = inside.hellinger(lambda f: sp.Float(integral(sp.lambdify(z, f(z), modules="mpmath"))), *densities)
    assert float(ours) == pytest.approx(integral(lambda z: mpmath.sqrt(q(z) * p(z))), abs=1e-12)


def test_information_is_the_mean_square_of_the_slope_over_all_images() -> None:
    t1, t2, place = 0.8, 1.7, 1.3
    z = torch.tensor(place, dtype=torch.float64, requires_grad=True)
    logits = torch.stack([(t1 * z**2).log(), (t2 * z).log()])
    found = 0.0
    for image in itertools.product((0.0, 1.0), repeat=2):
        x = torch.tensor(image, dtype=torch.float64)
        log_mass = -torch.nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        (slope,) = torch.autograd.grad(log_mass, z, retain_graph=True)
        found += log_mass.exp().item() * slope.item() ** 2
    # Sums of four products in float64.
    assert at(inside.information(), t1=t1, t2=t2, z=place) == pytest.approx(found, rel=1e-13)


@pytest.mark.parametrize("slope", [0.05, 1.0, 300.0])
def test_best_width_is_where_the_bound_is_highest(slope: float) -> None:
    def loss(log_width: float) -> float:
        width = torch.tensor(math.exp(log_width), dtype=torch.float64)
        rate = kl_divergence(Normal(torch.tensor(0.4).double(), width), Normal(0.0, 1.0))
        return (0.5 * slope * width**2 + rate).item()

    climbed = scipy.optimize.minimize_scalar(loss, bounds=(-6, 1), method="bounded", options={"xatol": 1e-9})
    g = sp.Symbol("g", positive=True)
    # A minimum is found to the root of the rounding of its height.
    assert at(inside.best_width(g), g=slope) == pytest.approx(math.exp(climbed.x), rel=1e-6)


@pytest.mark.parametrize("proof", [inside.smaller_is_below_the_geometric_mean, inside.roots_are_a_distance])
def test_inequalities_are_proved(proof: object) -> None:
    assert callable(proof)
    proof()


def test_roots_of_products_split_where_all_is_positive() -> None:
    q = 1 - inside.q1 - inside.q2
    p = 1 - inside.p1 - inside.p2
    assert inside.by_roots(sp.sqrt(q * p) - sp.sqrt(q) * sp.sqrt(p)) == 0
    assert inside.by_roots(sp.sqrt(q * p) - sp.sqrt(q)) != 0
