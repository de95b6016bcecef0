"""Two distributions: six distances and their slopes against vaelib and quadrature, and what is drawn."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy import integrate, stats
from torch.distributions import Normal, Uniform, kl_divergence
from traitlets import TraitError

from tests.widgets.conftest import Opener
from tests.widgets.drawn import Chart
from vaelib import divergences
from vaelib.widgets import TwoDistributions

NAMES = ("kl", "reverse", "js", "tv", "w1", "w2")
Pair = tuple[float, float]


def tensor(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.double)


def kinks_of_uniform(d: float, q: float, p: float) -> list[float]:
    return sorted([d - q / 2, d + q / 2, -p / 2, p / 2])


def ways(family: str, d: float, q: float, p: float, power: int) -> float:
    """E |Q_q(u) - Q_p(u)|^k by SciPy, over standard noise t, with the kink as a break."""
    low, high = (-9.0, 9.0) if family == "normal" else (-0.5, 0.5)

    def weight(t: float) -> float:
        return math.exp(-t * t / 2) / math.sqrt(2 * math.pi) if family == "normal" else 1.0

    turn = [-d / (q - p)] if q != p and low < -d / (q - p) < high else []
    value, _ = integrate.quad(
        lambda t: abs(d + (q - p) * t) ** power * weight(t), low, high, points=turn or None, limit=200
    )
    return value


def uniform_shannon(d: float, q: float, p: float) -> float:
    """JS of two uniform distributions, interval by interval from its definition."""
    total = 0.0
    cuts = kinks_of_uniform(d, q, p)
    for low, high in itertools.pairwise(cuts):
        z = (low + high) / 2
        at_q, at_p = (abs(z - d) < q / 2) / q, (abs(z) < p / 2) / p
        for at in (at_q, at_p):
            if at:
                total += (high - low) * at * math.log(2 * at / (at_q + at_p)) / 2
    return total


def oracle(name: str, family: str, d: float, q: float, p: float) -> Pair:
    """Value and slope by code that shares nothing with the widget's: vaelib, autograd and quadrature."""
    apart = tensor(d).requires_grad_()
    at = (apart, 2 * tensor(q).log(), tensor(0), 2 * tensor(p).log())
    if family == "normal" and name in {"kl", "reverse", "tv", "js"}:
        if name == "js":
            # Panels that are short beside the narrower one, and ends where neither has mass.
            low, high = min(d - 14 * q, -14 * p), max(d + 14 * q, 14 * p)
            laws = [Normal(mean, tensor(s)).log_prob for mean, s in ((apart, q), (tensor(0), p))]
            points = int(6 * (high - low) / min(q, p))
            value = divergences.jensen_shannon(*laws, low, high, points=points)
        elif name == "tv":
            value = divergences.gaussian_total_variation(*at)
        else:
            first, second = (at[:2], at[2:]) if name == "kl" else (at[2:], at[:2])
            value = divergences.diagonal_gaussian_kl(*(v[None] for v in (*first, *second)))
        return value.item(), torch.autograd.grad(value, apart)[0].item()

    def plain(d: float) -> float:
        if name in {"w1", "w2"}:
            power = int(name[1])
            return ways(family, d, q, p, power) ** (1 / power)
        if name == "js":
            return uniform_shannon(d, q, p)
        if name == "tv":
            ends = (d - q / 2, d + q / 2, -p / 2, p / 2)
            return divergences.uniform_total_variation(*map(tensor, ends)).item()
        own, other = Uniform(tensor(d - q / 2), tensor(d + q / 2)), Uniform(tensor(-p / 2), tensor(p / 2))
        return kl_divergence(*((own, other) if name == "kl" else (other, own))).item()

    value = plain(d)
    if math.isinf(value):
        return value, math.nan
    # Uniform distances are straight or parabolas between their kinks, which the inputs below avoid, so that
    # a central difference is exact there; for normal ones its error is of the order of the step's square.
    step = 1e-4
    return value, (plain(d + step) - plain(abs(d - step))) / (2 * step)


def draw(count: int, seed: int) -> list[tuple[float, float, float]]:
    """Distances and widths: log-uniform widths over all that is allowed, in the widget's own steps."""
    generator = torch.Generator().manual_seed(seed)
    shares = torch.rand(count, 3, generator=generator, dtype=torch.double)
    widths = 0.1 * 30 ** shares[:, 1:]
    return [
        (round(8 * d.item() ** 2, 3) + 0.0003, round(q.item(), 2), round(p.item(), 2))
        for d, (q, p) in zip(shares[:, 0], widths, strict=True)
    ]


