"""The family of KL weights: its numbers, lines and digits, and that no model is loaded before its turn."""

from __future__ import annotations

import functools
import math
import random
import re

import pytest
import torch
import traitlets
from playwright.sync_api import Route
from torch.distributions import Normal, kl_divergence
from torch.nn import functional

from tests.widgets.conftest import Opener, Played
from tests.widgets.drawn import Chart, number
from vaelib.data import Images
from vaelib.evaluation import encode
from vaelib.models import VAE, mlp_vae
from vaelib.pretrained import load_pretrained
from vaelib.units import entropy_floor
from vaelib.widgets import BetaFamily, as_the_page_has_it

BETAS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
LATENTS, SHOWN, SAMPLES = 24, 10, 10
# Ink is shown in 256 steps; a step more, since a value may lie on the edge between two.
GREY = 1.01 / 255
MODELS = "**/_static/models/*.js"


@pytest.fixture(scope="module")
def models() -> dict[float, VAE]:
    return {beta: load_pretrained(f"family-beta-{beta:g}").model for beta in BETAS}


@pytest.fixture(scope="module")
def images(models: dict[float, VAE]) -> Images:
    """What one of the models makes of draws from the prior: digits enough, and no file is needed."""
    z = torch.randn(100, LATENTS, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        pixels = (255 * models[1.0].mean_image(z)).round().to(torch.uint8)
    return Images(pixels, torch.arange(100) % SHOWN)


@pytest.fixture(scope="module")
def measured(models: dict[float, VAE], images: Images) -> dict[float, dict[str, torch.Tensor]]:
    """Distortion, rate and each latent's rate by PyTorch's own functions, from the same draws."""
    found = {}
    x = images.floats()
    for beta, model in models.items():
        with torch.no_grad():
            mean, log_var = model.encode(x)
            deviation = (0.5 * log_var).exp()
            noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(0))
            logits = model.decode(mean + deviation * noise)
        losses = functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
        units = kl_divergence(Normal(mean, deviation), Normal(0.0, 1.0)).mean(0)
        found[beta] = {"distortion": losses.mean(), "rate": units.sum(), "units": units, "mean": mean}
    return found


@pytest.fixture(scope="module")
def family(models: dict[float, VAE], images: Images) -> BetaFamily:
    """What pages show; tests that change it in Python take :func:`fresh`."""
    return BetaFamily(models, images)


@pytest.fixture
def fresh(models: dict[float, VAE], images: Images) -> BetaFamily:
    return BetaFamily({beta: models[beta] for beta in (0.5, 1.0, 4.0)}, images[:SHOWN])


@functools.cache
def twin(model: VAE) -> VAE:
    return as_the_page_has_it(model).double()


@functools.cache
def codes(model: VAE, images: Images) -> tuple[torch.Tensor, torch.Tensor]:
    mean, log_var = encode(model, images[:SHOWN])
    return mean.double(), (0.5 * log_var.double()).exp()


def oracle(
    noise: list[list[float]], model: VAE, images: Images, latent: str
) -> tuple[torch.Tensor, float, float]:
    """All decoded pictures, and distortion and rate of the ten, from the weights that the page has."""
    drawn = torch.tensor(noise, dtype=torch.float64)
    mean, deviation = codes(model, images)
    prior = Normal(torch.zeros_like(mean), torch.ones_like(mean))
    rate = kl_divergence(Normal(mean, deviation), prior).sum(1).mean()
    # As they are sent: in half precision.
    mean, deviation = mean.half().double(), deviation.half().double()
    z = mean if latent == "mean" else mean + deviation * drawn[:SHOWN]
    with torch.no_grad():
        logits = twin(model).decode(torch.cat([z, drawn[SHOWN:]]))
    x = images[:SHOWN].floats().double()
    loss = functional.binary_cross_entropy_with_logits(logits[:SHOWN], x, reduction="none").sum(1).mean()
    return logits.sigmoid(), loss.item(), rate.item()


def pictures(played: Played) -> torch.Tensor:
    """What the twenty canvases show: under each image its decoding, then the draws from the prior."""
    grey = played.page.evaluate(
        """() => {
            const shown = document.querySelectorAll('.vw-pair canvas:last-child, .vw-five > canvas');
            return [...shown].map(canvas => {
                const { data } = canvas.getContext('2d').getImageData(0, 0, 28, 28);
                return Array.from({ length: 784 }, (_, k) => data[4 * k]);
            });
        }"""
    )
    return torch.tensor(grey) / 255


