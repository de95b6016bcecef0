"""The training replay: what it shows at a moment is what was recorded, whoever moves it and however."""

from __future__ import annotations

import math
from base64 import b64decode
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
import traitlets
from torch import Tensor

from tests.widgets.conftest import Opener, Played
from tests.widgets.drawn import Chart
from vaelib.figures import DIGITS
from vaelib.history import Epoch
from vaelib.snapshots import Snapshots
from vaelib.widgets import TrainingReplay
from vaelib.widgets.training_replay import BYTES, DOTS, followed

EPOCHS, DOT_COUNT, LATENTS = 5, 60, 3
QUANTITIES = ("elbo", "distortion", "rate")
PLANE = ".vw-plane canvas"
SLIDER = ".vw-replay-bar input[type=range]"


def run(epochs: int = EPOCHS, count: int = DOT_COUNT, *, seed: int = 1) -> Snapshots:
    """A run that never was: places, images and numbers at random, so that none can be taken for another."""
    generator = torch.Generator().manual_seed(seed)

    def grey(*shape: int) -> Tensor:
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)

    labels = torch.tensor([3, 7, 0])[torch.arange(count) % 3].to(torch.uint8)
    numbers = (10 * torch.rand(epochs, 6, generator=generator)).tolist()
    history = [
        Epoch(e + 1, -150 + a, 140 + b, 5 + c, -149 + d, 139 + f, 6 + g, 0.005 / (e + 1), 0.0)
        for e, (a, b, c, d, f, g) in enumerate(numbers)
    ]
    return Snapshots(
        labels=labels,
        means=3.9 * (2 * torch.rand(epochs + 1, count, LATENTS, generator=generator) - 1),
        # At the end the first latent says the least: the plane is that of the second and the third.
        rates=torch.tensor([1.0, 2.0, 3.0]).repeat(epochs + 1, 1),
        shown=torch.tensor([2, 0, 7]),
        originals=grey(3, 784),
        reconstructions=grey(epochs + 1, 3, 784),
        history=tuple(history),
        elbo_before=-560.25,
        held_out_name="validation",
    )


@pytest.fixture(scope="module")
def recorded() -> Snapshots:
    return run()


def places(snapshots: Snapshots, epoch: float) -> Tensor:
    """Where the dots should be: the means as the page has them, and straight lines between two epochs."""
    means = snapshots.means[:, followed(snapshots), 1:].half().double()
    last = math.floor(epoch)
    return torch.lerp(means[last], means[min(last + 1, EPOCHS)], epoch - last)


def moments(count: int) -> list[float]:
    """The edges, whole epochs, the hairs beside one, and places in between."""
    generator = torch.Generator().manual_seed(4)
    edges = [0.0, 0.0001, 1.0, 1.9999, 2.0, 2.0001, float(EPOCHS - 1), EPOCHS - 0.0001, float(EPOCHS)]
    return edges + (EPOCHS * torch.rand(count - len(edges), generator=generator).double()).tolist()


def canvas(played: Played) -> Tensor:
    """The plane's pixels (height, width, 4), not premultiplied."""
    width, height, data = played.page.evaluate(
        """selector => {
            const canvas = document.querySelector(selector);
            const { width, height } = canvas;
            const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
            let text = '';
            for (let k = 0; k < data.length; k += 4096) {
                text += String.fromCharCode(...data.subarray(k, k + 4096));
            }
            return [width, height, btoa(text)];
        }""",
        PLANE,
    )
    pixels = torch.frombuffer(bytearray(b64decode(data)), dtype=torch.uint8)
    return pixels.reshape(height, width, 4).int()


def colour(digit: int) -> Tensor:
    return torch.tensor([int(DIGITS[digit][k : k + 2], 16) for k in (1, 3, 5)])


def pixel(chart: Chart, x: float, y: float) -> tuple[float, float]:
    """Where a place of the plane is on the screen."""
    return (x - chart.x(0)) / chart.per_pixel, (chart.y(0) - y) / chart.per_pixel


# What it computes and draws