@pytest.mark.parametrize("family", ["normal", "uniform"])
def test_distances_and_slopes_agree_with_vaelib_for_100_pairs(play: Opener, family: str) -> None:
    played = play(TwoDistributions())
    for d, q, p in draw(100, seed=1):
        for name in NAMES:
            found = played.call("measure", name, family, d, q, p)
            value, slope = oracle(name, family, d, q, p)
            # Both sides are right to rounding; a central difference is to the square of its step.
            told = (name, family, d, q, p)
            assert found["value"] == pytest.approx(value, abs=1e-7, rel=1e-7), told
            assert found["slope"] == pytest.approx(slope, abs=2e-6, rel=1e-6, nan_ok=True), told


@pytest.mark.parametrize("family", ["normal", "uniform"])
def test_slope_at_a_kink_is_that_of_moving_apart(play: Opener, family: str) -> None:
    played = play(TwoDistributions())
    step = 1e-7
    for d, q, p in ((0, 1, 1), (0, 0.5, 2), (0.75, 0.5, 2), (0.5, 2, 1), (1, 1, 1), (1.5, 2, 1), (0, 3, 0.1)):
        for name in NAMES:
            here, there = (played.call("measure", name, family, v, q, p) for v in (d, d + step))
            assert here["value"] >= 0
            if math.isinf(here["value"]):
                assert math.isnan(here["slope"])
            elif math.isinf(there["value"]):
                assert here["slope"] == math.inf
            else:
                # To the first order, and to the rounding of the difference.
                secant = (there["value"] - here["value"]) / step
                assert here["slope"] == pytest.approx(secant, abs=1e-4), (name, family, d, q, p)


# --- What is said and drawn ------------------------------------------------------------------------------

EDGES = [
    # family, mean_q, width_q, mean_p, width_p
    ("normal", 0.0, 1.0, 0.0, 1.0),  # the same
    ("normal", 4.0, 0.1, -4.0, 0.1),  # as far apart as can be
    ("normal", -4.0, 3.0, 4.0, 0.1),
    ("normal", 0.0, 0.1, 0.0, 3.0),
    ("normal", 1.5, 0.3, 0.0, 1.0),
    ("normal", -1.0, 1.0, 0.25, 1.0),
    ("normal", 2.0, 1.0, 0.0, 1.0),
    ("normal", 3.0, 1.0, -3.0, 1.0),
    ("normal", 0.5, 0.5, 0.0, 2.0),
    ("normal", 0.1, 1.0, 0.0, 1.0),
    ("uniform", 0.0, 1.0, 0.0, 1.0),  # the same: a hair further, and KL is infinite
    ("uniform", 0.1, 1.0, 0.0, 1.0),
    ("uniform", 0.5, 0.5, 0.0, 2.0),  # q inside p
    ("uniform", 0.0, 2.0, 0.5, 0.5),  # p inside q
    ("uniform", 0.75, 0.5, 0.0, 2.0),  # inside, at the edge
    ("uniform", 1.25, 0.5, 0.0, 2.0),  # touching from outside
    ("uniform", 4.0, 3.0, -4.0, 3.0),  # parted
    ("uniform", -4.0, 0.1, 4.0, 0.1),
    ("uniform", -0.3, 1.0, 0.4, 1.6),
    ("uniform", 0.0, 0.1, 0.0, 3.0),
]
RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")


def number(text: str) -> float:
    """Read a number as the widget writes it."""
    text = text.replace("−", "-").replace("∞", "inf").replace("none", "nan")
    if "·10" in text:
        factor, power = text.split("·10")
        return float(factor) * 10.0 ** int(power.translate(RAISED))
    return float(text)


def one_sided(name: str, family: str, d: float, q: float, p: float) -> Pair:
    """The oracle's value, and its slope from the right, at a kink as well."""
    value, slope = oracle(name, family, d, q, p)
    if math.isinf(value):
        return value, math.nan
    smooth = family == "normal" and (d > 0 or name in {"kl", "reverse", "js"})
    if not smooth:
        step = 1e-6
        slope = (oracle(name, family, d + step, q, p)[0] - value) / step
    return value, slope


def place(case: tuple[str, float, float, float, float]) -> dict[str, object]:
    return dict(zip(("family", "mean_q", "width_q", "mean_p", "width_p"), case, strict=True))


