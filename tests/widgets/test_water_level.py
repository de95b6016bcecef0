"""The water level: rate, distortion and evidence against vaelib.linear, and the landscape as it is drawn."""

from __future__ import annotations

import itertools
import math
import re

import pytest
import torch
from traitlets import TraitError

from tests.widgets.conftest import Opener, Played
from tests.widgets.drawn import Chart
from vaelib import linear
from vaelib.widgets import WaterLevel

ROWS = ("active", "rate", "distortion", "evidence", "error")


def spectrum(size: int, seed: int, *, zeros: int = 0) -> torch.Tensor:
    """Eigenvalues over some decades, the largest first; some of them 0, as of pixels that never vary."""
    generator = torch.Generator().manual_seed(seed)
    values = 10 ** (4 * torch.rand(size, generator=generator, dtype=torch.double) - 3)
    values[:zeros] = 0
    return values.sort(descending=True).values


EIGENVALUES = spectrum(60, seed=1, zeros=5)


def oracle(eigenvalues: torch.Tensor, variance: float, latents: int) -> dict[str, float]:
    """The same from matrices: the best decoder and encoder, and the closed forms for any such pair."""
    covariance = torch.diag(eigenvalues)
    decoder = linear.maximum_likelihood(covariance, latents, variance=variance)
    terms = linear.terms(covariance, decoder, linear.best_encoder(decoder))
    noise = 0.5 * len(eigenvalues) * math.log(2 * math.pi * variance)
    return {
        "active": min(linear.active_units(eigenvalues, variance), latents),
        "rate": terms.rate.sum().item(),
        "distortion": terms.distortion.item(),
        "evidence": linear.evidence(covariance, decoder).item(),
        "error": 2 * variance * (terms.distortion.item() - noise),
    }


def draw(count: int, seed: int, size: int) -> list[tuple[float, int]]:
    generator = torch.Generator().manual_seed(seed)
    exponents = 6 * torch.rand(count, generator=generator, dtype=torch.double) - 3
    latents = torch.randint(1, size + 1, (count,), generator=generator)
    return list(zip((10**exponents).tolist(), latents.tolist(), strict=True))


def solved(played: Played, eigenvalues: torch.Tensor, variance: float, latents: int) -> dict[str, float]:
    """What the module computes."""
    found: dict[str, float] = played.page.evaluate(
        """([values, variance, latents]) => {
            const { landscape, solve } = document.querySelector('.widget-host').vaebook.module;
            return solve(landscape(values), variance, latents);
        }""",
        [eigenvalues.tolist(), variance, latents],
    )
    return found


def test_terms_agree_with_vaelib_for_100_levels(play: Opener) -> None:
    played = play(WaterLevel(EIGENVALUES))
    for index, (variance, latents) in enumerate(draw(100, seed=2, size=12)):
        eigenvalues = spectrum(12, seed=10 + index, zeros=index % 3)
        found = solved(played, eigenvalues, variance, latents)
        for name, wanted in oracle(eigenvalues, variance, latents).items():
            # Double precision on both sides; over a level of 0.001 the terms are of the order of 10^4, and
            # the oracle's error is told from a difference of two such.
            assert found[name] == pytest.approx(wanted, rel=1e-9, abs=1e-8), (name, variance, latents)


def test_terms_agree_with_vaelib_for_as_many_directions_as_mnist_has(play: Opener) -> None:
    eigenvalues = spectrum(784, seed=3, zeros=60)
    played = play(WaterLevel(eigenvalues))
    for variance, latents in ((1.0, 20), (0.02, 300)):
        found = solved(played, eigenvalues, variance, latents)
        for name, wanted in oracle(eigenvalues, variance, latents).items():
            assert found[name] == pytest.approx(wanted, rel=1e-9, abs=1e-7), name