def test_dots_are_at_their_means_and_on_straight_lines_between(play: Opener, recorded: Snapshots) -> None:
    played = play(TrainingReplay(recorded))
    stored = recorded.means[:, followed(recorded), 1:].half().flatten().tolist()
    generator = torch.Generator().manual_seed(2)
    for epoch in [*(EPOCHS * torch.rand(91, generator=generator)).tolist(), *moments(9)]:
        found = torch.tensor(played.call("places", stored, DOT_COUNT, epoch)).reshape(-1, 2).double()
        # The browser answers in single precision; beside a whole epoch it takes a billionth for nothing.
        torch.testing.assert_close(found, places(recorded, epoch), rtol=1e-6, atol=1e-6)
    assert played.complaints == []


def test_canvas_has_each_dot_in_its_colour_where_it_belongs(play: Opener, recorded: Snapshots) -> None:
    played = play(TrainingReplay(recorded))
    labels = recorded.labels[followed(recorded)].tolist()
    seen = traced = 0
    for epoch in moments(20):
        played.set(epoch=epoch)
        chart, picture = Chart(played), canvas(played)
        way = [
            places(recorded, e)[:3]
            for e in (*range(max(0, math.floor(epoch) - 3), math.floor(epoch) + 1), epoch)
        ]
        trails = [torch.lerp(a, b, t) for a, b in pairwise(way) for t in torch.linspace(0, 1, 50)]
        others = torch.cat([*trails, way[-1]])
        for k, here in enumerate(places(recorded, epoch)):
            left, top = pixel(chart, *here.tolist())
            if k < 3:  # a badge: its digit in the middle, its colour around that
                ring = picture[round(top), round(left) - 6]
                later = (places(recorded, epoch)[k + 1 : 3] - here).norm(dim=1) / chart.per_pixel
                if (later > 18).all():
                    assert (ring[:3] - colour(labels[k])).abs().max() <= 2, (epoch, k)
                    assert ring[3] == 255
                    seen += 1
                continue
            # The corners of a window are 7 pixels from its middle, and a badge has 10 about its own.
            rest = torch.cat([places(recorded, epoch)[torch.arange(DOT_COUNT) != k], others])
            if ((rest - here).norm(dim=1) / chart.per_pixel).min() < 18:
                continue
            row, column = round(top) - 4, round(left) - 4
            window = picture[row : row + 9, column : column + 9].double()
            weight = window[..., 3] / window[..., 3].sum()
            across = torch.arange(9) + 0.5
            # Coverage of a pixel comes in 256 steps, and places on the ruler in hundredths of a pixel.
            assert float((weight.sum(0) * across).sum()) + column == pytest.approx(left, abs=0.1), (epoch, k)
            assert float((weight.sum(1) * across).sum()) + row == pytest.approx(top, abs=0.1), (epoch, k)
            darkest = window.reshape(-1, 4)[window[..., 3].argmax()]
            # Stored times its coverage, a fifth at the least, in 256 steps.
            assert (darkest[:3] - colour(labels[k])).abs().max() <= 5
            seen += 1
        for a, b in pairwise(way):
            for k, middle in enumerate((a + b) / 2):
                rest = torch.cat(
                    [places(recorded, epoch), *(trail[torch.arange(3) != k] for trail in trails)]
                )
                left, top = pixel(chart, *middle.tolist())
                alone = ((rest - middle).norm(dim=1) / chart.per_pixel).min() > 15
                if alone and (a[k] - b[k]).norm() > 10 * chart.per_pixel:
                    around = picture[int(top) - 1 : int(top) + 2, int(left) - 1 : int(left) + 2].reshape(
                        -1, 4
                    )
                    darkest = around[around[:, 3].argmax()]
                    assert darkest[3] > 120, (epoch, k)
                    assert (darkest[:3] - colour(labels[k])).abs().max() <= 5
                    traced += 1
    assert seen > 200
    assert traced > 10


def test_trail_goes_back_three_epochs_and_no_further(play: Opener, recorded: Snapshots) -> None:
    played = play(TrainingReplay(recorded))
    means = recorded.means[:, followed(recorded), 1:].half().double()
    for epoch in moments(20):
        last = math.floor(epoch)
        now = places(recorded, epoch)
        found = played.call("trail", means.flatten().tolist(), DOT_COUNT, 1, epoch, now.flatten().tolist())
        expected = [*means[max(0, last - 3) : last + 1, 1].flatten().tolist(), *now[1].tolist()]
        assert found == pytest.approx(expected, abs=1e-6)


