"""The ELBO's derivations and models with one latent, against quadrature and closed forms."""

import itertools
import math
import random

import mpmath
import pytest
import sympy as sp

from vaelib.symbolic import elbo
from vaelib.symbolic.claims import ClaimError
from vaelib.symbolic.em import Mixture, bound, e_step, em, m_step
from vaelib.symbolic.one_latent import PRIOR, Normal, OneLatent, rate, surgery

VALUES = {elbo.x: 0.7, elbo.b: -0.4, elbo.w: 1.3, elbo.s: 0.6, elbo.mu: 0.5, elbo.sigma: 0.35}
CUTS = [-mpmath.inf, -6, -3, -2, -1, -0.5, 0, 0.5, 1, 2, 3, 6, mpmath.inf]
BENT = OneLatent(lambda z: (math.tanh(2 * z),), (0.5,), 0.05)
CIRCLE = OneLatent(lambda z: (math.cos(z), math.sin(z)), (0.0, 0.0), 0.05)
FOLDED = OneLatent(lambda z: (z * z,), (1.0,), 0.05)


def integral(function: object) -> float:
    return float(mpmath.quad(function, CUTS))


def log_normal(z: mpmath.mpf, mean: float, deviation: float) -> mpmath.mpf:
    return -((z - mean) ** 2) / (2 * deviation**2) - mpmath.log(2 * mpmath.pi * deviation**2) / 2


# --- SymPy's derivations ----------------------------------------------------------------------------------


def test_the_best_q_is_the_posterior_and_its_bound_the_evidence() -> None:
    best = elbo.best_q(elbo.joint)
    total = sum(elbo.joint)
    assert [sp.simplify(q - a / total) for q, a in zip(best, elbo.joint, strict=True)] == [0, 0, 0]
    gap = sp.log(total) - elbo.finite_elbo(elbo.joint, best)
    assert sp.simplify(sp.expand(sp.expand_log(gap, force=True))) == 0


def test_an_expression_that_may_be_positive_is_not_proved_to_be_at_most_zero() -> None:
    evidence = sp.log(sum(elbo.joint))
    posterior = [a / sum(elbo.joint) for a in elbo.joint]
    elbo.at_most_zero(elbo.finite_elbo(elbo.joint, elbo.q) - evidence, elbo.q, posterior)
    with pytest.raises(ClaimError, match="should vanish"):
        elbo.at_most_zero(evidence - elbo.finite_elbo(elbo.joint, elbo.q), elbo.q, posterior)


def test_linear_evidence_posterior_and_bound_agree_with_quadrature() -> None:
    x, b, w, s, mu, sigma = (
        VALUES[symbol] for symbol in (elbo.x, elbo.b, elbo.w, elbo.s, elbo.mu, elbo.sigma)
    )

    def log_joint(z: mpmath.mpf) -> mpmath.mpf:
        return log_normal(x, w * z + b, s) + log_normal(z, 0, 1)

    evidence = integral(lambda z: mpmath.exp(log_joint(z)))
    mean = integral(lambda z: z * mpmath.exp(log_joint(z))) / evidence
    variance = integral(lambda z: (z - mean) ** 2 * mpmath.exp(log_joint(z))) / evidence
    value = integral(
        lambda z: mpmath.exp(log_normal(z, mu, sigma)) * (log_joint(z) - log_normal(z, mu, sigma))
    )
    assert float(elbo.linear_evidence().subs(VALUES)) == pytest.approx(evidence, rel=1e-12)
    assert [float(moment.subs(VALUES)) for moment in elbo.linear_posterior()] == pytest.approx(
        [mean, variance], rel=1e-12
    )
    assert float(elbo.linear_elbo().subs(VALUES)) == pytest.approx(value, rel=1e-12)


def test_the_page_names_the_posterior_that_was_derived() -> None:
    mean, variance = elbo.linear_posterior()
    assert sp.simplify(elbo.nu - mean) == 0
    assert sp.simplify(elbo.tau**2 - variance) == 0


def test_mutual_information_lies_between_nothing_and_the_logarithm_of_the_number() -> None:
    def information(*rows: list[float]) -> float:
        return float(elbo.mutual_information([[sp.Float(share) for share in row] for row in rows]))

    assert information([0.2, 0.8], [0.2, 0.8]) == pytest.approx(0, abs=1e-15)
    nearly = [[1 - 1e-13 if k == n else 5e-14 for k in range(3)] for n in range(3)]
    assert information(*nearly) == pytest.approx(math.log(3), abs=1e-11)
    # Entropy of the mixture less the mean entropy.
    p, q = [0.1, 0.9], [0.6, 0.4]

    def entropy(row: list[float]) -> float:
        return -sum(share * math.log(share) for share in row)

    expected = entropy([0.35, 0.65]) - (entropy(p) + entropy(q)) / 2
    assert information(p, q) == pytest.approx(expected, rel=1e-12)


# --- a decoder of any shape -------------------------------------------------------------------------------