def test_best_level_is_that_of_maximum_likelihood(play: Opener) -> None:
    played = play(WaterLevel(EIGENVALUES))
    for latents in (1, 2, 10, 40, 59):
        found = played.page.evaluate(
            """([values, latents]) => {
                const { landscape, bestVariance } = document.querySelector('.widget-host').vaebook.module;
                return bestVariance(landscape(values), latents);
            }""",
            [EIGENVALUES.tolist(), latents],
        )
        assert found == pytest.approx(linear.best_variance(EIGENVALUES, latents).item(), abs=1e-12)
        # And nothing beside it is better.
        here, *others = (
            solved(played, EIGENVALUES, found * factor, latents)["evidence"] for factor in (1, 0.9, 1.1)
        )
        assert found == 0 or here > max(others)


EDGES = [
    # variance, J
    (1.0, 20),
    (1.0, 1),
    (1.0, 60),
    (0.001, 60),
    (0.001, 1),
    (1000.0, 20),
    (1000.0, 60),
    (EIGENVALUES[3].item(), 20),  # the water just reaches the fourth: it is dead
    (math.nextafter(EIGENVALUES[3].item(), 0), 20),  # and just does not: it lives, with no rate to speak of
    (EIGENVALUES[0].item(), 5),
    *draw(10, seed=4, size=60),
]


def said(played: Played, row: str) -> float:
    text = played.page.locator(f"td[data-row={row}]").inner_text()
    return float(re.match(r"[−\d.]+", text)[0].replace("−", "-"))


@pytest.mark.parametrize("axis", ["log", "linear"])
def test_numbers_and_bars_are_the_oracle_s_for_20_levels(play: Opener, axis: str) -> None:
    played = play(WaterLevel(EIGENVALUES))
    log = axis == "log"
    floor = 0.001 if log else 0

    def height(value: float) -> float:
        return math.log10(max(value, floor)) if log else value

    for variance, latents in EDGES:
        bars = 20 if latents % 2 else 60
        played.set(variance=variance, latent_dim=latents, axis=axis, bars=bars)
        wanted = oracle(EIGENVALUES, variance, latents)
        for row in ROWS:
            # Three decimals are shown.
            assert said(played, row) == pytest.approx(wanted[row], abs=5.1e-4), (row, variance, latents)

        chart = Chart(played, 0, log="y" if log else "")
        active = int(wanted["active"])
        carried, noise, lost = (chart.boxes(mark) for mark in ("carried", "noise", "lost"))
        assert len(carried) == len(noise) == min(active, bars)
        assert len(lost) == bars - len(carried)
        for k, (((x0, y0), (x1, y1)), ((_, bottom), (_, below))) in enumerate(
            zip(carried, noise, strict=True)
        ):
            assert (x0 + x1) / 2 == pytest.approx(k + 1, abs=chart.dx)
            assert y0 == below == pytest.approx(height(variance), abs=chart.dy)
            assert y1 == pytest.approx(height(EIGENVALUES[k].item()), abs=chart.dy)
            assert bottom == pytest.approx(height(floor), abs=chart.dy)
            if log:
                # The dry part is twice the rate, as the hint says.
                rate = 0.5 * math.log(EIGENVALUES[k].item() / variance)
                assert (y1 - y0) * math.log(10) == pytest.approx(2 * rate, abs=5 * chart.dy)
        for k, ((x0, y0), (x1, y1)) in enumerate(lost, start=len(carried)):
            assert (x0 + x1) / 2 == pytest.approx(k + 1, abs=chart.dx)
            assert y0 == pytest.approx(height(floor), abs=chart.dy)
            assert y1 == pytest.approx(height(EIGENVALUES[k].item()), abs=chart.dy)
        assert chart.line("surface")[0][1] == pytest.approx(height(variance), abs=chart.dy)
        level = played.page.locator("[data-mark=level]").text_content()
        assert float(level.removeprefix("σ² = ")) == pytest.approx(
            variance, rel=5e-2 if variance < 0.01 else 5e-3
        )
        assert chart.at("level-handle")[1] == pytest.approx(height(variance), abs=chart.dy)
        assert f"{active} active" in played.root.inner_text() or active == len(EIGENVALUES)
    assert played.complaints == []