def test_numbers_and_arrows_say_what_the_oracle_says_for_20_pairs(play: Opener) -> None:
    played = play(TwoDistributions())
    for case in EDGES:
        played.set(**place(case))
        family, mean_q, q, mean_p, p = case
        for name in NAMES:
            row = played.page.locator(f"tr[data-distance={name}]")
            value, slope = one_sided(name, family, abs(mean_q - mean_p), q, p)
            said = [number(text) for text in row.locator("td").all_text_contents()[:2]]
            # Three decimals, or five digits; the slope's oracle is a difference.
            assert said[0] == pytest.approx(value, abs=6e-4, rel=5e-5), (case, name)
            assert said[1] == pytest.approx(slope, abs=1e-3, rel=1e-4, nan_ok=True), (case, name)
            path = row.locator("path.vw-line").get_attribute("d") or ""
            if math.isnan(slope):
                assert path == ""
                continue
            drawn = (float(path[5:].split("M")[0]) - 2) / 58 if "H" in path else 0
            pull = 1 if slope == math.inf else slope / (1 + slope)
            assert drawn == pytest.approx(pull, abs=0.01), (case, name)
    assert played.complaints == []


def density(family: str, z: float, mean: float, width: float) -> float:
    law = stats.norm(mean, width) if family == "normal" else stats.uniform(mean - width / 2, width)
    return float(law.pdf(z))


def test_curves_and_marks_are_where_the_oracle_puts_them_for_20_pairs(play: Opener) -> None:
    played = play(TwoDistributions())
    for index, case in enumerate(EDGES):
        name = NAMES[index % len(NAMES)]
        played.set(**place(case), shown=name)
        family, mean_q, q, mean_p, p = case
        top, below = Chart(played, 0), Chart(played, 1)
        for mark, mean, width in (("q", mean_q, q), ("p", mean_p, p)):
            curve = top.path(mark)
            if family == "normal":
                steepest = stats.norm.pdf(1) / width**2  # what a shift of a mark makes of its height
                for z, height in curve[::6]:
                    wanted = density(family, z, mean, width)
                    assert height == pytest.approx(wanted, abs=top.dy + steepest * top.dx)
            else:
                for z, sign, height in zip(curve[1:4], (-1, -1, 1), (0, 1, 1), strict=True):
                    assert z[0] == pytest.approx(mean + sign * width / 2, abs=top.dx)
                    assert z[1] == pytest.approx(height / width, abs=top.dy)
            assert played.page.locator(f"[data-mark=name-{mark}]").text_content() == mark
            assert top.at(f"mean-{mark}")[0] == pytest.approx(mean, abs=top.dx)
        d = abs(mean_q - mean_p)
        value, slope = one_sided(name, family, d, q, p)
        x, y = below.at("here")
        assert x == pytest.approx(d, abs=below.dx)
        if math.isinf(value):
            assert y == pytest.approx(below.line("roof")[0][1], abs=below.dy)
            assert not below.has("tangent")
            continue
        assert y == pytest.approx(value, abs=below.dy), (case, name)
        for at, height in below.path("curve")[::20]:
            # A little to the left, so that a mark at an edge is not read from beyond it.
            wanted, steep = oracle(name, family, max(0, at - below.dx), q, p)
            room = below.dy + 2 * below.dx * abs(steep)
            assert height == pytest.approx(wanted, abs=room), (case, name, at)
        (x0, y0), (x1, y1) = below.line("tangent")
        if slope == math.inf:
            assert x0 == x1
            assert y1 > y0
        else:
            label = played.page.locator("[data-mark=slope]").text_content()
            assert number(label.removeprefix("slope ")) == pytest.approx(slope, abs=1e-3, rel=1e-4)
            run = x1 - x0
            assert run > 0
            room = 2 * (below.dy + slope * below.dx) / run + 1e-3
            assert (y1 - y0) / run == pytest.approx(slope, abs=room), (case, name)
    assert played.complaints == []


