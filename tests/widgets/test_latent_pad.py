"""The latent pad: what it decodes, how it is moved, and what it tells Python and the address."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.widgets.conftest import Opener, Played
from vaelib.data import Images
from vaelib.models import VAE, mlp_vae
from vaelib.widgets import LatentPad, as_the_page_has_it

# Ink is shown in 256 steps; a step more, since a value may lie on the edge between two.
GREY = 1.01 / 255
PAD = "svg.vw-chart"
DIGIT = "figure canvas.vw-digit"


@pytest.fixture(scope="module")
def model() -> VAE:
    return mlp_vae(hidden_dim=64, latent_gain=6.0, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def images() -> Images:
    generator = torch.Generator().manual_seed(2)
    return Images(
        torch.randint(0, 256, (200, 784), generator=generator, dtype=torch.uint8),
        torch.randint(0, 10, (200,), generator=generator),
    )


def shown(played: Played, model: VAE, z: list[float]) -> None:
    """Hold the picture on the screen to what vaelib decodes with the same weights."""
    wanted = as_the_page_has_it(model).mean_image(torch.tensor([z], dtype=torch.float))[0]
    drawn = torch.tensor(played.pixels(DIGIT)) / 255
    assert (drawn - wanted).abs().max() <= GREY, z


def test_picture_is_what_vaelib_decodes_wherever_the_point_is(play: Opener, model: VAE) -> None:
    played = play(LatentPad(model))
    generator = torch.Generator().manual_seed(3)
    inner = (8 * torch.rand(16, 2, generator=generator) - 4).tolist()
    for z in [*inner, [4, 4], [-4, 4], [4, -4], [-4, -4]]:
        played.set(z=z)
        shown(played, model, z)
    assert played.complaints == []


def test_mouse_leads_the_point_and_a_click_holds_it(play: Opener, model: VAE, images: Images) -> None:
    played = play(LatentPad(model, images))
    box = played.page.locator(PAD).bounding_box()
    played.page.mouse.move(box["x"] + 200, box["y"] + 100)
    played.settle()
    first = played.get("z")
    assert first != [0, 0]
    shown(played, model, first)
    played.page.mouse.down()
    played.page.mouse.up()
    played.page.mouse.move(box["x"] + 100, box["y"] + 200)
    assert played.get("z") == first
    assert played.get("held")


def test_keyboard_steps_the_point_to_the_edge_and_no_further(play: Opener, model: VAE) -> None:
    played = play(LatentPad(model))
    played.page.locator(PAD).focus()
    played.page.keyboard.press("ArrowRight")
    played.page.keyboard.press("ArrowUp")
    assert played.get("z") == pytest.approx([0.1, 0.1])
    for _ in range(6):
        played.page.keyboard.press("Shift+ArrowLeft")
    assert played.get("z") == pytest.approx([-4, 0.1])
    played.settle()
    shown(played, model, played.get("z"))


def test_finger_drags_the_point(play: Opener, model: VAE) -> None:
    played = play(LatentPad(model), size="phone", touch=True)
    box = played.page.locator(PAD).bounding_box()
    played.page.touchscreen.tap(box["x"] + 0.75 * box["width"], box["y"] + 0.25 * box["height"])
    played.settle()
    z = played.get("z")
    assert z[0] > 0.5
    assert z[1] > 0.5
    shown(played, model, z)


def test_link_brings_back_what_was_seen(play: Opener, model: VAE) -> None:
    pad = LatentPad(model)
    first = dict(pad._initial)
    pad.z, pad.held, pad.way = [1.25, -0.5], True, "spherical"
    fragment = pad.link
    assert fragment == "#latent-pad?held=1&way=spherical&z=1.25,-0.5"
    played = play(LatentPad(model), fragment=fragment)
    assert played.get("z") == [1.25, -0.5]
    assert played.get("way") == "spherical"
    shown(played, model, [1.25, -0.5])
    played.page.get_by_role("button", name="Reset").click()
    assert played.get("z") == first["z"]


@pytest.mark.parametrize("way", ["straight", "spherical"])
@pytest.mark.parametrize(
    ("a", "b"), [([2, 0], [0, 1]), ([1, 1], [-1, 0.5]), ([1, 0], [2, 0]), ([1, 0], [-1, 0]), ([0, 0], [1, 1])]
)
def test_path_is_a_chord_or_an_arc(
    play: Opener, model: VAE, a: list[float], b: list[float], way: str
) -> None:
    played = play(LatentPad(model))
    angle = math.acos(
        sum(p * q for p, q in zip(a, b, strict=True)) / ((math.hypot(*a) * math.hypot(*b)) or 1)
    )
    arc = way == "spherical" and 0 < angle < math.pi and math.hypot(*a) > 0
    for t in (0, 0.25, 0.5, 1):
        u, v = (math.sin((1 - t) * angle), math.sin(t * angle)) if arc else (1 - t, t)
        size = math.sin(angle) if arc else 1
        wanted = [(u * p + v * q) / size for p, q in zip(a, b, strict=True)]
        # Both sides compute in double precision.
        assert played.call("between", a, b, t, way) == pytest.approx(wanted, abs=1e-12)


def test_strip_decodes_the_way_from_start_to_end(play: Opener, model: VAE) -> None:
    played = play(LatentPad(model), fragment="#latent-pad?mode=path&start=-1,2&end=3,-1")
    twin = as_the_page_has_it(model)
    for index, z in ((0, [-1.0, 2.0]), (4, [1.0, 0.5]), (8, [3.0, -1.0])):
        drawn = torch.tensor(played.pixels(".vw-strip canvas", index)) / 255
        assert (drawn - twin.mean_image(torch.tensor([z]))[0]).abs().max() <= GREY


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("phone", "dark")])
@pytest.mark.parametrize("mode", ["point", "path"])
def test_pad_is_accessible_and_fits(
    play: Opener, model: VAE, images: Images, size: str, scheme: str, mode: str
) -> None:
    played = play(LatentPad(model, images), size=size, scheme=scheme, fragment=f"#latent-pad?mode={mode}")
    assert played.violations() == []
    assert played.width() <= {"desktop": 1280, "phone": 390}[size]
    assert played.complaints == []


def test_model_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="shows 2 latents, and the model has 3"):
        LatentPad(mlp_vae(hidden_dim=4, latent_dim=3))


@given(st.floats(-6, 6), st.floats(-6, 6))
def test_python_reads_where_the_point_is(x: float, y: float) -> None:
    pad = LatentPad(mlp_vae(hidden_dim=2, generator=torch.Generator().manual_seed(0)))
    # What the front end sends when the reader has moved.
    pad.set_state({"z": [x, y]})
    assert pad.z == [x, y]