def test_evidence_is_drawn_where_it_is(play: Opener) -> None:
    played = play(WaterLevel(EIGENVALUES))
    for variance, latents in ((1.0, 20), (0.05, 5), (300.0, 1), (0.001, 60)):
        played.set(variance=variance, latent_dim=latents)
        chart = Chart(played, 1, log="x")
        at, value = chart.at("here")
        evidence = oracle(EIGENVALUES, variance, latents)["evidence"]
        lowest = oracle(EIGENVALUES, 1000.0, latents)["evidence"]
        assert at == pytest.approx(math.log10(variance), abs=chart.dx)
        # What falls below the chart stands at its foot; its number is in the table.
        assert value == pytest.approx(max(evidence, lowest), abs=chart.dy)
        curve = chart.path("evidence")
        steep = max(abs(b[1] - a[1]) / (b[0] - a[0]) for a, b in itertools.pairwise(curve[1:]))
        for place, height in curve[1::20]:
            wanted = oracle(EIGENVALUES, 10**place, latents)["evidence"]
            assert height == pytest.approx(wanted, abs=chart.dy + steep * chart.dx)
        if chart.has("best"):
            best = linear.best_variance(EIGENVALUES, latents).item()
            assert chart.line("best")[0][0] == pytest.approx(math.log10(best), abs=chart.dx)
            assert max(curve, key=lambda point: point[1])[0] == pytest.approx(math.log10(best), abs=0.03)


def test_one_direction_is_told_in_full(play: Opener) -> None:
    played = play(WaterLevel([4.0, 2.0, 1.0, 0.5], latent_dim=2, bars=4))

    def told() -> str:
        text: str = played.page.locator("p[data-row=unit]").inner_text()
        return text

    assert "λ = 4.000" in told()
    assert f"{0.5 * math.log(4):.3f} nats" in told()
    assert "‖w‖² = λ − σ² = 3.000" in told()
    assert "σ²/λ = 0.250" in told()
    played.set(variance=0.7, unit=3)
    assert "no latent is left" in told()
    played.set(unit=4)
    assert "Under water" in told()
    played.set(variance=5.0, unit=1)
    assert "q is the prior" in told()
    assert "All land is under water" in played.root.inner_text()


# --- How it is moved -------------------------------------------------------------------------------------


def grip(played: Played, mark: str) -> tuple[float, float]:
    box = played.page.locator(f"[data-mark={mark}] .vw-grip").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_mouse_drags_the_water_on_both_axes(play: Opener) -> None:
    played = play(WaterLevel(EIGENVALUES))
    start = grip(played, "level-handle")
    played.drag("level-handle", 0, 40)
    assert grip(played, "level-handle")[1] == pytest.approx(start[1] + 40, abs=0.6)
    assert played.get("variance") < 0.2
    played.drag("here", 30, 0)
    assert played.get("variance") > 0.2
    played.drag("unit", 200, 0)
    assert played.get("unit") > 5
    played.set(axis="linear", variance=1.0)
    start = grip(played, "level-handle")
    # To the roof and beyond: the axis waits until the hand lets go, so the water cannot run away.
    roof = 1.15 * EIGENVALUES[0].item()
    played.drag("level-handle", 0, -400)
    assert played.get("variance") == pytest.approx(roof, rel=5e-3)  # three digits


def test_keys_step_the_water_and_the_direction(play: Opener) -> None:
    played = play(WaterLevel(EIGENVALUES))
    handle = played.page.locator("[data-mark=level-handle]")
    handle.focus()
    played.page.keyboard.press("ArrowUp")
    assert played.get("variance") == pytest.approx(1.12)
    played.settle()
    assert handle.get_attribute("aria-valuetext") == "σ² = 1.120"
    played.page.keyboard.press("End")
    assert played.get("variance") == 1000
    played.page.keyboard.press("Home")
    assert played.get("variance") == 0.001
    played.page.locator("[data-mark=unit]").focus()
    played.page.keyboard.press("ArrowRight")
    assert played.get("unit") == 2
    played.page.locator(".vw-slider input").nth(1).focus()
    played.page.keyboard.press("ArrowRight")
    assert played.get("latent_dim") == 25


def test_finger_lowers_the_water(play: Opener) -> None:
    played = play(WaterLevel(EIGENVALUES), size="phone", touch=True)
    x, y = grip(played, "level-handle")
    # Within a finger's reach of the handle.
    played.page.touchscreen.tap(x, y + 18)
    played.settle()
    assert 0.2 < played.get("variance") < 0.7
    assert grip(played, "level-handle")[1] == pytest.approx(y + 18, abs=0.6)