def test_highlights_show_what_each_distance_looks_at(play: Opener) -> None:
    played = play(TwoDistributions(mean_q=1.0, width_q=0.5, shown="tv"))
    top = Chart(played, 0)
    overlap = top.path("overlap")
    assert len(overlap) > 100
    for z, height in overlap[:-2:6]:
        both = (density("normal", z, 1, 0.5), density("normal", z, 0, 1))
        assert height == pytest.approx(min(both), abs=2 * top.dy + 2 * top.dx)
    played.set(shown="js")
    for z, height in Chart(played, 0).path("mixture")[::6]:
        both = (density("normal", z, 1, 0.5), density("normal", z, 0, 1))
        assert height == pytest.approx(sum(both) / 2, abs=2 * top.dy + 2 * top.dx)
    played.set(shown="w1")
    top = Chart(played, 0)
    for k in range(9):
        share = (k + 1) / 10
        (from_q, _), (to_p, _) = top.line(f"way-{k}")
        assert from_q == pytest.approx(stats.norm.ppf(share, 1, 0.5), abs=top.dx)
        assert to_p == pytest.approx(stats.norm.ppf(share), abs=top.dx)
    # Where q has mass and p none, KL is infinite, and the place is shaded: from p's end to q's.
    played.set(family="uniform", shown="kl", mean_q=0.75, width_q=1, width_p=1)
    alone = [z for z, height in Chart(played, 0).path("alone") if height > 0.5]
    assert (min(alone), max(alone)) == (pytest.approx(0.5, abs=top.dx), pytest.approx(1.25, abs=top.dx))
    assert "no slope leads back" in played.root.inner_text()


# --- How it is moved -------------------------------------------------------------------------------------


def test_mouse_drags_means_widths_and_the_separation(play: Opener) -> None:
    played = play(TwoDistributions())
    top = Chart(played, 0)
    unit = top.per_pixel
    played.drag("mean-q", 50)
    assert played.get("mean_q") == pytest.approx(2 + 50 * unit, abs=0.02)
    played.drag("width-q", 40)
    assert played.get("width_q") == pytest.approx(1 + 40 * unit, abs=0.02)
    # p's handle is at its left: outwards is wider there, too.
    played.drag("width-p", -40)
    assert played.get("width_p") == pytest.approx(1 + 40 * unit, abs=0.02)
    played.drag("mean-p", -300)
    assert played.get("mean_p") == -4
    below = Chart(played, 1)
    played.drag("here", -60)
    wanted = below.at("here")[0]
    assert played.get("mean_q") - played.get("mean_p") == pytest.approx(
        Chart(played, 1).at("here")[0], abs=0.01
    )
    assert Chart(played, 1).at("here")[0] < wanted
    assert played.get("mean_p") == -4


def test_axis_waits_while_its_own_handle_is_dragged(play: Opener) -> None:
    """Else the place under the hand would mean another distance as soon as the axis shrinks to fit."""
    played = play(TwoDistributions(family="uniform", mean_q=3.0))
    below = Chart(played, 1)
    box = played.page.locator("[data-mark=here] .vw-grip").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    played.page.mouse.move(x, y)
    played.page.mouse.down()
    for step in range(1, 9):
        played.page.mouse.move(x - 20 * step, y)
        played.settle()
    assert played.get("mean_q") == pytest.approx(3 - 160 * below.per_pixel, abs=0.02)
    played.page.mouse.up()
    played.settle()
    assert Chart(played, 1).per_pixel < below.per_pixel
    assert played.get("mean_q") == pytest.approx(3 - 160 * below.per_pixel, abs=0.02)


def test_keys_step_each_handle(play: Opener) -> None:
    played = play(TwoDistributions())
    for handle, trait, key, wanted in (
        ("mean-q", "mean_q", "ArrowRight", 2.1),
        ("mean-q", "mean_q", "Home", -4),
        ("mean-p", "mean_p", "ArrowLeft", -0.1),
        ("width-q", "width_q", "ArrowUp", 1.05),
        ("width-p", "width_p", "End", 3),
    ):
        played.page.locator(f"[data-mark={handle}]").focus()
        played.page.keyboard.press(key)
        assert played.get(trait) == pytest.approx(wanted), (handle, key)
    played.set(mean_q=2, mean_p=0)
    played.page.locator("[data-mark=here]").focus()
    played.page.keyboard.press("Shift+ArrowLeft")
    assert played.get("mean_q") == pytest.approx(1)
    played.settle()
    assert played.page.locator("[data-mark=here]").get_attribute("aria-valuetext") == "1.00"
    # Radio buttons of the table are one group for the arrow keys.
    played.page.locator("input[value=kl]").focus()
    played.page.keyboard.press("ArrowDown")
    assert played.get("shown") == "reverse"


