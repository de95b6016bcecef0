"""A browser for the tests that look at the built book, and what it says of each page."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, Page, Response

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
    """A page as one reader sees it, with what was loaded for it and all that the browser complained about."""

    page: Page
    name: str
    complaints: list[str] = field(default_factory=list)
    addresses: set[str] = field(default_factory=set)
    responses: list[Response] = field(default_factory=list)

    def complain(self, text: str, serious: bool = True) -> None:
        """Note what the browser said, if it matters."""
        if serious:
            self.complaints.append(text)

    def answered(self, response: Response) -> None:
        """Note what came back."""
        self.responses.append(response)
        self.complain(f"{response.status}: {response.url}", response.status >= 400)


@contextmanager
def visiting(
    browser: Browser,
    address: str,
    name: str,
    size: str = "desktop",
    scheme: str = "light",
    prepare: Callable[[Page], object] = lambda page: None,
) -> Iterator[Visit]:
    """Open a page with a memory of its own, and leave nothing behind for the next one."""
    width, height = SIZES[size]
    viewport = {"width": width, "height": height}
    with browser.new_context(viewport=viewport, color_scheme=scheme) as context:
        seen = Visit(context.new_page(), name)
        page = seen.page
        page.on("console", lambda said: seen.complain(said.text, said.type in {"error", "warning"}))
        page.on("pageerror", lambda error: seen.complain(f"uncaught: {error}"))
        page.on("requestfailed", lambda request: seen.complain(f"failed: {request.url}"))
        page.on("response", seen.answered)
        page.on("request", lambda request: seen.addresses.add(request.url))
        prepare(page)
        page.goto(f"{address}/{name}")
        settle(page)
        yield seen


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Open pages for one test, which may do with them what it likes."""
    with ExitStack() as stack:
        yield lambda *where, **how: stack.enter_context(visiting(browser, *where, **how))


@pytest.fixture(scope="module")
def opened(browser: Browser, address: str, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A page in one view, (name, size, scheme), opened once for all tests of a file that only look at it."""
    with visiting(browser, address, *request.param) as seen:
        yield seen
