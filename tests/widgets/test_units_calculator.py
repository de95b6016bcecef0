"""The units calculator against vaelib.units, and what it does with nonsense."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import traitlets

from tests.widgets.conftest import Opener, Played
from tests.widgets.printed import says
from vaelib.results import read
from vaelib.units import (
    beta_of_weight,
    change_of_range,
    gaussian_nll,
    sigma_of_weight,
    squared_error_on_unit_range,
    weight_of_sigma,
)
from vaelib.widgets import UnitsCalculator

LOSSES = read("published")["losses"]["rows"]
PLAIN = {"weight": 1.0, "kl_weight": 1.0, "reduction": "mean", "span": 2, "data_dim": 784}
NAMES = ("weight", "kl_weight", "reduction", "span", "data_dim", "error", "rate")


def known(case: dict[str, Any]) -> dict[str, float]:
    """What vaelib.units makes of a loss."""
    weight = case["weight"] / case["kl_weight"]
    how = {name: case[name] for name in ("data_dim", "reduction", "span")}
    found = {"sigma": sigma_of_weight(weight, **how)}
    found["summed"] = weight_of_sigma(found["sigma"], data_dim=case["data_dim"])
    if not case["error"]:
        return found
    pixels = case["data_dim"]
    on_range = case["error"] * (pixels if case["reduction"] == "mean" else 1)
    squared = squared_error_on_unit_range(on_range, span=case["span"])
    found["squared"], found["best"] = squared, math.sqrt(squared / pixels)
    found["beta"] = beta_of_weight(weight, squared_error=squared, **how)
    found["nll"] = gaussian_nll(squared, found["sigma"], pixels)
    found["lost"] = found["nll"] - gaussian_nll(squared, found["best"], pixels)
    found["other"] = change_of_range(0.0, data_dim=pixels, span=2)
    if case["rate"]:
        found["total"] = found["nll"] + case["rate"]
        found["printed"] = case["weight"] * case["error"] + case["kl_weight"] * case["rate"]
    return found


def cases(count: int, seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)

    def power(low: float, high: float) -> float:
        return float(f"{10 ** rng.uniform(low, high):.5g}")

    return [
        {
            "weight": power(-4, 5), "kl_weight": power(-4, 3), "reduction": str(rng.choice(["mean", "sum"])),
            "span": int(rng.choice([1, 2])), "data_dim": int(power(0, 5)),
            "error": power(-4, 3) * float(rng.random() < 0.8),
            "rate": power(-2, 3) * float(rng.random() < 0.7),
        }
        for _ in range(count)
    ]  # fmt: skip


EDGES: list[dict[str, Any]] = [
    {**LOSSES["KimRass/VAE"]},
    {**PLAIN, "error": 0.0, "rate": 0.0},
    {**PLAIN, "weight": 1e-6, "kl_weight": 1e6, "data_dim": 10_000_000, "error": 1e8, "rate": 1e6},
    {
        **PLAIN,
        "weight": 1e6,
        "kl_weight": 1e-6,
        "reduction": "sum",
        "data_dim": 1,
        "error": 1e-6,
        "rate": 0.0,
    },
    # Calibrated: a weight of half of the inverse mean squared error.
    {**PLAIN, "weight": 50.0, "reduction": "sum", "span": 1, "data_dim": 100, "error": 1.0, "rate": 0.0},
]


def test_browser_reckons_as_vaelib_does(play: Opener) -> None:
    played = play(UnitsCalculator())
    for case in [*cases(100, seed=1), *EDGES]:
        found, wanted = played.call("reckon", case), known(case)
        assert found.keys() == wanted.keys()
        for name, number in wanted.items():
            # The nats lost are a difference of two numbers, which costs digits where both are large.
            close = 1e-9 + (1e-12 * abs(wanted["nll"]) if name == "lost" else 0)
            assert found[name] == pytest.approx(number, rel=1e-12, abs=close), (case, name)
        assert played.call("weightOf", wanted["sigma"], case) == pytest.approx(case["weight"], rel=1e-12)


def read_table(played: Played) -> dict[str, list[str]]:
    rows = played.page.locator(".vw-numbers tbody").inner_text().splitlines()
    return {name: cells for name, *cells in (row.split("\t") for row in rows)}


def check_shown(played: Played, case: dict[str, Any]) -> None:
    wanted = known(case)
    table = read_table(played)
    expected = {
        "the decoder's σ": [wanted["sigma"], 2 * wanted["sigma"]],
        "calibrated σ⋆": [wanted.get("best"), 2 * wanted.get("best", math.nan)],
        "squared error an image": [wanted.get("squared"), 4 * wanted.get("squared", math.nan)],
        "−log p(x | z), nats": [wanted.get("nll"), wanted.get("nll", 0) + wanted.get("other", 0)],
        "KL, nats": [case["rate"] or None] * 2,
        "minus the ELBO, nats": [wanted.get("total"), wanted.get("total", 0) + wanted.get("other", 0)],
    }
    assert table.keys() == expected.keys()
    for name, numbers in expected.items():
        for words, number in zip(table[name], numbers, strict=True):
            if numbers[0] is None:
                assert words == "–", name
            else:
                assert says(words, number), (case, name, words)
    loss, sigma, verdict = played.page.locator(".vw-formula").all_inner_texts()
    assert says(sigma.rsplit(" = ", 1)[1], wanted["sigma"])
    if "printed" in wanted:
        assert says(loss.rsplit(" = ", 1)[1], wanted["printed"])
    else:
        assert loss.endswith("KL")
    assert ("more than 1" in verdict) == (wanted["sigma"] > 1 and abs(wanted.get("beta", 0) - 1) >= 0.05)
    if "beta" in wanted:
        said = verdict.split("β = ")[1].split(":")[0]
        assert says(said, wanted["beta"])
        assert ("harder" in verdict) == (wanted["beta"] >= 1.05)
    everything = played.root.inner_text()
    assert "NaN" not in everything
    assert "undefined" not in everything


def test_page_says_and_the_dial_shows_what_the_loss_means(play: Opener) -> None:
    played = play(UnitsCalculator(LOSSES))
    for case in [*EDGES, *cases(15, seed=2)]:
        case = {"error": 0.0, "rate": 0.0, **case}
        played.set(**case)
        check_shown(played, case)
        wanted = known(case)
        dial = played.page.locator(".vw-bare")
        handle = dial.get_by_role("slider")
        assert float(handle.get_attribute("aria-valuenow") or "") == pytest.approx(
            math.log10(wanted["sigma"])
        )
        # The three scales: each mark by its place, from the place of sigma's own powers of ten.
        marks = dial.evaluate(
            """svg => Object.fromEntries([...svg.querySelectorAll('line[data-mark]')].map(
                line => [line.dataset.mark, Number(line.getAttribute('x1'))]))"""
        )
        sigmas = {int(name[6:]): x for name, x in marks.items() if name.startswith("sigma-")}
        (low, left), (high, right) = min(sigmas.items()), max(sigmas.items())
        per_decade = (right - left) / (high - low)

        def place(power: float, start: float = left, low: int = low, step: float = per_decade) -> float:
            return start + step * (power - low)

        assert marks["here"] == pytest.approx(place(math.log10(wanted["sigma"])), abs=0.02)
        assert ("best" in marks) == ("best" in wanted)
        seen = 0
        for name, x in marks.items():
            scale, _, power = name.partition("-")
            if scale == "weight" and power:
                alone = 10 ** float(power) / case["kl_weight"]
                how = {key: case[key] for key in ("data_dim", "reduction", "span")}
                wanted_x = place(math.log10(sigma_of_weight(alone, **how)))
            elif scale == "beta" and power:
                wanted_x = place(math.log10(wanted["best"]) + float(power) / 2)
            else:
                continue
            seen += 1
            assert x == pytest.approx(wanted_x, abs=0.02), (case, name)
        assert seen >= 3
    assert played.complaints == []


def test_typing_a_loss_reckons_it(play: Opener) -> None:
    played = play(UnitsCalculator())
    typed = {
        "weight of error": "600",
        "pixels an image": "1024",
        "its squared error": "0.1085",
        "its KL, in nats": "7.3032",
    }
    for label, words in typed.items():
        field = played.page.get_by_label(label)
        field.click()
        field.press("Control+a")
        field.press_sequentially(words)
    played.page.get_by_label("[−1, 1]").check()
    played.settle()
    case = {name: played.get(name) for name in NAMES}
    assert case == LOSSES["KimRass/VAE"]
    check_shown(played, case)
    played.page.get_by_label("sum", exact=True).press(" ")
    played.settle()
    check_shown(played, {**case, "reduction": "sum"})


@pytest.mark.parametrize(
    ("label", "trait", "nonsense"),
    [
        ("weight of error", "weight", ["0", "-3", "1e7", "", "1e-7", "e", "--1"]),
        ("pixels an image", "data_dim", ["0", "2.5", "10000001", "", "-1"]),
        ("its squared error", "error", ["0", "-1", "1e9"]),
    ],
)
def test_nonsense_is_refused_in_words(play: Opener, label: str, trait: str, nonsense: list[str]) -> None:
    played = play(UnitsCalculator(**LOSSES["KimRass/VAE"]))
    field = played.page.get_by_label(label)
    before = {name: played.get(name) for name in NAMES}
    table = read_table(played)
    for words in nonsense:
        field.click()
        field.press("Control+a")
        field.press("Delete")
        if words == "" or words[0] in "e-0":
            field.press_sequentially(words)
        else:  # at once: 1 would be taken on the way to 1e7
            field.fill(words)
        played.settle()
        assert field.get_attribute("aria-invalid") == "true", words
        message = played.page.locator(f"[id='{field.get_attribute('aria-describedby')}']").inner_text()
        assert message.startswith("Type a ")
        assert "still reckoning with" in message or "still reckoning without" in message
        assert "NaN" not in played.root.inner_text()
        if trait != "error":
            assert {name: played.get(name) for name in NAMES} == before
            assert read_table(played) == table
    assert played.violations() == []
    # Reset takes back what was refused, too; so does a number that makes sense.
    played.page.get_by_role("button", name="Reset").click()
    assert field.get_attribute("aria-invalid") is None
    assert float(field.input_value()) == before[trait]
    assert played.complaints == []


def test_an_empty_error_means_that_none_was_measured(play: Opener) -> None:
    played = play(UnitsCalculator(**LOSSES["KimRass/VAE"]))
    played.page.get_by_label("its squared error").fill("")
    played.settle()
    assert played.get("error") == 0
    assert played.page.locator("[aria-invalid]").count() == 0
    check_shown(played, {**LOSSES["KimRass/VAE"], "error": 0.0})


def test_presets_set_the_losses_that_were_published(play: Opener) -> None:
    played = play(UnitsCalculator({**LOSSES, "plain": PLAIN}))
    for name, preset in {**LOSSES, "plain": PLAIN}.items():
        played.page.get_by_role("button", name=name).click()
        played.settle()
        case = {name: played.get(name) for name in NAMES}
        assert case == {"error": 0, "rate": 0, **preset}
        check_shown(played, case)


def test_dial_is_dragged_and_stepped(play: Opener) -> None:
    played = play(UnitsCalculator(**LOSSES["KimRass/VAE"]))
    handle = played.page.get_by_role("slider")
    box = handle.locator(".vw-grip").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    target = float(played.page.locator("line[data-mark=best]").get_attribute("x1") or "")
    frame = played.page.locator(".vw-bare").bounding_box()
    played.page.mouse.move(x, y)
    played.page.mouse.down()
    played.page.mouse.move(frame["x"] + target, y)
    played.page.mouse.up()
    played.settle()
    case = {name: played.get(name) for name in NAMES}
    # Dropped on the calibrated sigma: a pixel is 0.02 of beta's logarithm there.
    assert known(case)["beta"] == pytest.approx(1, abs=0.05)
    check_shown(played, case)
    handle.press("ArrowRight")
    after = known({**case, "weight": played.get("weight")})["sigma"]
    assert math.log10(after / known(case)["sigma"]) == pytest.approx(0.02, abs=1e-3)
    handle.press("End")
    assert played.get("weight") == 1e-6
    handle.press("Home")
    assert played.get("weight") == 1e6


def test_dial_keeps_its_scales_under_the_hand(play: Opener) -> None:
    played = play(UnitsCalculator(weight=600.0, reduction="sum"))
    frame = played.page.locator(".vw-bare").bounding_box()
    box = played.page.get_by_role("slider").locator(".vw-grip").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    played.page.mouse.move(x, y)
    played.page.mouse.down()
    for step in range(4):
        played.page.mouse.move(frame["x"] + 12 + step, y)
        played.settle()
        # The left end is a sigma of a thousandth, and stays it.
        assert known({name: played.get(name) for name in NAMES})["sigma"] == pytest.approx(1e-3, rel=0.15)
    played.page.mouse.up()
    played.settle()
    assert played.page.locator("line[data-mark='sigma--4']").count() == 1


def test_finger_drags_the_dial(play: Opener) -> None:
    played = play(UnitsCalculator(**LOSSES["KimRass/VAE"]), size="phone", touch=True)
    played.finger(".vw-handle .vw-grip", 40)
    # 340 pixels for six powers of ten.
    assert math.log10(600 / played.get("weight")) == pytest.approx(2 * 40 * 6 / 340, abs=0.2)


def test_link_keeps_small_weights(play: Opener) -> None:
    widget = UnitsCalculator()
    for name, wanted in {**LOSSES["AntixK/PyTorch-VAE"], "error": 0.000123456}.items():
        setattr(widget, name, wanted)
    assert widget.link == "#units-calculator?data_dim=12288&error=0.000123456&kl_weight=0.00025"
    played = play(UnitsCalculator(), fragment=widget.link)
    assert played.get("kl_weight") == 0.00025
    assert played.get("error") == 0.000123456
    assert played.page.get_by_label("weight of KL").input_value() == "0.00025"
    played.set(weight=0.000007)
    played.page.wait_for_function("() => location.hash.includes('weight=0.000007')")
    played.page.get_by_role("button", name="Reset").click()
    assert {name: played.get(name) for name in NAMES} == UnitsCalculator()._initial


def test_hostile_links_change_nothing(play: Opener) -> None:
    queries = [
        "weight=0&weight=-1&weight=1e5&weight=NaN&kl_weight=Infinity&kl_weight=1000001&error=-1&rate=<b>",
        "span=3&span=__proto__&reduction=none&data_dim=0&data_dim=2.5&data_dim=10000001&presets={}",
    ]
    played = play(UnitsCalculator(LOSSES), fragment=f"#units-calculator?{queries[0]}")
    for query in queries:
        played.page.evaluate("query => location.hash = `units-calculator?${query}`", query)
        played.settle()
        assert {name: played.get(name) for name in NAMES} == UnitsCalculator()._initial
    assert played.get("presets") == json.loads(json.dumps(LOSSES))
    assert played.complaints == []


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("phone", "dark")])
def test_calculator_is_accessible_and_fits(play: Opener, size: str, scheme: str) -> None:
    played = play(UnitsCalculator(LOSSES), size=size, scheme=scheme)
    for state in ({"error": 0.0}, LOSSES["KimRass/VAE"], EDGES[2]):
        played.set(**state)
        assert played.violations() == []
        assert played.width() <= {"desktop": 1280, "phone": 390}[size]
    assert played.complaints == []


@pytest.mark.parametrize(
    "nonsense",
    [{"weight": 0.0}, {"weight": math.nan}, {"kl_weight": -1.0}, {"data_dim": 0}, {"span": 3},
     {"error": -1.0}, {"rate": math.inf}, {"reduction": "none"}],
)  # fmt: skip
def test_python_refuses_nonsense(nonsense: dict[str, Any]) -> None:
    with pytest.raises(traitlets.TraitError):
        UnitsCalculator(**nonsense)


def test_presets_that_could_not_be_set_are_refused() -> None:
    with pytest.raises(ValueError, match="preset 'a' sets sigma, which is none of"):
        UnitsCalculator({"a": {"sigma": 1.0}})
    with pytest.raises(ValueError, match=r"preset 'a'.*weight"):
        UnitsCalculator({"a": {"weight": 0.0}})