def said(played: Played, what: str) -> float:
    return number(played.page.locator(f"[data-number={what}]").inner_text())


def choose(played: Played, beta: float, **traits: object) -> None:
    """Choose a model and wait for its decoder."""
    played.set(beta=beta, **traits)
    played.page.wait_for_selector("[data-said=ten]:visible")
    played.settle()


def test_numbers_are_those_of_torch(
    family: BetaFamily, measured: dict[float, dict[str, torch.Tensor]], images: Images
) -> None:
    assert family.betas == list(BETAS)
    for k, beta in enumerate(BETAS):
        # float32 in batches of another size: seven digits, less a few.
        assert family.distortions[k] == pytest.approx(measured[beta]["distortion"].item(), rel=1e-5)
        assert family.rates[k] == pytest.approx(measured[beta]["rate"].item(), rel=1e-5)
        assert family.unit_rates[k] == pytest.approx(measured[beta]["units"].tolist(), abs=1e-5)
        assert family.active[k] == (measured[beta]["mean"].var(0) > 0.01).tolist()
    assert family.floor == pytest.approx(entropy_floor(images.floats()).mean().item(), rel=1e-6)


def test_lines_touch_the_chosen_point_and_everything_drawn_is_what_was_measured(
    play: Opener, family: BetaFamily, models: dict[float, VAE], images: Images
) -> None:
    played = play(family)
    chosen = random.Random(0)
    settings = [(beta, latent, 1) for beta in BETAS for latent in ("draw", "mean")]
    seeds = (2, 3, 50, 51, 97, 98, 99, 99)
    settings += [(chosen.choice(BETAS), chosen.choice(["draw", "mean"]), seed) for seed in seeds]
    assert len(settings) == 20
    for beta, latent, draws in settings:
        choose(played, beta, latent=latent, draws=draws)
        k = BETAS.index(beta)
        rate, distortion = family.rates[k], family.distortions[k]
        plane, units = Chart(played), Chart(played, 1)
        # The points, the line of the objective and that of the ELBO.
        near = max(plane.dx, plane.dy) * (1 + beta)
        assert plane.at("chosen") == pytest.approx((rate, distortion), abs=near)
        assert [x for point in plane.path("family") for x in point] == pytest.approx(
            [x for point in zip(family.rates, family.distortions, strict=True) for x in point], abs=near
        )
        for mark, price in (("level", beta), ("elbo", 1.0)):
            for x, y in plane.line(mark):
                assert y + price * x == pytest.approx(distortion + price * rate, abs=2 * near), mark
        assert [y for _, y in plane.line("floor")] == pytest.approx([family.floor] * 2, abs=plane.dy)
        # The lines of equal ELBO begin on the axis at the numbers that they are named by.
        for mark in [m for m in plane.marks("elbo ") if f"{m} name" in plane.marks("elbo ")]:
            (x0, y0), (x1, y1) = plane.line(mark)
            assert x0 + y0 == pytest.approx(float(mark.split()[1]), abs=near)
            assert x1 + y1 == pytest.approx(float(mark.split()[1]), abs=near)
        heights = [top for _, (_, top) in units.boxes("units")]
        assert heights == pytest.approx(sorted(family.unit_rates[k], reverse=True), abs=units.dy)
        active = sum(family.active[k])
        assert played.page.get_by_text(f"{active} of {LATENTS} active").count() == 1
        assert units.has("idle") == (active < LATENTS)
        # The table.
        rows = played.page.locator(".vw-family tbody tr").all_inner_texts()
        for m, text in enumerate(rows):
            cells = [number(word) for word in text.split()]
            d, r = family.distortions[m], family.rates[m]
            row = [BETAS[m], d, r, -d - r, d + beta * r, sum(family.active[m])]
            assert cells == pytest.approx(row, abs=0.00501)
        assert played.page.locator(".vw-family tr[aria-current] th").inner_text() == f"{beta:g}"
        best = played.page.locator(".vw-family .vw-best").all_inner_texts()
        costs = [d + beta * r for d, r in zip(family.distortions, family.rates, strict=True)]
        elbos = [-d - r for d, r in zip(family.distortions, family.rates, strict=True)]
        assert sorted(map(number, best)) == pytest.approx([max(elbos), min(costs)], abs=0.00501)
        # The digits, and what they cost.
        noise = played.call("noise", draws, SHOWN + SAMPLES, LATENTS)
        wanted, loss, price = oracle(noise, models[beta], images, latent)
        assert (pictures(played) - wanted).abs().max() <= GREY
        assert said(played, "distortion") == pytest.approx(loss, abs=0.006)
        assert said(played, "rate") == pytest.approx(price, abs=0.01)
        assert ("no ELBO" in played.page.locator("[data-said=ten]").inner_text()) == (latent == "mean")
    assert played.complaints == []


