"""Bayes: prior times likelihood over evidence, and the rectangles by which the evidence is computed."""

from __future__ import annotations

import html
import math
import random
import re
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import traitlets

from tests.widgets.conftest import Opener, Played
from tests.widgets.drawn import Chart, number
from vaelib.symbolic import bayes
from vaelib.widgets import Bayes

BOOK = Path(__file__).resolve().parents[2] / "book"
State = dict[str, Any]
FIRST = {"decoder": "straight", "x": 1.0, "mean": 0.0, "deviation": 1.0, "noise": 0.5, "points": 10}
EDGES = [
    FIRST | {"x": 3.0, "mean": -1.5, "deviation": 0.3, "noise": 0.1, "points": 300},  # p(x) near 1e-45
    FIRST | {"x": -3.0, "mean": 1.5, "deviation": 3.0, "noise": 1.5, "points": 1},
    FIRST | {"decoder": "squares", "x": 3.0, "mean": 1.5, "deviation": 0.3, "noise": 0.1, "points": 2},
    FIRST | {"decoder": "squares", "x": -3.0, "mean": -1.5, "deviation": 0.3, "noise": 0.1, "points": 300},
    FIRST | {"decoder": "squares", "x": 0.0, "mean": 0.0, "deviation": 3.0, "noise": 1.5, "points": 40},
    FIRST | {"decoder": "squares", "points": 20},
]


def inputs(count: int, seed: int) -> list[State]:
    rng = random.Random(seed)
    return [
        {
            "decoder": rng.choice(["straight", "squares"]),
            "x": round(rng.uniform(-3, 3), 3),
            "mean": round(rng.uniform(-1.5, 1.5), 3),
            "deviation": round(rng.uniform(0.3, 3), 3),
            "noise": round(math.exp(rng.uniform(math.log(0.1), math.log(1.5))), 3),
            "points": rng.randint(1, 300),
        }
        for _ in range(count)
    ]


def log_normal(x: Any, mean: Any, deviation: float) -> Any:
    return -0.5 * ((x - mean) / deviation) ** 2 - math.log(deviation * math.sqrt(2 * math.pi))


def log_joint(z: Any, at: State) -> Any:
    made = np.square(z) if at["decoder"] == "squares" else z
    return log_normal(at["x"], made, at["noise"]) + log_normal(z, at["mean"], at["deviation"])


