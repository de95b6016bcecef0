"""The widgets in the built pages, as readers without a kernel use them: by mouse, by keyboard, by touch."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch
from playwright.sync_api import Browser, Locator, Page, expect

from tests.conftest import Visit
from tools.browser import HTML, pages, redrawn, settle
from vaelib.models import VAE
from vaelib.pretrained import load_pretrained
from vaelib.widgets import as_the_page_has_it

BOOK = HTML.parent.parent / "book"
STATE = re.compile(r'<script type="application/vnd\.jupyter\.widget-state\+json">(.*?)</script>', re.DOTALL)
# Ink is shown in 256 steps; a step more, since a value may lie on the edge between two.
GREY = 1.01 / 255


def models_in(name: str) -> list[dict[str, Any]]:
    """The state of each widget of a built page."""
    found = STATE.search((HTML / name).read_text(encoding="utf-8"))
    state = json.loads(found[1])["state"] if found else {}
    return [model["state"] for model in state.values() if "_esm" in model["state"]]


PAGES = [name for name in pages() if models_in(name)] if HTML.exists() else []
WIDGETS = {(name, state["key"]): state for name in PAGES for state in models_in(name)}


def host(page: Page, key: str) -> Locator:
    """The box of a page's widget."""
    for box in page.locator(".widget-host").all():
        if box.evaluate("box => box.vaebook.model.get('key')") == key:
            return box
    raise LookupError(key)


def choices(box: Locator) -> dict[str, Any]:
    """The reader's choices: what a link would carry."""
    found: dict[str, Any] = box.evaluate(
        "({ vaebook: { model } }) => Object.fromEntries("
        "Object.keys(model.get('_schema')).map(name => [name, model.get(name)]))"
    )
    return found


def test_every_page_of_part_one_and_all_that_follow_can_be_played_with() -> None:
    assert len(PAGES) >= 9
    assert {Path(name).stem for name in PAGES} >= {
        *("01-bayes", "06-elbo", "08-gradients", "09-linear-vae", "10-distances"),
        *("11-training", "12-latent-space", "13-draw", "14-beta"),
    }


@pytest.mark.parametrize(("name", "key"), WIDGETS)
def test_widget_answers_to_mouse_keyboard_and_touch(
    browser: Browser, address: str, name: str, key: str
) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    page = context.new_page()
    page.goto(f"{address}/{name}")
    settle(page)
    box = host(page, key)
    box.scroll_into_view_if_needed()
    states = [choices(box)]

    def moves(how: str, acts: Iterable[Callable[[], object]]) -> None:
        """One act or the other moves the widget: what is moved may be at one of its ends."""
        for act in acts:
            act()
            if choices(box) != states[-1]:
                break
        settle(page)
        states.append(choices(box))
        assert states[-1] != states[-2], how

    # A slider, else a handle of a chart, else the sheet that is drawn on.
    control = box.locator("input[type=range]:visible, [role=slider]:visible, .vw-sheet").first
    slides = control.evaluate("node => node.localName === 'input'")
    control.focus()
    # A sheet's pen is lowered before it draws.
    moves("keyboard", [partial(page.keyboard.press, press) for press in ("ArrowRight", "ArrowLeft", " ")])
    control.scroll_into_view_if_needed()
    area = control.bounding_box()
    x, y = area["x"] + area["width"] / 2, area["y"] + area["height"] / 2

    def drag() -> None:
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x - 40, y + 10, steps=5)
        page.mouse.up()

    if slides:
        left, width = area["x"], area["width"]
        moves("mouse", [partial(page.mouse.click, left + share * width, y) for share in (0.8, 0.3)])
        moves("touch", [partial(page.touchscreen.tap, left + share * width, y) for share in (0.6, 0.2)])
    else:
        moves("mouse", [drag])
        knobs = box.locator(".vw-body button:visible, .vw-body input[type=radio]:visible")
        moves("touch", [knob.tap for knob in knobs.all()])
    box.get_by_role("button", name="Reset").click()
    first = box.evaluate("box => box.vaebook.model.get('_initial')")
    assert choices(box) == first
    context.close()


@pytest.mark.parametrize("name", PAGES)
def test_still_stands_in_where_no_script_runs_and_on_paper(browser: Browser, address: str, name: str) -> None:
    keys = [state["key"] for state in models_in(name)]
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/{name}")
    for key in keys:
        assert page.locator(f'img[src*="widget-{key}."]').is_visible(), key
    context.close()
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{address}/{name}")
    settle(page)
    for key in keys:
        still = page.locator(f'img[src*="widget-{key}."]')
        assert not still.is_visible(), key
        page.emulate_media(media="print")
        # A real printer makes the browser fetch what is lazy; this one does when it comes into view.
        come = "image => { image.scrollIntoView(); return image.complete && image.naturalWidth > 0; }"
        page.wait_for_function(come, arg=still.element_handle())
        assert still.is_visible(), key
        assert not host(page, key).locator(".vw").is_visible(), key
        page.emulate_media(media="screen")
    context.close()


