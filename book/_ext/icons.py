"""The theme's icons, as a font of those that the book uses.

The theme ships FontAwesome twice: as a script of 0.54 MB (gzipped) that replaces each icon's element by a
drawing, and as fonts, of which its style sheets draw the icons of notes and warnings. The fonts can do both,
and the sheets already know the icons' names. So the script goes, and of the fonts the characters in use stay,
inside one small sheet: 0.7 MB less on every page, and icons that follow the text's colour on paper too.

Everything is taken from the installed theme when the book is built.
"""

from __future__ import annotations

import base64
import hashlib
import io
import logging
import re
from collections.abc import Iterable
from pathlib import Path

import pydata_sphinx_theme
from fontTools.subset import Options, Subsetter  # comes with Matplotlib
from fontTools.ttLib import TTFont

# It would tell of every table that it prunes.
logging.getLogger("fontTools").setLevel(logging.WARNING)

THEME = Path(pydata_sphinx_theme.__file__).parent / "theme" / "pydata_sphinx_theme" / "static"
STYLES = THEME / "styles" / "pydata-sphinx-theme.css"
FONT = THEME / "vendor" / "fontawesome" / "webfonts" / "fa-solid-900.ttf"
SHEET = "icons.css"

# The theme's sheet names each of 2000 icons, which is a third of its weight, and three fonts.
NAMED = re.compile(r'((?:\.fa-[\w-]+:before,)*\.fa-[\w-]+:before)\{content:"([^"]*)"\}')
FACE = re.compile(r"@font-face\{[^}]*Font Awesome[^}]*\}")

OTHER_STYLES = {"fa-regular", "far", "fa-brands", "fab"}
SCRIPT = re.compile(r'<script src="([^"]*_static/)scripts/fontawesome\.js[^"]*"></script>')
LINK = re.compile(r'<link rel="stylesheet" href="([^"]*_static/)icons\.css[^"]*" />')

# What the theme says of the script's drawings (svg), said of the characters; and none of what it says of
# elements that the script would have replaced (i).
RULES = """
.search-button-field > .fa-solid { display: inline-block; }
#pst-search-dialog[open] form.bd-search .fa-solid { font-size: var(--pst-font-size-icon); }
.bd-header-article .btn .fa-solid, .bd-header-article .btn .fas { text-align: center; width: 1.3rem; }
.bd-header-article .btn .fa-lg { font-size: 1.3rem; }
.sidebar-secondary-item i { padding-right: 0; }
"""


def unescaped(text: str) -> str:
    r"""Return a string of CSS with ``\f0c9`` as the character that it stands for."""
    return re.sub(r"\\([0-9a-fA-F]{1,6})\s?", lambda match: chr(int(match[1], 16)), text)


def named(css: str) -> dict[str, str]:
    """Return the character of each icon that a sheet names."""
    return {
        name: unescaped(content)
        for selectors, content in NAMED.findall(css)
        for name in re.findall(r"\.(fa-[\w-]+)", selectors)
    }


def slim(css: str) -> str:
    """Return the theme's sheet without the icons' names and fonts."""
    return FACE.sub("", NAMED.sub("", css))


def drawn(css: str) -> set[str]:
    """Return the icons that a sheet draws itself, beside a title or a link: characters of private use."""
    return {character for character in unescaped(css) if "\ue000" <= character <= "\uf8ff"}


def used(html: str) -> set[str]:
    """Return the classes of a page that say something of an icon."""
    classes = {name for value in re.findall(r'\sclass="([^"]*)"', html) for name in value.split()}
    return {name for name in classes if name.startswith("fa-") or name in OTHER_STYLES}


def problems(names: Iterable[str], css: str) -> list[str]:
    """Return which of the names the sheet knows neither as an icon nor as a way to show one."""
    found = []
    for name in sorted(names):
        if name in OTHER_STYLES:
            found.append(f"icons of the style {name} do not come with the book, only solid ones")
        elif not re.search(rf"\.{re.escape(name)}(?![\w-])", css):
            found.append(f"there is no icon {name}")
    return found


def subset(font: Path, characters: Iterable[str]) -> bytes:
    """Return a font in WOFF with these characters and no others."""
    face = TTFont(font, recalcTimestamp=False)  # the same font from the same characters
    worker = Subsetter(Options(hinting=False, layout_features=[], legacy_kern=False))
    worker.populate(text="".join(sorted(characters)))
    worker.subset(face)
    face.flavor = "woff"
    buffer = io.BytesIO()
    face.save(buffer)
    return buffer.getvalue()


def sheet(characters: dict[str, str], font: bytes) -> str:
    """Return the sheet that names these icons and brings their font."""
    lines = [
        "/* A part of the font that comes with pydata-sphinx-theme: Font Awesome Free by @fontawesome,",
        " * https://fontawesome.com, under the SIL Open Font License 1.1. */",
        '@font-face { font-family: "Font Awesome 6 Free"; font-style: normal; font-weight: 900; '
        f'src: url("data:font/woff;base64,{base64.b64encode(font).decode()}") format("woff"); }}',
        *(f'.{name}:before {{ content: "\\{ord(char):x}"; }}' for name, char in sorted(characters.items())),
    ]
    return "\n".join(lines) + RULES


def make_sheet(static: Path, pages: Iterable[str]) -> tuple[str, list[str]]:
    """Write the sheet of a book's icons and slim the theme's; return its address, and what is wrong."""
    css = STYLES.read_text(encoding="utf-8")
    (static / "styles" / STYLES.name).write_text(slim(css), encoding="utf-8")

    names = set().union(*map(used, pages))
    wrong = problems(names, css)
    # Scripts make icons too. What they say that is no icon's name is none of our business.
    for script in [*static.glob("*.js"), *static.glob("scripts/*.js")]:
        names |= set(re.findall(r"\bfa-[a-z0-9-]+", script.read_text(encoding="utf-8")))
    known = named(css)
    icons = {name: known[name] for name in names & known.keys()}

    sheets = [path for path in [*static.glob("*.css"), *static.glob("styles/*.css")] if path.name != SHEET]
    characters = set(icons.values()).union(*(drawn(path.read_text(encoding="utf-8")) for path in sheets))
    cmap = TTFont(FONT, lazy=True).getBestCmap()
    wrong += [f"{name} is not a solid icon" for name, char in icons.items() if ord(char) not in cmap]
    # The sheets also draw a few of other fonts, beside links to places that the book does not name.
    text = sheet(icons, subset(FONT, {char for char in characters if ord(char) in cmap}))
    (static / SHEET).write_text(text, encoding="utf-8")
    return f"{SHEET}?v={hashlib.sha256(text.encode()).hexdigest()[:8]}", wrong


def link(html: str, address: str) -> str:
    """Return the page with a link to the sheet where the theme loads its script, or an older sheet."""
    tag = f'<link rel="stylesheet" href="\\g<1>{address}" />'
    return LINK.sub(tag, SCRIPT.sub(tag, html))