def panels(low: float, high: float, count: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Places and weights of Gauss and Legendre's rule with 20 points in each of many panels."""
    nodes, weights = np.polynomial.legendre.leggauss(20)
    half = (high - low) / count / 2
    middles = low + half * (2 * np.arange(count) + 1)
    return (middles[:, None] + half * nodes).ravel(), np.tile(half * weights, count)


def solved(at: State) -> tuple[float, float, float]:
    """log p(x), and the posterior's mean and deviation."""
    z, weights = panels(-25, 25)
    logs = log_joint(z, at)
    masses = weights * np.exp(logs - logs.max())
    area = masses.sum()
    mean = (masses * z).sum() / area
    return math.log(area) + logs.max(), mean, math.sqrt((masses * (z - mean) ** 2).sum() / area)


def by_rectangles(at: State) -> float:
    """The grid of the page, a distance of 6 deviations to either side of the prior's mean: its log-sum."""
    h = 12 * at["deviation"] / at["points"]
    middles = at["mean"] - 6 * at["deviation"] + h * (np.arange(at["points"]) + 0.5)
    return float(np.logaddexp.reduce(log_joint(middles, at)) + math.log(h))


def asked(at: State) -> State:
    return {name: at[name] for name in ("x", "mean", "deviation", "noise")}


def test_evidence_and_posterior_are_those_of_quadrature(play: Opener) -> None:
    played = play(Bayes())
    for at in inputs(100, seed=1) + EDGES:
        found = played.call("solve", at["decoder"], asked(at))
        # The oracle's own tolerance.
        assert list(found.values()) == pytest.approx(solved(at), rel=1e-8, abs=1e-8), at


def test_straight_decoder_has_the_closed_forms_of_the_page(play: Opener) -> None:
    played = play(Bayes())
    for at in inputs(20, seed=2):
        at = at | {"decoder": "straight"}
        found = played.call("solve", "straight", asked(at))
        values = [at[name] for name in ("x", "mean", "deviation", "noise")]
        mean, variance = bayes.posterior_moments(*values)
        assert found["mean"] == pytest.approx(mean, abs=1e-12)
        assert found["deviation"] ** 2 == pytest.approx(variance, abs=1e-12)
        assert found["logEvidence"] == pytest.approx(math.log(bayes.evidence_closed_form(*values)), abs=1e-9)


def test_rectangles_are_the_grid_of_the_page(play: Opener) -> None:
    played = play(Bayes())
    for at in inputs(100, seed=3) + EDGES:
        found = played.call("rectangles", at["decoder"], asked(at), at["points"])
        # Sums of a few hundred terms, in double precision.
        assert found["logSum"] == pytest.approx(by_rectangles(at), rel=1e-11, abs=1e-11)
        assert len(found["heights"]) == at["points"]
        total = found["width"] * math.fsum(found["heights"])
        assert total == pytest.approx(math.exp(by_rectangles(at)), rel=1e-9, abs=1e-300)
    for points, x, noise in ((10, 1.0, 0.5), (25, -2.0, 0.1)):
        at = FIRST | {"points": points, "x": x, "noise": noise}
        found = played.call("rectangles", "straight", asked(at), points)
        page = bayes.grid_evidence(points, sigma=noise, x=x)
        assert math.exp(found["logSum"]) == pytest.approx(page, rel=1e-12)


def test_likelihood_has_an_area_that_need_not_be_one(play: Opener) -> None:
    played = play(Bayes())
    z, weights = panels(-15, 15)
    for at in inputs(30, seed=4):
        made = np.square(z) if at["decoder"] == "squares" else z
        wanted = (weights * np.exp(log_normal(at["x"], made, at["noise"]))).sum()
        if at["decoder"] == "straight":
            assert wanted == pytest.approx(1, abs=1e-12)  # as the widget says
        else:
            assert played.call("likelihoodArea", "squares", asked(at)) == pytest.approx(wanted, abs=1e-9)


def test_small_numbers_are_spelled(play: Opener) -> None:
    played = play(Bayes())
    for value, words in {
        math.log(0.2392): "0.2392",
        0.0: "1.0000",
        math.log(1.234e-12): "1.2 × 10⁻¹²",
        -1000.0: "5.1 × 10⁻⁴³⁵",
        math.log(1.001e-5): "1.0 × 10⁻⁵",
        math.log(9.99e-5): "1.0 × 10⁻⁴",
        math.log(9.94e-5): "9.9 × 10⁻⁵",
    }.items():
        assert played.call("spelled", value) == words


# --- what is seen ----------------------------------------------------------------------------------------


def spelled(words: str) -> float:
    """The logarithm of a number as the widget spells it."""
    value, _, power = words.partition(" × 10")
    power = power.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
    return math.log(number(value)) + (int(power) if power else 0) * math.log(10)


def cells(played: Played) -> list[list[str]]:
    rows: list[list[str]] = played.page.locator("tr").evaluate_all(
        "rows => rows.slice(1).map(row => [...row.querySelectorAll('td')].map(cell => cell.textContent))"
    )
    return rows


def test_what_is_drawn_and_said_is_what_quadrature_gives(play: Opener) -> None:
    played = play(Bayes())
    for at in inputs(14, seed=5) + EDGES:
        played.set(**at)
        log_evidence, mean, deviation = solved(at)
        log_sum = by_rectangles(at)

        exact, grid, off = cells(played)
        # Four decimals, or two digits of what is smaller.
        assert spelled(exact[0]) == pytest.approx(log_evidence, abs=0.052)
        assert spelled(grid[0]) == pytest.approx(log_sum, abs=0.052)
        logs = [number(row[1].removesuffix(" nats").lstrip("+")) for row in (exact, grid, off)]
        assert logs == pytest.approx([log_evidence, log_sum, log_sum - log_evidence], abs=0.00051)
        percent = 100 * math.expm1(log_sum - log_evidence)
        if percent > 9999:
            assert off[0] == "> +9999 %"
        else:
            assert number(off[0].removesuffix(" %").lstrip("+")) == pytest.approx(percent, abs=0.0051)
        words = played.page.locator(".vw-quiet").last.text_content()
        said = [number(n) for n in re.findall(r"[−\d.]+\d", words)]
        assert said == pytest.approx([mean, deviation], abs=0.00051)

        z, weights = panels(-15, 15)
        made = z**2 if at["decoder"] == "squares" else z
        area = (weights * np.exp(log_normal(at["x"], made, at["noise"]))).sum()
        body = played.page.locator(".vw-body").text_content()
        assert float(re.search(r"its area: ([\d.]+)", body)[1]) == pytest.approx(area, abs=0.0051)

        before, explains, product, after = (Chart(played, index) for index in range(4))
        density = lambda z: np.exp(log_normal(z, at["mean"], at["deviation"]))  # noqa: E731, B023
        lift = 0.0
        if power := re.search(r"drawn 10(\S+) times", body):
            lift = int(power[1].translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789"))) * math.log(10)
        for chart, mark, curve in (
            (before, "prior", density),
            (after, "prior", density),
            (explains, "likelihood", lambda z: np.exp(log_joint(z, at)) / density(z) if density(z) else None),  # noqa: B023
            (product, "product", lambda z: np.exp(log_joint(z, at) + lift)),  # noqa: B023
            (after, "posterior", lambda z: np.exp(log_joint(z, at) - log_evidence)),  # noqa: B023
        ):
            for z, height in chart.path(mark)[::29]:
                near = [curve(z + step) for step in (-chart.dx, 0, chart.dx)]
                if None not in near:
                    assert min(near) - chart.dy <= height <= max(near) + chart.dy, (mark, z, at)
        # The area under the drawn product, and that of the drawn rectangles where all of them are in view.
        z, height = np.array(product.path("product")).T
        inside = NormalDist(mean, deviation).cdf(5) - NormalDist(mean, deviation).cdf(-5)
        if inside > 0.9999 and deviation > 0.05:
            assert np.trapezoid(height, z) == pytest.approx(math.exp(log_evidence + lift), rel=0.01)
        corners = product.path("rectangles")
        heights = [corners[k + 1][1] for k in range(0, len(corners), 4)]
        widths = [corners[k + 2][0] - corners[k + 1][0] for k in range(0, len(corners), 4)]
        step = 12 * at["deviation"] / at["points"]
        middles = at["mean"] - 6 * at["deviation"] + step * (np.arange(at["points"]) + 0.5)
        shown = [m for m in middles if m + step / 2 > -5 and m - step / 2 < 5]
        assert len(heights) == len(shown)
        assert heights == pytest.approx(np.exp(log_joint(np.array(shown), at) + lift), abs=product.dy)
        edges = [np.clip(np.array(shown) + shift, -5, 5) for shift in (step / 2, -step / 2)]
        assert widths == pytest.approx(edges[0] - edges[1], abs=2 * product.dx)
    assert played.complaints == []


def test_more_rectangles_come_nearer(play: Opener) -> None:
    played = play(Bayes(decoder="squares"))
    errors = []
    for points in (10, 20, 40, 80):
        played.set(points=points)
        errors.append(cells(played)[2][0])
    # The page's own numbers for this model, to two decimals.
    assert errors[:3] == ["−6.99 %", "+3.23 %", "−0.01 %"]
    assert errors[3] == "0.00 %"


def drag(played: Played, name: str, to: float, index: int) -> None:
    chart = Chart(played, index)
    corner = chart.svg.bounding_box()["x"]
    box = played.page.locator(f"g.vw-handle[aria-label='{name}'] .vw-grip").bounding_box()
    played.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    played.page.mouse.down()
    played.page.mouse.move(corner + (to - chart.x(0)) / chart.per_pixel, box["y"], steps=4)
    played.page.mouse.up()
    played.settle()


def test_mouse_drags_prior_data_and_noise(play: Opener) -> None:
    played = play(Bayes())
    drag(played, "Mean of the prior", -0.7, 0)
    assert played.get("mean") == pytest.approx(-0.7, abs=0.02)
    drag(played, "Deviation of the prior", 1.3, 0)
    assert played.get("deviation") == pytest.approx(2.0, abs=0.03)
    drag(played, "Seen x", -2.0, 1)
    assert played.get("x") == pytest.approx(-2.0, abs=0.02)
    drag(played, "Noise", -0.8, 1)
    assert played.get("noise") == pytest.approx(1.2, abs=0.03)
    # Where the decoder squares, a place on the axis of z means the x that it is made into.
    played.set(**FIRST | {"decoder": "squares"})
    drag(played, "Seen x", 1.5, 1)
    assert played.get("x") == pytest.approx(2.25, abs=0.05)
    drag(played, "Noise", math.sqrt(3.25), 1)
    assert played.get("noise") == pytest.approx(1.0, abs=0.1)
    drag(played, "Seen x", -1.0, 1)  # the other hump
    assert played.get("x") == pytest.approx(1.0, abs=0.05)


def test_keyboard_moves_handles_and_sliders(play: Opener) -> None:
    played = play(Bayes())
    played.page.locator("g.vw-handle[aria-label='Seen x']").focus()
    played.page.keyboard.press("ArrowRight")
    played.page.keyboard.press("PageUp")
    assert played.get("x") == pytest.approx(1.11)
    played.page.keyboard.press("End")
    assert played.get("x") == 3
    played.page.locator("g.vw-handle[aria-label='Noise']").focus()
    played.page.keyboard.press("Home")
    assert played.get("noise") == 0.1
    played.page.get_by_label("rectangles").focus()
    played.page.keyboard.press("ArrowRight")
    assert played.get("points") == 11


def test_finger_drags_what_is_seen(play: Opener) -> None:
    played = play(Bayes(), size="phone", touch=True)
    played.finger("[data-mark=x] .vw-grip", -0.6 / Chart(played).per_pixel, 40)
    assert played.get("x") == pytest.approx(0.4, abs=0.03)
    wanted = math.log(bayes.evidence_closed_form(played.get("x"), 0.0, 1.0, 0.5))
    assert spelled(cells(played)[0][0]) == pytest.approx(wanted, abs=0.0005)


def test_link_brings_back_what_was_seen(play: Opener) -> None:
    widget = Bayes()
    widget.decoder, widget.x, widget.noise, widget.points = "squares", 1.44, 0.25, 40
    assert set(widget.link.removeprefix("#bayes?").split("&")) == {
        "decoder=squares", "x=1.44", "noise=0.25", "points=40",
    }  # fmt: skip
    played = play(Bayes(), fragment=widget.link)
    wanted = FIRST | {"decoder": "squares", "x": 1.44, "noise": 0.25, "points": 40}
    assert {name: played.get(name) for name in FIRST} == wanted
    played.set(x=2)
    played.page.wait_for_function("() => location.hash.includes('x=2&') || location.hash.endsWith('x=2')")
    played.page.get_by_role("button", name="Reset").click()
    assert {name: played.get(name) for name in FIRST} == FIRST


def test_nonsense_in_a_link_is_ignored(play: Opener) -> None:
    played = play(Bayes(), fragment="#bayes?decoder=cubes&x=NaN&noise=0&points=0&deviation=-1")
    for query in (
        "",
        "x=3.1",
        "x=%",
        "x=<b>",
        "mean=1e9",
        "points=1.5",
        "points=301",
        "noise=0.09",
        "toString=1",
    ):
        if query:
            played.page.evaluate("query => { location.hash = `bayes?${query}` }", query)
            played.settle()
        assert {name: played.get(name) for name in FIRST} == FIRST, query
    assert played.complaints == []


def test_links_of_the_page_ask_for_what_the_widget_allows(play: Opener) -> None:
    source = (BOOK / "01-bayes.ipynb").read_text(encoding="utf-8")
    links = [html.unescape(link) for link in re.findall(r'href=\\"#(bayes\?[^"\\]*)', source)]
    assert links
    played = play(Bayes())
    for link in links:
        played.page.evaluate("link => { location.hash = link }", link)
        played.settle()
        for pair in link.split("?")[1].split("&"):
            name, value = pair.split("=")
            assert str(played.get(name)).lower() == value, link


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("phone", "dark")])
def test_widget_is_accessible_and_fits(play: Opener, size: str, scheme: str) -> None:
    played = play(Bayes(), size=size, scheme=scheme)
    window = {"desktop": 1280, "phone": 390}[size]
    for at in (FIRST, EDGES[1], EDGES[3]):
        played.set(**at)
        assert played.width() <= window
        for handle in played.page.locator("g.vw-handle .vw-grip").all():
            box = handle.bounding_box()
            assert 0 <= box["x"] <= window - box["width"]
    assert played.violations() == []
    assert played.complaints == []


@pytest.mark.parametrize(
    "values",
    [{"decoder": "cubes"}, {"x": 3.1}, {"noise": 0}, {"deviation": 0.2}, {"points": 0}, {"points": 2.5}],
)
def test_nonsense_from_python_is_refused(values: State) -> None:
    with pytest.raises(traitlets.TraitError):
        Bayes(**values)
