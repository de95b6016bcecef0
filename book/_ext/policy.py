"""The last step of a build for the web: what a page may do, and only files that some page can ask for.

A page of the book needs nothing from anywhere else. Each page says so itself, in a policy that the browser
enforces, whether the page is served or opened from a disk. The only inline scripts that run are those that
the theme wrote into this very page, known by their hashes. The rest makes that possible, and pages light:

- the theme's inline handlers become attributes that ``book/_static/page.js`` listens for;
- FontAwesome's script becomes a sheet with the icons in use (``icons.py``);
- figures become WebP (``pictures.py``), and stills of widgets wait until they are wanted;
- of MathJax only the parts stay that a page can ask for.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config

import icons
import pictures
from vaebook import trouble

# What a script element without a source may be for the browser to run it; the rest is data.
PROGRAMS = {"", "module", "text/javascript", "application/javascript"}

# Inline handlers of the theme, and the attributes that page.js listens for.
HANDLERS = {'onclick="window.print()"': "data-print"}

# Of 24 MB, the 1.7 MB that these pages can ask for: the loader, the parts that _config.yml names, what
# those load by themselves (the fonts), and the extensions that a formula loads by using their macros. The
# ready-made tex-chtml.js weighs 98 kB more (gzipped), because it holds the context menu; the menu in turn
# would want 4 MB of speech rules, the SVG output, and ``eval``. Screen readers get MathML instead.
MATHJAX = [
    "startup.js",
    "core.js",
    "input/tex.js",
    "input/tex/extensions/*.js",
    "output/chtml.js",
    "output/chtml/fonts/tex.js",
    "output/chtml/fonts/woff-v2/*",
    "a11y/assistive-mml.js",
]

# Templates that the themes leave behind. They are no pages, and nothing asks for them.
LEFT_BEHIND = ["webpack-macros.html", "sbt-webpack-macros.html"]

POLICY = re.compile(r'\s*<meta http-equiv="Content-Security-Policy"[^>]*>')
STILL = re.compile(r'<img(?! loading)(?=[^>]*\ssrc="[^"]*/widget-[^"/]*")([^>]*>)')
CHARSET = re.compile(r'<meta charset="utf-8"\s*/?>')


class Page(HTMLParser):
    """What a policy must know of a page: its inline scripts, and what no policy of ours would let run."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.in_article: list[str] = []
        self.handlers: list[str] = []
        self._inline = False
        self._articles = 0
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: D102
        values = dict(attrs)
        self._articles += tag == "article"
        self.handlers += [f"{name}={value!r}" for name, value in attrs if name.startswith("on")]
        self.handlers += [
            f"{name}={value!r}" for name, value in attrs if (value or "").strip().startswith("javascript:")
        ]
        if tag == "script" and "src" not in values and (values.get("type") or "") in PROGRAMS:
            self._inline = True
            self.scripts.append("")

    def handle_data(self, data: str) -> None:  # noqa: D102
        if self._inline:
            self.scripts[-1] += data

    def handle_endtag(self, tag: str) -> None:  # noqa: D102
        self._articles -= tag == "article"
        if tag == "script" and self._inline:
            self._inline = False
            if self._articles:
                self.in_article.append(self.scripts[-1])


def source(script: str) -> str:
    """Return a script's hash as a policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def policy(scripts: list[str], *, search: bool = False, live: bool = False) -> str:
    """Return the policy of a page with these inline scripts, for the search page or one whose cells run."""
    rules = {
        "default-src": "'none'",
        # blob: for the widgets, whose modules come as text in the page's data. No eval, no inline handler.
        "script-src": " ".join(["'self'", "blob:", *dict.fromkeys(map(source, scripts))]),
        # MathJax and the cells' outputs write styles into the page.
        "style-src": "'self' 'unsafe-inline'",
        # data: is how style sheets bring small drawings; blob: how a widget shows one that it has made.
        "img-src": "'self' data: blob:",
        # data: is the icons' font: Firefox opens no font in another folder for a page from a disk.
        "font-src": "'self' data:",
        "base-uri": "'none'",
        "form-action": "'self'",  # the search field
    }
    if live:
        rules["script-src"] += (
            " 'wasm-unsafe-eval'"  # Python is WebAssembly; JavaScript's own eval stays shut
        )
    if search or live:
        # The search page fetches the pages found, to quote them; a live page Python. No other page fetches.
        rules["connect-src"] = "'self'"
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def with_policy(html: str, rules: str) -> str:
    """Return the page with a policy, in place of an earlier one."""
    html = POLICY.sub("", html)
    meta = f'\n    <meta http-equiv="Content-Security-Policy" content="{rules}">'
    if CHARSET.search(html):
        return CHARSET.sub(lambda match: match[0] + meta, html, count=1)
    return f'<meta charset="utf-8">{meta}\n{html.lstrip()}'  # the redirect at the book's address is one tag


def without_handlers(html: str) -> str:
    """Return the page with the theme's inline handlers as attributes that page.js listens for."""
    for handler, attribute in HANDLERS.items():
        html = html.replace(handler, attribute)
    return html


