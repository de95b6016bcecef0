"""Maps of a latent plane, read back from the figures; how they look is for eyes."""

import numpy as np
import pytest
import torch
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb

from vaelib import figures
from vaelib.figures.style import DIGITS, INK


def cloud(count: int) -> torch.Tensor:
    return torch.randn(count, 2, generator=torch.Generator().manual_seed(0))


def clouds(axes: object) -> list[PathCollection]:
    return [drawn for drawn in axes.collections if isinstance(drawn, PathCollection)]


def test_confusion_writes_each_share_in_its_place_and_paints_mistakes_alone() -> None:
    shares = torch.tensor([[0.7, 0.28, 0.02], [0.0, 1.0, 0.0], [0.004, 0.1, 0.896]])
    axes = figures.confusion(shares).axes[0]
    written = {text.get_position()[::-1]: text for text in axes.texts}
    assert {place: text.get_text() for place, text in written.items()} == {
        (0, 0): "70", (0, 1): "28", (0, 2): "2", (1, 1): "100", (2, 1): "10", (2, 2): "90",
    }  # fmt: skip
    painted = axes.images[0].to_rgba(axes.images[0].get_array())[..., 3]
    np.testing.assert_array_equal(painted.diagonal(), 0)
    assert painted[0, 1] == 1  # the largest mistake
    # Where a number is white it stands on much colour, and where it is grey on little.
    for place, text in written.items():
        strong = painted[place] > 0.7
        assert strong or painted[place] < 0.25
        assert to_rgb(text.get_color()) == to_rgb("white" if strong else INK)
    assert np.isclose(painted[2, 1], 0.72 + 0.28 * (0.1 / 0.28 - 1 / 5) / (4 / 5), atol=1 / 100)  # 256 shades


def test_confusion_without_a_mistake_paints_nothing() -> None:
    axes = figures.confusion(torch.eye(3)).axes[0]
    assert not axes.images[0].to_rgba(axes.images[0].get_array())[..., 3].any()


def test_pairs_of_classes_are_drawn_in_their_colours_and_marks_the_first_of_each() -> None:
    points, labels = cloud(60), torch.arange(60) % 4
    figure = figures.class_pairs(points, labels, [(1, 3), (0, 2)], count=10)
    for axes, pair in zip(figure.axes, [(1, 3), (0, 2)], strict=True):
        drawn = clouds(axes)
        for cloud_, digit in zip(drawn, pair, strict=True):
            np.testing.assert_allclose(cloud_.get_offsets(), points[labels == digit][:10])
            edge = cloud_.get_edgecolor() if digit == pair[1] else cloud_.get_facecolor()
            assert to_rgb(edge[0][:3]) == to_rgb(DIGITS[digit])
        assert len(drawn[0].get_paths()[0]) != len(drawn[1].get_paths()[0])  # a dot and a cross
        assert [text.get_text() for text in axes.get_legend().get_texts()] == [str(d) for d in pair]


def test_pairs_beyond_a_row_begin_another_and_leave_the_rest_of_it_empty() -> None:
    points, labels = cloud(20), torch.arange(20) % 4
    figure = figures.class_pairs(points, labels, [(0, 1), (1, 2), (2, 3)], columns=2)
    assert [bool(axes.axison) for axes in figure.axes] == [True, True, True, False]


def test_values_have_one_scale_of_colours_whatever_the_panel() -> None:
    points, low, high = cloud(200), torch.linspace(0, 1, 200), torch.linspace(1, 2, 200)
    figure = figures.latent_values(points, {"low": low, "high": high}, name="nats")
    first, second, bar = figure.axes
    drawn = [clouds(axes)[0] for axes in (first, second)]
    assert drawn[0].norm is drawn[1].norm
    for one, numbers in zip(drawn, (low, high), strict=True):
        by_place = {
            tuple(place): value for place, value in zip(points.numpy(), numbers.tolist(), strict=True)
        }
        for place, value in zip(
            np.asarray(one.get_offsets(), dtype=np.float32), one.get_array(), strict=True
        ):
            assert by_place[tuple(place)] == pytest.approx(value, rel=1e-6)
    # 1 is the end of the one and the beginning of the other, so in the middle of both.
    assert (drawn[0].norm.vmin + drawn[0].norm.vmax) / 2 == pytest.approx(1, abs=0.01)
    assert bar.get_xlabel() == "nats"
    assert [axes.get_title() for axes in (first, second)] == ["low", "high"]


def test_maps_that_cannot_be_drawn_are_refused() -> None:
    with pytest.raises(ValueError, match="a class needs a row and a column"):
        figures.confusion(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="at least one pair"):
        figures.class_pairs(cloud(4), torch.zeros(4), [])
    with pytest.raises(ValueError, match="these points have 3"):
        figures.class_pairs(torch.zeros(4, 3), torch.zeros(4), [(0, 1)])
    with pytest.raises(ValueError, match="at least one kind of number"):
        figures.latent_values(cloud(4), {})
    with pytest.raises(ValueError, match="there are 4 points"):
        figures.latent_values(cloud(4), {"a": torch.zeros(3)})