def test_buttons_set_the_levels_that_losses_assume_and_the_best_one(play: Opener) -> None:
    played = play(WaterLevel(EIGENVALUES, variance=7.0))
    played.page.get_by_role("button", name="half the summed squared error").click()
    assert played.get("variance") == 1
    played.page.get_by_role("button", name="mean over pixels: σ² = 30").click()
    assert played.get("variance") == 30
    played.page.get_by_role("button", name="best for J = 20").click()
    assert played.get("variance") == pytest.approx(linear.best_variance(EIGENVALUES, 20).item())
    # With a latent for every direction the evidence grows without end as the water falls.
    played.set(latent_dim=60)
    assert played.page.get_by_role("button", name="no best σ²").is_disabled()


def test_link_brings_back_what_was_seen_and_reset_the_start(play: Opener) -> None:
    widget = WaterLevel(EIGENVALUES)
    widget.variance, widget.latent_dim, widget.axis, widget.unit = 0.25, 5, "linear", 3
    names = ("variance", "latent_dim", "unit", "bars", "axis")
    played = play(WaterLevel(EIGENVALUES), fragment=widget.link)
    assert [played.get(name) for name in names] == [0.25, 5, 3, 40, "linear"]
    assert said(played, "active") == 5
    played.page.locator("[data-mark=unit]").focus()
    played.page.keyboard.press("ArrowRight")
    played.page.wait_for_function("location.hash.includes('unit=4')")
    played.page.get_by_role("button", name="Reset").click()
    assert [played.get(name) for name in names] == [1, 20, 1, 40, "log"]


def test_link_cannot_ask_for_what_is_not_allowed(play: Opener) -> None:
    played = play(WaterLevel(EIGENVALUES), fragment="#water-level?variance=0")
    names = ("variance", "latent_dim", "unit", "bars", "axis")
    for asked in (
        "variance=-1",
        "variance=NaN",
        "variance=1e9",
        "latent_dim=0",
        "latent_dim=2.5",
        "axis=x",
        "bars=",
    ):
        played.page.evaluate("text => location.hash = 'water-level?' + text", asked)
        played.settle()
        assert [played.get(name) for name in names] == [1, 20, 1, 40, "log"], asked
    # Larger than there are directions is allowed, and means all of them.
    played.page.evaluate("location.hash = 'water-level?latent_dim=9999&bars=9999&unit=9999&variance=0.01'")
    played.settle()
    assert said(played, "active") == linear.active_units(EIGENVALUES, 0.01)
    assert "Direction 60:" in played.root.inner_text()
    assert played.complaints == []


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("phone", "dark")])
def test_widget_is_accessible_and_fits(play: Opener, size: str, scheme: str) -> None:
    played = play(WaterLevel(spectrum(784, seed=5, zeros=60), bars=20), size=size, scheme=scheme)
    for variance, latents, axis in ((1.0, 20, "log"), (1000.0, 784, "linear"), (0.001, 1, "log")):
        played.set(variance=variance, latent_dim=latents, axis=axis)
        assert played.width() <= {"desktop": 1280, "phone": 390}[size]
        assert played.violations() == []
    assert played.complaints == []


@pytest.mark.parametrize(
    ("eigenvalues", "message"),
    [
        ([1.0], "two or more"),
        ([[1.0, 2.0]], "two or more"),
        ([2.0, -1.0], "never negative"),
        ([0.0, 0.0], "not all are 0"),
        ([math.inf, 1.0], "finite"),
        ([2.0, math.nan], "finite"),
        ([1.0, 2.0], "largest first"),
    ],
)
def test_list_that_no_covariance_has_is_refused(eigenvalues: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WaterLevel(eigenvalues)


@pytest.mark.parametrize(
    "nonsense", [{"variance": 0}, {"variance": 1e4}, {"latent_dim": 0}, {"axis": "square"}]
)
def test_nonsense_is_refused(nonsense: dict[str, object]) -> None:
    with pytest.raises(TraitError):
        WaterLevel([2.0, 1.0], **nonsense)
