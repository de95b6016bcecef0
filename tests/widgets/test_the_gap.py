"""The gap: evidence, bound and KL of a q that is dragged, and the bound of k draws without drawing any."""

from __future__ import annotations

import functools
import html
import itertools
import math
import random
import re
from pathlib import Path

import mpmath
import numpy as np
import pytest
import torch
import traitlets
from torch import nn

from tests.widgets.conftest import Opener, Played
from tests.widgets.drawn import Chart, number
from vaelib.models import VAE
from vaelib.objectives import importance_weighted_bound
from vaelib.symbolic.one_latent import Normal, OneLatent
from vaelib.widgets import TheGap

BOOK = Path(__file__).resolve().parents[2] / "book"
NOISE = 1 / 20  # variance, as on the page
DECODERS = {
    "straight": (lambda z: 2 * z, 0.5),
    "bent": (lambda z: np.tanh(2 * z), 0.5),
    "two-humped": (np.square, 1.0),
}
EDGES = [
    ("straight", 2.0, 1.25, 1),
    ("straight", -2.0, 0.02, 1024),
    ("bent", -2.0, 0.02, 7),
    ("bent", 2.0, 1.25, 2),
    ("two-humped", 2.0, 1.25, 1024),
    ("two-humped", -2.0, 1.25, 1),
    ("two-humped", 0.0, 0.02, 64),
]


@functools.cache
def model_of(decoder: str) -> OneLatent:
    """The page's own model, by quadrature in plain Python."""
    decode, x = DECODERS[decoder]
    return OneLatent(lambda z: (float(decode(z)),), (x,), NOISE)


def inputs(count: int, seed: int, most: int = 1024) -> list[tuple[str, float, float, int]]:
    """Decoders, means, deviations and numbers of draws, the latter two spread over their orders of size."""
    rng = random.Random(seed)
    return [
        (
            rng.choice(list(DECODERS)),
            round(rng.uniform(-2, 2), 4),
            round(math.exp(rng.uniform(math.log(0.02), math.log(1.25))), 4),
            round(math.exp(rng.uniform(0, math.log(most)))),
        )
        for _ in range(count)
    ]


def log_normal(z: np.ndarray, mean: float, deviation: float) -> np.ndarray:
    return -0.5 * ((z - mean) / deviation) ** 2 - math.log(deviation * math.sqrt(2 * math.pi))


def log_ratio(decoder: str, z: np.ndarray, mean: float, deviation: float) -> np.ndarray:
    """log p(x, z) / q(z)."""
    decode, x = DECODERS[decoder]
    return log_normal(x, decode(z), math.sqrt(NOISE)) + log_normal(z, 0, 1) - log_normal(z, mean, deviation)


def test_evidence_bound_and_gap_are_those_of_vaelib(play: Opener) -> None:
    played = play(TheGap())
    asked = inputs(100, seed=1) + EDGES
    for decoder, mean, deviation, _ in asked:
        found = played.call("numbers", decoder, mean, deviation, 1)
        oracle, q = model_of(decoder), Normal(mean, deviation)
        assert found["logEvidence"] == pytest.approx(oracle.log_evidence, abs=1e-10)
        # Quadrature on both sides, in double precision, of sums as large as 1e5.
        assert found["elbo"] == pytest.approx(oracle.elbo(q), rel=1e-9, abs=1e-9)
        # The divergence once more, from its definition and over z rather than over the noise.
        z = np.linspace(mean - 10 * deviation, mean + 10 * deviation, 4001)
        log_q = log_normal(z, mean, deviation)
        log_p = log_ratio(decoder, z, mean, deviation) + log_q - oracle.log_evidence
        kl = np.trapezoid(np.exp(log_q) * (log_q - log_p), z)
        assert found["kl"] == pytest.approx(kl, rel=1e-8, abs=1e-8)
        # In JavaScript the two are computed apart; that they add up is the identity.
        assert found["elbo"] + found["kl"] == pytest.approx(found["logEvidence"], abs=1e-8)
        assert found["kl"] >= 0


