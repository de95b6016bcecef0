"""Draw the still picture of each widget: for paper, for readers without scripts, and for GitHub's view.

``make stills`` opens every built page, photographs each widget as it stands at the start, and writes
``book/_static/stills/widget-KEY.webp``, which the page shows beside the widget's cell.
"""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page

from tools.browser import chromium, pages, served, settle

STILLS = Path(__file__).resolve().parent.parent / "book" / "_static" / "stills"
LARGEST = 60_000  # bytes


def photograph(page: Page, folder: Path = STILLS) -> list[Path]:
    """Write a still for every widget on an open page, and return the files."""
    settle(page)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for host in page.locator(".widget-host").all():
        key = host.evaluate("box => box.vaebook.model.get('key')")
        host.scroll_into_view_if_needed()
        page.wait_for_timeout(400)
        picture = Image.open(io.BytesIO(host.locator(".vw").screenshot()))
        path = folder / f"widget-{key}.webp"
        plain = picture.convert("RGB")
        # Lines and letters stay sharp, and small, in few colours; what has more of them is coarsened instead.
        few = [
            plain.quantize(n, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE).convert("RGB")
            for n in (128, 64, 48, 32)
        ]
        sharp = [(image, {"lossless": True, "quality": 100}) for image in few]
        for image, option in [*sharp, *((plain, {"quality": quality}) for quality in (80, 65, 50))]:
            image.save(path, method=6, **option)
            if path.stat().st_size < LARGEST:
                break
        written.append(path)
    return written


def open_light(browser: Browser, url: str) -> Page:
    """Open a page as the stills show it: wide as the book's column, light, sharp enough for paper."""
    # So high that no widget has to be put together from several views, with the page's header in each.
    page = browser.new_page(
        viewport={"width": 1280, "height": 3000}, color_scheme="light", device_scale_factor=2
    )
    page.goto(url)
    page.add_style_tag(content=".bd-header, #pst-skip-link { display: none !important; }")
    return page


def main() -> None:
    with chromium() as browser, served() as address:
        for name in pages():
            page = open_light(browser, f"{address}/{name}")
            for path in photograph(page):
                print(f"{path.name}  {path.stat().st_size // 1024} KiB")
            page.close()


if __name__ == "__main__":
    main()