def test_cost_of_the_shown_images_is_that_of_torch_for_a_hundred_draws(
    play: Opener, family: BetaFamily, models: dict[float, VAE], images: Images
) -> None:
    played = play(family)
    for beta in BETAS:
        choose(played, beta)
    chosen = random.Random(1)
    inputs = [
        (chosen.choice(BETAS), chosen.choice(["draw", "mean"]), chosen.randint(1, 99)) for _ in range(100)
    ]
    found = played.page.evaluate(
        """async ([inputs, count, latents]) => {
            const { model, module } = document.querySelector('.widget-host').vaebook;
            const frame = () => new Promise(done => requestAnimationFrame(done));
            const said = what => document.querySelector(`[data-number=${what}]`).textContent;
            const found = [];
            for (const [beta, latent, draws] of inputs) {
                model.set({ beta, latent, draws });
                await frame();
                await frame();
                found.push([said('distortion'), said('rate'), module.noise(draws, count, latents)]);
            }
            return found;
        }""",
        [inputs, SHOWN + SAMPLES, LATENTS],
    )
    for (beta, latent, _), (distortion, rate, noise) in zip(inputs, found, strict=True):
        _, loss, price = oracle(noise, models[beta], images, latent)
        # Two digits are shown; means and deviations were sent in half precision, which the rate also feels.
        assert number(distortion) == pytest.approx(loss, abs=0.006)
        assert number(rate) == pytest.approx(price, abs=0.01)


def test_noise_is_standard_normal_and_every_seed_has_its_own(play: Opener, family: BetaFamily) -> None:
    played = play(family)
    drawn = torch.tensor([played.call("noise", seed, 20, LATENTS) for seed in range(1, 100)])
    count = drawn.numel()
    # The mean of n draws scatters by n^-1/2, their variance by (2/n)^1/2: 4.5 of each.
    assert abs(drawn.mean()) < 4.5 / math.sqrt(count)
    assert abs(drawn.var() - 1) < 4.5 * math.sqrt(2 / count)
    assert len({tuple(one.flatten().tolist()[:4]) for one in drawn}) == 99


def test_line_within_the_frame_ends_on_its_edges(play: Opener, family: BetaFamily) -> None:
    played = play(family)
    frame = {"x": [0, 60], "y": [40, 150]}
    chosen = random.Random(2)
    met = 0
    for _ in range(100):
        x, y, slope = chosen.uniform(-20, 80), chosen.uniform(20, 170), -(2 ** chosen.uniform(-3, 4))
        found = played.call("within", x, y, slope, frame)
        # By brute force: where along the line is one inside?
        steps = [k / 50 for k in range(1, 3000)]
        inside = [t for t in steps if 40 < y + slope * (t - x) < 150]
        if found is None:
            assert len(inside) <= 1
            continue
        met += 1
        x0, y0, x1, y1 = found
        assert [y0, y1] == pytest.approx([y + slope * (x0 - x), y + slope * (x1 - x)])
        if inside:
            assert [x0, x1] == pytest.approx([min(inside), max(inside)], abs=0.021)
    assert 30 < met < 100


def point_of(played: Played, beta: float) -> tuple[float, float]:
    """Where a model's point lies in the window."""
    dot = played.page.locator(f"[data-mark='model {beta:g}']").bounding_box()
    assert dot is not None
    return dot["x"] + dot["width"] / 2, dot["y"] + dot["height"] / 2


def test_click_on_a_point_chooses_its_model_and_a_click_beside_does_not(
    play: Opener, family: BetaFamily
) -> None:
    played = play(family)
    for beta in (8.0, 0.25, 2.0, 4.0):
        x, y = point_of(played, beta)
        played.page.mouse.click(x + 5, y - 4)
        assert played.get("beta") == beta
        played.settle()
    x, y = point_of(played, 0.25)
    played.page.mouse.click(x - 10, y - 90)
    assert played.get("beta") == 4.0


def test_handle_is_dragged_from_model_to_model(play: Opener, family: BetaFamily) -> None:
    played = play(family)
    end = point_of(played, 4.0)
    box = played.page.locator("[data-mark=chosen]").bounding_box()
    assert box is not None
    played.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    played.page.mouse.down()
    played.page.mouse.move(end[0] + 3, end[1] + 60, steps=6)
    played.page.mouse.up()
    assert played.get("beta") == 4.0