def test_numbers_curves_and_images_are_those_of_the_last_epoch_that_ended(
    play: Opener, recorded: Snapshots
) -> None:
    played = play(TrainingReplay(recorded))
    for k in range(3):
        assert played.pixels(".vw-replay-strip canvas", 2 * k) == recorded.originals[k].tolist()
    for epoch in moments(20):
        played.set(epoch=epoch)
        last = math.floor(epoch)
        for k in range(3):
            drawn = played.pixels(".vw-replay-strip canvas", 2 * k + 1)
            assert drawn == recorded.reconstructions[last, k].tolist(), epoch
        for panel, quantity in enumerate(QUANTITIES):
            chart = Chart(played, 1 + panel)
            for kind in ("train", "held_out"):
                values = [getattr(line, f"{kind}_{quantity}") for line in recorded.history]
                said = played.page.locator(f"[data-number={kind}_{quantity}]").inner_text()
                before = "−560.25" if (kind, quantity) == ("held_out", "elbo") else "–"
                assert said == (f"{values[last - 1]:.2f}".replace("-", "−") if last else before)
                whole = [(k + 1, value) for k, value in enumerate(values)]
                for mark, points in ((f"{kind}-whole", whole), (kind, whole[:last])):
                    for (x, y), (wanted_x, wanted_y) in zip(path(chart, mark), points, strict=True):
                        assert x == pytest.approx(wanted_x, abs=chart.dx)
                        assert y == pytest.approx(wanted_y, abs=chart.dy)
                assert chart.has(f"{kind}-now") == (last > 0)
                if last:
                    x, y = circle(chart, f"{kind}-now")
                    assert x == pytest.approx(last, abs=chart.dx)
                    assert y == pytest.approx(values[last - 1], abs=chart.dy)
            assert [x for x, _ in chart.line("now")] == pytest.approx([epoch] * 2, abs=chart.dx)
        assert Chart(played, 1).at("playhead")[0] == pytest.approx(epoch, abs=Chart(played, 1).dx)
    assert played.complaints == []


def path(chart: Chart, mark: str) -> list[tuple[float, float]]:
    """Corners of a curve that may have none yet."""
    return chart.path(mark) if chart.attribute(mark, "d") else []


def circle(chart: Chart, mark: str) -> tuple[float, float]:
    return chart.x(float(chart.attribute(mark, "cx"))), chart.y(float(chart.attribute(mark, "cy")))


def test_words_say_where_one_is(play: Opener, recorded: Snapshots) -> None:
    played = play(TrainingReplay(recorded))
    output, caption = played.page.locator(".vw-replay-bar output"), played.page.locator(".vw-replay-bar p")
    for epoch, short, full, told in (
        (0, "start", "before training", "−560.3 nats"),
        (2, "2 of 5", "after epoch 2 of 5", "η was 0.0025."),
        (2.5, "2 to 3", "between epochs 2 and 3 of 5", "on straight lines"),
        (5, "5 of 5", "after epoch 5 of 5", "η was 0.001."),
    ):
        played.set(epoch=epoch)
        assert output.inner_text() == short
        assert played.page.locator(SLIDER).get_attribute("aria-valuetext") == full
        assert told in caption.inner_text()
        assert full in played.page.locator(".vw-plane svg").get_attribute("aria-label")
    played.page.wait_for_function(
        "text => document.querySelector('.vw-said').textContent.includes(text)",
        arg="after epoch 5 of 5, ELBO −",
    )


def test_a_run_without_held_out_numbers_shows_its_training_alone(play: Opener, recorded: Snapshots) -> None:
    lines = [
        line._replace(held_out_elbo=None, held_out_distortion=None, held_out_rate=None)
        for line in recorded.history
    ]
    played = play(TrainingReplay(replace(recorded, history=tuple(lines))))
    assert played.page.locator("[data-number]").count() == 3
    assert not Chart(played, 1).has("held_out")
    assert Chart(played, 1).has("train")
    assert played.complaints == []


# How it is moved


