"""The two parts of a gradient's variance, against enumeration, exact values and explicit derivatives."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from vaelib.gradients import (
    LinearPopulation,
    Parts,
    batch_variance,
    best_draws,
    gradient_parts,
    variance_with_error,
)
from vaelib.models import VAE, mlp_vae
from vaelib.objectives import elbo_terms


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


POPULATION = LinearPopulation(
    torch.linspace(-2, 3, 7, dtype=torch.float64), weight=0.8, slope=0.4, deviation=0.6
)


def test_the_exact_parts_agree_with_quadrature() -> None:
    noise = torch.linspace(-12, 12, 4001, dtype=torch.float64)
    weight = torch.exp(-noise.square() / 2)
    weight /= weight.sum()
    # The trapezoidal rule on a normal density is exact to rounding.
    z = POPULATION.slope * POPULATION.images.unsqueeze(1) + POPULATION.deviation * noise
    g = POPULATION.gradient(POPULATION.images.unsqueeze(1), z)
    means = (weight * g).sum(1)
    within = (weight * (g - means.unsqueeze(1)).square()).sum(1).mean()
    parts = POPULATION.parts()
    assert math.isclose(parts.between_images, means.var(correction=0), rel_tol=1e-12)
    assert math.isclose(parts.within_image, within, rel_tol=1e-12)


def test_the_gradient_is_the_derivative_of_the_log_likelihood() -> None:
    weight = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    x, z = torch.tensor(1.3, dtype=torch.float64), torch.tensor(-0.4, dtype=torch.float64)
    torch.distributions.Normal(weight * z, 1.0).log_prob(x).backward()
    torch.testing.assert_close(POPULATION.gradient(x, z), weight.grad)


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize(("images", "draws"), [(1, 1), (3, 2), (5, 4), (7, 1)])
def test_batches_scatter_as_the_formula_says(images: int, draws: int, replace: bool) -> None:
    population = None if replace else len(POPULATION.images)
    drawn = POPULATION.batch_means(
        images=images, draws=draws, batches=20_000, generator=seeded(images), replace=replace
    )
    found = variance_with_error(drawn)
    expected = batch_variance(POPULATION.parts(), images=images, draws=draws, population=population)
    # Eight z-tests: one beyond 4.5 in 20,000 runs of them all, and the seeds are fixed.
    assert abs(found.value.item() - expected) < 4.5 * found.standard_error.item()


def test_a_whole_population_leaves_only_the_draws() -> None:
    assert batch_variance(Parts(5.0, 3.0), images=10, draws=2, population=10) == 3.0 / 20


@pytest.mark.parametrize(("images", "draws", "population"), [(0, 1, None), (1, 0, None), (5, 1, 4)])
def test_a_batch_that_cannot_be_taken_is_refused(images: int, draws: int, population: int | None) -> None:
    with pytest.raises(ValueError, match="no batch takes"):
        batch_variance(Parts(1.0, 1.0), images=images, draws=draws, population=population)


@pytest.mark.parametrize(("within", "image_cost"), [(1.0, 1.0), (9.0, 4.0), (0.1, 2.0)])
def test_the_best_number_of_draws_is_cheapest_among_all_on_a_grid(within: float, image_cost: float) -> None:
    parts = Parts(0.5, within)

    def price(draws: float) -> float:
        return (image_cost + draws) * (parts.between_images + parts.within_image / draws)

    best = best_draws(parts, image_cost=image_cost, draw_cost=1.0)
    assert all(price(best) <= price(best * factor) for factor in (0.5, 0.9, 0.99, 1.01, 1.1, 2.0))


def test_the_error_of_a_variance_is_how_far_estimates_of_it_scatter() -> None:
    values = torch.randn(200, 5000, generator=seeded(), dtype=torch.float64).exp()
    found = variance_with_error(torch.randn(200, 4000, generator=seeded(), dtype=torch.float64))
    # 4000 estimates of a deviation: 1 % or so; the mean of 4000 error estimates from 200 values, a few %.
    assert math.isclose(found.value.std(), found.standard_error.mean(), rel_tol=0.05)
    with pytest.raises(ValueError, match="at least 2"):
        variance_with_error(values[:1])


def small_model() -> VAE:
    return mlp_vae(data_dim=6, hidden_dim=4, latent_dim=2, generator=seeded(3)).double()


def each_gradient(model: VAE, x: Tensor, noise: Tensor, group: str) -> Tensor:
    """The gradient for one image and one draw at a time, by autograd."""
    weights = [
        weight for name, weight in model.named_parameters() if group == "all" or name.startswith(f"{group}.")
    ]
    rows = []
    for image, each in zip(x, noise, strict=True):
        for e in each:
            bound = elbo_terms(model, image.unsqueeze(0), noise=e.unsqueeze(0)).elbo.sum()
            rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(bound, weights)]))
    return torch.stack(rows).unflatten(0, noise.shape[:2])


@pytest.mark.parametrize("group", ["encoder", "decoder", "all"])
def test_measured_parts_are_those_of_gradients_taken_one_by_one(group: str) -> None:
    model, draws = small_model(), 3
    x = torch.rand(11, 6, generator=seeded(1), dtype=torch.float64)
    found = gradient_parts(model, x, draws=draws, generator=seeded(2))[group]

    generator = seeded(2)
    noise = torch.cat(
        [
            torch.randn(len(part), draws, 2, generator=generator, dtype=torch.float64)
            for part in torch.split(x, 8)
        ]
    )
    g = each_gradient(model, x, noise, group)

    def parts(g: Tensor) -> tuple[Tensor, Tensor]:
        within = g.var(1).sum(1).mean()
        return g.mean(1).var(0).sum() - within / draws, within

    between, within = parts(g)
    assert math.isclose(found.parts.between_images, between, rel_tol=1e-9)
    assert math.isclose(found.parts.within_image, within, rel_tol=1e-9)
    assert math.isclose(found.ratio, within / between, rel_tol=1e-9)
    without = [parts(torch.cat([g[:i], g[i + 1 :]])) for i in range(11)]
    ratios = torch.stack([w / b for b, w in without])
    jackknife = (10 / 11 * (ratios - ratios.mean()).square().sum()).sqrt()
    assert math.isclose(found.standard_error, jackknife, rel_tol=1e-9)


def test_measured_parts_are_unbiased() -> None:
    # Against the parts of the same few images with so many draws that the draws no longer matter.
    model = small_model()
    x = torch.rand(6, 6, generator=seeded(1), dtype=torch.float64)
    many = gradient_parts(model, x, draws=4000, generator=seeded(2))["all"].parts
    few = [gradient_parts(model, x, draws=2, generator=seeded(k))["all"].parts for k in range(400)]
    for part in ("between_images", "within_image"):
        values = torch.tensor([getattr(parts, part) for parts in few], dtype=torch.float64)
        error = values.std() / math.sqrt(len(values))
        assert abs(values.mean() - getattr(many, part)) < 4.5 * error


@pytest.mark.parametrize(("images", "draws"), [(2, 2), (3, 1)])
def test_too_little_to_tell_the_parts_apart_is_refused(images: int, draws: int) -> None:
    with pytest.raises(ValueError, match="at least 3 and 2"):
        gradient_parts(small_model(), torch.rand(images, 6).double(), draws=draws)


def test_pairs_of_batches_cover_every_choice_without_replacement() -> None:
    population = LinearPopulation(torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64), deviation=0.0)
    drawn = population.batch_means(images=2, draws=1, batches=300, generator=seeded())
    g = population.gradient(population.images, population.slope * population.images)
    possible = {round(((g[i] + g[j]) / 2).item(), 12) for i, j in itertools.combinations(range(3), 2)}
    assert {round(value.item(), 12) for value in drawn} == possible
