"""gaussian_kl against four oracles that share no code with it: SymPy, mpmath, torch.distributions, draws."""

import math

import mpmath
import pytest
import sympy
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from vaelib.divergences import gaussian_kl

means = st.floats(-10, 10)
log_vars = st.floats(-20, 20)


def as_batch(*values: float) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64)


def test_kl_is_the_integral_that_defines_it() -> None:
    z, m = sympy.symbols("z m", real=True)
    s = sympy.symbols("s", positive=True)
    q = sympy.exp(-((z - m) ** 2) / (2 * s**2)) / sympy.sqrt(2 * sympy.pi * s**2)
    log_ratio = -((z - m) ** 2) / (2 * s**2) - sympy.log(s) + z**2 / 2
    integral = sympy.integrate(sympy.expand(q * log_ratio), (z, -sympy.oo, sympy.oo))
    at = {m: sympy.Rational(3, 4), s: sympy.Rational(2, 5)}
    ours = gaussian_kl(as_batch(0.75), as_batch(2 * math.log(0.4))).item()
    # One rounding of float64 in the last of a few operations of size 1.
    assert ours == pytest.approx(float(integral.subs(at).evalf(30)), abs=1e-14)


@pytest.mark.parametrize(("m", "lv"), [(0.0, 0.0), (1.5, -3.0), (-2.0, 1.0), (0.1, 0.01), (0.0, -6.0)])
def test_kl_matches_quadrature(m: float, lv: float) -> None:
    mpmath.mp.dps = 30
    mean, sigma = mpmath.mpf(m), mpmath.exp(mpmath.mpf(lv) / 2)

    def integrand(z: mpmath.mpf) -> mpmath.mpf:
        q = mpmath.npdf(z, mean, sigma)
        return q * (mpmath.log(q) - mpmath.log(mpmath.npdf(z, 0, 1)))

    # 12 deviations leave out less than 1e-30 of q.
    ends = [mean + k * sigma for k in (-12, -6, -3, 0, 3, 6, 12)]
    expected = mpmath.quad(integrand, ends)
    assert gaussian_kl(as_batch(m), as_batch(lv)).item() == pytest.approx(float(expected), abs=1e-13)


@given(st.lists(st.tuples(means, log_vars), min_size=1, max_size=20))
def test_kl_matches_torch_distributions(parameters: list[tuple[float, float]]) -> None:
    mean = as_batch(*(m for m, _ in parameters))
    log_var = as_batch(*(v for _, v in parameters))
    expected = kl_divergence(Normal(mean, (log_var / 2).exp()), Normal(torch.zeros(()), 1.0)).sum(-1)
    # Both sum up to 20 terms of up to e^20/2 in float64.
    torch.testing.assert_close(gaussian_kl(mean, log_var), expected, rtol=1e-12, atol=1e-12)


def test_kl_matches_the_mean_log_ratio_of_draws() -> None:
    generator = torch.Generator().manual_seed(7)
    mean, log_var = as_batch(1.0, -0.5), as_batch(-1.0, 0.7)
    q, p = Normal(mean, (log_var / 2).exp()), Normal(torch.zeros(()), 1.0)
    z = mean + (log_var / 2).exp() * torch.randn(200_000, 2, generator=generator, dtype=torch.float64)
    ratios = (q.log_prob(z) - p.log_prob(z)).sum(-1)
    z_score = (ratios.mean() - gaussian_kl(mean, log_var)) / (ratios.std() / math.sqrt(len(ratios)))
    # A right formula fails this once in 15,000 seeds; the seed is fixed.
    assert abs(z_score.item()) < 4


@given(st.lists(st.tuples(means, log_vars), min_size=1, max_size=8))
def test_kl_is_never_negative_and_zero_only_at_the_prior(parameters: list[tuple[float, float]]) -> None:
    kl = gaussian_kl(as_batch(*(m for m, _ in parameters)), as_batch(*(v for _, v in parameters))).item()
    assert kl >= 0
    # Below 1e-7 a square or expm1(v) - v underflows to the rounding of the larger term.
    if any(abs(m) > 1e-7 or abs(v) > 1e-7 for m, v in parameters):
        assert kl > 0
    assert gaussian_kl(torch.zeros(1, 3), torch.zeros(1, 3)).item() == 0


@pytest.mark.parametrize("log_var", [1e-3, -1e-3, 3e-4, -3e-4])
def test_kl_keeps_its_size_near_the_prior_in_float32(log_var: float) -> None:
    with mpmath.workdps(40):
        exact = float((mpmath.expm1(log_var) - mpmath.mpf(log_var)) / 2)
    ours = gaussian_kl(torch.zeros(1, 1), torch.tensor([[log_var]])).item()
    # expm1(v) - v = v^2/2 from terms of size v: a relative error of about 2 eps / v, 8e-4 at v = 3e-4.
    # exp(v) - 1 - v would be off by eps / v^2, more than 0.5 here.
    assert ours == pytest.approx(exact, rel=2e-3)


@given(means, log_vars)
def test_kl_gradient_is_mean_and_half_expm1(m: float, lv: float) -> None:
    mean, log_var = as_batch(m).requires_grad_(), as_batch(lv).requires_grad_()
    gaussian_kl(mean, log_var).sum().backward()
    assert mean.grad is not None
    assert log_var.grad is not None
    assert mean.grad.item() == pytest.approx(m, rel=1e-14)
    # The gradient is formed as exp(v)/2 - 1/2, so its absolute error is that of exp(v).
    assert log_var.grad.item() == pytest.approx(math.expm1(lv) / 2, rel=1e-13, abs=1e-15)


def test_kl_adds_over_latents_and_keeps_the_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, log_var = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64).unbind(0)
    alone = [gaussian_kl(mean[:, [j]], log_var[:, [j]]) for j in range(3)]
    kl = gaussian_kl(mean, log_var)
    assert kl.shape == (5,)
    torch.testing.assert_close(kl, torch.stack(alone).sum(0))
