"""The rules that every page with code keeps, and the command that brings a notebook back to them.

``python tools/notebooks.py strip [FILE ...]`` removes outputs and puts the metadata in order;
``python tools/notebooks.py check [FILE ...]`` prints what is wrong. Without a file, all under ``book/``.

Cells are counted as nbval counts them: code cells from 0, so that a message here and a failed test name
the same cell.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

BOOK = Path(__file__).resolve().parent.parent / "book"

# The one tag that lets a cell store its output: nbval then holds the next run to it.
CHECKED = "nbval-check-output"
# Every spelling by which nbval, nbclient or MyST-NB would pass a cell that should have failed.
FORBIDDEN = {
    "nbval-skip",
    "nbval-ignore-output",
    "pytest-validate-ignore-output",
    "nbval-raises-exception",
    "raises-exception",
    "skip-execution",
}
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}

# A number with decimals near one of these is a result, and results are read from results/, not typed.
NUMBER = re.compile(r"(?<![\w.])[-+−]?\d+[.,]\d+(?!\.\d)")
QUANTITY = re.compile(
    r"\b(nats?|bits?|ELBOs?|NLL|KL|log-?likelihoods?|accuracy|seconds?|minutes?|ms|s)\b|%", re.IGNORECASE
)
NEAR = 40  # characters


def tags(cell: NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", []))


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def nodes(cell: NotebookNode) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(cell.source))


def has_no_assert(notebook: NotebookNode) -> Iterator[str]:
    found = (node for cell in code_cells(notebook) for node in nodes(cell) if isinstance(node, ast.Assert))
    if all(isinstance(node.test, ast.Constant) for node in found):
        yield "the page asserts nothing, so a wrong result would pass unseen"


def is_excused(notebook: NotebookNode) -> Iterator[str]:
    for number, cell in enumerate(code_cells(notebook)):
        lines = [line.strip() for line in cell.source.splitlines()]
        comments = {
            line.lstrip("#").strip().lower().replace("_", "-") for line in lines if line.startswith("#")
        }
        for mark in sorted(FORBIDDEN & (comments | tags(cell))):
            yield f"cell {number} is excused from its test by {mark}"
        if CHECKED in comments:
            yield f"cell {number} says {CHECKED} in a comment; write it as a tag, which keeps the output too"


def swallows_errors(notebook: NotebookNode) -> Iterator[str]:
    for number, cell in enumerate(code_cells(notebook)):
        for node in nodes(cell):
            if isinstance(node, ast.ExceptHandler):
                caught = ast.unparse(node.type) if node.type else "Exception"
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
                caught = ast.unparse(node)
            else:
                continue
            if re.search(r"\b(Base)?Exception\b", caught):
                yield f"cell {number} catches every error, so that a broken one would pass unseen"


def stores_outputs(notebook: NotebookNode) -> Iterator[str]:
    for number, cell in enumerate(code_cells(notebook)):
        if CHECKED not in tags(cell):
            if cell.outputs or cell.execution_count is not None:
                yield f"cell {number} stores an output or a count without the tag {CHECKED}: run `make strip`"
            continue
        # nbval compares nothing, and says nothing, where one of these is missing.
        if not cell.outputs:
            yield f"cell {number} has the tag {CHECKED} and stores no output to check"
        if cell.execution_count is None:
            yield f"cell {number} has the tag {CHECKED} and no execution_count, so nbval would not look at it"
        for output in cell.outputs:
            kinds = set(output.get("data", {}))
            if output.output_type == "error":
                yield f"cell {number} stores an error"
            if any(kind.startswith(("image/", "application/vnd.jupyter.widget")) for kind in kinds):
                yield f"cell {number} stores a picture or a widget"


def carries_state(notebook: NotebookNode) -> Iterator[str]:
    if "widgets" in notebook.metadata:
        yield "the page stores widget state: run `make strip`"
    elif dict(notebook.metadata) != METADATA:
        yield "the page's metadata is not the project's: run `make strip`"
    names = [cell.get("id") for cell in notebook.cells]
    if None in names or len(set(names)) < len(names):
        yield "a cell has no id, or two have the same: run `make strip`"
    if any("attachments" in cell for cell in notebook.cells):
        yield "a picture is attached to a cell; draw it, or keep it in book/_static"


def draws(cell: NotebookNode) -> bool:
    """Return whether the cell ends in a call of one of our figures."""
    body = ast.parse(cell.source).body
    last = body[-1].value if body and isinstance(body[-1], ast.Expr) else None
    return (
        isinstance(last, ast.Call)
        and isinstance(last.func, ast.Attribute)
        and isinstance(last.func.value, ast.Name)
        and last.func.value.id == "figures"
    )


def has_mute_figure(notebook: NotebookNode) -> Iterator[str]:
    for number, cell in enumerate(code_cells(notebook)):
        text = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
        if draws(cell) and not text.strip():
            yield f"cell {number} draws a figure without alt text (metadata: mystnb.image.alt)"


def hides_how_to_run(notebook: NotebookNode) -> Iterator[str]:
    if not any("`make lab`" in cell.source for cell in notebook.cells if cell.cell_type == "markdown"):
        yield "the page does not say how to run it (name `make lab`)"


def types_a_metric(notebook: NotebookNode) -> Iterator[str]:
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            yield from typed_metrics(cell.source)


def typed_metrics(markdown: str) -> Iterator[str]:
    """Name each decimal number near a measured quantity; roles, code and formulas may hold any."""
    # A formula that is a mere number ($-1.5$, $1.5 \pm 0.1$) is a number all the same.
    text = re.sub(r"\$((?:\\pm|\\approx|[^A-Za-z$\\])+)\$", r"\1", markdown)
    text = re.sub(r"```.*?```|\$\$.*?\$\$", " ", text, flags=re.DOTALL)
    text = re.sub(r"(\{[\w:-]+\})?`[^`]*`|\$[^$]*\$", " ", text)
    for sentence in re.split(r"(?<=[.!?])\s|\n\s*\n", text):
        spans = [number.span() for number in NUMBER.finditer(sentence)]
        if any(QUANTITY.search(sentence[max(0, start - NEAR) : end + NEAR]) for start, end in spans):
            yield f"a result is typed into the text instead of read: {' '.join(sentence.split())!r}"


RULES: tuple[Callable[[NotebookNode], Iterator[str]], ...] = (
    has_no_assert,
    is_excused,
    swallows_errors,
    stores_outputs,
    carries_state,
    has_mute_figure,
    hides_how_to_run,
    types_a_metric,
)


def problems(notebook: NotebookNode) -> list[str]:
    """Return a sentence for each way in which the notebook breaks a rule."""
    for number, cell in enumerate(code_cells(notebook)):
        try:
            ast.parse(cell.source)
        except SyntaxError as error:
            return [f"cell {number} is not plain Python: {error}"]
    return [problem for rule in RULES for problem in rule(notebook)]


def strip(notebook: NotebookNode) -> NotebookNode:
    """Return the notebook as it goes into git: no output but the checked ones, no state, stable ids."""
    stripped = nbformat.from_dict(notebook)
    stripped.metadata = nbformat.from_dict(METADATA)
    stripped.nbformat, stripped.nbformat_minor = 4, 5
    used: set[str] = set()
    for number, cell in enumerate(stripped.cells):
        # JupyterLab keeps folding, selections and timings in the metadata; we keep what a page is built from.
        cell.metadata = nbformat.from_dict(
            {k: v for k, v in cell.metadata.items() if k in {"tags", "mystnb"}}
        )
        if "id" not in cell or cell.id in used:
            cell.id = f"cell-{number:03}"
        used.add(cell.id)
        if cell.cell_type == "code" and CHECKED not in tags(cell):
            cell.outputs, cell.execution_count = [], None
    return stripped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["strip", "check"])
    parser.add_argument("files", nargs="*", type=Path, help="notebooks (default: all under book/)")
    arguments = parser.parse_args()
    wrong = False
    for path in arguments.files or sorted(BOOK.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        if arguments.command == "strip":
            text = nbformat.writes(strip(notebook)) + "\n"
            if text != path.read_text(encoding="utf-8"):
                path.write_text(text, encoding="utf-8")
                print(f"stripped {path}")
        else:
            for problem in problems(notebook):
                print(f"{path}: {problem}")
                wrong = True
    sys.exit(wrong)


if __name__ == "__main__":
    main()
