"""The built pages in a browser: nothing missing, nothing fetched from elsewhere, readable by everyone.

They look at ``_build/html``, which ``make test`` brings up to date first; ``test_build_is_current`` refuses
to judge an older one.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest
from playwright.sync_api import Browser, expect

from tests.conftest import Visit
from tools.browser import HTML, UNSEEN, pages, redrawn, violations

ROOT = HTML.parent.parent
# Both schemes and both sizes, though not each with each: a page takes seconds to open.
VIEWS = [("desktop", "light"), ("phone", "dark")]
HEAVIEST = 800_000  # bytes, gzipped, without models


def built() -> list[str]:
    return pages() if HTML.exists() else []


def look(*views: tuple[str, str], names: list[str] | None = None) -> pytest.MarkDecorator:
    """Look at each page in these views; tests that look at the same one share it."""
    params = [
        pytest.param((name, *view), id="-".join((name, *view)))
        for name in (built() if names is None else names)
        for view in views
    ]
    return pytest.mark.parametrize("opened", params, indirect=True)


@pytest.mark.usefixtures("browser")  # without one, nobody looks at the build
def test_build_is_current() -> None:
    assert built(), "the book is not built: run `make book`"
    assert not (HTML.parent / ".doctrees" / "unfinished").exists(), "the last build failed: run `make book`"
    sources = [path for path in ROOT.glob("book/*") if path.suffix in {".ipynb", ".md"}]
    assert {path.stem for path in sources} == {Path(name).stem for name in built()}
    for source in sources:
        assert source.read_bytes() == (HTML / "_sources" / "book" / source.name).read_bytes(), (
            f"{source} is newer"
        )


def test_browser_is_the_one_that_playwright_starts_but_for_its_own_menus(browser: Browser) -> None:
    page = browser.new_page()
    page.goto("chrome://version")
    lists = re.findall(r"--disable-features=(\S+)", page.locator("#command_line").inner_text())
    page.close()
    theirs, ours = (set(names.split(",")) for names in lists)
    assert ours == theirs | set(UNSEEN), "the last list counts: repeat Playwright's in tools/browser.py"


@look(*VIEWS)
def test_page_is_whole_and_stays_so_when_light_and_dark_change(opened: Visit, address: str) -> None:
    assert opened.complaints == []
    asked = [urlsplit(url) for url in opened.addresses if not url.startswith(("data:", "blob:"))]
    assert {url.netloc for url in asked} == {urlsplit(address).netloc}
    first = opened.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    for scheme in ("light", "dark") if first else ("dark", "light"):
        opened.page.emulate_media(color_scheme=scheme)
        expect(opened.page.locator("html")).to_have_attribute("data-theme", scheme)
        redrawn(opened.page)
        width = opened.page.evaluate("document.documentElement.scrollWidth")
        assert width <= opened.page.viewport_size["width"], f"the page is {width} pixels wide"
    assert opened.complaints == []


@look(*VIEWS)
def test_page_is_accessible_and_its_widgets_are_without_fault(opened: Visit) -> None:
    """axe-core: nothing serious on the page, and within a widget nothing, be it ever so minor."""
    assert violations(opened.page, strict=".vw") == []


@look(VIEWS[0], names=[*built(), "genindex.html", "search.html"])
def test_page_is_light(opened: Visit) -> None:
    assert opened.complaints == []
    weights = {}
    for response in opened.responses:
        path = urlsplit(response.url).path
        if response.url.startswith("http") and not path.startswith("/_static/models/"):
            weights[path] = len(gzip.compress(response.body()))
    assert f"/{opened.name}" in weights
    heavy = sorted(weights.items(), key=lambda pair: -pair[1])[:6]
    assert sum(weights.values()) <= HEAVIEST, heavy


@look(VIEWS[0])
def test_pictures_have_words(opened: Visit) -> None:
    for picture in opened.page.locator("article img").all():
        words = (picture.get_attribute("alt") or "").strip()
        # Without alt text Sphinx writes the file's name there, which says nothing to anyone.
        assert words, picture.get_attribute("src")
        assert not re.search(r"\.(png|svg|jpe?g|gif)$", words), words


@look(VIEWS[0], names=[name for name in built() if (ROOT / name).with_suffix(".ipynb").exists()])
def test_page_offers_its_notebook(opened: Visit, address: str) -> None:
    links = [link.get_attribute("href") for link in opened.page.locator("a[href$='.ipynb']").all()]
    wanted = (ROOT / opened.name).with_suffix(".ipynb")
    paths = [urlsplit(urljoin(f"{address}/{opened.name}", link)).path for link in links]
    offered = [HTML / path.lstrip("/") for path in paths if Path(path).name == wanted.name]
    assert offered
    assert offered[0].read_bytes() == wanted.read_bytes()


@pytest.mark.parametrize("name", built())
def test_page_and_its_widgets_work_from_a_file(visit: Callable[..., Visit], name: str) -> None:
    seen = visit(HTML.as_uri(), name)
    assert seen.complaints == []
    assert {urlsplit(url).scheme for url in seen.addresses} <= {"file", "data", "blob"}
    hosts = seen.page.locator(".widget-host").count()
    assert hosts == (HTML / name).read_text(encoding="utf-8").count('"_esm"')
    assert seen.page.locator(".widget-host[data-ready] .vw").count() == hosts


def test_front_page_leads_into_the_book(browser: Browser, address: str) -> None:
    page = browser.new_page()
    page.goto(address)
    page.wait_for_url("**/book/intro.html")
    page.close()