def test_one_latent_agrees_with_quadrature() -> None:
    def log_joint(z: mpmath.mpf) -> mpmath.mpf:
        return log_normal(z, 0, 1) + log_normal(0.5, mpmath.tanh(2 * z), math.sqrt(0.05))

    evidence = integral(lambda z: mpmath.exp(log_joint(z)))
    mean = integral(lambda z: z * mpmath.exp(log_joint(z))) / evidence
    variance = integral(lambda z: (z - mean) ** 2 * mpmath.exp(log_joint(z))) / evidence
    q = Normal(0.3, 0.4)
    value = integral(
        lambda z: mpmath.exp(log_normal(z, *q)) * (log_joint(z) - log_normal(z, *q)),
    )
    # Both rules are good to about twelve digits here.
    assert BENT.log_evidence == pytest.approx(math.log(evidence), rel=1e-11)
    assert BENT.posterior_moments == pytest.approx((mean, math.sqrt(variance)), rel=1e-11)
    assert BENT.elbo(q) == pytest.approx(value, rel=1e-11)
    assert BENT.posterior(0.2) == pytest.approx(float(mpmath.exp(log_joint(0.2))) / evidence, rel=1e-11)
    assert BENT.gap(q) == pytest.approx(math.log(evidence) - value, rel=1e-10)


def test_the_gap_is_the_divergence_from_the_posterior() -> None:
    q = Normal(0.3, 0.4)
    divergence = q.expectation(lambda z: q.log_density(z) - math.log(BENT.posterior(z)))
    assert BENT.gap(q) == pytest.approx(divergence, rel=1e-12)


def test_the_best_normal_is_not_the_one_with_the_posterior_s_moments() -> None:
    best, moments = BENT.best_normal(), BENT.posterior_moments
    assert best == pytest.approx((0.351, 0.177), abs=5e-4)
    assert moments == pytest.approx((0.454, 0.386), abs=5e-4)
    assert BENT.gap(best) == pytest.approx(0.158, abs=5e-4)
    assert BENT.gap(moments) > 4 * BENT.gap(best)


def test_a_decoder_that_bends_need_not_leave_a_gap() -> None:
    best = CIRCLE.best_normal(Normal(0.8, 0.3))
    assert best == pytest.approx((0, 1), abs=1e-8)
    assert CIRCLE.gap(best) == pytest.approx(0, abs=1e-13)


def test_a_posterior_with_two_modes_has_two_best_normals() -> None:
    left, right = (FOLDED.best_normal(Normal(side, 0.3)) for side in (-1.0, 1.0))
    assert left == pytest.approx((-right.mean, right.deviation), rel=1e-9)
    assert right.mean > 0.9
    assert FOLDED.elbo(left) == pytest.approx(FOLDED.elbo(right), rel=1e-12)
    # Each covers one of two separate modes of equal weight, which costs log 2, and a little for its shape.
    assert 0 < FOLDED.gap(right) - math.log(2) < 0.02
    assert FOLDED.posterior_moments.mean == pytest.approx(0, abs=1e-12)
    assert FOLDED.gap(FOLDED.posterior_moments) > 10


@pytest.mark.parametrize("model", [BENT, CIRCLE, FOLDED])
def test_slopes_are_those_of_the_bound(model: OneLatent) -> None:
    q, step = Normal(0.4, 0.3), 1e-5
    in_mean = model.elbo(Normal(q.mean + step, q.deviation)) - model.elbo(Normal(q.mean - step, q.deviation))
    wider, narrower = (Normal(q.mean, q.deviation * math.exp(sign * step)) for sign in (1, -1))
    in_log = model.elbo(wider) - model.elbo(narrower)
    # Differences of second order with a step of 1e-5: about nine digits of a slope of order 1 to 10.
    assert model.slopes(q) == pytest.approx((in_mean / (2 * step), in_log / (2 * step)), abs=1e-7)


def test_a_linear_decoder_has_a_normal_posterior_and_the_best_q_reaches_it() -> None:
    w, b, s, x = (VALUES[symbol] for symbol in (elbo.w, elbo.b, elbo.s, elbo.x))
    model = OneLatent(lambda z: (w * z + b,), (x,), s**2)
    exact = Normal(w * (x - b) / (w**2 + s**2), s / math.hypot(w, s))
    assert model.posterior_moments == pytest.approx(exact, rel=1e-12)
    assert model.best_normal() == pytest.approx(exact, rel=1e-8)
    assert model.log_evidence == pytest.approx(
        float(log_normal(mpmath.mpf(x), b, math.hypot(w, s))), rel=1e-12
    )
    assert model.gap(exact) == pytest.approx(0, abs=1e-13)


def test_one_latent_refuses_what_it_cannot_compute() -> None:
    with pytest.raises(ValueError, match="variance is 0"):
        OneLatent(lambda z: (z,), (0.0,), 0.0)
    with pytest.raises(ValueError, match="gives 1 values, and x has 2"):
        OneLatent(lambda z: (z,), (0.0, 1.0), 1.0)
    needle = OneLatent(lambda z: (z,), (0.3,), 1e-7)
    with pytest.raises(ValueError, match="too narrow"):
        _ = needle.log_evidence


