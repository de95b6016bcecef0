"""The built pages in a browser: nothing missing, nothing fetched from elsewhere, readable by everyone.

They look at ``_build/html``, which ``make test`` brings up to date first; ``test_build_is_current`` refuses
to judge an older one.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from tools.browser import HTML, SCHEMES, SIZES, pages

ROOT = HTML.parent.parent
VIEWS = [pytest.param(size, scheme, id=f"{size}-{scheme}") for size in SIZES for scheme in SCHEMES]


def built() -> list[str]:
    return pages() if HTML.exists() else []


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


@pytest.mark.parametrize(("size", "scheme"), VIEWS)
@pytest.mark.parametrize("name", built())
def test_page_is_whole(visit, address: str, name: str, size: str, scheme: str) -> None:
    seen = visit(address, name, size, scheme)
    assert seen.complaints == []
    assert {urlsplit(url).netloc for url in seen.addresses if not url.startswith(("data:", "blob:"))} == {
        urlsplit(address).netloc
    }
    width = seen.page.evaluate("document.documentElement.scrollWidth")
    assert width <= SIZES[size][0], f"the page is {width} pixels wide"


@pytest.mark.parametrize("name", built())
def test_page_works_from_a_file(visit, name: str) -> None:
    seen = visit(HTML.as_uri(), name, "desktop", "light")
    assert seen.complaints == []
    assert {urlsplit(url).scheme for url in seen.addresses} <= {"file", "data", "blob"}


# Both schemes and both sizes, though not each with each: axe takes seconds for a page.
@pytest.mark.parametrize(("size", "scheme"), [VIEWS[0], VIEWS[-1]])
@pytest.mark.parametrize("name", built())
def test_page_is_accessible(visit, address: str, name: str, size: str, scheme: str) -> None:
    seen = visit(address, name, size, scheme)
    # A colour caught half-way through a fade is nobody's contrast.
    seen.page.add_style_tag(content="*, ::before, ::after { transition: none !important; }")
    violations = Axe().run(seen.page).response["violations"]
    ours = [
        f"{violation['id']}: {violation['help']}: {[node['html'] for node in violation['nodes']]}"
        for violation in violations
        if violation["impact"] in {"serious", "critical"}
    ]
    assert ours == []


@pytest.mark.parametrize("name", built())
def test_pictures_have_words(visit, address: str, name: str) -> None:
    seen = visit(address, name, "desktop", "light")
    for picture in seen.page.locator("article img").all():
        words = (picture.get_attribute("alt") or "").strip()
        # Without alt text Sphinx writes the file's name there, which says nothing to anyone.
        assert words, picture.get_attribute("src")
        assert not re.search(r"\.(png|svg|jpe?g|gif)$", words), words


@pytest.mark.parametrize("name", [name for name in built() if (ROOT / name).with_suffix(".ipynb").exists()])
def test_page_offers_its_notebook(visit, address: str, name: str) -> None:
    seen = visit(address, name, "desktop", "light")
    links = [link.get_attribute("href") for link in seen.page.locator("a[href$='.ipynb']").all()]
    wanted = (ROOT / name).with_suffix(".ipynb")
    paths = [urlsplit(urljoin(f"{address}/{name}", link)).path for link in links]
    offered = [HTML / path.lstrip("/") for path in paths if Path(path).name == wanted.name]
    assert offered
    assert offered[0].read_bytes() == wanted.read_bytes()


def test_front_page_leads_into_the_book(browser: Browser, address: str) -> None:
    page = browser.new_page()
    page.goto(address)
    page.wait_for_url("**/book/intro.html")
    page.close()
