"""The cells' figures as WebP: the same pixels in half the bytes.

Matplotlib's figures come as PNG, 160 dots an inch, transparent. WebP without loss halves them. A few are
noisy, with thousands of points or hundreds of digits, and would alone weigh as much as all the rest of their
page; of those every level is rounded to a multiple of four. What is shown then differs by at most a hundredth
of the way from black to white, on a light page and on a dark one, which nobody sees.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
from PIL import Image  # comes with Matplotlib

# From here on a figure is rounded. Only page-filling clouds and grids of images reach it.
LARGE = 40_000
STEP = 4

# Sphinx copies figures again and again; those named after their content need not be drawn again.
DIGEST = re.compile(r"[0-9a-f]{64}")
PNG = re.compile(r"(_images/)([^\"'/\s]+)\.png(?=[\"'\s])")


def rounded(image: Image.Image) -> Image.Image:
    """Return the image with every level a multiple of four, but for full white and full cover."""
    pixels = np.asarray(image.convert("RGBA")).astype(int)
    levels = np.where(pixels == 255, 255, np.minimum((pixels + STEP // 2) // STEP * STEP, 252))
    levels[levels[..., 3] == 0] = 0
    return Image.fromarray(levels.astype(np.uint8), "RGBA")


def webp(image: Image.Image) -> bytes:
    """Return the image as WebP, pixel by pixel the same unless that is large."""

    def encoded(picture: Image.Image, effort: int) -> bytes:
        buffer = io.BytesIO()
        picture.save(buffer, "WEBP", lossless=True, quality=100, method=effort)
        return buffer.getvalue()

    exact = encoded(image.convert("RGBA"), 4)
    # The greatest effort takes seconds, and makes a sixth of a difference where there is much to save.
    return exact if len(exact) < LARGE else encoded(rounded(image), 6)


def draw(path: Path) -> None:
    """Write the WebP of a PNG beside it, unless it is there."""
    target = path.with_suffix(".webp")
    known = DIGEST.fullmatch(path.stem) and target.exists()
    if not known or target.stat().st_mtime < Path(__file__).stat().st_mtime:
        with Image.open(path) as image:
            target.write_bytes(webp(image))


def as_webp(folder: Path, pages: dict[Path, str]) -> dict[Path, str]:
    """Make every PNG in a folder a WebP, and return the pages that name the folder's files accordingly.

    What no page names any more is removed: Sphinx leaves the figures of earlier builds behind.
    """
    for path in folder.glob("*.png"):
        if any(f"_images/{path.name}" in html for html in pages.values()):
            draw(path)
        path.unlink()
    drawn = {path.stem for path in folder.glob("*.webp")}

    def renamed(match: re.Match[str]) -> str:
        return f"{match[1]}{match[2]}.webp" if match[2] in drawn else match[0]

    pages = {path: PNG.sub(renamed, html) for path, html in pages.items()}
    for path in folder.glob("*"):
        if not any(f"_images/{path.name}" in html for html in pages.values()):
            path.unlink()
    return pages
