"""What holds for every widget: links in both directions, hostile ones, two views of one, and a clean end."""

from __future__ import annotations

import inspect
import math
import random
import re
import string
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import pytest
import torch
import traitlets

import vaelib.widgets
from tests.widgets.conftest import Opener
from vaelib.data import Images
from vaelib.history import Epoch
from vaelib.models import VAE, mlp_vae
from vaelib.snapshots import Snapshots
from vaelib.widgets.core import Widget, spell

CLASSES = {
    name: found
    for name in vaelib.widgets.__all__
    if inspect.isclass(found := getattr(vaelib.widgets, name))
    and issubclass(found, Widget)
    and found.class_traits(share=True)
}
STATES = 8


def tiny(latents: int = 2, seed: int = 0) -> VAE:
    return mlp_vae(hidden_dim=4, latent_dim=latents, generator=torch.Generator().manual_seed(seed))


def some_images() -> Images:
    pixels = torch.randint(0, 256, (20, 784), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return Images(pixels, torch.arange(20) % 10)


def some_snapshots() -> Snapshots:
    generator = torch.Generator().manual_seed(0)
    line = Epoch(1, -150.0, 140.0, 5.0, -149.0, 139.0, 6.0, 0.005, 0.0)
    return Snapshots(
        labels=torch.tensor([3, 7, 0, 3], dtype=torch.uint8),
        means=torch.rand(3, 4, 2, generator=generator),
        rates=torch.ones(3, 2),
        shown=torch.tensor([0, 1, 2]),
        originals=some_images().pixels[:3],
        reconstructions=some_images().pixels[:9].reshape(3, 3, 784),
        history=(line, line),
        elbo_before=-560.0,
        held_out_name="validation",
    )


# What a widget cannot be made without.
MADE: dict[str, Callable[..., Widget]] = {
    "BetaFamily": lambda **v: CLASSES["BetaFamily"](
        {beta: tiny(3, seed=round(beta)) for beta in (0.5, 1.0, 2.0)}, some_images(), **v
    ),
    "DrawADigit": lambda **v: CLASSES["DrawADigit"](tiny(), some_images(), **v),
    "LatentPad": lambda **v: CLASSES["LatentPad"](tiny(), some_images(), **v),
    "LatentTraversal": lambda **v: CLASSES["LatentTraversal"](tiny(3), some_images(), **v),
    "TrainingReplay": lambda **v: CLASSES["TrainingReplay"](some_snapshots(), **v),
    "WaterLevel": lambda **v: CLASSES["WaterLevel"]([5.0, 2.0, 0.5, 0.1], **v),
}


def made(name: str, **values: Any) -> Widget:
    """A small widget of this class; one that needs more than its traits is described in ``MADE``."""
    return MADE.get(name, CLASSES[name])(**values)


every = pytest.mark.parametrize("name", CLASSES)


def allowed(rule: dict[str, Any], rng: random.Random) -> Any:
    """Any value that a trait's rule allows, with as many decimals as a link carries."""
    match rule["type"]:
        case "boolean":
            return rng.random() < 0.5
        case "choice":
            return rng.choice(rule["of"])
        case "number":
            low, high = (limit if limit is not None else end for limit, end in limits(rule))
            if rng.random() < 0.2:
                return rng.choice([low, high])
            if rule["whole"]:
                return rng.randint(low, high)
            return min(high, max(low, round(rng.uniform(low, high), rule.get("digits", 4))))
        case "numbers":
            count = rng.randint(rule["least"], min(rule["most"], rule["least"] + 3))
            return [allowed(rule | {"type": "number"}, rng) for _ in range(count)]
        case "text":
            return strokes(rng)
    raise AssertionError(rule)


def limits(rule: dict[str, Any]) -> list[tuple[float | None, int]]:
    return [(rule["min"], -1000), (rule["max"], 1000)]


def strokes(rng: random.Random) -> str:
    """The one text that a link carries: pairs of letters, and dots between strokes."""
    letters = string.ascii_letters + string.digits + "-_"
    lines = ["".join(rng.choices(letters, k=2 * rng.randint(1, 9))) for _ in range(rng.randint(0, 4))]
    return ".".join(lines)


def refused(rule: dict[str, Any]) -> list[Any]:
    """Values that a trait's rule does not allow."""
    junk = ["nonsense", None, {}, b"1"]
    match rule["type"]:
        case "boolean":
            return [*junk, 2]
        case "choice":
            return [*junk, 77.5]
        case "number":
            outside = [low - 1 for low, _ in limits(rule)[:1] if low is not None]
            outside += [high + 1 for high, _ in limits(rule)[1:] if high is not None]
            return [*junk, *outside, *([2.5] if rule["whole"] else [math.nan, math.inf, -math.inf])]
        case "numbers":
            entry = allowed(rule | {"type": "number"}, random.Random(0))
            wrong = [
                [bad] + [entry] * (max(1, rule["least"]) - 1) for bad in refused(rule | {"type": "number"})
            ]
            lengths = [rule["least"] - 1] * (rule["least"] > 0) + [rule["most"] + 1] * (rule["most"] < 10_000)
            return [*junk, *wrong, *([entry] * length for length in lengths)]
        case "text":
            return [None, {}, b"1", "<script>", "%", "a b", "ä"]
    raise AssertionError(rule)


def states(name: str) -> list[dict[str, Any]]:
    """States that links may ask for: some traits at random, and all of them once."""
    rng = random.Random(name)
    schema = made(name)._schema
    found = []
    for k in range(STATES):
        chosen = [trait for trait in schema if k == 0 or rng.random() < 0.6]
        found.append({trait: allowed(schema[trait], rng) for trait in chosen})
    return found


@every
def test_python_takes_what_a_link_may_ask_for_and_nothing_else(name: str) -> None:
    widget = made(name)
    rng = random.Random(name)
    for trait, rule in widget._schema.items():
        for _ in range(20):
            value = allowed(rule, rng)
            setattr(widget, trait, value)
            assert getattr(widget, trait) == value
        kept = getattr(widget, trait)
        for value in refused(rule):
            with pytest.raises(traitlets.TraitError):
                setattr(widget, trait, value)
            assert getattr(widget, trait) == kept, (trait, value)


# Goes to addresses one after the other, and says what the model holds at each and which link leads there.
VISIT = """async ([addresses, names]) => {
    const { model } = document.querySelector('.widget-host').vaebook;
    const found = [];
    for (const address of addresses) {
        const gone = new Promise(done => addEventListener('hashchange', done, { once: true }));
        const before = location.href;
        location.hash = address;
        if (location.href !== before) await gone;
        const values = names.map(name => [name, model.get(name)]);
        found.push([Object.fromEntries(values), model.link().split('#')[1]]);
    }
    return found;
}"""


@every
def test_link_goes_to_the_browser_and_back(name: str, play: Opener) -> None:
    widgets = [made(name) for _ in range(STATES)]
    for widget, state in zip(widgets, states(name), strict=True):
        for trait, value in state.items():
            setattr(widget, trait, value)
    played = play(made(name), fragment=widgets[0].link)
    traits = list(made(name)._schema)
    # The last one leaves everything out: what a link does not name is where it was at the start.
    widgets.append(made(name))
    visited = played.page.evaluate(VISIT, [[widget.link for widget in widgets], traits])
    for widget, (there, link) in zip(widgets, visited, strict=True):
        assert there == {trait: getattr(widget, trait) for trait in traits}
        assert f"#{link}" == widget.link
    played.settle()
    assert played.complaints == []


JUNK = [
    "__proto__", "constructor", "toString", "hasOwnProperty", "%", "%E0%A4%A", "%00",
    "<script>alert(1)</script>", "%3Cimg%20src=x%20onerror=alert(1)%3E", "javascript:alert(1)",
    "NaN", "Infinity", "-Infinity", "1e9", "1e-9", "0x10", "--1", "+1", "1,", ",", "9" * 9, "-" + "9" * 9,
    "9" * 400, "1." + "1" * 30, ",".join("1" * 30), "null", "undefined", "true", "[object Object]", "🎲",
    "a" * 5000, "ab." * 2000, "\u0661", "ä",
]  # fmt: skip
NAMES = ["__proto__", "constructor", "key", "_esm", "_css", "_schema", "_initial", "layout", "nothing"]


def takes(rule: dict[str, Any], text: str) -> bool:
    """Whether a text in an address means something to a trait."""
    try:
        text = unquote(text, errors="strict") if not re.search(r"%(?![0-9a-fA-F]{2})", text) else "%"
    except UnicodeDecodeError:
        return False
    number = re.compile(r"-?\d{1,9}(\.\d{1,9})?", re.ASCII)
    match rule["type"]:
        case "boolean":
            return text in {"0", "1"}
        case "choice":
            return text in map(str, rule["of"])
        case "number":
            low, high = (limit if limit is not None else math.inf * end for limit, end in limits(rule))
            return bool(number.fullmatch(text)) and low <= float(text) <= high
        case "numbers":
            entries = text.split(",") if text else []
            fits = [takes(rule | {"type": "number"}, entry) for entry in entries]
            return all(fits) and rule["least"] <= len(entries) <= rule["most"]
        case "text":
            return len(text) <= 4000 and bool(re.fullmatch(rule["pattern"], text, re.ASCII))
    raise AssertionError(rule)


def hostile(widget: Widget) -> list[str]:
    """Addresses that ask for nothing that the widget may take."""
    key, schema = widget.key, widget._schema
    found = []
    for junk in JUNK:
        pairs = [f"{trait}={junk}" for trait, rule in schema.items() if not takes(rule, junk)]
        found.append(f"#{key}?{'&'.join(pairs)}&more=1")
    found += [f"#{key}?{name}=1" for name in NAMES]
    found += [f"#{name}?{trait}=1" for name in NAMES for trait in list(schema)[:1]]
    found += ["#", "#?", "#;", f"#{key}", f"#;;{key}&=", f"#{key}?=1", f"#{key}?&&&", f"#{key}?" + "&" * 9999]
    return [*found, "#%", "#" + "%" * 9999, "#" + "a" * 99_999]


@every
def test_hostile_links_change_nothing_and_say_nothing(name: str, play: Opener) -> None:
    widget = made(name)
    addresses = hostile(widget)
    # One when the page opens, and all while it stands.
    played = play(made(name), fragment=addresses[0])
    visited = played.page.evaluate(VISIT, [addresses, list(widget._schema)])
    for address, (there, link) in zip(addresses, visited, strict=True):
        assert there == widget._initial, address[:200]
        assert link == f"{widget.key}?", address[:200]
    assert (
        played.page.evaluate(
            "() => Object.keys(Object.prototype).length + Object.keys(Array.prototype).length"
        )
        == 0
    )
    # Of two requests for one trait the last that may be had counts; junk beside it takes nothing away.
    trait, rule = next(iter(widget._schema.items()))
    wanted = [allowed(rule, random.Random(seed)) for seed in (1, 2)]
    one, two = (spell(value, rule.get("digits", 4)) for value in wanted)
    address = (
        f"#{widget.key}?{trait}={one}&junk=%&{trait}={two}&{trait}=%&__proto__=1;{widget.key}2?{trait}={one}"
    )
    ((there, _),) = played.page.evaluate(VISIT, [[address], [trait]])
    assert there == {trait: wanted[1]}
    played.settle()
    assert played.page.locator(".vw").count() == 1
    assert played.complaints == []


# What each view shows: text and shapes, without the ids (each view has its own), fields and canvases.
SEEN = """() => [...document.querySelectorAll('.vw')].map(view => {
    const text = view.querySelector('.vw-body').outerHTML.replace(/vw-[\\w]+-\\d+(-wrong)?/g, 'id');
    const values = [...view.querySelectorAll('input')].map(
        input => ['radio', 'checkbox'].includes(input.type) ? input.checked : input.value);
    const canvases = [...view.querySelectorAll('canvas')].filter(canvas => canvas.width && canvas.height);
    return { text, values, canvases: canvases.map(canvas => canvas.toDataURL()) };
})"""


@every
def test_two_views_of_one_widget_agree(name: str, play: Opener) -> None:
    widget = made(name)
    played = play(widget, views=2)
    assert played.page.locator(".vw").count() == 2
    sliders = played.page.locator(".vw").nth(1).locator("input[type=range]:visible")
    for state in [{}, *states(name)[:3], None]:
        if state is not None:
            played.set(**state)
        elif sliders.count():  # the reader's hand on one view moves the other
            sliders.first.press("Home")
            sliders.first.press("ArrowRight")
        played.settle()
        first, second = played.page.evaluate(SEEN)
        for what, one in first.items():
            assert one == second[what], (what, state)
    played.page.locator(".vw").nth(1).get_by_role("button", name="Reset").click()
    assert {trait: played.get(trait) for trait in widget._schema} == widget._initial
    assert played.complaints == []


# Counts of listeners on what outlives a view: its model, the window, the document, and their like.
COUNT = """async () => {
    const { model, module } = document.querySelector('.widget-host').vaebook;
    const listeners = () => [...model.listeners.values()].reduce((sum, set) => sum + set.size, 0);
    const kept = new Map();
    const lasting = target => target === window || target === document || target === document.body
        || target === document.documentElement || target instanceof MediaQueryList;
    const { addEventListener: add, removeEventListener: remove } = EventTarget.prototype;
    const key = (target, type, listener) => [target.constructor.name, type, ids.get(listener)
        ?? (ids.set(listener, ids.size), ids.get(listener))].join();
    const ids = new Map();
    EventTarget.prototype.addEventListener = function (type, listener, ...rest) {
        if (lasting(this ?? window)) kept.set(key(this ?? window, type, listener), type);
        return add.call(this ?? window, type, listener, ...rest);
    };
    EventTarget.prototype.removeEventListener = function (type, listener, ...rest) {
        if (lasting(this ?? window)) kept.delete(key(this ?? window, type, listener));
        return remove.call(this ?? window, type, listener, ...rest);
    };
    const errors = [];
    const complain = event => errors.push(String(event.message ?? event.reason));
    add.call(window, 'error', complain);
    add.call(window, 'unhandledrejection', complain);
    const before = listeners();
    const el = document.createElement('div');
    const dispose = await module.default.render({ model, el });
    const during = listeners();
    await new Promise(done => setTimeout(done, 50));
    dispose();
    const after = listeners();
    // A view that is gone draws no more, whatever changes.
    const emptied = el.childElementCount;
    for (const [name, value] of Object.entries(model.get('_initial'))) model.set(name, value);
    await new Promise(done => setTimeout(done, 600));
    Object.assign(EventTarget.prototype, { addEventListener: add, removeEventListener: remove });
    return { before, during, after, emptied, errors, left: [...kept.values()] };
}"""


@every
def test_a_view_that_goes_leaves_nothing_behind(name: str, play: Opener) -> None:
    played = play(made(name))
    found = played.page.evaluate(COUNT)
    assert found["during"] > found["before"]
    assert found["after"] == found["before"]
    assert found["left"] == []
    assert found["emptied"] == 0
    assert found["errors"] == []
    assert played.complaints == []