def test_slider_is_dragged_and_held_by_whole_epochs(play: Opener, recorded: Snapshots) -> None:
    played = play(TrainingReplay(recorded))
    slider = played.page.locator(SLIDER)
    box = slider.bounding_box()
    middle = box["y"] + box["height"] / 2
    thumb = 16

    def across(epoch: float) -> float:
        return box["x"] + thumb / 2 + epoch / EPOCHS * (box["width"] - thumb)

    played.page.mouse.move(across(EPOCHS), middle)
    played.page.mouse.down()
    played.page.mouse.move(across(2.5), middle)
    assert played.get("epoch") == pytest.approx(2.5, abs=0.1)
    assert not float(played.get("epoch")).is_integer()
    played.page.mouse.move(across(2.07), middle)
    assert played.get("epoch") == 2
    played.page.mouse.move(across(-1), middle)
    played.page.mouse.up()
    assert played.get("epoch") == 0


def test_handle_on_the_curve_is_dragged(play: Opener, recorded: Snapshots) -> None:
    played = play(TrainingReplay(recorded, epoch=4))
    handle = played.page.locator(".vw-handle")
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    chart = Chart(played, 1)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    played.page.mouse.move(x, y)
    played.page.mouse.down()
    played.page.mouse.move(x - 1.5 / chart.per_pixel, y)
    assert played.get("epoch") == pytest.approx(2.5, abs=0.05)
    played.page.mouse.move(x - 10 / chart.per_pixel, y)
    played.page.mouse.up()
    assert played.get("epoch") == 0


@pytest.mark.parametrize("target", [SLIDER, ".vw-handle"])
def test_keys_go_from_one_whole_epoch_to_the_next(play: Opener, recorded: Snapshots, target: str) -> None:
    played = play(TrainingReplay(recorded, epoch=2.5))
    played.page.locator(target).focus()
    for key, epoch in (
        ("ArrowRight", 3), ("ArrowUp", 4), ("ArrowRight", 5), ("ArrowRight", 5), ("ArrowLeft", 4),
        ("ArrowDown", 3), ("Home", 0), ("ArrowLeft", 0), ("PageUp", 5), ("PageDown", 0), ("End", 5),
        ("Shift+ArrowLeft", 0),
    ):  # fmt: skip
        played.page.keyboard.press(key)
        assert played.get("epoch") == epoch, key
    played.set(epoch=2.5)
    played.page.keyboard.press("ArrowLeft")
    assert played.get("epoch") == 2


def test_finger_taps_the_slider_and_a_digit(play: Opener, recorded: Snapshots) -> None:
    played = play(TrainingReplay(recorded), size="phone", touch=True)
    box = played.page.locator(SLIDER).bounding_box()
    played.page.touchscreen.tap(box["x"] + 0.3 * box["width"], box["y"] + box["height"] / 2)
    assert played.get("epoch") == pytest.approx(1.5, abs=0.3)
    played.page.get_by_role("button", name="Digit 7 alone").tap()
    assert played.get("digit") == 7


def test_digit_alone_is_bright(play: Opener, recorded: Snapshots) -> None:
    played = play(TrainingReplay(recorded))
    button = played.page.get_by_role("button", name="Digit 7 alone")

    def ink(digit: int) -> int:
        """How many pixels have this colour, faint ones aside."""
        picture = canvas(played)
        near = (picture[..., :3] - colour(digit)).abs().amax(-1) <= 4
        return int((near & (picture[..., 3] > 60)).sum())

    every = [ink(digit) for digit in (0, 3, 7)]
    button.click()
    played.settle()
    assert button.get_attribute("aria-pressed") == "true"
    assert [ink(0), ink(3)] == [0, 0]
    assert ink(7) >= every[2] > 20  # nothing lies on them any more
    assert min(every) > 20
    button.click()
    played.settle()
    assert [ink(digit) for digit in (0, 3, 7)] == every
    played.set(digit=5)  # there is none: all stay
    assert [ink(digit) for digit in (0, 3, 7)] == every


# Playing


def watch(played: Played) -> None:
    played.page.evaluate(
        """() => {
            const { model } = document.querySelector('.widget-host').vaebook;
            window.epochs = [];
            model.on('change:epoch', () => window.epochs.push([model.get('epoch'), performance.now()]));
        }"""
    )


def watched(played: Played) -> list[list[float]]:
    seen: list[list[float]] = played.page.evaluate("window.epochs")
    return seen


def wait_for(played: Played, condition: str, value: Any = None) -> None:
    played.page.wait_for_function(
        f"value => (model => {condition})(document.querySelector('.widget-host').vaebook.model)",
        arg=value,
    )


