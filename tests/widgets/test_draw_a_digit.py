"""Draw a digit: the sheet, the numbers beside it, and that they are those that vaelib computes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from tests.widgets.conftest import Opener, Played
from vaelib.data import Images
from vaelib.divergences import gaussian_kl
from vaelib.evaluation import encode, image_terms
from vaelib.models import VAE, mlp_vae, reparameterize
from vaelib.objectives import elbo_terms
from vaelib.widgets import DrawADigit, as_the_page_has_it

GREY = 1.01 / 255
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.fixture(scope="module")
def model() -> VAE:
    return mlp_vae(hidden_dim=64, latent_gain=6.0, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def images() -> Images:
    """Blots of ink whose class is their number modulo ten."""
    generator = torch.Generator().manual_seed(2)
    coarse = torch.rand(40, 1, 7, 7, generator=generator)
    blots = torch.nn.functional.interpolate(coarse, size=(28, 28), mode="bilinear")
    return Images((255 * blots).to(torch.uint8).flatten(1), torch.arange(40) % 10)


def random_strokes(generator: torch.Generator) -> str:
    counts = torch.randint(1, 12, (3,), generator=generator).tolist()
    words = [torch.randint(0, 64, (count, 2), generator=generator).flatten().tolist() for count in counts]
    return ".".join("".join(LETTERS[k] for k in word) for word in words)


def oracle(model: VAE, x: torch.Tensor, noise: list[list[float]]) -> tuple[float, float]:
    """Distortion, a mean over the draws, and rate, by vaelib on the page's weights, in double precision."""
    twin = as_the_page_has_it(model).double()
    x, eps = x.double()[None], torch.tensor(noise, dtype=torch.float64)
    terms = [elbo_terms(twin, x, noise=e[None]) for e in eps]
    distortion = torch.cat([term.distortion for term in terms]).mean()
    return float(distortion.detach()), float(terms[0].rate.detach())


def judged(played: Played, x: list[float]) -> Any:
    """What the page's own functions say of an image, with the page's own weights."""
    return played.page.evaluate(
        """async (x) => {
            const { model, module } = document.querySelector('.widget-host').vaebook;
            const { decoderOf, encoderOf, judge, named } = module;
            const [encoder, decoder] = [await named(model, 'encoder'), await named(model, 'decoder')];
            const said = judge(encoderOf(encoder), decoderOf(decoder), x, model.get('noise'));
            return { ...said, images: said.images.map((image) => Array.from(image)) };
        }""",
        x,
    )


def test_bound_and_pixels_are_those_of_vaelib_for_any_image(play: Opener, model: VAE, images: Images) -> None:
    played = play(DrawADigit(model, images))
    noise = played.get("noise")
    twin = as_the_page_has_it(model)
    generator = torch.Generator().manual_seed(4)
    flat = [torch.zeros(784), torch.ones(784)]
    for x in [*torch.rand(98, 784, generator=generator), *flat]:
        said = judged(played, x.tolist())
        distortion, rate = oracle(model, x, noise)
        # The issue's own bounds: both sides add up 784 terms, the page in double precision from the same
        # weights, so the difference is far below.
        assert said["distortion"] == pytest.approx(distortion, abs=0.01)
        assert said["rate"] == pytest.approx(rate, abs=0.01)
        assert said["elbo"] == pytest.approx(-distortion - rate, abs=0.01)
        mean, log_var = twin.encode(x[None])
        z = reparameterize(mean, log_var, torch.tensor(noise[0]))
        assert (torch.tensor(said["images"][0]) - twin.mean_image(z)[0]).abs().max() < 1e-4


def test_numbers_and_samples_on_the_page_are_those_of_the_drawing(
    play: Opener, model: VAE, images: Images
) -> None:
    played = play(DrawADigit(model, images))
    generator = torch.Generator().manual_seed(5)
    noise = played.get("noise")
    drawings = [{"strokes": random_strokes(generator), "example": -1} for _ in range(16)]
    edges = [{"strokes": word, "example": -1} for word in ("AA", "__AA", "AAA_")]
    for state in [*drawings, *edges, {"strokes": "", "example": 7}]:
        played.set(**state)
        x = torch.tensor(played.call("render", played.call("readStrokes", state["strokes"])))
        if state["example"] >= 0:
            x = images[state["example"] : state["example"] + 1].floats()[0]
        sheet = torch.tensor(played.pixels(".vw-sheet canvas")) / 255
        assert (sheet - x).abs().max() <= GREY
        distortion, rate = oracle(model, x, noise)
        cells = [row.split("\t")[1] for row in played.page.locator(".vw-terms tbody tr").all_inner_texts()]
        shown = [float(cell.replace("−", "-")) for cell in cells]
        # Printed to one digit.
        assert shown == pytest.approx([distortion, rate, -distortion - rate], abs=0.051)
        wanted = int((images.floats() - x).square().sum(1).argmin())
        assert f"a {wanted % 10}" in played.page.locator(".vw-near figcaption").inner_text()
    assert played.complaints == []


