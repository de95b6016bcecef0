"""The book's own Sphinx extension: what may be reused from the last build, the ledger, and a repair.

Two things that Sphinx and MyST-NB get wrong for a book whose pages import a module beside it:

1. MyST-NB reuses a page's outputs as long as the *cells* are the same, even when ``vaelib``, a published
   result or an installed version has changed beneath them. Here the cache lives in a folder named after a
   digest of all of those, and a new digest makes Sphinx read every page anew.
2. Sphinx remembers a page that it read with a warning as done, so that with ``-W`` the first build fails
   and the second one passes. Here a build that did not end clean leaves a mark, and the next one forgets
   what Sphinx remembered. Pages that executed well stay in the cache, so an interrupted build resumes.

The ledger: every build has ``tools/ledger.py`` check the equations that changed, fills the page "Verification
ledger" with what it found, and puts a link to its row beside each equation. A display without a label has no
row, and is an error.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util import logging

logger = logging.getLogger(__name__)

# Everything that a page's outputs depend on besides the page's own cells.
INPUTS = ("vaelib/**/*", "results/**/*.json", "requirements.lock")
# What a page's looks depend on. Sphinx copies no style sheet anew unless some page is out of date.
LOOKS = ("book/_ext/*.py", "book/_static/**/*", "book/_live/*")


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


def trouble(app: Sphinx, what: str, where: nodes.Node | None = None) -> None:
    """Report an error that fails the build with or without ``-W``; Sphinx itself would go on and end well."""
    logger.error("vaebook: %s", what, location=where)
    app.vaebook_failed = True  # type: ignore[attr-defined]


def drop_orphans(app: Sphinx, exception: Exception | None) -> None:
    """Remove pages that the book no longer has: Sphinx leaves them behind, unlinked but served."""
    if exception is None and app.builder.format == "html":
        for path in Path(app.outdir).glob("book/**/*.html"):
            if path.relative_to(app.outdir).with_suffix("").as_posix() not in app.env.found_docs:
                path.unlink()


def note_clean_end(app: Sphinx, exception: Exception | None) -> None:
    """Fail if there was trouble, even without ``-W``; remove the mark only if nothing at all went wrong."""
    pages = getattr(app.env, "nb_metadata", {})
    failed = [name for name, about in pages.items() if not about.get("exec_data", {}).get("succeeded", True)]
    if failed:
        trouble(app, f"these pages did not run to their end: {', '.join(sorted(failed))}")
    if getattr(app, "vaebook_failed", False):
        app.statuscode = 1
    if exception is None and app._warncount == 0:  # Sphinx counts errors there too
        unfinished(app).unlink(missing_ok=True)


def mend_html(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:  # noqa: ARG001
    """Take from lists of references a role that their entries contradict, which confuses screen readers."""
    if "body" in context:
        context["body"] = context["body"].replace(
            '<div role="list" class="citation-list">', '<div class="citation-list">'
        )


# --- the ledger ------------------------------------------------------------------------------------------

LEDGER_PAGE = "book/ledger"
LEDGER_MARK = "<!-- the ledger -->"
FALSE_ALARM = 6.8e-6  # of one z-test with a threshold of 4.5 standard errors, both sides


def kept_ledger(app: Sphinx) -> Path:
    """Return the file that ``tools/ledger.py`` leaves."""
    return Path(app.outdir).parent / "ledger.json"


def run_ledger(app: Sphinx) -> None:
    """Check the equations that changed since the last time; fail the build if one does not hold."""
    tool = Path(app.srcdir) / "tools" / "ledger.py"
    if not tool.exists() or app.builder.format != "html":
        return
    done = subprocess.run([sys.executable, str(tool), "--quiet"], capture_output=True, text=True, check=False)
    logger.info("vaebook: %s", done.stdout.strip().splitlines()[-1] if done.stdout else "no ledger")
    if done.returncode:
        trouble(app, f"the ledger has failed:\n{done.stdout}{done.stderr[-2000:]}")


def rows_of(app: Sphinx) -> dict[str, dict[str, Any]]:
    """Return the ledger's rows by label."""
    path = kept_ledger(app)
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {label: entry["row"] for label, entry in kept.items()}


def fill_ledger(app: Sphinx, page: str, source: list[str]) -> None:
    """Write the ledger's rows into its page."""
    if page == LEDGER_PAGE:
        app.env.note_dependency(str(kept_ledger(app)))
        source[0] = source[0].replace(LEDGER_MARK, ledger_markdown(rows_of(app)))


