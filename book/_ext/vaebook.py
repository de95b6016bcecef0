"""The book's own Sphinx extension: what may be reused from the last build, and two repairs.

Two things that Sphinx and MyST-NB get wrong for a book whose pages import a module beside it:

1. MyST-NB reuses a page's outputs as long as the *cells* are the same, even when ``vaelib``, a published
   result or an installed version has changed beneath them. Here the cache lives in a folder named after a
   digest of all of those, and a new digest makes Sphinx read every page anew.
2. Sphinx remembers a page that it read with a warning as done, so that with ``-W`` the first build fails
   and the second one passes. Here a build that did not end clean leaves a mark, and the next one forgets
   what Sphinx remembered. Pages that executed well stay in the cache, so an interrupted build resumes.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util import logging

logger = logging.getLogger(__name__)

# Everything that a page's outputs depend on besides the page's own cells.
INPUTS = ("vaelib/**/*", "results/**/*.json", "requirements.lock")
# What a page's looks depend on. Sphinx copies no style sheet anew unless some page is out of date.
LOOKS = ("book/_ext/*.py", "book/_static/**/*")


def digest_of(patterns: Iterable[str], root: Path) -> str:
    """Return a digest of the files' names and contents, not of their times."""
    digest = hashlib.sha256(f"Python {sys.version_info.major}.{sys.version_info.minor}".encode())
    paths = {path for pattern in patterns for path in root.glob(pattern)}
    for path in sorted(paths):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"\0{path.relative_to(root).as_posix()}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def choose_cache(app: Sphinx, config: Config) -> None:
    """Point MyST-NB's cache to the folder for the present inputs, and drop the folders of older ones."""
    caches = Path(app.outdir).parent / ".jupyter_cache"
    cache = caches / digest_of(INPUTS, Path(app.srcdir))
    for old in caches.glob("*"):
        if old != cache:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    # MyST-NB registered this value with rebuild="env": when it changes, Sphinx reads every page anew.
    config.nb_execution_cache_path = str(cache)


def unfinished(app: Sphinx) -> Path:
    """Return the mark that stands for as long as a build has not ended clean."""
    return Path(app.doctreedir) / "unfinished"


def forget_after_trouble(app: Sphinx, config: Config) -> None:  # noqa: ARG001 (Sphinx's signature)
    """Read every page anew if the last build failed, warned or was cut short; then mark this one as begun."""
    mark = unfinished(app)
    if mark.exists():
        logger.info("vaebook: the last build did not end clean, so every page is read anew")
        (mark.parent / "environment.pickle").unlink(missing_ok=True)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()


def drop_orphans(app: Sphinx, exception: Exception | None) -> None:
    """Remove pages that the book no longer has: Sphinx leaves them behind, unlinked but served."""
    if exception is None and app.builder.format == "html":
        for path in Path(app.outdir).glob("book/**/*.html"):
            if path.relative_to(app.outdir).with_suffix("").as_posix() not in app.env.found_docs:
                path.unlink()


def note_clean_end(app: Sphinx, exception: Exception | None) -> None:
    """Fail if a page failed, even without ``-W``; remove the mark only if nothing at all went wrong."""
    pages = getattr(app.env, "nb_metadata", {})
    failed = [name for name, about in pages.items() if not about.get("exec_data", {}).get("succeeded", True)]
    if failed:
        logger.error("vaebook: these pages did not run to their end: %s", ", ".join(sorted(failed)))
        app.statuscode = 1
    if exception is None and app._warncount == 0:  # Sphinx counts errors there too
        unfinished(app).unlink(missing_ok=True)


def mend_html(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:  # noqa: ARG001
    """Take from lists of references a role that their entries contradict, which confuses screen readers."""
    if "body" in context:
        context["body"] = context["body"].replace(
            '<div role="list" class="citation-list">', '<div class="citation-list">'
        )


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    # "env": when it changes, every page is read and written anew. Nothing is executed again for that.
    app.add_config_value("vaebook_looks", digest_of(LOOKS, Path(app.srcdir)), "env", str)
    app.connect("config-inited", choose_cache)
    app.connect("config-inited", forget_after_trouble)
    app.connect("html-page-context", mend_html)
    app.connect("build-finished", drop_orphans)
    # Late, so that warnings from the other extensions' last steps are counted too.
    app.connect("build-finished", note_clean_end, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
