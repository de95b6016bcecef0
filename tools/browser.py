"""A browser to look at the built book with: used by the tests of the pages and by the screenshots."""

from __future__ import annotations

import functools
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

HTML = Path(__file__).resolve().parent.parent / "_build" / "html"

# A desk and a phone; the phone's width is that of the commonest ones.
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
SCHEMES = ("light", "dark")

# Chromium heeds the last of several lists of what to turn off, so ours repeats Playwright's. It adds the
# menus of the address bar, pages that each window would load beside the one that is looked at: they cost as
# much as a quarter of a page, though nobody ever opens them.
PLAYWRIGHTS = (
    *("AvoidUnnecessaryBeforeUnloadCheckSync", "DestroyProfileOnBrowserClose", "HttpsUpgrades"),
    *("HttpsFirstBalancedModeAutoEnable", "LensOverlay", "MediaRouter", "PaintHolding"),
    *("ThirdPartyStoragePartitioning", "AvoidCorsURLLoaderRestartOnRedirect", "TcpPortRandomizationWin"),
    *("OptimizationHints", "NetworkTimeServiceQuerying", "AimEnabled", "PreconnectToSearch"),
    *("msForceBrowserSignIn", "msEdgeUpdateLaunchServicesPreferredVersion"),
)
UNSEEN = ("WebUIOmniboxPopup", "WebUIOmniboxAimPopup")

# The sandbox needs rights that a container does not give; the rest keeps the browser from asking the
# network for anything of its own, so that every request seen is the page's.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--disable-features={','.join([*PLAYWRIGHTS, *UNSEEN])}",
]

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")


def find_chromium() -> str | None:
    """Return the path of an installed Chromium or Chrome, if there is one."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    return found or (str(MAC) if MAC.exists() else None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the installed browser without a window."""
    path = find_chromium()
    if path is None:
        raise FileNotFoundError(f"no Chromium found (looked for {', '.join(NAMES)})")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class QuietHandler(SimpleHTTPRequestHandler):
    """Serve files and keep silent about it."""

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path = HTML) -> Iterator[str]:
    """Serve a folder on a free port of this machine for as long as the context lasts."""
    handler = functools.partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def pages(folder: Path = HTML) -> list[str]:
    """Return the book's own pages, as paths below the folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.glob("book/**/*.html"))


def settle(page: Page) -> None:
    """Wait until formulas are typeset, pictures decoded, fonts in place and all widgets at work."""
    page.wait_for_load_state("load")
    page.evaluate(
        """async () => {
            // Widgets start when the reader comes near: go to each, and back to where the page was.
            const [x, y] = [scrollX, scrollY];
            for (const box of document.querySelectorAll('.widget-host')) {
                box.scrollIntoView();
                while (!box.dataset.ready && !box.hasAttribute('role')) {
                    await new Promise(done => setTimeout(done, 20));
                }
            }
            scrollTo(x, y);
        }"""
    )
    page.evaluate(
        """async () => {
            if (window.MathJax?.startup?.promise) await window.MathJax.startup.promise;
            await document.fonts.ready;
            // A lazy image is none of this moment's, and to decode it would be to fetch it.
            const images = [...document.images].filter(image => image.loading !== "lazy");
            await Promise.all(images.map(image => image.decode().catch(() => null)));
        }"""
    )


def redrawn(page: Page) -> None:
    """Wait until what was asked for has been drawn: two frames."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def violations(page: Page, within: str | None = None, strict: str | None = None) -> list[str]:
    """Return what axe-core finds wrong on a page, or only within what a selector names.

    With ``strict``, another selector, anything counts within that, and elsewhere what is serious or worse.
    """
    # A colour caught half-way through a fade is nobody's contrast.
    page.add_style_tag(content="*, ::before, ::after { transition: none !important; }")
    # Two simplifications halve the time of a page. A kind of token has one colour in all of a block of code:
    # one of each is judged, not thousands. And glyphs are no text: what is spoken stands beside them.
    page.evaluate(
        """() => {
            for (const block of document.querySelectorAll('.highlight')) {
                const kinds = new Set();
                for (const token of block.querySelectorAll('span[class]:not(:has(*))')) {
                    if (kinds.has(token.className)) token.replaceWith(...token.childNodes);
                    else kinds.add(token.className);
                }
                block.normalize();
            }
            document.querySelectorAll('mjx-math[aria-hidden=true]').forEach(math => math.replaceChildren());
        }"""
    )
    # To describe each element that passes would double the time. And axe is not to fetch style sheets: a
    # page's policy refuses that, as it should, and the complaint would be the page's.
    options = {"resultTypes": ["violations"], "preload": False}
    found = Axe().run(page, context=within, options=options).response["violations"]
    inside = "([selector, strict]) => Boolean(document.querySelector(selector)?.closest(strict))"
    return [
        f"{wrong['id']}: {wrong['help']}: {node['html']}"
        for wrong in found
        for node in wrong["nodes"]
        if strict is None
        or wrong["impact"] in {"serious", "critical"}
        or page.evaluate(inside, [node["target"][0], strict])
    ]