def test_keyboard_goes_through_the_family_on_the_point_and_on_the_slider(
    play: Opener, family: BetaFamily
) -> None:
    played = play(family)
    handle = played.page.locator("[data-mark=chosen]")
    handle.focus()
    played.page.keyboard.press("ArrowRight")  # to the right lies more rate, which is a smaller price
    assert played.get("beta") == 0.5
    played.page.keyboard.press("Home")
    assert played.get("beta") == 8.0
    played.page.keyboard.press("ArrowLeft")
    assert played.get("beta") == 8.0
    played.settle()
    words = handle.get_attribute("aria-valuetext")
    assert words == f"beta 8: rate {family.rates[5]:.2f}, distortion {family.distortions[5]:.2f} nats"
    slider = played.page.get_by_label("weight β")
    slider.focus()
    played.page.keyboard.press("ArrowLeft")
    assert played.get("beta") == 4.0
    played.page.keyboard.press("Home")
    assert played.get("beta") == 0.25


def test_finger_taps_a_point_and_controls(play: Opener, family: BetaFamily) -> None:
    played = play(family, size="phone", touch=True)
    played.page.touchscreen.tap(*point_of(played, 2.0))
    assert played.get("beta") == 2.0
    played.page.get_by_label("the mean").tap()
    assert played.get("latent") == "mean"
    played.page.get_by_role("button", name="Draw again").tap()
    assert played.get("draws") == 2


def loaded(played: Played) -> list[int]:
    """The sizes in bytes of the models that the page has asked for."""
    sizes: list[int] = played.page.evaluate(
        """() => performance.getEntriesByType('resource').filter(entry => entry.name.includes('/models/'))
            .map(entry => entry.decodedBodySize)"""
    )
    return sizes


def test_only_the_chosen_models_bytes_are_asked_for(play: Opener, family: BetaFamily) -> None:
    played = play(family)
    assert len(loaded(played)) == 1
    choose(played, 4.0)
    assert len(loaded(played)) == 2
    choose(played, 1.0)
    choose(played, 4.0, draws=7)
    assert len(loaded(played)) == 2
    assert all(10_000 < size < 600_000 for size in loaded(played))


def test_loading_is_said_and_shows_nobody_elses_digits(play: Opener, family: BetaFamily) -> None:
    played = play(family)
    held: list[Route] = []
    played.page.route(MODELS, lambda route: held.append(route))
    played.set(beta=8.0)
    played.page.wait_for_selector("text=Loading the decoder for β = 8")
    assert pictures(played).max() == 0
    assert not played.page.locator("[data-said=ten]").is_visible()
    assert not played.page.get_by_role("button", name="Try again").is_visible()
    # Numbers and lines need no decoder.
    assert played.page.locator(".vw-family tr[aria-current] th").inner_text() == "8"
    # Meanwhile the reader goes back, and what arrives later disturbs nothing.
    choose(played, 1.0)
    first = pictures(played)
    assert len(held) == 1
    held[0].continue_()
    played.page.wait_for_load_state("networkidle")
    played.settle()
    assert len(loaded(played)) == 2
    assert torch.equal(pictures(played), first)
    choose(played, 8.0)
    assert not torch.equal(pictures(played), first)
    assert played.complaints == []


def test_failure_to_load_is_said_and_mended(
    play: Opener, family: BetaFamily, models: dict[float, VAE], images: Images
) -> None:
    played = play(family)
    played.page.route(MODELS, lambda route: route.abort())
    played.set(beta=4.0)
    played.page.wait_for_selector("text=Could not load the decoder for β = 4")
    assert pictures(played).max() == 0
    assert played.violations() == []
    retry = played.page.get_by_role("button", name="Try again")
    retry.click()
    played.page.wait_for_selector("text=Could not load the decoder for β = 4")
    played.page.unroute(MODELS)
    retry.click()
    played.page.wait_for_selector("[data-said=ten]:visible")
    wanted, *_ = oracle(played.call("noise", 1, SHOWN + SAMPLES, LATENTS), models[4.0], images, "draw")
    assert (pictures(played) - wanted).abs().max() <= GREY
    assert not [words for words in played.complaints if "uncaught" in words]


def test_failed_model_is_tried_again_when_it_is_chosen_again(play: Opener, family: BetaFamily) -> None:
    played = play(family)
    played.page.route(MODELS, lambda route: route.abort())
    played.set(beta=2.0)
    played.page.wait_for_selector("text=Could not load")
    choose(played, 1.0)
    played.page.unroute(MODELS)
    choose(played, 2.0)
    assert pictures(played).max() > 0.5