def with_contents_to_spy_on(html: str) -> str:
    """Return the page with its scroll spy aimed at the page's contents, or without one where there are none.

    The theme aims it at a class that no page has, and Bootstrap then takes every link of the page for a
    section's, and stumbles over those into widgets: ``#latent-pad?z=1,2`` names no element.
    """
    contents = 'id="pst-page-toc-nav"'
    if contents in html:
        return html.replace('data-bs-target=".bd-toc-nav"', 'data-bs-target="#pst-page-toc-nav"')
    return html.replace('data-bs-spy="scroll" data-bs-target=".bd-toc-nav"', "")


def with_late_stills(html: str) -> str:
    """Return the page with the stills of its widgets left for when they are wanted: on paper, mostly.

    On a screen the widget itself stands in the still's place, and a still may weigh as much as its module.
    """
    return STILL.sub(lambda match: f'<img loading="lazy"{match[1]}', html)


def refused(page: Page) -> list[str]:
    """Return what a page holds that would not run, or should not, in words for the build's log."""
    found = [f"an inline handler, which the policy lets nobody run: {handler}" for handler in page.handlers]
    return found + [
        f"an inline script in the text, which the policy would let run: {script.strip()[:60]}"
        for script in page.in_article
    ]


def prune(folder: Path, kept: list[str]) -> None:
    """Remove all files from a folder but those that match."""
    wanted = {path for pattern in kept for path in folder.glob(pattern)}
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
        elif path.is_file() and path not in wanted:
            path.unlink()


def finish(folder: Path) -> list[str]:
    """Bring a built book into its final form; may be repeated. Return what is wrong with it."""
    for name in LEFT_BEHIND:
        (folder / "_static" / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "_static" / "vendor" / "fontawesome", ignore_errors=True)
    for path in (folder / "_static" / "scripts").glob("fontawesome.js*"):
        path.unlink()
    prune(folder / "_static" / "mathjax", MATHJAX)

    before = {path: path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.html"))}
    pages = {
        path: with_late_stills(with_contents_to_spy_on(without_handlers(html)))
        for path, html in before.items()
    }
    pages = pictures.as_webp(folder / "_images", pages)
    sheet, wrong = icons.make_sheet(folder / "_static", pages.values())
    for path, html in pages.items():
        name = path.relative_to(folder).as_posix()
        page = Page(html)
        wrong += [f"{name}: {what}" for what in refused(page)]
        rules = policy(
            page.scripts, search=name == "search.html", live='/cells.js"' in html or "/cells.js?" in html
        )
        html = with_policy(icons.link(html, sheet), rules)
        if html != before[path]:
            path.write_text(html, encoding="utf-8")
    return wrong


def choose_mathjax(app: Sphinx, config: Config) -> None:  # noqa: ARG001 (Sphinx's signature)
    """Load MathJax in parts: the extension that brings it names its largest bundle."""
    config.mathjax_path = "mathjax/startup.js"


def at_the_end(app: Sphinx, exception: Exception | None) -> None:
    """Finish the book, if it was built at all."""
    if exception is None and app.builder.name == "html":
        for what in finish(Path(app.outdir)):
            trouble(app, what)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("config-inited", choose_mathjax)
    # After every extension that writes or copies something, before vaebook says whether all went well.
    app.connect("build-finished", at_the_end, priority=850)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
