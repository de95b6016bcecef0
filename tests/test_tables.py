"""Rows of the tables against made-up results, whose means and differences were worked out by hand."""

import csv
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributions import Normal

from vaelib import presets, results, tables
from vaelib.cli.training import resolve
from vaelib.reproduction import reproduce
from vaelib.tables import Column, Comparison, Spread, Terms

FLOOR = 45.53  # nats: MNIST's test set, and whatever else a test needs
NAMES = ["giwoong", "kimrass", "juyoung", "woogyeong"]

Result = dict[str, Any]


def evaluation(distortion: float, rate: float, squared_error: float, images: int = 10_000) -> Result:
    return {
        "elbo": -distortion - rate,
        "distortion": distortion,
        "rate": rate,
        "standard_error": 0.5,
        "images": images,
        "squared_error": squared_error,
    }


Add = Callable[..., Path]


@pytest.fixture
def add(tmp_path: Path) -> Add:
    """Enter a finished run as ``vaelib reproduce`` does, and give the folder of the results."""

    def entered(
        name: str,
        run: str,
        seed: int,
        last: Mapping[str, Any],
        *,
        best: Mapping[str, Any] | None = None,
        epochs: int = 2,
        split: str = "test",
        seconds: float = 90.0,
        changed: Mapping[str, Any] | None = None,
    ) -> Path:
        (chosen,) = [each for each in presets.named(name).runs if each.name == run]
        settings = resolve(name, {**chosen.settings, **(changed or {}), "seed": seed})
        folder = tmp_path / "runs" / f"{name}-{run}-{seed}"
        folder.mkdir(parents=True)
        metrics = {"split": split, "epochs": epochs, "seconds": seconds, "seed": seed, **last}
        if best is not None:
            metrics["best"] = best
        (folder / "config.json").write_text(json.dumps(settings))
        (folder / "metrics.json").write_text(json.dumps(metrics))
        with (folder / "history.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["epoch", "train_elbo", "held_out_elbo"])
            writer.writeheader()
            writer.writerows({"epoch": k, "train_elbo": -1.0, "held_out_elbo": -1.0} for k in range(1, 3))
        reproduce(
            name,
            [(run, seed, settings)],
            runs=tmp_path / "runs",
            results=tmp_path,
            changed=changed or {},
            progress=False,
        )
        return tmp_path

    return entered


def cells(comparison: Comparison, row: str) -> list[str]:
    """What a row says, column by column."""
    (found,) = [line[1:] for line in comparison.rows() if line[0] == row]
    return found


def kimrass(folder: Path) -> Comparison:
    return tables.comparison("kimrass", "same", "ours", floor=FLOOR, folder=folder)


def juyoung(folder: Path) -> Comparison:
    return tables.comparison("juyoung", "same", "ours", "mnist", floor=FLOOR, folder=folder)


# --- what was printed ------------------------------------------------------------------------------------


def test_published_figures_are_converted_as_page_3_and_the_sums_say() -> None:
    second, third = (tables.converted(name, floor=FLOOR) for name in ("kimrass", "juyoung"))
    assert second is not None
    assert third is not None
    # 600 * 0.1085 + 7.3032 over 32 x 32 pixels of [-1, 1]; to the digits that were printed.
    assert second.above_floor == pytest.approx(72.40, abs=5e-3)
    assert second.squared_error == pytest.approx(27.78, abs=5e-3)
    assert second.sigma == pytest.approx(0.462, abs=5e-4)
    assert second.beta == pytest.approx(7.9, abs=0.05)
    assert second.minus_elbo == pytest.approx(222.4, abs=0.05)
    assert second.on_symmetric == pytest.approx(932.2, abs=0.05)
    # 0.03562 + 0.001 * 28.33 over 28 x 28 pixels of [-1, 1].
    assert third.rate == pytest.approx(28.33, abs=5e-3)
    assert third.squared_error == pytest.approx(6.98, abs=5e-3)
    assert third.sigma == pytest.approx(0.313, abs=5e-4)
    assert third.beta == pytest.approx(11, abs=0.05)


@pytest.mark.parametrize(("name", "pixels"), [("kimrass", 1024), ("juyoung", 784)])
def test_converted_parts_are_those_of_a_normal_distribution(name: str, pixels: int) -> None:
    found = tables.converted(name, floor=FLOOR)
    assert found is not None
    assert found.sigma is not None
    pixel = Normal(torch.tensor(0.0, dtype=torch.float64), found.sigma)
    off = math.sqrt(found.squared_error / pixels)  # every pixel off by as much
    nats = -pixels * pixel.log_prob(torch.tensor(off, dtype=torch.float64)).item()
    at_best = -pixels * pixel.log_prob(torch.tensor(0.0, dtype=torch.float64)).item()
    # Hundreds of nats in float64; juyoung's printed total is the sum of its printed terms to a rounding.
    assert found.floor == pytest.approx(at_best, abs=1e-9)
    assert found.price * found.squared_error == pytest.approx(nats - at_best, abs=1e-9)
    assert found.minus_elbo == pytest.approx(nats + found.rate, abs=1e-6)
    assert found.minus_elbo == pytest.approx(found.floor + found.above_floor, abs=1e-9)


def test_coins_have_a_bound_and_no_deviation() -> None:
    found = tables.converted("giwoong", floor=FLOOR)
    assert found is not None
    assert found.squared_error == pytest.approx((141.7242 - 45.53) / 2)
    assert found.above_floor + found.floor == pytest.approx(148.3267)
    assert (found.sigma, found.beta, found.on_symmetric) == (None, None, None)


def test_a_repository_without_numbers_has_none() -> None:
    assert tables.converted("woogyeong", floor=FLOOR) is None
    assert tables.conversions(NAMES, floor=FLOOR)[0] == ["", "giwoong", "kimrass", "juyoung"]


def test_printed_figures_stand_to_the_letter() -> None:
    rows = {row[0]: row[1:] for row in tables.printed(NAMES)}
    assert rows["giwoong"] == ["148.3267 = 141.7242 + 6.6025", "test set, 10,000", "test set"]
    assert rows["kimrass"] == ["0.1085 and 7.3032", "held out, 5,952", "held out"]
    assert rows["juyoung"] == ["0.06395 = 0.03562 + 0.02833", "mixed test set, 10,000", "none: the last"]
    assert rows["woogyeong"] == ["none", "test set", "test set"]


def test_the_two_places_that_say_a_printed_figure_agree() -> None:
    published = results.read("published")
    rows = published["losses"]["rows"]
    for name, row in (("kimrass", "KimRass/VAE"), ("juyoung", "juyoung-hong/Deep-learning")):
        assert published[name]["error"] == rows[row]["error"]
        assert published[name].get("rate") == rows[row].get("rate")
        loss = presets.named(name).loss
        assert loss is not None
        assert {key: rows[row][key] for key in loss} == loss
        assert presets.named(name).settings.get("side", 28) ** 2 == rows[row]["data_dim"]


# --- what has not been run -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_without_results_every_run_of_the_preset_says_so(name: str, tmp_path: Path) -> None:
    comparison = tables.comparison(name, floor=FLOOR, folder=tmp_path)
    assert [column.name for column in comparison.columns[1:]] == [
        run.name for run in presets.named(name).runs
    ]
    runs = len(presets.named(name).runs)
    for row in comparison.rows()[1:]:
        wanted = "not run yet" if row[0] == comparison.unit else ""
        assert row[-runs:] == [wanted] * runs, row


def test_a_run_that_is_missing_stands_beside_one_that_is_there(add: Add) -> None:
    folder = add("woogyeong", "ours", 0, evaluation(140.0, 6.0, 31.0))
    comparison = tables.comparison("woogyeong", floor=FLOOR, folder=folder)
    assert cells(comparison, "−ELBO, nats") == ["not run yet", "not run yet", "146.00"]
    assert cells(comparison, "seeds") == ["", "", "1 of 3 so far"]
    overview = tables.overview({"woogyeong": comparison.columns})
    assert [row[1] for row in overview] == [
        "rate, nats",
        "none",
        "not run yet",
        "not run yet",
        "6.00",
    ]


# --- what has been run -----------------------------------------------------------------------------------


def best(epoch: int, chosen_on: str, held_out: Result, test: Result) -> Result:
    return {"epoch": epoch, "chosen_on": chosen_on, "held_out": held_out, "test": test}


def test_a_figure_chosen_on_the_test_set_meets_ours_chosen_there_and_not(add: Add) -> None:
    for seed, chosen, last in ((1, 147.0, 147.5), (2, 149.0, 149.5), (3, 148.0, 150.0)):
        there = evaluation(chosen - 6.5, 6.5, 31.0 + seed)
        folder = add(
            "giwoong",
            "same",
            seed,
            evaluation(last - 6.5, 6.5, 31.0),
            best=best(80 + seed, "test", there, there),
            epochs=100,
            seconds=60.0 * 20 * seed,
        )
    comparison = tables.comparison("giwoong", floor=FLOOR, folder=folder)
    # Means of 147, 149, 148 and of 147.5, 149.5, 150; deviations with n - 1.
    assert cells(comparison, "−ELBO, nats") == ["148.3267", "148.00 ± 1.00", "not run yet"]
    assert cells(comparison, "verdict") == ["", "better by 0.33, within the spread", ""]
    assert cells(comparison, "squared error") == ["at most 48.10", "33.00 ± 1.00", ""]
    assert cells(comparison, "rate, nats") == ["6.60", "6.50 ± 0.00", ""]
    assert cells(comparison, "stands on") == ["test set, 10,000", "test set, 10,000", ""]
    assert cells(comparison, "epoch chosen on") == ["test set", "test set", ""]
    assert cells(comparison, "epoch") == ["97 of 100", "81 to 83 of 100", ""]
    assert cells(comparison, "minutes") == ["", "40 ± 20", ""]
    assert cells(comparison, "seeds") == ["one seed", "3", ""]
    assert cells(comparison, "MNIST's test set, not chosen on") == ["", "149.00 ± 1.32", ""]


@pytest.mark.parametrize(
    ("squared_error", "rate", "verdict"),
    [
        # The loss is 600 * 4 E / 1024 + R; published 600 * 0.1085 + 7.3032 = 72.4032.
        (1024 * 0.11 / 4, 7.3032, "falls short by 0.90"),
        (1024 * 0.1085 / 4, 7.0, "better by 0.30"),
        (1024 * 0.1085 / 4, 7.3032 + 0.001, "equal"),
    ],
)
def test_a_shortfall_is_computed_from_the_held_out_images(
    add: Add, squared_error: float, rate: float, verdict: str
) -> None:
    held_out = evaluation(60.0, rate, squared_error, images=5952)
    folder = add(
        "kimrass",
        "same",
        888,
        evaluation(70.0, 8.0, 40.0),
        best=best(70, "validation", held_out, evaluation(61.0, 7.0, 1024 / 4 * 0.1)),
        epochs=84,
    )
    comparison = kimrass(folder)
    assert cells(comparison, "600 MSE + KL")[0] == "72.40"
    assert cells(comparison, "verdict") == ["", verdict, ""]
    assert cells(comparison, "stands on") == ["held out, 5,952", "held out, 5,952", ""]
    assert cells(comparison, "epoch") == ["84", "70 of 84", ""]
    assert cells(comparison, "seeds") == ["one seed", "one seed", ""]
    # Of the weights that the held-out images chose, 600 * 0.1 + 7; not of the last ones.
    assert cells(comparison, "MNIST's test set, not chosen on") == ["", "67.00", ""]


def test_mixed_images_are_compared_with_mixed_ones_and_have_no_figure_on_mnists_own(add: Add) -> None:
    mixed = "test of the mixed images"
    # MSE = 4 E / 784: 0.035 and 0.036 with E = 6.86 and 7.056.
    add("juyoung", "same", 42, evaluation(30.0, 28.0, 6.86), split=mixed, epochs=30)
    folder = add("juyoung", "mnist", 42, evaluation(30.0, 29.0, 7.056), split="test", epochs=30)
    comparison = juyoung(folder)
    assert cells(comparison, "MSE + 0.001 KL") == ["0.06395", "0.06300", "not run yet", "0.06500"]
    assert cells(comparison, "verdict") == ["", "better by 0.00095", "", "other images"]
    assert cells(comparison, "epoch") == ["30", "30", "", "30"]
    assert cells(comparison, "epoch chosen on") == ["none: the last"] * 2 + ["", "none: the last"]
    assert cells(comparison, "MNIST's test set, not chosen on") == ["", "none", "", "0.06500"]
    overview = tables.overview({"juyoung": comparison.columns})
    assert [row[3] for row in overview[1:]] == ["mixed test set", "mixed test set", "", "test set"]


def test_a_run_stopped_on_the_test_set_has_no_honest_figure_there(add: Add) -> None:
    add("woogyeong", "same", 0, evaluation(150.0, 6.0, 35.0), epochs=40)
    folder = add("woogyeong", "leaking", 0, evaluation(149.0, 6.0, 35.0), epochs=50)
    comparison = tables.comparison("woogyeong", floor=FLOOR, folder=folder)
    assert cells(comparison, "epoch chosen on")[:2] == ["held out", "test set"]
    assert cells(comparison, "epoch")[:2] == ["40 of 100", "50 of 100"]
    assert cells(comparison, "MNIST's test set, not chosen on")[:2] == ["156.00", "none"]
    assert "verdict" not in [row[0] for row in comparison.rows()]  # there is nothing to compare with


def test_changed_settings_stand_in_the_head(add: Add) -> None:
    folder = add("woogyeong", "same", 0, evaluation(150.0, 6.0, 35.0), changed={"epochs": 3})
    comparison = tables.comparison("woogyeong", floor=FLOOR, folder=folder)
    assert comparison.rows()[0] == ["", "same (changed: epochs)", "leaking", "ours"]


def test_only_the_runs_that_are_named_are_shown_and_unknown_ones_refused(tmp_path: Path) -> None:
    found = tables.comparison("woogyeong", "ours", floor=FLOOR, folder=tmp_path)
    assert [column.name for column in found.columns] == ["published", "ours"]
    with pytest.raises(ValueError, match="giwoong has no run mnist: there are published, same, ours"):
        tables.comparison("giwoong", "mnist", floor=FLOOR, folder=tmp_path)


def test_summary_in_the_file_is_what_is_shown_not_a_mean_taken_anew(add: Add) -> None:
    folder = add("woogyeong", "ours", 0, evaluation(140.0, 6.0, 31.0))
    content = json.loads((folder / "woogyeong.json").read_text())
    content["runs"]["ours"]["summary"]["last"]["own_loss"] = {"mean": 1.25, "std": 0.5}
    (folder / "woogyeong.json").write_text(json.dumps(content))
    comparison = tables.comparison("woogyeong", floor=FLOOR, folder=folder)
    assert cells(comparison, "−ELBO, nats")[-1] == "1.25 ± 0.50"


def test_every_result_that_is_committed_can_be_shown() -> None:
    for name in NAMES:
        rows = tables.comparison(name, floor=FLOOR).rows()
        printed = tables.converted(name, floor=FLOOR) is not None
        assert {len(row) for row in rows} == {1 + printed + len(presets.named(name).runs)}


# --- the text --------------------------------------------------------------------------------------------


def test_numbers_have_a_minus_that_is_one_and_none_before_zero() -> None:
    assert Spread(-1.234).text(1) == "−1.2"
    assert Spread(-0.001).text(2) == "0.00"
    assert Spread(-1.0, 0.25).text(2) == "−1.00 ± 0.25"


def test_a_gap_is_within_the_spread_only_if_there_is_one() -> None:
    def column(name: str, loss: float, std: float | None) -> Column:
        terms = Terms(Spread(loss, std), Spread(1.0), Spread(1.0))
        return Column(name, terms=terms, images="test", seeds=1)

    published = column("published", 10.0, None)
    for std, wanted in ((None, "falls short by 1.00"), (0.5, "falls short by 1.00"), (2.0, None)):
        found = Comparison([published, column("same", 11.0, std)]).rows()
        (verdict,) = [row[2] for row in found if row[0] == "verdict"]
        assert verdict == (wanted or "falls short by 1.00, within the spread")


def test_markdown_has_a_head_a_ruler_and_a_line_for_each_row() -> None:
    assert tables.markdown([["", "a"], ["b", "c"]]) == "|  | a |\n| --- | --- |\n| b | c |\n"
