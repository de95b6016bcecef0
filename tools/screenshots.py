"""Take pictures of every built page, wide and narrow, light and dark, for people to look at."""

from __future__ import annotations

import argparse
from pathlib import Path

from browser import HTML, SCHEMES, SIZES, chromium, pages, served, settle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--html", type=Path, default=HTML, help="the built book (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=HTML.parent / "screenshots", help="default: %(default)s")
    parser.add_argument("--only", default="", help="only pages whose path contains this")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with served(arguments.html) as address, chromium() as browser:
        for name in pages(arguments.html):
            if arguments.only not in name:
                continue
            for size, (width, height) in SIZES.items():
                for scheme in SCHEMES:
                    viewport = {"width": width, "height": height}
                    page = browser.new_page(viewport=viewport, color_scheme=scheme)
                    page.goto(f"{address}/{name}")
                    settle(page)
                    stem = name.removesuffix(".html").replace("/", "-")
                    path = arguments.out / f"{stem}-{size}-{scheme}.png"
                    page.screenshot(path=path, full_page=True)
                    page.close()
                    print(path)


if __name__ == "__main__":
    main()
