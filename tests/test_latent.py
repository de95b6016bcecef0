from statistics import NormalDist

import pytest
import torch

from vaelib.latent import latent_grid, traversal


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