def test_still_is_not_fetched_unless_its_widget_cannot_start(browser: Browser, address: str) -> None:
    name = "book/11-training.html"
    for broken in (False, True):
        context = browser.new_context()
        page = context.new_page()
        if broken:
            page.route("**/_static/models/*", lambda route: route.abort())
        page.goto(f"{address}/{name}")
        settle(page)
        assert page.locator(".widget-host[role=alert]").count() == broken * len(models_in(name))
        for key in (state["key"] for state in models_in(name)):
            still = page.locator(f'img[src*="widget-{key}."]')
            if broken:  # being lazy, it has no size before the reader comes near
                still.evaluate("image => image.scrollIntoView()")
                expect(still).to_be_visible()
                page.wait_for_function("image => image.complete", arg=still.element_handle())
            else:
                assert not still.is_visible(), key
            assert (still.evaluate("image => image.naturalWidth") > 0) == broken, key
        context.close()


@pytest.mark.parametrize("path", sorted(BOOK.glob("*.ipynb")), ids=lambda path: path.name)
def test_links_into_widgets_ask_for_what_can_be_had(path: Path) -> None:
    """Every pair of every link is a trait that may take the value; else the host would ignore it."""
    text = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
    links = re.findall(r'href="#([\w-]+)\?([^"]*)"', text)
    schemas = {
        key: state["_schema"] for (name, key), state in WIDGETS.items() if Path(name).stem == path.stem
    }
    for key, query in links:
        assert key in schemas, f"#{key}?... names no widget of this page"
        for pair in filter(None, query.replace("&amp;", "&").split("&")):
            trait, _, value = pair.partition("=")
            assert trait in schemas[key], pair
            assert allowed(schemas[key][trait], value), pair


def allowed(rule: dict[str, Any], text: str) -> bool:
    """Whether a trait takes a value: the host's own rule, written again."""
    if rule["type"] == "boolean":
        return text in {"0", "1"}
    if rule["type"] == "choice":
        return text in {str(value).removesuffix(".0") for value in rule["of"]}  # as JavaScript writes them
    if rule["type"] == "text":
        return re.fullmatch(rule["pattern"], text) is not None
    numbers = [float(word) for word in text.split(",")]
    low, high = ({None: default}.get(rule[end], rule[end]) for end, default in (("min", -1e9), ("max", 1e9)))
    count = 1 if rule["type"] == "number" else len(numbers)
    least, most = (rule["least"], rule["most"]) if rule["type"] == "numbers" else (1, 1)
    return least <= count <= most and len(numbers) == count and all(low <= n <= high for n in numbers)


def test_following_a_link_moves_the_widget_and_reset_takes_the_address_back(
    visit: Callable[..., Visit], address: str
) -> None:
    page = visit(address, "book/12-latent-space.html").page
    page.get_by_role("link", name="the arc between the same ends").click()
    settle(page)
    box = host(page, "latent-pad")
    assert choices(box)["way"] == "spherical"
    box.get_by_role("button", name="Reset").click()
    page.wait_for_timeout(600)  # the address follows when the hand rests
    assert "latent-pad" not in page.url


def drawn(box: Locator, selector: str) -> torch.Tensor:
    grey = box.locator(selector).first.evaluate(
        """canvas => {
            const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            return Array.from({ length: data.length / 4 }, (_, k) => data[4 * k]);
        }"""
    )
    return torch.tensor(grey) / 255


def put(page: Page, box: Locator, **traits: Any) -> None:
    box.evaluate("({ vaebook: { model } }, values) => { model.set(values); model.save_changes(); }", traits)
    redrawn(page)


@pytest.mark.parametrize(
    ("key", "selector", "model"),
    [
        ("latent-pad", "figure canvas", "plane"),
        ("latent-traversal", ".vw-traversed canvas", "family-beta-4"),
        ("plane-traversal", ".vw-traversed canvas", "plane"),
    ],
)
def test_published_page_draws_what_vaelib_decodes(
    visit: Callable[..., Visit], address: str, key: str, selector: str, model: str
) -> None:
    page = visit(address, "book/12-latent-space.html").page
    box = host(page, key)
    twin: VAE = as_the_page_has_it(load_pretrained(model).model)
    generator = torch.Generator().manual_seed(0)
    inner = (8 * torch.rand(16, twin.latent_dim, generator=generator) - 4).round(decimals=3)
    edges = torch.tensor([[4.0], [-4.0], [0.0], [1.0]]).expand(-1, twin.latent_dim)
    for z in torch.cat([inner, edges]):
        put(page, box, z=z.tolist())
        assert (drawn(box, selector) - twin.mean_image(z[None])[0]).abs().max() <= GREY
