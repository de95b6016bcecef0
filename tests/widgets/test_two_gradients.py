"""The two gradients: variances against quadrature, histograms against the draws, and the controls."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sympy as sp
import traitlets
from numpy.typing import NDArray
from scipy import integrate, stats
from sympy.parsing import sympy_parser

from tests.widgets.conftest import Opener, Played
from tests.widgets.drawn import Chart
from tests.widgets.printed import says
from vaelib.symbolic import gradients
from vaelib.symbolic.gradients import mu, omega, sigma
from vaelib.widgets import TwoGradients

Array = NDArray[np.float64]
BINS = 81
WAVE = {"f": "wave", "frequency": 5.0, "mean": 0.0, "deviation": 1.0}


def value(f: str, z: Any, frequency: float, maths: Any = np) -> Any:
    if f == "wave":
        return maths.cos(frequency * z)
    return z**2 + (maths.sin(z) if f == "sine" else 0)


def slope(f: str, z: Any, frequency: float, maths: Any = np) -> Any:
    if f == "wave":
        return -frequency * maths.sin(frequency * z)
    return 2 * z + (maths.cos(z) if f == "sine" else 0)


def mean(g: Callable[[float], float]) -> float:
    """The mean over standard normal noise, by adaptive quadrature."""
    found, _ = integrate.quad(
        lambda e: g(e) * math.exp(-e * e / 2), -12, 12, epsabs=1e-11, epsrel=1e-10, limit=500, points=[0]
    )
    return float(found / math.sqrt(2 * math.pi))


def known(f: str, frequency: float, mean_: float, deviation: float, baseline: str) -> dict[str, float]:
    """The gradient, the constant, and the variance of one draw of each estimator."""

    def at(e: float) -> float:
        return float(value(f, mean_ + deviation * e, frequency, math))

    def steep(e: float) -> float:
        return float(slope(f, mean_ + deviation * e, frequency, math))

    c = {"none": lambda: 0.0, "mean": lambda: mean(at), "best": lambda: mean(lambda e: at(e) * e * e)}[
        baseline
    ]()
    gradient = mean(steep)
    return {
        "gradient": gradient,
        "baseline": c,
        "score": mean(lambda e: ((at(e) - c) * e / deviation - gradient) ** 2),
        "pathwise": mean(lambda e: (steep(e) - gradient) ** 2),
    }


def settings(count: int, seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {
            "f": str(rng.choice(["square", "sine", "wave"])),
            "frequency": round(float(rng.uniform(0.2, 6)), 2),
            "mean": round(float(rng.uniform(-3, 3)), 2),
            "deviation": round(float(rng.uniform(0.05, 2)), 2),
            "baseline": str(rng.choice(["none", "mean", "best"])),
        }
        for _ in range(count)
    ]


EDGES: list[dict[str, Any]] = [
    {"f": "square", "mean": 3.0, "deviation": 0.05, "baseline": "none"},
    {"f": "square", "mean": 0.0, "deviation": 0.05, "baseline": "best"},
    {"f": "sine", "mean": -3.0, "deviation": 2.0, "baseline": "mean"},
    {"f": "wave", "frequency": 0.2, "mean": 0.0, "deviation": 0.05, "baseline": "none"},
    {"f": "wave", "frequency": 6.0, "mean": 3.0, "deviation": 2.0, "baseline": "best"},
    {**WAVE, "baseline": "none"},
]


def test_exact_variances_are_those_of_quadrature(play: Opener) -> None:
    played = play(TwoGradients())
    for setting in [*settings(100, seed=1), *({"frequency": 5.0, **edge} for edge in EDGES)]:
        found = played.call("exact", setting)
        wanted = known(*(setting[name] for name in ("f", "frequency", "mean", "deviation", "baseline")))
        for name, number in wanted.items():
            # The quadrature promises 1e-11 of the largest integral, here up to 1e5.
            assert found[name] == pytest.approx(number, rel=1e-8, abs=1e-9), (setting, name)


def test_formulas_said_are_those_that_sympy_finds(play: Opener) -> None:
    played = play(TwoGradients())
    c = sp.Symbol("c", real=True)
    rules = (*sympy_parser.standard_transformations, sympy_parser.implicit_multiplication)

    def parsed(words: str) -> sp.Expr:
        plain = words.replace("−", "-").replace("²", "**2 ").replace("⁴", "**4 ")
        for letter, name in {"μ": "mu ", "σ": "sigma ", "ω": "omega "}.items():
            plain = plain.replace(letter, f" {name}")
        names = {"mu": mu, "sigma": sigma, "omega": omega, "exp": sp.exp}
        plain = re.sub(r"\s+\*\*", "**", plain)
        return sympy_parser.parse_expr(plain, local_dict=names, transformations=rules)

    def same(words: str, estimator: sp.Expr) -> bool:
        return sp.simplify(parsed(words) - gradients.moments(estimator).variance) == 0

    constants = {"none": 0, "mean": mu**2 + sigma**2, "best": mu**2 + 3 * sigma**2}
    draw = gradients.score_estimator(lambda z: z**2 - c)
    for baseline, constant in constants.items():
        said = played.call("formulas", {"f": "square", "mean": 1, "baseline": baseline})
        assert same(said["score"], draw.subs(c, constant)), baseline
        assert same(said["pathwise"], gradients.pathwise_estimator(lambda z: z**2))
    said = played.call("formulas", {"f": "wave", "mean": 0, "baseline": "none"})
    assert same(said["score"], gradients.score_estimator(lambda z: sp.cos(omega * z)).subs(mu, 0))
    assert same(said["pathwise"], gradients.pathwise_estimator(lambda z: sp.cos(omega * z)).subs(mu, 0))


def test_noise_is_standard_normal_and_each_seed_has_its_own(play: Opener) -> None:
    played = play(TwoGradients())
    noises = [np.array(played.call("noiseOf", seed)) for seed in (0, 1, 2, 9999)]
    for noise in noises:
        assert len(noise) == 20_000
        # Seeds are fixed: a level so strict is failed by a wrong law, not by chance.
        assert stats.kstest(noise, "norm").pvalue > 1e-3
        assert abs(np.corrcoef(noise[:-1], noise[1:])[0, 1]) < 4.5 / math.sqrt(20_000)
    assert abs(np.corrcoef(noises[0], noises[1])[0, 1]) < 4.5 / math.sqrt(20_000)


def test_draws_have_the_gradient_as_mean_and_the_formulas_variance(play: Opener) -> None:
    played = play(TwoGradients())
    noise = played.call("noiseOf", 7)
    for f, deviation, baseline in (("square", 0.1, "none"), ("sine", 1.5, "mean"), ("wave", 1.0, "best")):
        setting = {"f": f, "frequency": 5.0, "mean": 0.7, "deviation": deviation, "baseline": baseline}
        exact = played.call("exact", setting)
        for kind, draws in played.call("draws", setting, exact["baseline"], noise).items():
            found = np.array(draws)
            # Fourth moments exist, and 4.5 standard errors of draws that are fixed are no matter of luck.
            error = found.std() / math.sqrt(len(found))
            assert abs(found.mean() - exact["gradient"]) < 4.5 * error, (setting, kind)
            scatter = ((found - found.mean()) ** 2).std() / math.sqrt(len(found))
            assert abs(found.var() - exact[kind]) < 4.5 * scatter, (setting, kind)


def by_numpy(noise: Array, kind: str, setting: dict[str, Any], c: float) -> Array:
    """The estimates that a histogram is made of, from the same noise."""
    z = setting["mean"] + setting["deviation"] * noise[: setting["draws"]]
    if kind == "score":
        score = (z - setting["mean"]) / setting["deviation"] ** 2
        draws = (value(setting["f"], z, setting["frequency"]) - c) * score
    else:
        draws = slope(setting["f"], z, setting["frequency"])
    size = setting["per_estimate"]
    whole = len(draws) // size * size
    return np.asarray(draws[:whole].reshape(-1, size).mean(1))


def check_histogram(played: Played, index: int, found: Array, exact: dict[str, float], kind: str) -> None:
    chart = Chart(played, 1 + index)
    alone = max(exact[name] for name in ("score", "alone", "pathwise"))
    low, high = (exact["gradient"] + side * 4 * math.sqrt(alone) for side in (-1, 1))
    counts, edges = np.histogram(found, BINS, (low, high))
    bars = np.array([chart.bar(f"bin-{k + 1}") for k in range(BINS)])
    assert len(chart.marks("bin-")) == BINS
    assert np.abs(bars[:, 0, 0] - edges[:-1]).max() <= 2 * chart.dx
    assert np.abs(bars[:, 1, 0] - edges[1:]).max() <= 2 * chart.dx
    heights = bars[:, 1, 1] - bars[:, 0, 1]
    assert np.abs(heights - counts).max() <= 2 * chart.dy, kind
    below, above = int((found < low).sum()), int((found >= high).sum())
    head = played.page.locator(".vw-head").nth(1 + index).locator("> span").nth(1).inner_text()
    sides = {side: int(n.replace(",", "")) for n, side in re.findall(r"([\d,]+) (left|right)", head)}
    assert sides == {side: n for side, n in (("left", below), ("right", above)) if n}
    assert head.startswith(f"{len(found):,} estimate")
    if chart.dy < 0.2:
        assert np.rint(heights).sum() + below + above == len(found)
    # The line is the gradient, the band a deviation to both sides, the dot the mean with its standard error.
    assert abs(chart.line("true")[0][0] - exact["gradient"]) <= 2 * chart.dx
    reach = math.sqrt(exact[kind] / exact["size"])
    for (end, _), side in zip(chart.bar("band"), (-1, 1), strict=True):
        assert abs(end - np.clip(exact["gradient"] + side * reach, low, high)) <= 2 * chart.dx
    if len(found) > 1 and abs(found.mean() - exact["gradient"]) < high - exact["gradient"]:
        assert abs(chart.x(float(chart.attribute("mean", "cx"))) - found.mean()) <= 2 * chart.dx
        error = found.std(ddof=1) / math.sqrt(len(found))
        for (end, _), side in zip(chart.line("error"), (-1, 1), strict=True):
            assert abs(end - np.clip(found.mean() + side * error, low, high)) <= 2 * chart.dx


def test_page_shows_what_its_draws_are(play: Opener) -> None:
    played = play(TwoGradients())
    rng = np.random.default_rng(3)
    noises = {seed: np.array(played.call("noiseOf", seed)) for seed in (0, 9999)}
    taken = [(20_000, 1), (1, 1), (3, 2), (999, 7), (20_000, 100), (2, 1)]
    taken += [(int(rng.integers(2, 20_000)), int(rng.choice([1, 2, 5, 10, 100]))) for _ in range(14)]
    for k, (base, (draws, size)) in enumerate(zip([*EDGES, *settings(14, seed=4)], taken, strict=True)):
        case = {"frequency": 5.0, **base, "draws": draws, "per_estimate": size, "seed": 9999 * (k % 2)}
        played.set(**case)
        noise = noises[case["seed"]]
        names = ("f", "frequency", "mean", "deviation", "baseline")
        exact = known(*(case[name] for name in names))
        exact["alone"] = known(*(case[name] for name in names[:-1]), "none")["score"]
        exact["size"] = case["per_estimate"]
        rows = [
            row.split("\t")[1:] for row in played.page.locator(".vw-numbers tbody").inner_text().splitlines()
        ]
        assert len(rows) == 5
        for index, kind in enumerate(("score", "pathwise")):
            found = by_numpy(noise, kind, case, exact["baseline"])
            check_histogram(played, index, found, exact, kind)
            true, mean_said, variance_said, divided, whole = (row[index] for row in rows)
            assert says(true, exact["gradient"])
            assert says(divided, exact[kind] / case["per_estimate"])
            assert says(whole.rsplit(" = ", 1)[1], exact[kind])
            if len(found) < 2:
                assert variance_said == "–"
                assert says(mean_said, found[0]) if len(found) else mean_said == "–"
                continue
            error = math.sqrt(found.var(ddof=1) / len(found))
            for words, wanted in zip(mean_said.split(" ± "), (found.mean(), error), strict=True):
                assert says(words, wanted), (case, kind)
            variance = found.var(ddof=1)
            fourth = ((found - found.mean()) ** 4).mean()
            error = math.sqrt(max(0, fourth - variance**2) / len(found))
            for words, wanted in zip(variance_said.split(" ± "), (variance, error), strict=True):
                assert says(words, wanted), (case, kind)
        ratio = exact["score"] / exact["pathwise"]
        loser = "score function" if ratio > 1 else "path"
        verdict = played.page.locator(".vw-numbers + p").inner_text()
        match = re.fullmatch(
            r"For the same error the (.+) needs ([\d.,]+) times as many draws as the .+\.", verdict
        )
        assert match, verdict
        assert match[1] == loser
        assert says(match[2], max(ratio, 1 / ratio))
        assert "NaN" not in played.root.inner_text()
    assert played.complaints == []


def test_scene_shows_f_and_the_latest_draw(play: Opener) -> None:
    played = play(TwoGradients())
    for case in (
        {"f": "square", "mean": 0.5, "draws": 3},
        {"f": "sine", "mean": -0.4, "baseline": "best"},
        WAVE,
    ):
        case = {"frequency": 5.0, "deviation": 0.8, "seed": 5, "draws": 17, "baseline": "none", **case}
        played.set(**case)
        chart = Chart(played, 0)
        xs, ys = np.array(chart.path("f")).T
        wanted = value(case["f"], xs, case["frequency"])
        steepest = np.abs(slope(case["f"], xs, case["frequency"])).max()
        assert np.abs(ys - wanted).max() <= 2 * (chart.dy + steepest * chart.dx)
        noise = played.call("noiseOf", 5)[case["draws"] - 1]
        z = case["mean"] + case["deviation"] * noise
        height = float(value(case["f"], z, case["frequency"]))
        assert abs(chart.x(float(chart.attribute("draw", "cx"))) - z) <= 2 * chart.dx
        assert abs(chart.y(float(chart.attribute("draw", "cy"))) - height) <= 2 * chart.dy
        c = known(case["f"], case["frequency"], case["mean"], case["deviation"], case["baseline"])["baseline"]
        # The score function sees how high f is above the baseline, the path how steep.
        (_, foot), (_, head) = chart.line("height")
        assert abs(foot - c) <= 2 * chart.dy
        assert abs(head - height) <= 2 * chart.dy
        (x1, y1), (x2, y2) = chart.line("slope")
        rise = float(slope(case["f"], z, case["frequency"]))
        assert (y2 - y1) / (x2 - x1) == pytest.approx(rise, rel=0.02, abs=0.02)
        said = played.page.locator(".vw-row .vw-quiet").first.inner_text().splitlines()
        assert says(said[1].rsplit(" = ", 1)[1], (height - c) * noise / case["deviation"])
        assert says(said[2].rsplit(" = ", 1)[1], float(slope(case["f"], z, case["frequency"])))


def test_histograms_grow_and_shrink_with_the_slider(play: Opener) -> None:
    played = play(TwoGradients(), fragment="#two-gradients?draws=1")
    slider = played.page.get_by_label("draws taken")
    slider.focus()
    seen = []
    for key in ["ArrowRight"] * 4 + ["End", "Home", "ArrowRight"]:
        played.page.keyboard.press(key)
        played.settle()
        seen.append(played.get("draws"))
        chart = Chart(played, 2)
        total = sum(chart.bar(mark)[1][1] for mark in chart.marks("bin-"))
        head = played.page.locator(".vw-head").nth(2).inner_text()
        outside = sum(int(n.replace(",", "")) for n in re.findall(r"([\d,]+) (?:left|right)", head))
        assert total + outside == pytest.approx(seen[-1], rel=2e-3)
    assert seen == [2, 3, 4, 5, 20_000, 1, 2]
    assert slider.get_attribute("aria-valuetext") == "2 draws"


def test_handles_move_q_by_mouse_keys_and_finger(play: Opener) -> None:
    played = play(TwoGradients())
    handles = {
        name: played.page.get_by_role("slider", name=f"{name} of q") for name in ("Mean μ", "Deviation σ")
    }
    unit = 1 / Chart(played, 0).per_pixel
    for name, trait in (("Mean μ", "mean"), ("Deviation σ", "deviation")):
        before = played.get(trait)
        box = handles[name].locator(".vw-grip").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        played.page.mouse.move(x, y)
        played.page.mouse.down()
        played.page.mouse.move(x - 0.6 * unit, y)
        played.page.mouse.up()
        played.settle()
        # A pixel is about 0.03.
        assert played.get(trait) == pytest.approx(before - 0.6, abs=0.04)
        now = played.get(trait)
        handles[name].press("ArrowRight")
        assert played.get(trait) == pytest.approx(now + 0.05)
        handles[name].press("Home")
    assert played.get("deviation") == 0.05
    assert played.get("mean") == -3


def test_finger_moves_q_and_the_sliders(play: Opener) -> None:
    played = play(TwoGradients(), size="phone", touch=True)
    played.finger(".vw-handle[aria-label^=Mean] .vw-grip", 40)
    assert played.get("mean") == pytest.approx(1 + 40 * Chart(played, 0).per_pixel, abs=0.05)
    slider = played.page.get_by_label("deviation σ", exact=True)
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    played.page.touchscreen.tap(box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2)
    assert played.get("deviation") > 1.6


def test_link_brings_back_what_was_seen_and_reset_undoes_it(play: Opener) -> None:
    widget = TwoGradients()
    first = dict(widget._initial)
    asked = {**WAVE, "baseline": "best", "draws": 1234, "per_estimate": 7, "seed": 42}
    for name, wanted in asked.items():
        setattr(widget, name, wanted)
    link = "#two-gradients?baseline=best&draws=1234&f=wave&mean=0&per_estimate=7&seed=42"
    assert widget.link == link
    played = play(TwoGradients(), fragment=link)
    assert {name: played.get(name) for name in asked} == asked
    played.page.get_by_role("button", name="Reset").click()
    assert {name: played.get(name) for name in first} == first
    played.page.get_by_role("button", name="cos 5z").click()
    assert {name: played.get(name) for name in WAVE} == WAVE
    played.page.get_by_role("button", name="New draws").click()
    assert played.get("seed") == 1
    played.settle()
    assert "as many draws as the score function" in played.root.inner_text()


def test_hostile_links_change_nothing(play: Opener) -> None:
    queries = [
        "draws=0&draws=20001&draws=3.5&draws=1e3&per_estimate=0&per_estimate=101",
        "mean=NaN&mean=-3.1&deviation=0&deviation=-1&deviation=Infinity&frequency=0",
        "f=cube&f=__proto__&baseline=<script>alert(1)</script>&seed=-1&seed=%E0%A4%A&bins=3",
    ]
    played = play(TwoGradients(), fragment=f"#two-gradients?{queries[0]}")
    first = TwoGradients()._initial
    for query in queries:
        played.page.evaluate("query => location.hash = `two-gradients?${query}`", query)
        played.settle()
        assert {name: played.get(name) for name in first} == first
    assert played.complaints == []


def test_play_lets_the_histograms_grow_until_paused(play: Opener) -> None:
    played = play(TwoGradients(), fragment="#two-gradients?draws=1")
    played.page.wait_for_timeout(300)
    assert played.get("draws") == 1  # nothing moves by itself
    played.page.get_by_role("button", name="Play").click()
    played.page.wait_for_function(
        "() => document.querySelector('.widget-host').vaebook.model.get('draws') > 2"
    )
    played.page.get_by_role("button", name="Pause").click()
    reached = played.get("draws")
    played.page.wait_for_timeout(300)
    assert played.get("draws") == reached < 20_000
    assert played.page.get_by_role("button", name="Play").count() == 1


def test_play_jumps_to_the_end_for_who_wants_it_calm(play: Opener) -> None:
    played = play(TwoGradients(), calm=True)
    played.page.get_by_role("button", name="Play").click()
    assert played.get("draws") == 20_000


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("phone", "dark")])
def test_two_gradients_are_accessible_and_fit(play: Opener, size: str, scheme: str) -> None:
    played = play(TwoGradients(), size=size, scheme=scheme)
    for state in ({}, {**WAVE, "baseline": "best", "per_estimate": 20, "draws": 7}):
        played.set(**state)
        assert played.violations() == []
        assert played.width() <= {"desktop": 1280, "phone": 390}[size]
    assert played.complaints == []


@pytest.mark.parametrize(
    "nonsense",
    [{"f": "cube"}, {"deviation": 0.0}, {"mean": math.inf}, {"draws": 0}, {"draws": 2.5},
     {"per_estimate": 101}, {"baseline": "zero"}, {"seed": -1}, {"frequency": math.nan}],
)  # fmt: skip
def test_python_refuses_nonsense(nonsense: dict[str, Any]) -> None:
    with pytest.raises(traitlets.TraitError):
        TwoGradients(**nonsense)