def test_drawing_is_as_large_and_as_central_as_mnist_has_it(play: Opener, model: VAE, images: Images) -> None:
    played = play(DrawADigit(model, images))
    # The same seven at two sizes and places; coordinates on the sheet of 64.
    for corner, size in ((4, 20), (20, 40)):
        ends = [(corner, corner), (corner + size, corner), (corner + size // 2, corner + size)]
        image = torch.tensor(played.call("render", [ends])).reshape(28, 28)
        rows, columns = (image.sum(dim) for dim in (1, 0))
        middle = torch.arange(28) + 0.5
        # The ink's own rounding to pixels moves its middle by a fraction of one.
        assert float((rows * middle).sum() / image.sum()) == pytest.approx(14, abs=0.15)
        assert float((columns * middle).sum() / image.sum()) == pytest.approx(14, abs=0.15)
        extent = max(int((rows > 0).sum()), int((columns > 0).sum()))
        assert 19 <= extent <= 22


def test_mouse_draws_and_undo_takes_back(play: Opener, model: VAE, images: Images) -> None:
    played = play(DrawADigit(model, images))
    box = played.page.locator(".vw-sheet").bounding_box()
    for row in (0.3, 0.6):
        played.page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + row * box["height"])
        played.page.mouse.down()
        played.page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + row * box["height"], steps=8)
        played.page.mouse.up()
    played.settle()
    strokes = played.call("readStrokes", played.get("strokes"))
    assert len(strokes) == 2
    assert strokes[0][0] == pytest.approx([0.3 * 64, 0.3 * 64], abs=1)
    assert strokes[1][-1] == pytest.approx([0.7 * 64, 0.6 * 64], abs=2)
    assert sum(played.pixels(".vw-sheet canvas")) > 0
    played.page.get_by_role("button", name="Undo").click()
    assert len(played.call("readStrokes", played.get("strokes"))) == 1
    played.page.get_by_role("button", name="Clear").click()
    played.settle()
    assert played.get("strokes") == ""
    assert sum(played.pixels(".vw-sheet canvas")) == 0


def test_keyboard_draws(play: Opener, model: VAE, images: Images) -> None:
    played = play(DrawADigit(model, images))
    played.page.locator(".vw-sheet").focus()
    for key in ["ArrowLeft"] * 3 + [" "] + ["ArrowDown"] * 4 + [" "] + ["ArrowRight"] * 2:
        played.page.keyboard.press(key)
    assert played.call("readStrokes", played.get("strokes")) == [[[26, 32 + 2 * k] for k in range(5)]]


def test_finger_takes_a_test_image_and_the_next_of_its_class(
    play: Opener, model: VAE, images: Images
) -> None:
    played = play(DrawADigit(model, images), size="phone", touch=True)
    three = played.page.get_by_role("button", name="3", exact=True)
    three.tap()
    assert played.get("example") == 3
    three.tap()
    assert played.get("example") == 13
    played.settle()
    x = torch.tensor(played.pixels(".vw-sheet canvas"))
    assert x.tolist() == images.pixels[13].tolist()


def test_link_brings_back_the_drawing(play: Opener, model: VAE, images: Images) -> None:
    widget = DrawADigit(model, images)
    widget.strokes = "KKKaaaaK.__AA"
    played = play(DrawADigit(model, images), fragment=widget.link)
    assert played.get("strokes") == "KKKaaaaK.__AA"
    assert sum(played.pixels(".vw-sheet canvas")) > 0


@pytest.mark.parametrize("text", ["KKK", "K K", "<b>", "KK..KK", "KK/KK", "K" * 5001])
def test_link_with_something_else_than_strokes_draws_nothing(
    play: Opener, model: VAE, images: Images, text: str
) -> None:
    played = play(DrawADigit(model, images), fragment=f"#draw-a-digit?strokes={text}")
    assert played.get("strokes") == ""
    assert played.complaints == []


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("phone", "dark")])
@pytest.mark.parametrize("state", ["example=4", "strokes=KKKaaaaK"])
def test_sheet_is_accessible_and_fits(
    play: Opener, model: VAE, images: Images, size: str, scheme: str, state: str
) -> None:
    played = play(DrawADigit(model, images), size=size, scheme=scheme, fragment=f"#draw-a-digit?{state}")
    assert played.violations() == []
    assert played.width() <= {"desktop": 1280, "phone": 390}[size]
    assert played.complaints == []


def test_usual_terms_are_those_of_the_images(model: VAE, images: Images) -> None:
    distortion, rate, elbo = DrawADigit(model, images).usual
    assert elbo == pytest.approx(-distortion - rate)
    mean, log_var = encode(model, images)
    assert rate == pytest.approx(float(gaussian_kl(mean, log_var).mean()), rel=1e-5)
    # One draw for each of the images: within four standard errors of another draw's mean.
    again = image_terms(model, images, generator=torch.Generator().manual_seed(9)).distortion
    error = float(again.std() / math.sqrt(len(images)))
    assert distortion == pytest.approx(float(again.mean()), abs=4 * math.sqrt(2) * error)