def test_bound_of_two_draws_is_the_double_integral(play: Opener) -> None:
    played = play(TheGap())
    noise = np.linspace(-6, 6, 601)
    weights = np.exp(log_normal(noise, 0, 1)) * 0.02
    for decoder, mean, deviation, _ in inputs(100, seed=2):
        logs = log_ratio(decoder, mean + deviation * noise, mean, deviation)
        wanted = weights @ (np.logaddexp(logs[:, None], logs[None, :]) - math.log(2)) @ weights
        found = played.call("numbers", decoder, mean, deviation, 2)["bound"]
        # The larger of two is not smooth, and that costs the double sum up to 0.005 where q is worst.
        assert found == pytest.approx(wanted, abs=1e-6 + 3e-5 * abs(wanted)), (decoder, mean, deviation)
        assert found == pytest.approx(wanted, abs=0.01)


def test_bound_of_a_shifted_posterior_has_a_closed_form_for_two_draws(play: Opener) -> None:
    # With t normal log r is a t - a^2 / 2, and log (e^u + e^v) / 2 = (u + v) / 2 + log cosh (u - v) / 2.
    played = play(TheGap())
    mean, deviation = 20 / 81, 1 / 9  # of the straight decoder's posterior
    for shift in (0.0, 0.5, 2.0, 6.0):
        log_cosh = mpmath.quad(
            lambda t, a=shift: mpmath.npdf(t) * mpmath.log(mpmath.cosh(a * t / mpmath.sqrt(2))), [-12, 0, 12]
        )
        wanted = model_of("straight").log_evidence - shift**2 / 2 + float(log_cosh)
        found = played.call("numbers", "straight", mean + shift * deviation, deviation, 2)["bound"]
        assert found == pytest.approx(wanted, abs=1e-7)


def test_at_the_posterior_every_bound_is_the_evidence(play: Opener) -> None:
    played = play(TheGap())
    for k in (1, 2, 5, 64, 1024):
        found = played.call("numbers", "straight", 20 / 81, 1 / 9, k)
        assert found["bound"] == pytest.approx(model_of("straight").log_evidence, abs=1e-7)
        assert found["kl"] == pytest.approx(0, abs=1e-12)


class Guess(nn.Module):
    """An encoder that gives every x the same q."""

    def __init__(self, mean: float, deviation: float) -> None:
        super().__init__()
        self.mean, self.log_var = mean, 2 * math.log(deviation)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.full_like(x, self.mean), torch.full_like(x, self.log_var)


class Shape(nn.Module):
    """A decoder without weights, except one that the model asks for."""

    def __init__(self, decoder: str) -> None:
        super().__init__()
        self.decoder = decoder
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return {"straight": 2 * z, "bent": torch.tanh(2 * z), "two-humped": z.square()}[self.decoder]