def test_play_goes_from_the_start_to_the_end_and_stops(play: Opener, recorded: Snapshots) -> None:
    played = play(TrainingReplay(recorded, speed=4.0))
    watch(played)
    played.page.wait_for_timeout(200)
    assert watched(played) == [], "nothing moves by itself"
    played.page.get_by_role("button", name="Play").click()
    played.page.get_by_role("button", name="Pause").wait_for()
    wait_for(played, "model.get('epoch') > 0.5 && model.get('epoch') < 3")
    wait_for(played, "model.get('epoch') === value", EPOCHS)
    played.page.get_by_role("button", name="Play").wait_for()
    values = [value for value, _ in watched(played)]
    assert values == sorted(values)
    assert values[0] == 0
    assert any(not float(value).is_integer() for value in values), "it glides"
    # No faster than it says; slower, where the machine is busy.
    elapsed = watched(played)[-1][1] - watched(played)[0][1]
    assert elapsed >= 1000 * EPOCHS / 4 - 50
    assert played.complaints == []


def test_space_plays_and_pauses_and_a_hand_stops_it(play: Opener, recorded: Snapshots) -> None:
    played = play(TrainingReplay(recorded, epoch=0, speed=0.5))
    played.page.locator(SLIDER).focus()
    played.page.keyboard.press("Space")
    wait_for(played, "model.get('epoch') > 0")
    played.page.keyboard.press("Space")
    held = played.get("epoch")
    played.page.wait_for_timeout(150)
    assert played.get("epoch") == held
    played.page.keyboard.press("Space")
    wait_for(played, "model.get('epoch') > value", held)
    played.page.keyboard.press("End")
    played.page.get_by_role("button", name="Play").wait_for()
    assert played.get("epoch") == EPOCHS
    played.page.get_by_role("button", name="Play").click()
    wait_for(played, "model.get('epoch') > 0 && model.get('epoch') < value", EPOCHS)
    played.page.get_by_role("button", name="Reset").click()
    assert played.get("epoch") == 0
    played.page.wait_for_timeout(150)
    assert played.get("epoch") == 0


def test_less_motion_is_whole_epochs_and_slow(play: Opener, recorded: Snapshots) -> None:
    played = play(TrainingReplay(recorded, epoch=2, speed=4.0), calm=True)
    watch(played)
    played.page.get_by_role("button", name="Play").click()
    wait_for(played, "model.get('epoch') === 4")
    played.page.get_by_role("button", name="Pause").click()
    assert [value for value, _ in watched(played)] == [3, 4]
    assert watched(played)[1][1] - watched(played)[0][1] >= 950


# Links, looks, and Python


def test_link_brings_back_what_was_seen(play: Opener, recorded: Snapshots) -> None:
    replay = TrainingReplay(recorded)
    assert replay.link == "#training-replay?"
    replay.epoch, replay.digit, replay.speed = 2.25, 7, 0.5
    assert sorted(replay.link.removeprefix("#training-replay?").split("&")) == [
        "digit=7",
        "epoch=2.25",
        "speed=0.5",
    ]
    played = play(TrainingReplay(recorded), fragment=replay.link)
    assert [played.get(name) for name in ("epoch", "digit", "speed")] == [2.25, 7, 0.5]
    played.page.get_by_role("button", name="Reset").click()
    assert [played.get(name) for name in ("epoch", "digit", "speed")] == [EPOCHS, -1, 2]


def test_links_that_ask_for_nonsense_are_ignored(play: Opener, recorded: Snapshots) -> None:
    played = play(TrainingReplay(recorded), fragment="#training-replay?epoch=6&digit=10&speed=3")
    for asked in (
        "epoch=-1", "epoch=NaN", "epoch=1e0", "epoch=two", "digit=1.5", "speed=4.5", "means=1",
    ):  # fmt: skip
        played.page.evaluate("asked => { location.hash = `#training-replay?${asked}`; }", asked)
        played.settle()
        assert [played.get(name) for name in ("epoch", "digit", "speed")] == [EPOCHS, -1, 2], asked
    played.page.evaluate("location.hash = '#training-replay?epoch=5.0001&digit=7'")
    played.settle()
    assert [played.get(name) for name in ("epoch", "digit")] == [EPOCHS, 7]
    assert played.complaints == []


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("phone", "dark")])
def test_replay_is_accessible_and_fits(play: Opener, recorded: Snapshots, size: str, scheme: str) -> None:
    played = play(
        TrainingReplay(recorded), size=size, scheme=scheme, fragment="#training-replay?epoch=2.5&digit=7"
    )
    assert played.violations() == []
    assert played.width() <= {"desktop": 1280, "phone": 390}[size]
    assert played.complaints == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epoch": EPOCHS + 0.1}, "the run has 5"),
        ({"epoch": -1}, "epoch"),
        ({"epoch": math.nan}, "epoch"),
        ({"speed": 3.0}, "speed"),
        ({"digit": 10}, "digit"),
    ],
)
def test_values_beyond_the_run_are_refused(recorded: Snapshots, values: dict[str, Any], message: str) -> None:
    with pytest.raises(traitlets.TraitError, match=message):
        TrainingReplay(recorded, **values)


