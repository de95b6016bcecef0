"""A widget in a browser as a reader without a kernel meets it: state in a page, the host, no Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page

from tools.browser import SIZES, redrawn, served, violations
from tools.standalone import write_page
from vaelib.widgets.core import Widget


@dataclass
class Played:
    """One widget on a page of its own, with all that the browser complained about."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)

    @property
    def root(self) -> Locator:
        return self.page.locator(".vw").first

    def get(self, trait: str) -> Any:
        """What the browser's model holds."""
        return self.page.evaluate(
            "name => document.querySelector('.widget-host').vaebook.model.get(name)", trait
        )

    def set(self, **traits: Any) -> None:
        """Change traits as another view would, and wait for the drawing."""
        self.page.evaluate(
            """values => {
                const { model } = document.querySelector('.widget-host').vaebook;
                model.set(values);
                model.save_changes();
            }""",
            traits,
        )
        self.settle()

    def settle(self) -> None:
        """Wait until what was asked for has been drawn."""
        redrawn(self.page)

    def call(self, function: str, *arguments: Any) -> Any:
        """Call a function that the widget's module exports; arrays come back as lists."""
        return self.page.evaluate(
            """([name, values]) => {
                const plain = v => ArrayBuffer.isView(v) || Array.isArray(v) ? Array.from(v, plain)
                    : v && typeof v === 'object'
                        ? Object.fromEntries(Object.entries(v).map(([k, w]) => [k, plain(w)])) : v;
                return plain(document.querySelector('.widget-host').vaebook.module[name](...values));
            }""",
            [function, list(arguments)],
        )

    def finger(self, selector: str, dx: float, dy: float = 0) -> None:
        """Put a finger on the middle of an element, draw it along by as many pixels, and lift it."""
        target = self.page.locator(selector).first
        target.scroll_into_view_if_needed()
        box = target.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        session = self.page.context.new_cdp_session(self.page)
        for kind, share in [("Start", 0), *(("Move", step / 5) for step in range(1, 6)), ("End", None)]:
            points = [] if share is None else [{"x": x + share * dx, "y": y + share * dy}]
            session.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})
            self.settle()

    def pixels(self, selector: str, index: int = 0) -> list[int]:
        """The grey values of a canvas that the widget has drawn, row by row."""
        grey: list[int] = self.page.evaluate(
            """([selector, index]) => {
                const canvas = document.querySelectorAll('.vw ' + selector)[index];
                const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
                return Array.from({ length: data.length / 4 }, (_, k) => data[4 * k]);
            }""",
            [selector, index],
        )
        return grey

    def drag(self, mark: str, dx: float, dy: float = 0) -> None:
        """Drag a handle of a chart by so many pixels."""
        box = self.page.locator(f"[data-mark={mark}] .vw-grip").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        self.page.mouse.move(x + dx / 2, y + dy / 2)
        self.page.mouse.move(x + dx, y + dy)
        self.page.mouse.up()
        self.settle()

    def violations(self) -> list[str]:
        """What axe-core finds wrong within the widget, serious or not."""
        return violations(self.page, ".vw")

    def width(self) -> int:
        """How wide the page has become: no wider than the window, if nothing sticks out."""
        return self.page.evaluate("document.documentElement.scrollWidth")


Opener = Callable[..., Played]


@pytest.fixture
def play(browser: Browser, tmp_path: Path) -> Iterator[Opener]:
    """Open a widget: ``play(Widget(), size="phone", scheme="dark", fragment="#...", touch=True)``."""
    closing: list[Callable[[], Any]] = []

    def open_widget(
        widget: Widget,
        *,
        size: str = "desktop",
        scheme: str = "light",
        fragment: str = "",
        touch: bool = False,
        calm: bool = False,
        views: int = 1,
    ) -> Played:
        write_page([widget] * views, tmp_path)
        server = served(tmp_path)
        url = server.__enter__()
        closing.append(lambda: server.__exit__(None, None, None))
        width, height = SIZES[size]
        context = browser.new_context(
            viewport={"width": width, "height": height},
            has_touch=touch,
            reduced_motion="reduce" if calm else "no-preference",
        )
        closing.append(context.close)
        played = Played(context.new_page(), url)
        page = played.page
        page.on(
            "console",
            lambda said: played.complaints.append(said.text) if said.type in {"error", "warning"} else None,
        )
        page.on("pageerror", lambda error: played.complaints.append(f"uncaught: {error}"))
        page.on("requestfailed", lambda request: played.complaints.append(f"failed: {request.url}"))
        page.goto(f"{url}/index.html{fragment}")
        page.locator(".widget-host[data-ready]").nth(views - 1).wait_for()
        page.evaluate("scheme => document.documentElement.dataset.theme = scheme", scheme)
        played.settle()
        return played

    yield open_widget
    for close in reversed(closing):
        close()
