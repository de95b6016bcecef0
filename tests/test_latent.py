import math
from statistics import NormalDist

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vaelib.latent import interpolate, latent_grid, principal_plane, traversal

latents = st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=2, max_size=6)


def test_gaussian_grid_cuts_the_prior_into_cells_of_equal_probability() -> None:
    z = latent_grid(5, grid="gaussian")
    across = z[:5, 0].tolist()
    # float32 holds the ticks to 1e-7.
    assert [NormalDist().cdf(t) for t in across] == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9], abs=1e-6)


def test_linear_grid_spans_the_square_evenly() -> None:
    z = latent_grid(4, grid="linear", span=1.5)
    torch.testing.assert_close(z[:4, 0], torch.tensor([-1.5, -0.5, 0.5, 1.5]))
    torch.testing.assert_close(z[::4, 1], torch.tensor([1.5, 0.5, -0.5, -1.5]))


@pytest.mark.parametrize("grid", ["gaussian", "linear"])
def test_grid_reads_like_a_picture_right_and_up(grid: str) -> None:
    picture = latent_grid(6, grid=grid).reshape(6, 6, 2)
    assert (picture[:, 1:, 0] > picture[:, :-1, 0]).all()
    assert (picture[1:, :, 1] < picture[:-1, :, 1]).all()
    assert len(picture.reshape(-1, 2).unique(dim=0)) == 36


@pytest.mark.parametrize("grid", ["gaussian", "linear"])
def test_a_wide_grid_has_the_ticks_of_the_two_square_ones(grid: str) -> None:
    z = latent_grid(5, rows=3, grid=grid).reshape(3, 5, 2)
    assert torch.equal(z[0, :, 0], latent_grid(5, grid=grid)[:5, 0])
    assert torch.equal(z[:, 0, 1], latent_grid(3, grid=grid)[::3, 1])


def test_grid_of_one_cell_is_the_origin() -> None:
    assert latent_grid(1, grid="gaussian").abs().max().item() == 0


def test_traversal_moves_one_coordinate_only() -> None:
    start, values = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([-1.0, 0.0, 5.0, 7.0])
    z = traversal(start, 1, values)
    assert torch.equal(z[:, 1], values)
    assert torch.equal(z[:, [0, 2]], torch.tensor([[1.0, 3.0]]).repeat(4, 1))
    assert torch.equal(start, torch.tensor([1.0, 2.0, 3.0]))


@pytest.mark.parametrize("dimension", [-1, 3])
def test_traversal_names_a_coordinate_that_is_not_there(dimension: int) -> None:
    with pytest.raises(ValueError, match="this latent has 3"):
        traversal(torch.zeros(3), dimension, torch.zeros(2))


def test_grid_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match="at least one"):
        latent_grid(0)
    with pytest.raises(ValueError, match="rows is 0"):
        latent_grid(3, rows=0)
    with pytest.raises(ValueError, match="gaussian, linear"):
        latent_grid(3, grid="hexagonal")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(latents, st.integers(2, 9))
def test_the_straight_way_is_numpys_linspace(ends: list[tuple[float, float]], steps: int) -> None:
    a, b = torch.tensor(ends, dtype=torch.float64).T
    # Two roundings of numbers up to 5.
    expected = np.linspace(a.numpy(), b.numpy(), steps)
    np.testing.assert_allclose(interpolate(a, b, steps), expected, rtol=0, atol=1e-14)


lengths, angles = st.floats(0.1, 10), st.floats(-math.pi, math.pi)


