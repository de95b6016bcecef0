"""Overlap of classes against SciPy's trees, torch.distributions, quadrature, and normal clouds."""

import itertools
import math
from collections import Counter

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import KDTree
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from vaelib import overlap


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cloud(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def encoded(count: int = 60, classes: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Means that move with the class, log-variances of about 1/4, labels in turn; as a network gives them."""
    labels = torch.arange(count) % classes
    mean = cloud(count, 2).float() + labels[:, None]
    return mean, 0.5 * cloud(count, 2, seed=1).float() - 1.5, labels


# --- neighbours -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dimension", "offset"), [(1, 0.0), (2, 1e3), (30, 0.0)])
def test_neighbours_are_those_that_a_tree_finds(dimension: int, offset: float) -> None:
    points = cloud(1203, dimension) + offset  # no multiple of the block of rows
    _, expected = KDTree(points.numpy()).query(points.numpy(), k=6)
    np.testing.assert_array_equal(expected[:, 0], np.arange(1203))  # its own nearest
    np.testing.assert_array_equal(overlap.neighbours(points, 5).numpy(), expected[:, 1:])


def test_a_twin_is_a_neighbour_and_the_point_itself_is_none() -> None:
    points = torch.tensor([[0.0], [0.0], [5.0], [6.0]])
    assert overlap.neighbours(points, 1)[:, 0].tolist() == [1, 0, 3, 2]


def test_guesses_are_what_most_neighbours_say() -> None:
    points, labels = cloud(400, 2), torch.arange(400) % 4
    _, order = KDTree(points.numpy()).query(points.numpy(), k=8)
    for guess, row in zip(overlap.guesses(points, labels, count=7).tolist(), order, strict=True):
        voices = Counter(labels[row[1:]].tolist())
        assert voices[guess] == max(voices.values())


def test_a_tie_goes_to_the_class_with_the_nearest_voice() -> None:
    # Seen from 0: class 2 at 1, class 1 at 2, class 1 at 4, class 2 at 5; then one more of class 0.
    points = torch.tensor([[0.0], [1.0], [2.0], [4.0], [5.0], [50.0]])
    labels = torch.tensor([0, 2, 1, 1, 2, 0])
    assert overlap.guesses(points, labels, count=4)[0] == 2
    assert overlap.guesses(points, labels, count=3)[0] == 1  # no tie: two voices to one


def test_neighbours_err_nearly_as_seldom_as_who_knows_the_densities() -> None:
    labels = torch.arange(4000) % 2
    points = cloud(4000, 1) + 2 * labels[:, None]  # two normal clouds, 2 deviations apart
    best = 0.5 * math.erfc(1 / math.sqrt(2))
    error = (overlap.guesses(points, labels, count=51) != labels).double().mean().item()
    # The error's own standard error is 0.006; 51 voices cost less than a hundredth.
    assert best - 4 * 0.006 < error < best + 0.01 + 4 * 0.006


def test_pair_error_knows_of_no_third_class_and_weighs_both_alike() -> None:
    # Two clouds as above, of very different sizes, and a third one on top of both.
    sizes = (1500, 1500, 300)
    labels = torch.cat([torch.full((size,), c) for c, size in enumerate(sizes)])
    points = cloud(len(labels), 1) + torch.tensor([1.0, 0.0, 2.0])[labels][:, None]
    alone = [(labels == 1).nonzero()[:, 0], (labels == 2).nonzero()[:, 0]]
    tree = KDTree(points[torch.cat(alone)].numpy())
    wrong = []
    for own, here in enumerate(alone):
        _, near = tree.query(points[here].numpy(), k=16)
        says_second = (near[:, 1:] >= len(alone[0])).sum(1) > 7
        wrong.append((says_second != bool(own)).mean())
    assert overlap.pair_error(points, labels, 1, 2) == pytest.approx(sum(wrong) / 2, abs=1e-12)
    assert overlap.pair_error(points, labels.to(torch.uint8), 2, 1) == pytest.approx(
        sum(wrong) / 2, abs=1e-12
    )


def test_confusion_counts_what_was_taken_for_what() -> None:
    labels, guessed = torch.tensor([0, 0, 0, 1, 1, 2]), torch.tensor([0, 2, 2, 1, 0, 2])
    expected = torch.tensor([[1 / 3, 0, 2 / 3], [1 / 2, 1 / 2, 0], [0, 0, 1]], dtype=torch.float64)
    assert torch.equal(overlap.confusion(labels, guessed), expected)


# --- densities --------------------------------------------------------------------------------------------


def test_class_densities_are_the_mixtures_of_torch_distributions() -> None:
    mean, log_var, labels = encoded()
    across, up, mass = overlap.class_densities(mean, log_var, labels, points=80)
    cell = (across[1] - across[0]) * (up[1] - up[0])
    places = torch.stack(torch.meshgrid(up, across, indexing="ij"), -1).flip(-1)
    for c in range(3):
        own = labels == c
        parts = Independent(Normal(mean[own].double(), torch.exp(0.5 * log_var[own].double())), 1)
        mixture = MixtureSameFamily(Categorical(torch.ones(len(mean[own]), dtype=torch.float64)), parts)
        # Each class is divided by its sum, which a grid finer than the deviations leaves at 1.
        torch.testing.assert_close(mass[c] / cell, mixture.log_prob(places).exp(), rtol=1e-6, atol=1e-12)
        assert mass[c].sum().item() == pytest.approx(1, abs=1e-12)


def test_grids_that_would_miss_a_narrow_q_are_refused() -> None:
    mean, log_var, labels = encoded()
    with pytest.raises(ValueError, match="give more points"):
        overlap.class_densities(mean, log_var - 6, labels, points=40)


def normals(shift: float) -> Tensor:
    """Two normal distributions of deviation 1 on a plane, so far apart: one image each."""
    mean = torch.tensor([[0.0, 0.0], [0.6 * shift, 0.8 * shift]])
    return overlap.class_densities(mean, torch.zeros(2, 2), torch.tensor([0, 1]), points=400).mass


@pytest.mark.parametrize("shift", [0.0, 0.5, 2.0, 6.0])
def test_overlap_of_two_normal_classes_has_its_closed_forms(shift: float) -> None:
    error, coefficient = overlap.overlap(normals(shift))
    # The kink of a minimum costs a cell: steps are 1/20 at most.
    assert error[0, 1].item() == pytest.approx(0.5 * math.erfc(shift / math.sqrt(8)), abs=1e-4)
    # The grid ends at 6 deviations, beyond which the root of a density still has 1e-8.
    assert coefficient[0, 1].item() == pytest.approx(math.exp(-(shift**2) / 8), abs=1e-7)
    torch.testing.assert_close(error.diagonal(), torch.full((2,), 0.5, dtype=torch.float64))
    torch.testing.assert_close(coefficient.diagonal(), torch.ones(2, dtype=torch.float64))


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=6))
def test_the_best_guess_errs_between_its_bounds(masses: list[tuple[float, float]]) -> None:
    table = torch.tensor(masses, dtype=torch.float64).T + 1e-9
    table = table / table.sum(1, keepdim=True)
    error, coefficient = (entry[0, 1] for entry in overlap.overlap(table))
    # The best of all rules, one by one: which cells are said to be the first distribution's.
    rules = itertools.product((False, True), repeat=len(masses))
    first, second = table.tolist()
    best = min(
        0.5 * sum(p if not says else q for p, q, says in zip(first, second, rule, strict=True))
        for rule in rules
    )
    assert error.item() == pytest.approx(best, abs=1e-14)
    low, high = overlap.error_bounds(coefficient)
    # A coefficient within 1e-16 of 1 leaves the root of that, 1e-8, open.
    assert low - 2e-8 <= error <= high + 1e-15


@pytest.mark.parametrize("share", [0.5, 0.1, 1e-3, 1e-9])
def test_lower_bound_is_reached_by_two_coins_that_mirror_each_other(share: float) -> None:
    mirrored = torch.tensor([[share, 1 - share], [1 - share, share]], dtype=torch.float64)
    error, coefficient = (entry[0, 1] for entry in overlap.overlap(mirrored))
    assert error.item() == pytest.approx(share, rel=1e-14)
    # 1 - BC^2 cancels near a half, where BC is 1: the root of a rounding error is left.
    assert overlap.error_bounds(coefficient)[0].item() == pytest.approx(share, rel=1e-9, abs=4e-8 * share)


# --- moments ----------------------------------------------------------------------------------------------


def test_class_moments_are_those_of_the_mixtures() -> None:
    mean, log_var, labels = encoded()
    moments = overlap.class_moments(mean, labels, log_var=log_var)
    points_alone = overlap.class_moments(mean, labels)
    for c in range(3):
        own = labels == c
        parts = Independent(Normal(mean[own].double(), torch.exp(0.5 * log_var[own].double())), 1)
        mixture = MixtureSameFamily(Categorical(torch.ones(len(mean[own]), dtype=torch.float64)), parts)
        torch.testing.assert_close(moments.mean[c], mixture.mean)
        torch.testing.assert_close(moments.covariance[c].diagonal(), mixture.variance)
        of_means = np.cov(mean[own].double().numpy(), rowvar=False, bias=True)
        torch.testing.assert_close(points_alone.covariance[c], torch.from_numpy(of_means))
        assert moments.covariance[c][0, 1] == points_alone.covariance[c][0, 1]


def covariance(seed: int, size: int = 2) -> Tensor:
    factor = cloud(size, size, seed=seed)
    return factor @ factor.T + 0.3 * torch.eye(size, dtype=torch.float64)


def test_normal_coefficient_on_the_line_is_the_integral() -> None:
    for (m, s), (n, t) in (((0.3, 0.5), (-0.4, 1.7)), ((0, 1), (0, 1)), ((0, 0.1), (5, 2))):
        integral = mpmath.quad(
            lambda z, m=m, s=s, n=n, t=t: mpmath.sqrt(mpmath.npdf(z, m, s) * mpmath.npdf(z, n, t)),
            [-mpmath.inf, -2, -0.5, 0, 0.5, 1, 2, 4, 6, mpmath.inf],
        )
        ours = overlap.gaussian_bhattacharyya(
            torch.tensor([m], dtype=torch.float64),
            torch.tensor([[s**2]], dtype=torch.float64),
            torch.tensor([n], dtype=torch.float64),
            torch.tensor([[t**2]], dtype=torch.float64),
        )
        assert ours.item() == pytest.approx(float(integral), rel=1e-12)


def test_normal_coefficient_in_the_plane_is_the_sum_over_a_fine_grid() -> None:
    q = torch.distributions.MultivariateNormal(cloud(2), covariance(1))
    p = torch.distributions.MultivariateNormal(cloud(2, seed=5), covariance(2))
    axis = torch.linspace(-20, 20, 1601, dtype=torch.float64)
    places = torch.cartesian_prod(axis, axis)
    total = torch.exp(0.5 * (q.log_prob(places) + p.log_prob(places))).sum().item() * (40 / 1600) ** 2
    ours = overlap.gaussian_bhattacharyya(q.mean, q.covariance_matrix, p.mean, p.covariance_matrix)
    # Sums of smooth functions that vanish at the ends converge faster than any power of the step.
    assert ours.item() == pytest.approx(total, rel=1e-10)


def test_normal_coefficient_is_symmetric_one_for_equals_and_blind_to_a_change_of_units() -> None:
    mean_q, mean_p, q, p = cloud(5), cloud(5, seed=1), covariance(2, 5), covariance(3, 5)
    ours = overlap.gaussian_bhattacharyya(mean_q, q, mean_p, p)
    torch.testing.assert_close(ours, overlap.gaussian_bhattacharyya(mean_p, p, mean_q, q))
    assert overlap.gaussian_bhattacharyya(mean_q, q, mean_q, q).item() == pytest.approx(1, abs=1e-14)
    change = cloud(5, 5, seed=4)
    turned = overlap.gaussian_bhattacharyya(
        change @ mean_q, change @ q @ change.T, change @ mean_p, change @ p @ change.T
    )
    torch.testing.assert_close(turned, ours, rtol=1e-9, atol=0)  # the change has a condition number of tens


# --- tables, and what is refused --------------------------------------------------------------------------


def test_pairs_stand_in_the_order_of_their_mean_entry() -> None:
    table = torch.tensor([[9.0, 1.0, 4.0], [2.0, 9.0, 0.0], [0.0, 1.0, 9.0]])
    assert overlap.pairs(table) == [(0, 2, 2.0), (0, 1, 1.5), (1, 2, 0.5)]


def test_what_does_not_fit_is_refused() -> None:
    mean, _, labels = encoded()
    with pytest.raises(ValueError, match="60 points have 1 to 59 others"):
        overlap.neighbours(mean, 60)
    with pytest.raises(ValueError, match="there are 60 rows"):
        overlap.guesses(mean, labels[:-1])
    with pytest.raises(ValueError, match="two different ones that occur"):
        overlap.pair_error(mean, labels, 1, 7)
    with pytest.raises(ValueError, match="no label is 1"):
        overlap.class_moments(mean, 2 * labels)
    with pytest.raises(ValueError, match=r"need \(N, 2\)"):
        overlap.class_densities(cloud(60, 3), cloud(60, 3), labels)
    eye = torch.eye(2)
    with pytest.raises(ValueError, match="covariance_p is not positive definite"):
        overlap.gaussian_bhattacharyya(torch.zeros(2), eye, torch.zeros(2), -0.5 * eye)