@pytest.mark.parametrize("dims", [(1, 1), (0, 1), (1, 4)])
def test_planes_that_there_are_not_are_refused(recorded: Snapshots, dims: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="two different latents of 1 to 3"):
        TrainingReplay(recorded, dims=dims)


def test_runs_that_cannot_be_shown_are_refused(recorded: Snapshots) -> None:
    begun = replace(
        recorded, means=recorded.means[:1], rates=recorded.rates[:1], history=(),
        reconstructions=recorded.reconstructions[:1],
    )  # fmt: skip
    with pytest.raises(ValueError, match="no epoch to replay"):
        TrainingReplay(begun)
    with pytest.raises(ValueError, match="finite"):
        TrainingReplay(replace(recorded, means=recorded.means * 1e5))
    with pytest.raises(ValueError, match="this run has 1"):
        TrainingReplay(replace(recorded, means=recorded.means[..., :1], rates=recorded.rates[:, :1]))


def test_plane_may_be_chosen_and_its_axes_say_so(play: Opener, recorded: Snapshots) -> None:
    replay = TrainingReplay(recorded, dims=(3, 1))
    stored = torch.frombuffer(bytearray(replay.means), dtype=torch.float16).reshape(EPOCHS + 1, -1, 2)
    assert torch.equal(stored, recorded.means[:, followed(recorded)][..., [2, 0]].half())
    names = play(replay).page.locator(".vw-plane .vw-name").all_text_contents()
    assert names == ["z₃", "z₁"]


@pytest.mark.parametrize(
    ("epochs", "count", "dots"), [(2, 1600, DOTS), (2, 40, 40), (60, 1600, 614), (50_000, 9, 3)]
)
def test_dots_are_as_many_as_there_is_room_for_and_the_shown_come_first(
    epochs: int, count: int, dots: int
) -> None:
    snapshots = run(2, count)
    long = _Long(epochs, snapshots)
    chosen = followed(long)  # type: ignore[arg-type]
    assert chosen[:3].tolist() == snapshots.shown.tolist()
    assert len(chosen) == len(set(chosen.tolist())) == dots
    assert 4 * (epochs + 1) * dots <= BYTES or dots == 3


class _Long:
    """A run of many epochs, as far as it matters here."""

    def __init__(self, epochs: int, snapshots: Snapshots) -> None:
        self.epochs, self.labels, self.shown = epochs, snapshots.labels, snapshots.shown


def test_plane_is_a_square_that_holds_all_dots_of_all_moments_and_the_circles(recorded: Snapshots) -> None:
    shift = torch.tensor([0.0, 4.0, -1.0])
    for means in (recorded.means, 2 * recorded.means + shift, recorded.means / 9):
        left, right, low, high = TrainingReplay(replace(recorded, means=means)).limits
        assert right - left == pytest.approx(high - low, abs=2e-3)  # stored to three digits
        for (first, last), values in (((left, right), means[..., 1]), ((low, high), means[..., 2])):
            assert first < min(-3, values.min())
            assert last > max(3, values.max())
        longest = max(float(values.max() - values.min()) for values in (means[..., 1], means[..., 2]))
        assert right - left < 1.1 * max(
            longest, 6, *(float(v.max()) + 3 for v in (means[..., 1], means[..., 2]))
        )


def test_python_reads_where_the_reader_is(recorded: Snapshots) -> None:
    replay = TrainingReplay(recorded)
    replay.set_state({"epoch": 1.5, "digit": 3})
    assert (replay.epoch, replay.digit) == (1.5, 3)