@given(lengths, lengths, angles, st.floats(1e-3, math.pi - 1e-3), st.integers(0, 2**31))
def test_the_arc_turns_at_a_constant_rate_from_end_to_end(
    length_a: float, length_b: float, begin: float, angle: float, seed: int
) -> None:
    # In the plane of complex numbers, then turned into five dimensions.
    frame = torch.linalg.qr(torch.randn(5, 2, generator=seeded(seed), dtype=torch.float64))[0].numpy()
    unit_a, unit_b = np.exp(1j * begin), np.exp(1j * (begin + angle))
    t = np.linspace(0, 1, 5)
    turning = np.exp(1j * (begin + t * angle))
    # Of what shares of the two unit ends does the turning arm consist? The ends' lengths scale their shares.
    basis = np.array([[unit_a.real, unit_b.real], [unit_a.imag, unit_b.imag]])
    shares = np.linalg.solve(basis, [turning.real, turning.imag])
    expected = (basis * [length_a, length_b] @ shares).T @ frame.T
    ends = torch.tensor(frame @ (basis * [length_a, length_b]))
    # The solution loses 1e3 times the rounding of numbers up to 1e4, where the ends are all but opposite.
    np.testing.assert_allclose(interpolate(*ends.T, 5, "spherical"), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("tilt", [0.0, 1e-12, 1e-8])
def test_the_arc_between_ends_of_one_direction_is_the_chord(tilt: float) -> None:
    a = torch.tensor([1.0, 2.0, -3.0], dtype=torch.float64)
    b = 2.5 * a + torch.tensor([tilt, 0.0, 0.0])
    # They part in the second order of the tilt.
    torch.testing.assert_close(
        interpolate(a, b, 6, "spherical"), interpolate(a, b, 6, "linear"), rtol=0, atol=1e-14
    )


def test_the_arc_between_draws_of_many_dimensions_stays_where_the_prior_is() -> None:
    a, b = torch.randn(2, 10_000, generator=seeded())
    chord, arc = (interpolate(a, b, 3, kind)[1].square().mean().item() for kind in ("linear", "spherical"))
    # Eq-chord-square: 1/2 for the chord, 1 for the arc; 10,000 squares know their mean to 0.014.
    assert chord == pytest.approx(0.5, abs=0.05)
    assert arc == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("kind", ["linear", "spherical"])
def test_a_way_begins_and_ends_at_its_ends_in_the_type_of_a_latent(kind: str) -> None:
    a, b = torch.randn(2, 5, generator=seeded())
    z = interpolate(a, b, 7, kind)
    assert z.shape == (7, 5)
    assert z.dtype == torch.float32
    torch.testing.assert_close(z[[0, -1]], torch.stack([a, b]))
    torch.testing.assert_close(interpolate(b, a, 7, kind).flip(0), z)


def test_ways_that_make_no_sense_are_refused() -> None:
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([-2.0, 0.0])
    with pytest.raises(ValueError, match="steps is 1"):
        interpolate(a, b, 1)
    with pytest.raises(ValueError, match=r"start has shape \(2,\), end \(3,\)"):
        interpolate(a, torch.zeros(3), 2)
    with pytest.raises(ValueError, match="linear, spherical"):
        interpolate(a, b, 2, "by train")
    with pytest.raises(ValueError, match="opposite directions"):
        interpolate(a, b, 2, "spherical")
    with pytest.raises(ValueError, match="is the origin"):
        interpolate(a, torch.zeros(2), 2, "spherical")


def cloud(count: int = 200) -> torch.Tensor:
    """Draws with deviations 3, 1, 0.5 and 0.2 along directions that are no axes, about (5, 5, 5, 5)."""
    rotation, _ = torch.linalg.qr(torch.randn(4, 4, generator=seeded(1)))
    deviations = torch.tensor([3.0, 1.0, 0.5, 0.2])
    return torch.randn(count, 4, generator=seeded(2)) * deviations @ rotation + 5


def test_the_principal_plane_is_that_of_the_singular_value_decomposition() -> None:
    points = cloud()
    plane = principal_plane(points)
    centred = points.double().numpy() - points.double().numpy().mean(0)
    left, singular, right = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign((right[:2] * plane.directions.numpy()).sum(1))
    # The squares of the covariance cost half of float64's digits at most.
    np.testing.assert_allclose(plane.directions, signs[:, None] * right[:2], atol=1e-8)
    np.testing.assert_allclose(plane.projected, signs * left[:, :2] * singular[:2], atol=1e-7)
    np.testing.assert_allclose(plane.explained, (singular**2 / (singular**2).sum())[:2], rtol=1e-10)


def test_no_other_plane_is_nearer_to_the_points() -> None:
    points = cloud().double()
    plane = principal_plane(points)

    def distance(directions: torch.Tensor) -> float:
        centred = points - points.mean(0)
        return (centred - centred @ directions.mT @ directions).square().sum().item()

    nearest = (points - plane.centre - plane.projected @ plane.directions).square().sum().item()
    assert nearest == pytest.approx(distance(plane.directions))
    for seed in range(20):
        tilted = plane.directions + 0.1 * torch.randn(2, 4, generator=seeded(seed), dtype=torch.float64)
        assert nearest < distance(torch.linalg.qr(tilted.mT)[0].mT)


def test_the_same_points_give_the_same_plane_in_any_order_and_mirrored() -> None:
    points = cloud()
    plane = principal_plane(points)
    assert (plane.directions.gather(1, plane.directions.abs().argmax(1, keepdim=True)) > 0).all()
    for other in (points.flip(0), -points):
        torch.testing.assert_close(principal_plane(other).directions, plane.directions)


def test_a_plane_of_two_latents_is_turned_and_loses_nothing() -> None:
    points = cloud()[:, :2]
    plane = principal_plane(points)
    assert plane.explained.sum().item() == pytest.approx(1)
    torch.testing.assert_close(plane.centre + plane.projected @ plane.directions, points.double())
    # The coordinates are uncorrelated, and the first varies more.
    covariance = torch.cov(plane.projected.mT)
    assert covariance[0, 1].abs() < 1e-12 < covariance[1, 1] < covariance[0, 0]


def test_points_that_name_no_plane_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(5, 1\): a plane needs"):
        principal_plane(torch.zeros(5, 1))
    with pytest.raises(ValueError, match="all 5 points are the same"):
        principal_plane(torch.ones(5, 3))
