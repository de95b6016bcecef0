"""What SymPy derives about the linear VAE, against quadrature in plain floats and numbers worked by hand."""

import itertools
import math
from collections.abc import Callable

import pytest
import sympy as sp

from vaelib.symbolic import linear_vae as algebra
from vaelib.symbolic import verify
from vaelib.symbolic.claims import ClaimError

ROWS, PIXELS, SIGMA = [(0.8, -0.3), (0.2, 1.1), (-0.5, 0.4)], (0.9, -1.2, 0.4), 0.7
W, X = sp.Matrix(ROWS), sp.Matrix(PIXELS)


def log_joint(*z: float) -> float:
    """Log p(x, z) for the decoder above, written out."""
    residuals = [
        x - sum(w * a for w, a in zip(row, z, strict=True)) for x, row in zip(PIXELS, ROWS, strict=True)
    ]
    likelihood = -sum(r**2 for r in residuals) / (2 * SIGMA**2) - 1.5 * math.log(2 * math.pi * SIGMA**2)
    return likelihood - sum(entry**2 for entry in z) / 2 - math.log(2 * math.pi)


def over_plane(function: Callable[[float, float], float]) -> float:
    """Integrate by the trapezoidal rule, which is exact to rounding for what is smooth and dies out.

    Beyond 9 nothing is left of a density with deviations below 1.2 around means below 2.
    """
    step = 0.15
    points = [k * step for k in range(-60, 61)]
    return step**2 * math.fsum(function(a, b) for a in points for b in points)


def test_evidence_in_closed_form_is_the_integral_over_two_latents() -> None:
    integral = over_plane(lambda a, b: math.exp(log_joint(a, b)))
    assert math.exp(algebra.log_evidence(X, W, SIGMA)) == pytest.approx(integral, rel=1e-9)


def test_elbo_is_the_integral_that_defines_it() -> None:
    mean, variances = (0.3, -0.6), (0.4, 0.9)

    def integrand(*z: float) -> float:
        log_q = sum(
            -((a - m) ** 2) / (2 * d) - math.log(2 * math.pi * d) / 2
            for a, m, d in zip(z, mean, variances, strict=True)
        )
        return math.exp(log_q) * (log_joint(*z) - log_q)

    found = algebra.elbo(X, W, sp.Matrix(mean), variances, SIGMA)
    assert float(found) == pytest.approx(over_plane(integrand), rel=1e-9)


def test_best_encoder_beats_its_neighbours() -> None:
    rows, variances = algebra.best_encoder(W, SIGMA)
    mean, widths = rows * X, [float(d) for d in variances]
    best = float(algebra.elbo(X, W, mean, widths, SIGMA))
    for k, step in itertools.product(range(2), (-0.05, 0.05)):
        moved, wider = mean.copy(), list(widths)
        moved[k] += step
        wider[k] *= 1 + step
        assert float(algebra.elbo(X, W, moved, widths, SIGMA)) < best
        assert float(algebra.elbo(X, W, mean, wider, SIGMA)) < best


def test_covariance_and_precision_of_a_worked_example() -> None:
    weight = sp.Matrix([[1, 0], [2, 1], [0, -1]])
    assert algebra.covariance(weight, 2) == sp.Matrix([[5, 2, 0], [2, 9, -1], [0, -1, 5]])
    assert algebra.posterior_precision(weight, 2) == sp.Matrix([[9, 2], [2, 6]])


def test_best_weight_has_the_lengths_and_the_rotation_asked_for() -> None:
    weight = algebra.best_weight(sp.eye(3)[:, :2], (5, 2), algebra.turn(sp.pi / 6), 1)
    assert sp.simplify(weight * weight.T - sp.diag(4, 1, 0)) == sp.zeros(3, 3)
    assert weight[0, 0] == sp.sqrt(3)


def test_best_variance_is_the_mean_of_what_is_discarded() -> None:
    assert algebra.best_variance(sp.Matrix([9, 4, 3, 1]), 2) == 2


def test_evidence_of_a_direction_is_highest_at_the_water_level() -> None:
    a, eigenvalue = algebra.level, algebra.eigenvalue
    slope = sp.diff(algebra.direction_evidence(), a)
    assert sp.solve(slope, a) == [eigenvalue - algebra.sigma**2]
    for value, at, sign in ((3, sp.S.Zero, 1), (3, 5, -1), (sp.S.Half, sp.S.Zero, -1)):
        assert sp.sign(slope.subs({eigenvalue: value, algebra.sigma: 1, a: at})) == sign


@pytest.mark.parametrize(
    ("label", "wrong"),
    [
        # The mean of the discarded eigenvalues over all dimensions.
        ("eq-best-variance", r"\sigma_\star^2 = \frac{1}{D} \sum_{j=J+1}^{D} \lambda_j"),
        ("eq-linear-encoder", r"V^\star = M^{-1} W^\top, \qquad d^\star_j = \sigma^2 \|w_j\|^2"),
        ("def-posterior-precision", r"M = W^\top W + I"),
        ("eq-ppca-stationary", r"S C^{-1} W^\star = \sigma^2 W^\star"),
    ],
)
def test_mistakes_that_books_could_make_are_turned_down(label: str, wrong: str) -> None:
    with pytest.raises(ClaimError):
        verify(label, wrong)
