"""The aggregate posterior against SciPy, quadrature, simulation, and encoders whose mixture is known."""

import csv
import io
import itertools
import math

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, Normal, kl_divergence

from vaelib import aggregate, linear
from vaelib.divergences import gaussian_kl
from vaelib.symbolic import one_latent

numbers = st.floats(-8, 8)
samples = st.lists(numbers, min_size=1, max_size=12)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def column(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def normal_draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def some_encoder(count: int, latents: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Float32, as a network gives them."""
    generator = seeded(seed)
    mean = torch.randn(count, latents, generator=generator)
    return mean, torch.randn(count, latents, generator=generator) - 2


# --- Draws ----------------------------------------------------------------------------------------------
def test_each_component_is_drawn_from_once_with_its_mean_and_deviation() -> None:
    mean, log_var = (table.repeat_interleave(20_000, 0) for table in some_encoder(3, 2))
    z = (aggregate.draw(mean, log_var, seeded()) - mean) / torch.exp(0.5 * log_var)
    for noise in torch.split(z, 20_000):
        # Standard errors of mean and variance of 20,000 normal draws; 4 of them fail once in 15,000 seeds.
        assert (noise.mean(0).abs() < 4 / math.sqrt(20_000)).all()
        assert ((noise.var(0) - 1).abs() < 4 * math.sqrt(2 / 20_000)).all()


def test_the_same_seed_draws_the_same() -> None:
    q = some_encoder(5, 3)
    assert torch.equal(aggregate.draw(*q, seeded(1)), aggregate.draw(*q, seeded(1)))
    assert not torch.equal(aggregate.draw(*q, seeded(1)), aggregate.draw(*q, seeded(2)))


def test_a_draw_keeps_a_width_that_float32_would_round_away() -> None:
    mean, log_var = torch.full((1000, 1), 1000.0), torch.full((1000, 1), -30.0)
    spread = aggregate.draw(mean, log_var, seeded()).std().item()
    # 1,000 draws know their deviation to 2.2 %; float64 at 1000 is 3e-6 of it apart.
    assert spread == pytest.approx(math.exp(-15), rel=0.1)


# --- One latent at a time -------------------------------------------------------------------------------
def area_between(sample: list[float]) -> float:
    """Eq-w1-area by quadrature, piece by piece between the steps and where the two functions cross."""
    z = np.sort(sample)
    count = len(z)
    crossings = scipy.special.ndtri(np.arange(1, count) / count)
    places = np.unique(np.concatenate([z, crossings, [-12.0, 12.0]]))

    def gap(t: float) -> float:
        return abs(np.searchsorted(z, t, side="right") / count - scipy.special.ndtr(t))

    return sum(
        scipy.integrate.quad(gap, low, high, epsabs=1e-13)[0] for low, high in itertools.pairwise(places)
    )


@given(samples)
@example([0.0, 0.0, 0.0])
@example([-8.0, 8.0])
def test_wasserstein_distance_is_the_area_between_the_distribution_functions(sample: list[float]) -> None:
    # Up to 25 quadratures to 1e-13 each, of pieces up to 8.
    assert aggregate.wasserstein_to_normal(column(sample)).item() == pytest.approx(
        area_between(sample), abs=1e-11
    )


@pytest.mark.parametrize("x", [0.0, 0.3, -2.0, 40.0, 1e6])
def test_one_draw_is_as_far_as_the_normal_distribution_is_from_a_point(x: float) -> None:
    normal = scipy.stats.norm
    expected = x * (2 * normal.cdf(x) - 1) + 2 * normal.pdf(x)  # E|x - Z|
    assert aggregate.wasserstein_to_normal(column([x])).item() == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (2.5, 1.0), (0.0, 1.4), (0.0, 0.2), (0.0, 0.0)])
def test_shifted_latents_are_as_far_as_their_shift_and_scaled_ones_in_proportion(
    shift: float, scale: float
) -> None:
    count = 100_000
    quantiles = torch.special.ndtri((torch.arange(count, dtype=torch.float64) + 0.5) / count)
    found = aggregate.wasserstein_to_normal((shift + scale * quantiles)[:, None]).item()
    # The quantiles of 100,000 pieces stand for a normal distribution to about log(N) / N.
    assert found == pytest.approx(abs(shift) + abs(scale - 1) * math.sqrt(2 / math.pi), abs=2e-4)


@given(samples)
@example([1.0, 1.0, 1.0])
def test_kolmogorov_smirnov_distance_is_scipys(sample: list[float]) -> None:
    expected = scipy.stats.kstest(sample, "norm").statistic
    # One rounding of a distribution function.
    assert aggregate.kolmogorov_smirnov(column(sample)).item() == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("distance", [aggregate.wasserstein_to_normal, aggregate.kolmogorov_smirnov])
def test_distances_are_those_of_each_latent_alone_in_any_order_of_the_images(distance: object) -> None:
    draws = normal_draws(50, 3) * torch.tensor([1.0, 2.0, 0.1])
    together = distance(draws.float()[torch.randperm(50, generator=seeded())])
    alone = torch.cat([distance(draws[:, [j]].float()) for j in range(3)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-15)
    assert together.dtype == torch.float64


def test_kl_of_latents_is_that_of_torch_distributions_and_adds_up_to_the_rate() -> None:
    mean, log_var = some_encoder(300, 4)
    kl = aggregate.kl_of_latents(mean, log_var)
    expected = kl_divergence(Normal(mean.double(), (log_var.double() / 2).exp()), Normal(0.0, 1.0)).mean(0)
    # Float64 on both sides, numbers of size 1 to 10.
    torch.testing.assert_close(kl, expected, rtol=1e-13, atol=0)
    torch.testing.assert_close(kl.sum(), gaussian_kl(mean.double(), log_var.double()).mean())


def test_variance_of_means_is_what_the_mixture_has_beyond_the_mean_width() -> None:
    mean, log_var = some_encoder(40, 3)
    q = Normal(mean.double().T, (log_var.double().T / 2).exp())
    mixture = MixtureSameFamily(Categorical(torch.ones(3, 40, dtype=torch.float64)), q)
    # Eq-aggregate-variance; a sum of 40 numbers of size 1.
    torch.testing.assert_close(
        aggregate.variance_of_means(mean), mixture.variance - q.variance.mean(-1), rtol=1e-12, atol=1e-13
    )


def linear_encoder(eigenvalues: list[float], count: int) -> tuple[Tensor, Tensor, linear.Terms]:
    """Means and log-variances of the best linear encoder of normal data with noise variance 1."""
    covariance = torch.diag(torch.tensor(eigenvalues, dtype=torch.float64))
    decoder = linear.maximum_likelihood(covariance, len(eigenvalues), variance=1.0)
    encoder = linear.best_encoder(decoder)
    x = normal_draws(count, len(eigenvalues)) * covariance.diagonal().sqrt()
    log_var = encoder.variances.log().expand(count, -1)
    return x @ encoder.weight.T, log_var, linear.terms(covariance, decoder, encoder)


def test_active_units_of_the_linear_vae_are_the_eigenvalues_above_the_noise() -> None:
    mean, _, _ = linear_encoder([4.0, 2.0, 0.9, 0.5], 500)
    assert aggregate.active_units(mean).tolist() == [True, True, False, False]


def test_a_unit_is_active_above_the_threshold_only() -> None:
    mean = torch.tensor([[-0.09, -0.11, 5.0], [0.09, 0.11, 5.0]])
    assert aggregate.active_units(mean).tolist() == [False, True, False]
    assert aggregate.active_units(mean, threshold=0.008).tolist() == [True, True, False]
    assert aggregate.active_units(torch.tensor([[-1.0], [1.0]]), threshold=1.0).tolist() == [False]


def test_the_report_and_its_csv_hold_every_latents_numbers() -> None:
    q = some_encoder(60, 3)
    z = aggregate.draw(*q, seeded())
    latents = aggregate.report(*q, z)
    expected = {
        "wasserstein": aggregate.wasserstein_to_normal(z),
        "kolmogorov_smirnov": aggregate.kolmogorov_smirnov(z),
        "kl": aggregate.kl_of_latents(*q),
        "variance_of_means": aggregate.variance_of_means(q[0]),
        "active": aggregate.active_units(q[0]),
    }
    lines = list(csv.DictReader(io.StringIO(aggregate.report_csv(latents))))
    assert [line.pop("latent") for line in lines] == ["1", "2", "3"]
    assert latents.images == 60
    for name, column_ in expected.items():
        assert torch.equal(getattr(latents, name), column_)
        assert [float(line.pop(name)) for line in lines] == column_.tolist()
    assert lines == [{}, {}, {}]


# --- How much of a distance is chance -------------------------------------------------------------------
def test_expected_distances_are_those_of_simulated_normal_draws() -> None:
    count, times = 30, 20_000
    noise, z = aggregate.sampling_noise(count), normal_draws(count, times)
    for found, distance in (
        (noise.wasserstein, aggregate.wasserstein_to_normal(z)),
        # Stephens's formula is 0.9 % too high at 30 draws, four standard errors by itself.
        (noise.kolmogorov_smirnov * 0.9912, aggregate.kolmogorov_smirnov(z)),
    ):
        standard_error = distance.std().item() / math.sqrt(times)
        assert abs(found - distance.mean().item()) < 4 * standard_error


def test_expected_wasserstein_distance_runs_from_two_normal_draws_to_the_brownian_bridge() -> None:
    # One draw is as far from N(0, 1) as two draws are from each other.
    assert aggregate.sampling_noise(1).wasserstein == pytest.approx(2 / math.sqrt(math.pi), abs=1e-12)
    bridge, _ = scipy.integrate.quad(
        lambda z: math.sqrt(scipy.special.ndtr(z) * scipy.special.ndtr(-z)), -40, 40
    )
    limit = math.sqrt(2 / math.pi) * bridge
    # E|B(u)| = sqrt(2 u (1 - u) / pi); what is left at a million draws comes from the tails, where a
    # binomial is not normal.
    assert aggregate.sampling_noise(10**6).wasserstein * 1000 == pytest.approx(limit, rel=2e-4)


@pytest.mark.parametrize("count", [2, 10, 1000, 10_000])
def test_kolmogorov_smirnov_noise_is_that_of_scipys_distribution(count: int) -> None:
    noise, exact = aggregate.sampling_noise(count), scipy.stats.kstwo(count)
    assert noise.kolmogorov_smirnov == pytest.approx(exact.mean(), rel=0.011)
    assert noise.kolmogorov_smirnov_level == pytest.approx(exact.ppf(0.95), rel=0.003)


@pytest.mark.parametrize("count", [100, 1000])
def test_one_normal_latent_in_twenty_lies_above_the_levels(count: int) -> None:
    times = 4_000_000 // count
    z, noise = normal_draws(count, times, seed=count), aggregate.sampling_noise(count)
    for distance, level in (
        (aggregate.wasserstein_to_normal(z), noise.wasserstein_level),
        (aggregate.kolmogorov_smirnov(z), noise.kolmogorov_smirnov_level),
    ):
        share = (distance > level).double().mean().item()
        # Four standard errors of a share of 0.05, and what the third digit of 2.14 is worth.
        assert abs(share - 0.05) < 4 * math.sqrt(0.05 * 0.95 / times) + 0.001


# --- All latents together -------------------------------------------------------------------------------
def directly(mean: Tensor, log_var: Tensor, draws: Tensor) -> float:
    """The estimate as it is written down, by SciPy, every difference taken."""
    m, s = mean.double().numpy(), np.exp(log_var.double().numpy() / 2)
    logs = scipy.stats.norm.logpdf(draws.double().numpy()[:, None], m, s).sum(-1)
    mixture = scipy.special.logsumexp(logs, axis=1) - math.log(len(m))
    return float(np.mean(np.diagonal(logs) - mixture))


@given(
    st.integers(2, 9),
    st.integers(1, 4),
    st.floats(0, 1000),
    st.floats(-40, 4),
    st.floats(0, 4),
    st.integers(0, 2**31),
)
@example(300, 3, 1.0, -2.0, 1.0, 0)  # products, in three blocks
@example(300, 3, 1000.0, -40.0, 1.0, 0)  # differences, in three blocks
@example(8, 2, 0.0, -40.0, 0.0, 0)  # all components alike, narrower than a product can tell
def test_mutual_information_is_the_estimate_as_it_is_written_down(
    count: int, latents: int, reach: float, log_var: float, spread: float, seed: int
) -> None:
    generator = seeded(seed)
    mean = reach * torch.randn(count, latents, generator=generator)
    log_vars = log_var + spread * torch.rand(count, latents, generator=generator)
    z = aggregate.draw(mean, log_vars, generator)
    found = aggregate.mutual_information(mean, log_vars, z)
    # What the products may be off by: aggregate.ROUNDING.
    assert found.mutual_information == pytest.approx(directly(mean, log_vars, z), abs=1e-4, rel=1e-9)
    assert found.mutual_information <= math.log(count) + 1e-12
    assert found.rate == pytest.approx(found.marginal_kl + found.mutual_information, rel=1e-12)
    assert found.log_count == math.log(count)


def test_products_and_differences_give_the_same_log_densities(monkeypatch: pytest.MonkeyPatch) -> None:
    mean, log_var = (table.double() for table in some_encoder(50, 24))
    z = aggregate.draw(mean, log_var, seeded())
    by_products = aggregate._log_densities(mean, log_var, z)(z)
    monkeypatch.setattr(aggregate, "ROUNDING", 0.0)
    by_differences = aggregate._log_densities(mean, log_var, z)(z)
    # 2e-16 times squares over variances, of which 24 add up to less than 1e5.
    torch.testing.assert_close(by_products, by_differences, rtol=0, atol=1e-10)
    assert not torch.equal(by_products, by_differences)


def test_two_points_far_apart_tell_one_bit_however_many_images_share_them() -> None:
    mean = torch.tensor([[-50.0, 0.0], [50.0, 0.0]]).repeat_interleave(150, 0)
    log_var = torch.zeros(300, 2)
    found = aggregate.mutual_information(mean, log_var, aggregate.draw(mean, log_var, seeded()))
    # No noise at all: at any draw half of the components have the same density, and half have none.
    assert found.mutual_information == pytest.approx(math.log(2), abs=1e-12)
    assert found.standard_error < 1e-12


def test_components_that_are_all_alike_tell_nothing() -> None:
    mean, log_var = torch.tensor([[0.7, -1.0]]).expand(200, -1), torch.tensor([[-1.0, 0.5]]).expand(200, -1)
    found = aggregate.mutual_information(mean, log_var, aggregate.draw(mean, log_var, seeded()))
    assert found.mutual_information == pytest.approx(0, abs=1e-12)
    assert found.marginal_kl == pytest.approx(found.rate, abs=1e-12)


def test_mutual_information_saturates_at_the_logarithm_of_the_number_of_images() -> None:
    mean, log_var = 5 * normal_draws(500, 8), torch.full((500, 8), -6.0)
    found = aggregate.mutual_information(mean, log_var, aggregate.draw(mean, log_var, seeded()))
    assert found.mutual_information == pytest.approx(math.log(500), abs=1e-9)
    # The arithmetic of eq-information-bound: whatever is above log N is booked as the mixture's.
    assert found.marginal_kl == pytest.approx(found.rate - math.log(500), abs=1e-9)


def line_of_components(width: float, components: int = 12) -> list[one_latent.Normal]:
    places = scipy.special.ndtri((np.arange(components) + 0.5) / components)
    return [one_latent.Normal(float(1.2 * place), width) for place in places]


def tables(components: list[one_latent.Normal], times: int) -> tuple[Tensor, Tensor]:
    q = column([c.mean for c in components]), column([2 * math.log(c.deviation) for c in components])
    return q[0].repeat(times, 1), q[1].repeat(times, 1)


@pytest.mark.parametrize("width", [0.05, 0.3, 1.0])
def test_surgery_in_one_dimension_is_that_of_quadrature(width: float) -> None:
    components = line_of_components(width)
    exact = one_latent.surgery(components)
    q = tables(components, 200)
    found = aggregate.mutual_information(*q, aggregate.draw(*q, seeded(3)))
    assert found.rate == pytest.approx(exact.rate, rel=1e-12)
    # A right formula fails this once in 15,000 seeds; the seed is fixed.
    assert abs(found.mutual_information - exact.information) < 4 * found.standard_error
    assert abs(found.marginal_kl - exact.marginal) < 4 * found.standard_error


def test_independent_latents_add_their_information() -> None:
    first, second = line_of_components(0.5, 6), line_of_components(0.2, 8)
    exact = [one_latent.surgery(components) for components in (first, second)]
    # Every pair of components, so that the mixture is a product of two.
    (mean_1, log_var_1), (mean_2, log_var_2) = tables(first, 1), tables(second, 1)
    mean = torch.cat([mean_1.repeat_interleave(8, 0), mean_2.repeat(6, 1)], 1).repeat(60, 1)
    log_var = torch.cat([log_var_1.repeat_interleave(8, 0), log_var_2.repeat(6, 1)], 1).repeat(60, 1)
    found = aggregate.mutual_information(mean, log_var, aggregate.draw(mean, log_var, seeded()))
    expected = sum(part.information for part in exact)
    assert abs(found.mutual_information - expected) < 4 * found.standard_error


def test_the_linear_vae_of_normal_data_wastes_no_rate_on_its_mixture() -> None:
    mean, log_var, terms = linear_encoder([4.0, 2.0, 0.5], 3000)
    found = aggregate.mutual_information(mean, log_var, aggregate.draw(mean, log_var, seeded(5)))
    # q(z) is N(0, I), so that I is the rate, log(4) / 2 + log(2) / 2. A mixture of 3,000 instead of all data
    # lowers I by about 1 / 3000, a fortieth of the standard error.
    rate = terms.rate.sum().item()
    assert rate == pytest.approx(math.log(8) / 2)
    assert abs(found.mutual_information - rate) < 4 * found.standard_error
    # The rate of these 3,000 images, with its own standard error (of a mean of z^2 / 2, twice).
    assert abs(found.marginal_kl) < 4 * math.hypot(found.standard_error, 1 / math.sqrt(3000))


def test_standard_error_covers_how_estimates_scatter() -> None:
    components = line_of_components(0.3, 20)
    exact = one_latent.surgery(components).information
    q = tables(components, 5)
    found = [aggregate.mutual_information(*q, aggregate.draw(*q, seeded(seed))) for seed in range(400)]
    scores = torch.tensor([(f.mutual_information - exact) / f.standard_error for f in found])
    # For given images it errs to the safe side, by what the means of the logarithms differ between images;
    # 400 seeds know the deviation of the scores to 3.5 %.
    assert 0.8 < scores.square().mean().sqrt().item() < 1.1


# --- What cannot be answered ----------------------------------------------------------------------------
def test_one_image_is_alone_with_its_mixture() -> None:
    q = torch.ones(1, 2), torch.zeros(1, 2)
    found = aggregate.mutual_information(*q, aggregate.draw(*q, seeded()))
    assert (found.mutual_information, found.log_count) == (0, 0)
    assert math.isnan(found.standard_error)


def test_an_encoder_of_points_is_drawn_at_its_means_and_costs_infinitely_many_nats() -> None:
    mean, log_var = some_encoder(20, 2)[0], torch.tensor([[-math.inf, -2.0]]).expand(20, -1)
    z = aggregate.draw(mean, log_var, seeded())
    assert torch.equal(z[:, 0], mean[:, 0].double())
    kl = aggregate.report(mean, log_var, z).kl
    assert kl[0] == math.inf
    assert kl[1].isfinite()
    with pytest.raises(ValueError, match="infinite rate"):
        aggregate.mutual_information(mean, log_var, z)


def test_tables_that_make_no_sense_are_refused() -> None:
    good = torch.zeros(4, 2)
    spoiled = good.clone()
    spoiled[3, 1] = math.nan
    with pytest.raises(ValueError, match=r"draws has shape \(4,\): give \(N, J\)"):
        aggregate.wasserstein_to_normal(torch.zeros(4))
    with pytest.raises(ValueError, match=r"draws has shape \(0, 2\)"):
        aggregate.kolmogorov_smirnov(torch.zeros(0, 2))
    with pytest.raises(ValueError, match=r"log_var has shape \(4, 3\), mean has \(4, 2\): they must agree"):
        aggregate.kl_of_latents(good, torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"draws\[3, 1\] is nan"):
        aggregate.report(good, good, spoiled)
    with pytest.raises(ValueError, match=r"mean\[3, 1\] is nan"):
        aggregate.draw(spoiled, good)
    with pytest.raises(ValueError, match=r"mean\[0, 0\] is inf"):
        aggregate.mutual_information(torch.full((2, 1), math.inf), torch.zeros(2, 1), torch.zeros(2, 1))
    with pytest.raises(ValueError, match=r"log_var\[0, 0\] is inf"):
        aggregate.draw(torch.zeros(2, 1), torch.full((2, 1), math.inf))
    with pytest.raises(ValueError, match="count is 0"):
        aggregate.sampling_noise(0)
