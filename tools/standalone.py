"""A page with widgets and nothing else, made as the book makes its pages: for tests and for stills."""

from __future__ import annotations

import html
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ipywidgets.embed import embed_data

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "book" / "_ext"))

from widgetstate import lift  # noqa: E402 (it lives among the book's Sphinx extensions)


def write_page(widgets: Sequence[Any], folder: Path, *, name: str = "index.html") -> Path:
    """Write a page that shows the widgets one below the other, with the book's host, and return its path."""
    embedded = embed_data(views=list(widgets), drop_defaults=False)
    state = html_safe(embedded["manager_state"])
    views = "\n".join(
        f'<script type="application/vnd.jupyter.widget-view+json">{html_safe(spec)}</script>'
        for spec in embedded["view_specs"]
    )
    static = folder / "_static"
    static.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "book" / "_static" / "host.js", static)
    text = (
        '<!DOCTYPE html><html lang="en" data-theme="light"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{html.escape(type(widgets[0]).__name__)}</title>"
        '<script defer src="_static/host.js"></script></head>'
        '<body style="margin: 8px auto; max-width: 760px"><h1 style="font-size: 1rem">A widget</h1>'
        f"<main>{views}</main>"
        f'<script type="application/vnd.jupyter.widget-state+json">{state}</script></body></html>'
    )
    page = folder / name
    page.write_text(lift(text, static / "models"), encoding="utf-8")
    return page


def html_safe(value: Any) -> str:
    """JSON that cannot close the script it stands in."""
    return json.dumps(value).replace("<", "\\u003c")
