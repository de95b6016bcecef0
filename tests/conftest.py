"""A browser for the tests that look at the built book, and what it says of each page."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, Page

from tools.browser import SIZES, chromium, find_chromium, served, settle


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start the installed browser. Without one there is nothing to see, which CI must not put up with."""
    if find_chromium() is None:
        if os.environ.get("CI") == "true":
            pytest.fail(
                "CI must look at the pages, and there is no Chromium here: see .ci/packages.txt", False
            )
        pytest.skip("no Chromium here, so nobody looks at the built pages")
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Serve the built book."""
    with served() as url:
        yield url


@dataclass
class Visit:
    """A page as one reader sees it, with all that the browser complained about."""

    page: Page
    name: str
    complaints: list[str] = field(default_factory=list)
    addresses: set[str] = field(default_factory=set)

    def complain(self, text: str, serious: bool = True) -> None:
        """Note what the browser said, if it matters."""
        if serious:
            self.complaints.append(text)


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Open a page with a memory of its own, and leave nothing behind for the next one."""
    contexts = []

    def open_page(
        address: str,
        name: str,
        size: str = "desktop",
        scheme: str = "light",
        prepare: Callable[[Page], object] = lambda page: None,
    ) -> Visit:
        width, height = SIZES[size]
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        seen = Visit(context.new_page(), name)
        page = seen.page
        page.on("console", lambda said: seen.complain(said.text, said.type in {"error", "warning"}))
        page.on("pageerror", lambda error: seen.complain(f"uncaught: {error}"))
        page.on("requestfailed", lambda request: seen.complain(f"failed: {request.url}"))
        page.on("response", lambda got: seen.complain(f"{got.status}: {got.url}", got.status >= 400))
        page.on("request", lambda request: seen.addresses.add(request.url))
        prepare(page)
        page.goto(f"{address}/{name}")
        settle(page)
        return seen

    yield open_page
    for context in contexts:
        context.close()
