"""What Python in the page costs its reader: bytes, seconds, and how long a frame waits.

``make bench-live`` opens each page of Part I in Chromium, served from this machine by a server that
compresses nothing, and writes ``results/live.json``. Per page: the bytes that it loads before its reader
presses anything, and those that the first press adds, in a browser without any of them; the seconds from the
press to the first result, and then to the second cell's, beside what Python says that it took; the longest
that a frame had to wait while Python was fetched and started, and while all cells of the page ran; and of the
tasks of the page's own thread that the browser calls long (50 ms) the longest, or 0. Run it on a quiet
machine.
"""

from __future__ import annotations

import gzip
import time
from typing import Any

from playwright.sync_api import Browser, Locator, Response
from tqdm import tqdm

from benchmarks.rows import keep
from tools.browser import HTML, chromium, pages, served, settle

RESULT = HTML.parent.parent / "results" / "live.json"
PATIENCE = 120_000  # milliseconds

WATCH = """() => {
    window.longest = 0;
    let last = performance.now();
    const frame = now => {
        window.longest = Math.max(window.longest, now - last);
        last = now;
        requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
    new PerformanceObserver(list => {
        for (const task of list.getEntries()) window.task = Math.max(window.task ?? 0, task.duration);
    }).observe({ type: "longtask" });
}"""


def weight(responses: list[Response]) -> tuple[int, int]:
    """Bytes of what was loaded, as it is and as a server that compresses would send it."""
    bodies = [response.body() for response in responses if response.url.startswith("http")]
    return sum(map(len, bodies)), sum(min(len(body), len(gzip.compress(body))) for body in bodies)


def press(cell: Locator, button: str = "run") -> tuple[float, float]:
    """Run a cell; return seconds from the press to the result, and those that Python says it took."""
    bar = cell.locator(".live-bar")
    begun = time.perf_counter()
    cell.locator(f".live-{button}").first.dispatch_event("click")
    cell.page.wait_for_function(
        "bar => ['held', 'failed'].includes(bar.dataset.state)", arg=bar.element_handle(), timeout=PATIENCE
    )
    taken = time.perf_counter() - begun
    assert bar.get_attribute("data-state") == "held", cell.inner_text()
    words = (bar.locator(".live-status").text_content() or "").split()
    return taken, float(words[-2])


def measure(browser: Browser, address: str, name: str) -> dict[str, Any]:
    """All numbers of one page."""
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        responses: list[Response] = []
        context.on("response", lambda response: responses.append(response))
        page.goto(f"{address}/{name}")
        settle(page)
        before, before_gzip = weight(responses)
        responses.clear()
        cells = page.locator(".cell.live")
        page.evaluate(WATCH)
        first, _ = press(cells.nth(0))
        second, own = press(cells.nth(1))
        added, added_gzip = weight(responses)
        started = page.evaluate("window.longest")
        page.evaluate("window.longest = 0")
        everything, _ = press(cells.last, "above")
        return {
            "before_bytes": before,
            "before_gzip_bytes": before_gzip,
            "added_bytes": added,
            "added_gzip_bytes": added_gzip,
            "first_s": round(first, 2),
            "second_s": round(second, 2),
            "second_own_s": own,
            "cells": cells.count(),
            "equations": page.locator(".live-check").count(),
            "all_cells_s": round(everything, 1),
            "longest_frame_starting_ms": round(started, 1),
            "longest_frame_running_ms": round(page.evaluate("window.longest"), 1),
            "longest_task_ms": page.evaluate("window.task ?? 0"),
        }


def main() -> None:
    with chromium() as browser, served() as address:
        names = [name for name in pages() if "cells.js" in (HTML / name).read_text(encoding="utf-8")]
        rows = {name: measure(browser, address, name) for name in tqdm(names, unit="page")}
        keep(
            RESULT,
            rows,
            browser,
            about="What Python in the page costs its reader, measured in the built pages.",
            unit="bytes as they are and as compressed by gzip; seconds; milliseconds",
            command="make bench-live",
            seed="each cell's own",
        )


if __name__ == "__main__":
    main()