def test_bound_of_k_draws_is_what_vaelib_draws(play: Opener) -> None:
    played = play(TheGap())
    generator = torch.Generator().manual_seed(4)
    scores = []
    for decoder, mean, deviation, k in inputs(16, seed=5):
        model = VAE(Guess(mean, deviation), Shape(decoder), latent_dim=1, likelihood="gaussian").double()
        x = torch.full((max(400, 12_000 // k), 1), DECODERS[decoder][1], dtype=torch.float64)
        with torch.no_grad():
            model.log_var.fill_(math.log(NOISE))
            drawn = importance_weighted_bound(model, x, draws=k, generator=generator, chunk=128)
        found = played.call("numbers", decoder, mean, deviation, k)["bound"]
        error = drawn.std() / math.sqrt(len(x))
        scores.append(((drawn.mean() - found) / error).item())
        if error < 0.002:
            assert drawn.mean().item() == pytest.approx(found, abs=0.01)
    # 16 z-tests: beyond 4.5 lies one in 150 000; and all together do not lean to one side.
    assert max(map(abs, scores)) < 4.5, scores
    assert abs(sum(scores)) / math.sqrt(len(scores)) < 4


def test_bounds_rise_with_k_and_stay_below_the_evidence(play: Opener) -> None:
    played = play(TheGap())
    for decoder, mean, deviation, _ in inputs(10, seed=6):
        ks = [1, 2, 3, 8, 64, 1024]
        found = [played.call("numbers", decoder, mean, deviation, k) for k in ks]
        bounds = [numbers["bound"] for numbers in found]
        assert all(a < b + 1e-7 for a, b in itertools.pairwise(bounds))
        assert bounds[-1] < found[0]["logEvidence"] + 1e-7
        assert bounds[0] == pytest.approx(found[0]["elbo"], abs=1e-12)


def test_best_q_and_moment_match_are_those_of_vaelib(play: Opener) -> None:
    played = play(TheGap())
    for decoder, starts in {"straight": [0.0], "bent": [0.0], "two-humped": [-1.0, 1.0]}.items():
        moments = played.call("posteriorOf", decoder)
        wanted = model_of(decoder).posterior_moments
        assert [moments["mean"], moments["deviation"]] == pytest.approx(list(wanted), abs=1e-9)
        for start in starts:
            found = played.call("bestNear", decoder, [start, 0.3])
            best = model_of(decoder).best_normal(Normal(start, 0.3))
            assert [found["mean"], found["deviation"]] == pytest.approx(list(best), abs=1e-6)


# --- what is seen ----------------------------------------------------------------------------------------


def said(played: Played) -> list[str]:
    return played.page.locator("svg.vw-chart >> nth=1 >> text.vw-text").all_text_contents()


def cells_of(played: Played) -> list[list[float]]:
    """The table's numbers, row by row."""
    rows = played.page.locator("tr").evaluate_all(
        "rows => rows.slice(1).map(row => [...row.querySelectorAll('td')].map(cell => cell.textContent))"
    )
    return [[number(words) for words in row] for row in rows]


def last_number(words: str) -> float:
    """What stands behind the last equals sign, or behind "missing"."""
    return number(words.split("=")[-1].split("missing")[-1])


def test_what_is_drawn_and_said_is_what_vaelib_computes(play: Opener) -> None:
    played = play(TheGap())
    for decoder, mean, deviation, k in inputs(13, seed=7) + EDGES:
        played.set(decoder=decoder, mean=mean, deviation=deviation, k=k)
        oracle, q = model_of(decoder), Normal(mean, deviation)
        bound = played.call("numbers", decoder, mean, deviation, k)["bound"]
        wanted = [oracle.log_evidence, oracle.elbo(q), oracle.gap(q), bound, oracle.log_evidence - bound]
        words = said(played)
        assert [last_number(word) for word in words] == pytest.approx(wanted, abs=0.00051)
        assert words[3].startswith("L" + str(k).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")))
        # The bars' ends are nats on the axis below, to a tenth of a pixel.
        bars, top, lower = Chart(played, 1), oracle.log_evidence, oracle.elbo(q)
        names = ["evidence-bar", "elbo-bar", "elbo-rest", "bound-bar", "bound-rest"]
        starts = [bars.bar(name)[0][0] for name in names]
        ends = [bars.bar(name)[1][0] for name in names]
        assert ends == pytest.approx([top, lower, top, bound, top], abs=bars.per_pixel / 10)
        left = starts[0]
        assert starts == pytest.approx([left, left, lower, left, bound], abs=bars.per_pixel / 10)
        # Curves: to a hundredth of a pixel, upwards and, where they are steep, across.
        chart = Chart(played, 0)
        for mark, density in {
            "posterior": oracle.posterior,
            "q": q.density,
            "prior": Normal(0, 1).density,
        }.items():
            corners = chart.path(mark)
            for z, height in corners[:: len(corners) // 20]:
                near = [density(z + step) for step in (-chart.dx, 0, chart.dx)]
                assert min(near) - chart.dy <= height <= max(near) + chart.dy, (decoder, mark, z)
        assert chart.at("mean") == pytest.approx((mean, q.density(mean)), abs=max(chart.dx, chart.dy))
        assert abs(chart.at("width")[0] - mean) == pytest.approx(deviation, abs=chart.dx)
        assert chart.at("width")[1] == pytest.approx(q.density(mean + deviation), abs=chart.dy)
    assert played.complaints == []


def test_buttons_put_q_at_the_best_and_at_the_moments(play: Opener) -> None:
    played = play(TheGap())
    press = lambda name: (played.page.get_by_role("button", name=name).click(), played.settle())  # noqa: E731
    press("the best q")
    best = model_of("bent").best_normal()
    assert [played.get("mean"), played.get("deviation")] == pytest.approx(list(best), abs=6e-5)
    press("the moment match")
    assert played.get("deviation") == pytest.approx(model_of("bent").posterior_moments.deviation, abs=6e-5)
    played.set(decoder="two-humped")
    for side, sign in {"left": -1, "right": 1}.items():
        press(f"the {side} best q")
        assert sign * played.get("mean") == pytest.approx(0.967, abs=5e-4)
    assert played.page.get_by_role("button", name="the best q", exact=True).count() == 0


def test_a_button_shows_best_and_moments_beside_yours(play: Opener) -> None:
    played = play(TheGap(decoder="two-humped", mean=0.5, deviation=0.3, k=4))
    curves = played.page.locator("svg.vw-chart >> nth=0 >> path.vw-line")
    assert curves.count() == 3
    assert not played.page.locator("table").is_visible()
    button = played.page.get_by_role("button", name="Show both")
    button.click()
    played.settle()
    assert button.get_attribute("aria-pressed") == "true"
    assert curves.count() == 6  # two best, and one moment match
    cells = cells_of(played)
    model = model_of("two-humped")
    guesses = [Normal(0.5, 0.3), model.best_normal(Normal(1.0, 0.3)), model.posterior_moments]
    for column, q in enumerate(guesses):
        bound = played.call("numbers", "two-humped", *q, 4)["bound"]
        assert [row[column] for row in cells] == pytest.approx(
            [*q, model.elbo(q), model.gap(q), bound], abs=0.00051
        )
    # The best q is far better than the moment match for one draw, and worse for many.
    played.set(k=64)
    elbos, _, bounds = cells_of(played)[2:]
    assert elbos[1] > elbos[2] + 10
    assert bounds[1] < bounds[2] - 0.5


def test_mouse_drags_mean_and_width(play: Opener) -> None:
    played = play(TheGap())
    chart = Chart(played)
    corner = chart.svg.bounding_box()["x"]

    def drag(name: str, to: float) -> None:
        box = played.page.get_by_role("slider", name=name).last.bounding_box()
        played.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        played.page.mouse.down()
        played.page.mouse.move(corner + (to - chart.x(0)) / chart.per_pixel, box["y"], steps=4)
        played.page.mouse.up()
        played.settle()

    drag("Mean of q", 0.8)
    assert played.get("mean") == pytest.approx(0.8, abs=0.01)
    assert played.get("deviation") == 0.3
    drag("Deviation of q", 1.5)
    assert played.get("deviation") == pytest.approx(0.7, abs=0.02)
    drag("Deviation of q", 0.8)
    assert played.get("deviation") == pytest.approx(0.02, abs=0.02)
    drag("Mean of q", 9)
    assert played.get("mean") == 2


def test_keyboard_moves_handles_and_sliders(play: Opener) -> None:
    played = play(TheGap())
    handle = played.page.locator("g.vw-handle[aria-label='Mean of q']")
    handle.focus()
    played.page.keyboard.press("ArrowRight")
    played.page.keyboard.press("Shift+ArrowRight")
    assert played.get("mean") == pytest.approx(0.11)
    played.page.keyboard.press("Home")
    assert played.get("mean") == -2
    played.settle()
    assert handle.get_attribute("aria-valuetext") == "mean −2.000"
    played.page.locator("g.vw-handle[aria-label='Deviation of q']").focus()
    played.page.keyboard.press("ArrowDown")
    assert played.get("deviation") == pytest.approx(0.29)
    played.page.keyboard.press("End")
    assert played.get("deviation") == 1.25
    played.page.get_by_label("draws k").focus()
    played.page.keyboard.press("ArrowRight")
    played.page.keyboard.press("ArrowRight")
    assert played.get("k") == 4


def test_finger_drags_mean_and_width(play: Opener) -> None:
    played = play(TheGap(), size="phone", touch=True)
    unit = 1 / Chart(played).per_pixel
    played.finger("[data-mark=width] .vw-grip", 0.4 * unit)
    assert played.get("deviation") == pytest.approx(0.7, abs=0.02)
    # Across and down: the page does not take the finger away to scroll.
    played.finger("[data-mark=mean] .vw-grip", -0.8 * unit, 60)
    assert played.get("mean") == pytest.approx(-0.8, abs=0.02)
    q = Normal(played.get("mean"), played.get("deviation"))
    assert last_number(said(played)[1]) == pytest.approx(model_of("bent").elbo(q), abs=0.00051)


def test_link_brings_back_what_was_seen(play: Opener) -> None:
    gap = TheGap()
    gap.decoder, gap.mean, gap.k, gap.compare = "two-humped", 0.967, 64, True
    assert set(gap.link.removeprefix("#the-gap?").split("&")) == {
        "decoder=two-humped",
        "mean=0.967",
        "k=64",
        "compare=1",
    }
    played = play(TheGap(), fragment=gap.link)
    assert [played.get(name) for name in ("decoder", "mean", "deviation", "k", "compare")] == [
        "two-humped",
        0.967,
        0.3,
        64,
        True,
    ]
    played.page.wait_for_timeout(400)
    played.set(mean=0.5)
    played.page.wait_for_function("() => location.hash.includes('mean=0.5')")
    played.page.get_by_role("button", name="Reset").click()
    assert [played.get(name) for name in ("decoder", "mean", "deviation", "k")] == ["bent", 0, 0.3, 1]


def test_nonsense_in_a_link_is_ignored(play: Opener) -> None:
    played = play(TheGap(), fragment="#the-gap?decoder=curly&mean=NaN&deviation=0&k=1.5&compare=2")
    names = ("decoder", "mean", "deviation", "k", "compare")
    for query in (
        "",
        "mean=3",
        "mean=%",
        "mean=<script>",
        "deviation=-1",
        "k=0",
        "k=1e3",
        "k=9999",
        "__proto__=1",
    ):
        if query:
            played.page.evaluate("query => { location.hash = `the-gap?${query}` }", query)
            played.settle()
        assert [played.get(name) for name in names] == ["bent", 0, 0.3, 1, False], query
    assert played.complaints == []


def test_links_of_the_page_ask_for_what_the_widget_allows(play: Opener) -> None:
    source = (BOOK / "06-elbo.ipynb").read_text(encoding="utf-8")
    links = [html.unescape(link) for link in re.findall(r'href=\\"#(the-gap\?[^"\\]*)', source)]
    assert links
    played = play(TheGap())
    for link in links:
        played.page.evaluate("link => { location.hash = link }", link)
        played.settle()
        for pair in link.split("?")[1].split("&"):
            name, value = pair.split("=")
            assert str(played.get(name)).lower() == value, link


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("phone", "dark")])
def test_widget_is_accessible_and_fits(play: Opener, size: str, scheme: str) -> None:
    played = play(TheGap(decoder="two-humped", compare=True), size=size, scheme=scheme)
    assert played.violations() == []
    assert played.width() <= {"desktop": 1280, "phone": 390}[size]
    # Both handles are within the window at both ends of their ways.
    for mean, deviation in ((-2, 1.25), (2, 1.25), (2, 0.02)):
        played.set(mean=mean, deviation=deviation)
        for handle in played.page.locator("g.vw-handle .vw-grip").all():
            box = handle.bounding_box()
            assert 0 <= box["x"] <= {"desktop": 1280, "phone": 390}[size] - box["width"]
    assert played.complaints == []


@pytest.mark.parametrize(
    "values", [{"decoder": "curly"}, {"mean": 2.1}, {"deviation": 0}, {"k": 0}, {"k": 1.5}]
)
def test_nonsense_from_python_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(traitlets.TraitError):
        TheGap(**values)
