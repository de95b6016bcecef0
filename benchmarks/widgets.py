"""What each widget costs its reader: bytes, time until it is ready, time to draw, and what axe-core finds.

``make bench-widgets`` opens the built pages in Chromium, served from this machine, and writes
``results/widgets.json``. A frame is timed from the input event to the end of its drawing, the wait for the
browser left out: 100 moves of each of up to four sliders, one after the other. A widget may spread what a
move asks of it over a few frames; how long they take together stands beside it. Run it on a quiet machine.
"""

from __future__ import annotations

import gzip
import statistics
from typing import Any

from playwright.sync_api import Browser, Locator, Page
from tqdm import tqdm

from benchmarks.rows import keep
from tools.browser import HTML, chromium, pages, served, settle, violations

RESULT = HTML.parent.parent / "results" / "widgets.json"
SLIDERS, MOVES = 4, 100

# Move a slider through its range. A move takes its event and the frames that follow: a list of times.
MOVE = """async ([number, moves]) => {
    const box = document.querySelector('[data-timed]');
    const root = box.querySelector('.vw');
    const input = [...box.querySelectorAll('input[type=range]')].filter(i => i.offsetParent)[number];
    const frame = () => new Promise(done => requestAnimationFrame(done));
    const times = [];
    for (let k = 0; k < moves; k++) {
        const [low, high] = [Number(input.min), Number(input.max)];
        input.value = low + ((high - low) * ((k * 37) % moves)) / (moves - 1);
        root.vwFrames.length = 0;
        const begun = performance.now();
        input.dispatchEvent(new Event('input', { bubbles: true }));
        const event = performance.now() - begun;
        for (let waited = 0; waited < 4; waited++) await frame();
        if (root.vwFrames.length) times.push(root.vwFrames.map((time, k) => time + (k ? 0 : event)));
    }
    return times;
}"""


def boxes(page: Page) -> list[tuple[str, Locator]]:
    """The widgets of a page by their keys."""
    return [
        (box.evaluate("box => box.vaebook.model.get('key')"), box)
        for box in page.locator(".widget-host").all()
    ]


def moves(page: Page, box: Locator) -> list[list[float]]:
    """Milliseconds of the frames that each move asks for, the first with the event itself."""
    box.scroll_into_view_if_needed()
    box.evaluate("box => { box.dataset.timed = 1; }")
    count = min(SLIDERS, box.locator("input[type=range]:visible").count())
    found = [frames for number in range(count) for frames in page.evaluate(MOVE, [number, MOVES])]
    handle = box.locator("[role=slider]:visible")
    if not count and handle.count():  # handles alone: move the first by its keys
        box.evaluate("box => { box.querySelector('.vw').vwFrames.length = 0; }")
        handle.first.focus()
        for k in range(MOVES):
            page.keyboard.press("ArrowRight" if k % 20 < 10 else "ArrowLeft")
            page.wait_for_timeout(20)
        found += box.evaluate("box => box.querySelector('.vw').vwFrames.map(time => [time])")
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
        found += box.evaluate("box => box.querySelector('.vw').vwFrames.map(time => [time])")
    box.evaluate("box => { delete box.dataset.timed; }")
    return found


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


def percentile(times: list[float], share: float) -> float:
    """The time that this share of all stays below."""
    return round(sorted(times)[int(share * len(times))], 2)


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
    found = moves(page, box)
    frames = [time for frames in found for time in frames]
    box.evaluate("box => { box.querySelector('.vw').id = 'looked-at'; }")
    wrong = violations(page, "#looked-at")
    page.close()
    return {
        "state_bytes": state,
        "model_bytes": sum(models.values()),
        "largest_file_bytes": max(models.values(), default=0),
        "ready_ms": ready(browser, address, name, key),
        "moves": len(found),
        "frame_median_ms": round(statistics.median(frames), 2),
        "frame_p95_ms": percentile(frames, 0.95),
        "move_p95_ms": percentile(list(map(sum, found)), 0.95),
        "axe_violations": len(wrong),
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
        keep(
            RESULT,
            rows,
            browser,
            about="What each widget costs its reader, measured in the built pages.",
            unit="bytes as compressed by gzip; milliseconds",
            command="make bench-widgets",
            seed="nothing is drawn at random",
        )


if __name__ == "__main__":
    main()
