"""What the tests of the pages' Python share: a reader who presses buttons, and what the reader then sees."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page

from tools.browser import HTML

PART_I = sorted(
    path.relative_to(HTML).as_posix() for path in HTML.glob("book/[01]*.html") if path.stem < "11"
)
LONG = 60_000  # milliseconds: a hundred times what any cell takes, for a machine that has much else to do

# The page's text with each formula as its TeX, whether MathJax has typeset it or not.
TEXT = """box => {
    const items = [...MathJax.startup.document.math];
    const text = node => {
        if (node.nodeType === Node.TEXT_NODE) return node.data;
        const typeset = items.find(item => item.typesetRoot === node);
        if (typeset) return typeset.math;
        if (["details", "button"].includes(node.localName)) return "";
        const inline = /^(SPAN|PRE|CODE|A|STRONG|P)$/.test(node.nodeName);
        return [...node.childNodes].map(text).join(inline ? "" : " ");
    };
    return text(box);
}"""


def need_live() -> None:
    """Skip where the book was built without its buttons, which CI must not put up with."""
    if not (HTML / "_static" / "live" / "worker.js").exists():
        if os.environ.get("CI") == "true":
            pytest.fail(
                "CI must run the pages' cells, and the book was built without them: see the build's log"
            )
        pytest.skip("the book was built without Python for its pages: npm could not be reached")


def words(box: Locator) -> str:
    """Return what a box says, with formulas as TeX and spaces made equal."""
    text = re.sub(r"\\begin\{split\}|\\end\{split\}|\\displaystyle|[$]|\\[\[\]]", " ", box.evaluate(TEXT))
    return " ".join(text.split())


def settled(bar: Locator) -> str:
    """Wait until what was asked for at a bar of buttons is done; return its state."""
    handle = bar.element_handle()
    bar.page.wait_for_function(
        "bar => bar.dataset.state && bar.dataset.state !== 'running'", arg=handle, timeout=LONG
    )
    return bar.get_attribute("data-state") or ""


def press(box: Locator, name: str) -> None:
    """Press a button, wherever it stands: solutions of exercises are folded."""
    box.locator(f".live-{name}").first.dispatch_event("click")


def run(cell: Locator, button: str = "run") -> str:
    """Run a cell, and return how it went: ``held`` or ``failed``."""
    bar = cell.locator(".live-bar")
    bar.evaluate("bar => delete bar.dataset.state")
    press(bar, button)
    return settled(bar)


def cells(page: Page) -> Iterator[Locator]:
    """Return a page's cells that can run."""
    found = page.locator(".cell.live")
    return (found.nth(k) for k in range(found.count()))


def typed(page: Page, box: Locator, text: str) -> None:
    """Put a text into an editor in the way a reader does: all selected, then typed over."""
    box.locator(".cm-content").focus()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.insert_text(text)


def source(name: str) -> Path:
    """Return the notebook that a page was made from, as it was executed."""
    return HTML.parent / "jupyter_execute" / Path(name).with_suffix(".ipynb")