def test_link_brings_back_what_was_seen(play: Opener, fresh: BetaFamily) -> None:
    first = {name: getattr(fresh, name) for name in ("beta", "latent", "draws")}
    seen = {"beta": 0.5, "latent": "mean", "draws": 12}
    for name, value in seen.items():
        setattr(fresh, name, value)
    fragment = fresh.link
    assert fragment == "#beta-family?beta=0.5&draws=12&latent=mean"
    for name, value in first.items():
        setattr(fresh, name, value)
    played = play(fresh, fragment=fragment)
    assert {name: played.get(name) for name in seen} == seen
    assert played.page.locator(".vw-family tr[aria-current] th").inner_text() == "0.5"
    written = played.page.evaluate("document.querySelector('.widget-host').vaebook.model.link()")
    assert sorted(written.partition("?")[2].split("&")) == sorted(fragment.partition("?")[2].split("&"))
    played.page.get_by_role("button", name="Reset").click()
    assert {name: played.get(name) for name in seen} == first


def test_links_to_what_there_is_not_are_ignored(play: Opener, family: BetaFamily) -> None:
    played = play(family, fragment="#beta-family?beta=3&draws=0&latent=mode")
    first = {"beta": 1, "latent": "draw", "draws": 1}
    hostile = ["beta=NaN", "beta=1e1", "beta=", "draws=1.5", "draws=100", "draws=-1", "latent=<b>", "betas=1"]
    for ask in ["", *hostile]:
        if ask:
            played.page.evaluate("ask => location.hash = `beta-family?${ask}`", ask)
            played.settle()
        assert {name: played.get(name) for name in first} == first, ask
    assert played.get("betas") == list(BETAS)
    assert played.complaints == []


def test_models_that_say_nothing_have_a_plane_too(play: Opener, images: Images) -> None:
    mute = mlp_vae(hidden_dim=4, latent_dim=2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mute.encoder.output.weight.zero_()
        mute.encoder.output.bias.zero_()
    played = play(BetaFamily({1.0: mute, 2.0: mute}, images[:SHOWN]))
    assert played.page.get_by_text("0 of 2 active").count() == 1
    assert said(played, "rate") == 0
    assert Chart(played).at("chosen")[0] == pytest.approx(0, abs=1e-4)
    assert not re.search("NaN|Infinity|∞", played.root.inner_html())
    assert played.complaints == []


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("phone", "dark")])
def test_family_is_accessible_and_fits(play: Opener, family: BetaFamily, size: str, scheme: str) -> None:
    played = play(family, size=size, scheme=scheme, fragment="#beta-family?beta=8")
    assert played.violations() == []
    assert played.width() <= {"desktop": 1280, "phone": 390}[size]
    # No mark and no name of the chart sticks out of it.
    overhang = played.page.evaluate(
        """() => Math.max(...[...document.querySelectorAll('.vw-chart text, .vw-chart line')].map(node =>
            node.getBoundingClientRect().right - node.closest('.vw').getBoundingClientRect().right))"""
    )
    assert overhang <= 0
    assert played.complaints == []


def test_python_chooses_and_reads(fresh: BetaFamily) -> None:
    fresh.beta = 4
    assert fresh.link == "#beta-family?beta=4"
    fresh.set_state({"beta": 0.5, "draws": 3})
    assert (fresh.beta, fresh.draws) == (0.5, 3)


@pytest.mark.parametrize(
    ("trait", "value"), [("beta", 3.0), ("beta", math.nan), ("latent", "mode"), ("draws", 0)]
)
def test_nonsense_is_refused(fresh: BetaFamily, trait: str, value: object) -> None:
    with pytest.raises(traitlets.TraitError):
        setattr(fresh, trait, value)


def test_family_of_one_of_negative_prices_or_of_unlike_models_is_refused(
    models: dict[float, VAE], images: Images
) -> None:
    with pytest.raises(ValueError, match="two models or more"):
        BetaFamily({1.0: models[1.0]}, images)
    with pytest.raises(ValueError, match=re.escape("these are [-1.0, 1.0]")):
        BetaFamily({1.0: models[1.0], -1.0: models[2.0]}, images)
    with pytest.raises(ValueError, match="as many latents"):
        BetaFamily({1.0: models[1.0], 2.0: mlp_vae(hidden_dim=4, latent_dim=3)}, images)
