"""What each widget costs its reader: bytes, time until it is ready, time to draw, and what axe-core finds.

``make bench-widgets`` opens the built pages in Chromium, served from this machine, and writes
``results/widgets.json``. A drawing is timed from the input event to the end of the drawing, the wait for the
next frame left out: 100 moves of each of up to four sliders, one after the other. Run it on a quiet machine.
"""

from __future__ import annotations

import datetime
import gzip
import json
import os
import platform
import statistics
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page
from tqdm import tqdm

from tools.browser import HTML, chromium, pages, served, settle

RESULT = HTML.parent.parent / "results" / "widgets.json"
SLIDERS, MOVES = 4, 100

# Move a slider through its range; each move's time is that of its event and of the drawing that follows.
MOVE = """async ([number, moves]) => {
    const box = document.querySelector('[data-timed]');
    const root = box.querySelector('.vw');
    const input = [...box.querySelectorAll('input[type=range]')].filter(i => i.offsetParent)[number];
    const frame = () => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
    const times = [];
    for (let k = 0; k < moves; k++) {
        const [low, high] = [Number(input.min), Number(input.max)];
        input.value = low + ((high - low) * ((k * 37) % moves)) / (moves - 1);
        root.vwFrames.length = 0;
        const begun = performance.now();
        input.dispatchEvent(new Event('input', { bubbles: true }));
        const event = performance.now() - begun;
        await frame();
        if (root.vwFrames.length) times.push(event + root.vwFrames.reduce((a, b) => a + b, 0));
    }
    return times;
}"""


def boxes(page: Page) -> list[tuple[str, Locator]]:
    """The widgets of a page by their keys."""
    return [
        (box.evaluate("box => box.vaebook.model.get('key')"), box)
        for box in page.locator(".widget-host").all()
    ]


def drawing_times(page: Page, box: Locator) -> list[float]:
    """Milliseconds from event to end of drawing."""
    box.scroll_into_view_if_needed()
    box.evaluate("box => { box.dataset.timed = 1; }")
    count = min(SLIDERS, box.locator("input[type=range]:visible").count())
    times = [time for number in range(count) for time in page.evaluate(MOVE, [number, MOVES])]
    handle = box.locator("[role=slider]:visible")
    if not count and handle.count():  # handles alone: move the first by its keys
        box.evaluate("box => { box.querySelector('.vw').vwFrames.length = 0; }")
        handle.first.focus()
        for k in range(MOVES):
            page.keyboard.press("ArrowRight" if k % 20 < 10 else "ArrowLeft")
            page.wait_for_timeout(20)
        times += box.evaluate("box => [...box.querySelector('.vw').vwFrames]")
    sheet = box.locator(".vw-sheet")
    if sheet.count():  # what is drawn on has no slider: draw
        area = sheet.bounding_box()
        assert area is not None
        box.evaluate("box => { box.querySelector('.vw').vwFrames.length = 0; }")
        page.mouse.move(area["x"] + 60, area["y"] + 60)
        page.mouse.down()
        for k in range(2 * MOVES):
            angle = k / 20
            page.mouse.move(area["x"] + 140 + 60 * (angle % 2), area["y"] + 60 + k)
            page.wait_for_timeout(10)
        page.mouse.up()
        times += box.evaluate("box => [...box.querySelector('.vw').vwFrames]")
    box.evaluate("box => { delete box.dataset.timed; }")
    return times


def bytes_of(page: Page, key: str) -> tuple[int, list[str]]:
    """Compressed bytes of a widget's state in its page, and the names of the files that it asks for."""
    found = page.evaluate(
        """key => {
            const text = document.querySelector('script[type="application/vnd.jupyter.widget-state+json"]');
            const { state } = JSON.parse(text.textContent);
            const taken = new Set();
            const take = id => {
                if (taken.has(id)) return;
                taken.add(id);
                const text = JSON.stringify(state[id].state);
                for (const [, other] of text.matchAll(/IPY_MODEL_(\\w+)/g)) take(other);
            };
            take(Object.keys(state).find(id => state[id].state.key === key));
            const parts = [...taken].map(id => state[id]);
            const files = parts.flatMap(part => (part.buffers ?? []).map(buffer => buffer.lifted));
            return { text: JSON.stringify(parts), files };
        }""",
        key,
    )
    return len(gzip.compress(found["text"].encode())), [name for name in found["files"] if name]


def ready(browser: Browser, address: str, name: str, key: str, times: int = 5) -> float:
    """Milliseconds from the start of the navigation until the widget that the address names is drawn."""
    found = []
    for _ in range(times):
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        page.goto(f"{address}/{name}#{key}?")
        settle(page)
        found += [float(box.get_attribute("data-ready") or "nan") for k, box in boxes(page) if k == key]
        context.close()
    return statistics.median(found)


def measure(browser: Browser, address: str, name: str, key: str) -> dict[str, Any]:
    """All numbers of one widget."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{address}/{name}")
    settle(page)
    [box] = [box for k, box in boxes(page) if k == key]
    state, files = bytes_of(page, key)
    models = {
        file: len(gzip.compress((HTML / "_static" / "models" / f"{file}.js").read_bytes())) for file in files
    }
    times = drawing_times(page, box)
    box.evaluate("box => { box.querySelector('.vw').id = 'looked-at'; }")
    violations = Axe().run(page, context="#looked-at").response["violations"]
    page.close()
    return {
        "state_bytes": state,
        "model_bytes": sum(models.values()),
        "largest_file_bytes": max(models.values(), default=0),
        "ready_ms": ready(browser, address, name, key),
        "drawings": len(times),
        "median_ms": round(statistics.median(times), 2),
        "p95_ms": round(sorted(times)[int(0.95 * len(times))], 2),
        "axe_violations": len(violations),
    }


def main() -> None:
    with chromium() as browser, served() as address:
        found = []
        for name in pages():
            page = browser.new_page()
            page.goto(f"{address}/{name}")
            settle(page)
            found += [(name, key) for key, _ in boxes(page)]
            page.close()
        rows = {
            f"{name}#{key}": measure(browser, address, name, key) for name, key in tqdm(found, unit="widget")
        }
        record = {
            "about": "What each widget costs its reader, measured in the built pages.",
            "widgets": {
                "unit": "bytes as compressed by gzip; milliseconds",
                "command": "make bench-widgets",
                "seed": "nothing is drawn at random",
                "versions": {"chromium": browser.version, "python": platform.python_version()},
                "date": datetime.date.today().isoformat(),
                "cores": os.cpu_count(),
                "rows": rows,
            },
        }
    RESULT.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    for name, row in rows.items():
        print(name, *(f"{key} {value}" for key, value in row.items()), sep="  ")


if __name__ == "__main__":
    main()