def test_a_climb_that_does_not_arrive_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vaelib.symbolic.one_latent.SEARCH", 2)
    with pytest.raises(RuntimeError, match="no best normal q was found"):
        BENT.best_normal()


# --- surgery ----------------------------------------------------------------------------------------------


def test_surgery_agrees_with_quadrature() -> None:
    encoded = [Normal(-1.0, 0.5), Normal(1.2, 0.3), Normal(0.4, 0.8)]

    def mixture(z: mpmath.mpf) -> mpmath.mpf:
        return sum(mpmath.exp(log_normal(z, *q)) for q in encoded) / 3

    marginal = integral(lambda z: mixture(z) * (mpmath.log(mixture(z)) - log_normal(z, 0, 1)))
    entropy = -integral(lambda z: mixture(z) * mpmath.log(mixture(z)))
    entropies = [0.5 * math.log(2 * math.pi * math.e * q.deviation**2) for q in encoded]
    parts = surgery(encoded)
    # The mixture's logarithm bends between its parts, which costs the trapezoidal rule some digits.
    assert parts.marginal == pytest.approx(marginal, rel=1e-9)
    assert parts.information == pytest.approx(entropy - sum(entropies) / 3, rel=1e-9)
    assert parts.rate == pytest.approx(sum(map(rate, encoded)) / 3, rel=1e-15)
    assert parts.rate == pytest.approx(parts.marginal + parts.information, rel=1e-9)


def test_information_saturates_at_the_logarithm_of_the_number_of_data_points() -> None:
    count = 8
    encoded = [Normal(k - 3.5, 0.01) for k in range(count)]
    assert surgery(encoded).information == pytest.approx(math.log(count), rel=1e-12)
    assert surgery([PRIOR] * count) == pytest.approx((0, 0, 0), abs=1e-14)


# --- EM ---------------------------------------------------------------------------------------------------


def drawn(count: int = 40) -> list[float]:
    rng = random.Random(0)
    return [rng.gauss(-1, 0.8) if rng.random() < 0.3 else rng.gauss(1.5, 0.8) for _ in range(count)]


def test_the_bound_never_falls_and_the_e_step_closes_the_gap() -> None:
    steps = list(em(drawn(), Mixture([0.5, 0.5], [-0.1, 0.1], 0.8), rounds=25))
    assert [step.step for step in steps] == ["E", "M"] * 25
    for before, after in itertools.pairwise(steps):
        assert after.bound >= before.bound - 1e-12 * abs(before.bound)
        assert after.log_evidence >= before.log_evidence - 1e-12 * abs(before.log_evidence)
    for step in steps[::2]:
        assert step.bound == pytest.approx(step.log_evidence, rel=1e-14)
    for step in steps[1:8:2]:
        assert step.bound < step.log_evidence - 0.01


def test_the_m_step_is_what_sympy_solves() -> None:
    data, q = [0.3, -1.1], [[0.2, 0.8], [0.7, 0.3]]
    values = {elbo.r1: 0.2, elbo.r2: 0.7, elbo.points[0]: 0.3, elbo.points[1]: -1.1}
    solved = [[float(entry.subs(values)) for entry in row] for row in elbo.mixture_m_step()]
    model = m_step(data, q, 0.8)
    assert [model.weights, model.means] == [pytest.approx(row, rel=1e-14) for row in solved]


def test_the_m_step_is_the_top_of_the_bound() -> None:
    data = drawn(12)
    q = e_step(data, Mixture([0.4, 0.6], [-0.5, 0.9], 0.8))
    model = m_step(data, q, 0.8)
    top = bound(data, q, model)
    for shift in (-0.01, 0.01):
        moved = Mixture(model.weights, [model.means[0] + shift, model.means[1]], 0.8)
        heavier = Mixture([model.weights[0] + shift, model.weights[1] - shift], model.means, 0.8)
        assert bound(data, q, moved) < top
        assert bound(data, q, heavier) < top


def test_the_bound_is_below_the_evidence_for_any_responsibilities() -> None:
    data, model = drawn(12), Mixture([0.4, 0.6], [-0.5, 0.9], 0.8)
    exact = math.fsum(
        math.log(sum(w * math.exp(float(log_normal(x, m, 0.8))) for w, m in ((0.4, -0.5), (0.6, 0.9))))
        for x in data
    )
    assert model.log_evidence(data) == pytest.approx(exact, rel=1e-12)
    assert bound(data, [[0.5, 0.5]] * 12, model) < exact
    assert bound(data, [[1.0, 0.0]] * 12, model) < exact


def test_mixtures_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="2 weights for 1 means"):
        Mixture([0.5, 0.5], [0.0], 1.0)
    with pytest.raises(ValueError, match="sum to 1"):
        Mixture([0.5, 0.6], [0.0, 1.0], 1.0)
    with pytest.raises(ValueError, match="deviation is 0"):
        Mixture([0.5, 0.5], [0.0, 1.0], 0)
    with pytest.raises(ValueError, match="component 1 has lost all data"):
        m_step([0.0, 1.0], [[1.0, 0.0], [1.0, 0.0]], 1.0)