def test_finger_drags_a_mean_and_chooses_a_distance(play: Opener) -> None:
    played = play(TwoDistributions(), size="phone", touch=True)
    box = played.page.locator("[data-mark=mean-q] .vw-reach").bounding_box()
    # Beside the handle, within a finger's reach.
    played.page.touchscreen.tap(box["x"] + box["width"] - 4, box["y"] + box["height"] / 2)
    assert 2.2 < played.get("mean_q") < 3.5
    played.page.locator("tr[data-distance=tv] label").tap()
    assert played.get("shown") == "tv"


def test_buttons_go_to_the_places_worth_seeing(play: Opener) -> None:
    played = play(TwoDistributions(mean_q=-1.0, width_q=2.0))

    def press(name: str) -> None:
        played.page.get_by_role("button", name=name, exact=True).click()
        played.settle()

    def said(name: str) -> str:
        return played.page.locator(f"tr[data-distance={name}] td").first.inner_text()

    press("the same")
    assert [said(name) for name in NAMES] == ["0.000"] * 6
    press("far apart")
    assert said("tv") == "0.997"
    played.page.get_by_text("uniform", exact=True).click()
    press("q inside p")
    assert said("reverse") == "∞"
    assert said("kl") == "1.386"  # log 4
    press("a hair apart")
    assert (said("kl"), said("reverse")) == ("∞", "∞")
    press("a VAE’s q and prior")
    assert played.get("family") == "normal"
    assert [played.get("mean_p"), played.get("width_p")] == [0, 1]
    q = (tensor(played.get("mean_q"))[None], 2 * tensor(played.get("width_q")).log()[None])
    assert float(said("kl")) == pytest.approx(divergences.gaussian_kl(*q).item(), abs=6e-4)


def test_link_brings_back_what_was_seen_and_reset_the_start(play: Opener) -> None:
    widget = TwoDistributions()
    widget.family, widget.mean_q, widget.width_p, widget.shown = "uniform", -1.25, 2.5, "tv"
    fragment = "#two-distributions?family=uniform&mean_q=-1.25&shown=tv&width_p=2.5"
    assert sorted(widget.link.split("?")[1].split("&")) == fragment.split("?")[1].split("&")
    played = play(TwoDistributions(), fragment=widget.link)
    names = ("family", "mean_q", "width_q", "mean_p", "width_p", "shown")
    assert [played.get(name) for name in names] == [getattr(widget, name) for name in names]
    assert played.page.locator("tr[data-distance=tv] td").first.inner_text() == "0.800"
    played.page.locator("[data-mark=mean-q]").focus()
    played.page.keyboard.press("ArrowRight")
    played.page.wait_for_function("location.hash.includes('mean_q=-1.15')")
    played.page.get_by_role("button", name="Reset").click()
    assert [played.get(name) for name in names] == ["normal", 2, 1, 0, 1, "kl"]


def test_link_cannot_ask_for_what_is_not_allowed(play: Opener) -> None:
    played = play(TwoDistributions(), fragment="#two-distributions?mean_q=99")
    names = ("family", "mean_q", "width_q", "mean_p", "width_p", "shown")
    for asked in (
        "mean_q=NaN",
        "width_q=0",
        "width_p=-1",
        "width_q=1e-9",
        "shown=w3",
        "family=<b>",
        "shown=",
        "%",
    ):
        played.page.evaluate("text => location.hash = 'two-distributions?' + text", asked)
        played.settle()
        assert [played.get(name) for name in names] == ["normal", 2, 1, 0, 1, "kl"], asked
        assert played.page.locator("tr[data-distance=kl] td").first.inner_text() == "2.000"
    assert played.complaints == []


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("phone", "dark")])
def test_widget_is_accessible_and_fits(play: Opener, size: str, scheme: str) -> None:
    played = play(TwoDistributions(), size=size, scheme=scheme)
    for case in (EDGES[0], EDGES[1], EDGES[11], EDGES[12], ("normal", 4.0, 3.0, -4.0, 3.0)):
        for shown in ("kl", "js"):
            played.set(**place(case), shown=shown)
            assert played.width() <= {"desktop": 1280, "phone": 390}[size], case
    assert played.violations() == []
    played.set(**place(EDGES[2]), shown="w1")
    assert played.violations() == []
    assert played.complaints == []


@pytest.mark.parametrize(
    "nonsense", [{"mean_q": 5}, {"width_p": 0}, {"width_q": -1}, {"shown": "hellinger"}, {"family": "Cauchy"}]
)
def test_nonsense_is_refused(nonsense: dict[str, object]) -> None:
    with pytest.raises(TraitError):
        TwoDistributions(**nonsense)