def ledger_markdown(rows: dict[str, dict[str, Any]]) -> str:
    """Return the ledger as Markdown: a summary, then a table for each page."""
    held = sum(not row["trouble"] for row in rows.values())
    killed, mutants = (sum(row[key] for row in rows.values()) for key in ("killed", "mutants"))
    drawn = sum("Monte Carlo" in row["kinds"] for row in rows.values())
    typed = sum("typed" in row["kinds"] for row in rows.values())
    digit, _, power = f"{drawn * FALSE_ALARM:.0e}".partition("e")
    lines = [
        f"**{held} of {len(rows)}** equations hold, {typed} of them typed; "
        f"**{killed} of {mutants}** mutants were turned down.",
        f"{drawn} are compared with draws: the chance that one right formula among them would be turned down "
        f"is ${digit} \\times 10^{{{int(power)}}}$ over all seeds, and the seeds are fixed.",
        "",
    ]
    for page in sorted({row["page"] for row in rows.values()}):
        lines += [
            f"## {{doc}}`{page}`",
            "",
            "| Equation | Checks | Tolerance | Mutants | Now | Code |",
            "|---|---|---|---|---|---|",
        ]
        for label, row in rows.items():
            if row["page"] == page:
                cells = [
                    f'<span id="row-{label}"></span>{{eq}}`{label}` `{label}`',
                    ", ".join(row["kinds"]),
                    row["tolerance"],
                    f"{row['killed']}/{row['mutants']}",
                    "does not hold" if row["trouble"] else "holds",
                    f"`{row['code'].rpartition('/')[2]}`",
                ]
                lines.append(f"| {' | '.join(cells)} |")
        code = sorted({row["code"].partition(":")[0] for row in rows.values() if row["page"] == page})
        for path in code:
            lines += [
                "",
                f"```{{dropdown}} {path}",
                "The checks of this page stand at its end, in `CLAIMS`.",
                f":::{{literalinclude}} /{path}",
                ":linenos:",
                ":::",
                "```",
            ]
        lines.append("")
    same = [(label, *pair) for label, row in rows.items() for pair in row["equivalent"]]
    if same:
        lines += ["## Mutants that say the same", ""]
        lines += [f"- {{eq}}`{label}`, where ``{what}``: {why}" for label, what, why in same]
    return "\n".join(lines)


def in_output(node: nodes.Node) -> bool:
    """Whether a node was displayed by a cell: SymPy's own formulas carry no label."""
    while node is not None:
        if isinstance(node, nodes.Element) and "cell_output" in node.get("classes", []):
            return True
        node = node.parent
    return False


def want_labels(app: Sphinx, doctree: nodes.document) -> None:
    """Refuse a displayed equation without a label: it claims something, and nothing checks it."""
    for block in doctree.findall(nodes.math_block):
        if not block.get("label") and not in_output(block):
            trouble(app, f"a displayed equation has no label: {block.astext()[:60]}", block)


def link_to_ledger(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Put a link to its row of the ledger beside each equation."""
    if app.builder.format != "html" or LEDGER_PAGE not in app.env.found_docs:
        return
    known = rows_of(app)
    for block in list(doctree.findall(nodes.math_block)):
        label = block.get("label")
        if label in known:
            address = app.builder.get_relative_uri(page, LEDGER_PAGE) + f"#row-{label}"
            words = "defined" if label.startswith("def-") else "checked"
            link = nodes.reference("", f"{words} ✓", refuri=address, internal=True, classes=["ledger-link"])
            block.parent.insert(
                block.parent.index(block) + 1, nodes.paragraph("", "", link, classes=["ledger-line"])
            )


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    # "env": when it changes, every page is read and written anew. Nothing is executed again for that.
    app.add_config_value("vaebook_looks", digest_of(LOOKS, Path(app.srcdir)), "env", str)
    app.connect("config-inited", choose_cache)
    app.connect("config-inited", forget_after_trouble)
    app.connect("builder-inited", run_ledger)
    app.connect("source-read", fill_ledger)
    app.connect("doctree-read", want_labels)
    app.connect("doctree-resolved", link_to_ledger)
    app.connect("html-page-context", mend_html)
    app.connect("build-finished", drop_orphans)
    # Late, so that warnings from the other extensions' last steps are counted too.
    app.connect("build-finished", note_clean_end, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
