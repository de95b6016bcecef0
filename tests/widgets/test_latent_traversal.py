"""Latent traversal: strips are what vaelib decodes, units stand by their KL, and dead ones say so."""

from __future__ import annotations

import pytest
import torch
import traitlets

from tests.widgets.conftest import Opener
from vaelib.data import Images
from vaelib.divergences import gaussian_kl
from vaelib.evaluation import encode
from vaelib.models import VAE, mlp_vae
from vaelib.widgets import LatentTraversal, as_the_page_has_it

# Ink is shown in 256 steps; a step more, since a value may lie on the edge between two.
GREY = 1.01 / 255
UNITS = 11
DEAD = 4


@pytest.fixture(scope="module")
def model() -> VAE:
    """An untrained model of which one unit says nothing, neither to the decoder nor of the image."""
    model = mlp_vae(
        hidden_dim=32, latent_dim=UNITS, latent_gain=6.0, generator=torch.Generator().manual_seed(1)
    )
    with torch.no_grad():
        model.encoder.output.weight.mul_(4)
        model.encoder.output.weight[[DEAD, UNITS + DEAD]] = 0
        model.encoder.output.bias[[DEAD, UNITS + DEAD]] = 0
        model.decoder.hidden.weight[:, DEAD] = 0
    return model


@pytest.fixture(scope="module")
def images() -> Images:
    generator = torch.Generator().manual_seed(2)
    return Images(
        torch.randint(0, 256, (300, 784), generator=generator, dtype=torch.uint8),
        torch.randint(0, 10, (300,), generator=generator),
    )


def test_units_stand_in_the_order_of_their_kl_and_the_dead_one_says_so(
    play: Opener, model: VAE, images: Images
) -> None:
    played = play(LatentTraversal(model, images))
    mean, log_var = encode(model, images)
    rates = torch.stack([gaussian_kl(mean[:, [j]], log_var[:, [j]]).mean() for j in range(UNITS)])
    rows = played.page.locator(".vw-unit").all_inner_texts()
    order = sorted(range(UNITS), key=lambda j: -rates[j])
    assert len(rows) == UNITS
    for text, j in zip(rows, order, strict=True):
        # As printed, to two digits.
        assert f"{rates[j]:.2f} nats" in text
        assert ("inactive" in text) == (j == DEAD)
    assert played.page.locator(".vw-inactive").count() == 1


def test_every_strip_is_what_vaelib_decodes(play: Opener, model: VAE, images: Images) -> None:
    played = play(LatentTraversal(model, images))
    twin = as_the_page_has_it(model)
    order = sorted(range(UNITS), key=lambda j: -played.get("rates")[j])
    alive = [j for j in order if j != DEAD]
    generator = torch.Generator().manual_seed(3)
    states = [*(8 * torch.rand(3, UNITS, generator=generator) - 4).tolist(), [4.0] * UNITS, [-4.0] * UNITS]
    for z in states:
        played.set(z=z)
        drawn = torch.tensor(played.pixels(".vw-traversed canvas")) / 255
        assert (drawn - twin.mean_image(torch.tensor([z]))[0]).abs().max() <= GREY
        for row, station in ((0, 0), (1, 3), (4, 2), (UNITS - 2, 4)):
            played.page.locator(".vw-unit").nth(order.index(alive[row])).scroll_into_view_if_needed()
            played.page.wait_for_timeout(50)
            played.settle()
            moved = list(z)
            moved[alive[row]] = -3 + 1.5 * station
            drawn = torch.tensor(played.pixels(".vw-unit canvas", 5 * row + station)) / 255
            assert (drawn - twin.mean_image(torch.tensor([moved]))[0]).abs().max() <= GREY
    assert played.complaints == []


def test_slider_moves_its_own_latent_by_keyboard_and_by_finger(
    play: Opener, model: VAE, images: Images
) -> None:
    played = play(LatentTraversal(model, images), size="phone", touch=True)
    order = sorted(range(UNITS), key=lambda j: -played.get("rates")[j])
    slider = played.page.locator(".vw-unit input").nth(2)
    slider.focus()
    played.page.keyboard.press("ArrowRight")
    z = played.get("z")
    assert z[order[2]] == pytest.approx(0.05)
    assert sum(map(abs, z)) == pytest.approx(0.05)
    box = slider.bounding_box()
    played.page.touchscreen.tap(box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2)
    assert played.get("z")[order[2]] > 2


def test_start_is_the_mean_of_an_image_of_the_class(play: Opener, model: VAE, images: Images) -> None:
    played = play(LatentTraversal(model, images))
    first = int((images.labels == 7).nonzero()[0])
    mean, _ = encode(model, images[first : first + 1])
    played.page.get_by_role("button", name="7", exact=True).click()
    # The starts are stored to three digits.
    assert played.get("z") == pytest.approx(mean[0].clamp(-4, 4).tolist(), abs=6e-4)
    played.page.get_by_role("button", name="origin").click()
    assert played.get("z") == [0] * UNITS


def test_link_carries_all_latents_or_none(play: Opener, model: VAE, images: Images) -> None:
    widget = LatentTraversal(model, images)
    widget.z = [0.5] * UNITS
    played = play(widget, fragment=widget.link)
    assert played.get("z") == [0.5] * UNITS
    played.page.evaluate("location.hash = '#latent-traversal?z=1,2'")
    played.settle()
    assert played.get("z") == [0.5] * UNITS, "too few numbers are no latent: the link asks for nothing"


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("phone", "dark")])
def test_traversal_is_accessible_and_fits(
    play: Opener, model: VAE, images: Images, size: str, scheme: str
) -> None:
    played = play(LatentTraversal(model, images), size=size, scheme=scheme)
    assert played.violations() == []
    assert played.width() <= {"desktop": 1280, "phone": 390}[size]
    assert played.complaints == []


def test_plane_has_two_rows(play: Opener, images: Images) -> None:
    played = play(LatentTraversal(mlp_vae(hidden_dim=8), images))
    assert played.page.locator(".vw-unit").count() == 2


def test_latent_of_another_length_is_refused(model: VAE, images: Images) -> None:
    widget = LatentTraversal(model, images)
    with pytest.raises(traitlets.TraitError, match="z has 2 entries: the model has 11 latents"):
        widget.z = [0.0, 0.0]


def test_every_row_in_sight_is_drawn_in_the_end_however_many_frames_it_takes(
    play: Opener, model: VAE, images: Images
) -> None:
    played = play(LatentTraversal(model, images))
    twin = as_the_page_has_it(model)
    order = sorted(range(UNITS), key=lambda j: -played.get("rates")[j])
    alive = [j for j in order if j != DEAD]
    z = [0.1 * j - 0.5 for j in range(UNITS)]
    played.set(z=z)
    played.page.wait_for_timeout(500)
    seen = played.page.evaluate(
        "() => [...document.querySelectorAll('.vw-unit')].filter(row => row.querySelector('canvas'))"
        ".map(row => row.getBoundingClientRect()).map(box => box.top < innerHeight && box.bottom > 0)"
    )
    assert sum(seen) > 4
    for row, unit in enumerate(alive):
        if seen[row]:
            moved = [3.0 if j == unit else v for j, v in enumerate(z)]
            drawn = torch.tensor(played.pixels(".vw-unit canvas", 5 * row + 4)) / 255
            assert (drawn - twin.mean_image(torch.tensor([moved]))[0]).abs().max() <= GREY
