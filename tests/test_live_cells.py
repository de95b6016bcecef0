"""Each check of Part I, run in the page: the same answers as in the notebook, and none for a mutant.

The notebook's stored outputs stand in the page until a cell is run; what Python then shows in the browser is
compared with them. Then each check that a cell makes of a formula is broken by a mutant of that formula, and
so is each equation of the page. One visit to a page, and one start of its Python, serves all three tests.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Visit
from tests.live import PART_I, cells, need_live, press, run, typed, words
from tools.ledger import equations
from vaelib.symbolic import claim_of, verify
from vaelib.symbolic.claims import ClaimError, mutants
from vaelib.symbolic.latex import LatexError
from vaelib.symbolic.reading import ReadingError

LABELS = {equation.label for equation in equations()[0]}
ROUNDING = 1e-9  # what the tables allow two exact computations to differ by


def without_rounding(text: str) -> str:
    """Return a text without what is each machine's own: its numbers' last digits, and differences of them."""

    def shown(match: re.Match[str]) -> str:
        number = match[0]
        if "e" in number:
            return "0" if abs(float(number)) < ROUNDING else number
        return f"{float(number):.12g}" if len(number) > 12 else number

    return re.sub(r"-?\d+(?:\.\d+)?(?:e[+-]\d+)?", shown, text)


def checks(code: str) -> Iterator[tuple[ast.Constant, str, str]]:
    """Return each text of a cell that is a formula and holds, with its label and its LaTeX."""
    texts = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)]
    for label in LABELS.intersection(node.value for node in texts):
        for node in texts:
            try:
                verify(label, node.value if isinstance(node.value, str) else "")
            except (ClaimError, LatexError, ReadingError):
                continue  # another label's, or what the cell shows to be refused, or no formula at all
            yield node, label, node.value


def replaced(code: str, node: ast.Constant, text: str) -> str:
    """Return a cell with one of its texts replaced."""
    lines = code.splitlines(keepends=True)
    first, last = node.lineno - 1, (node.end_lineno or 0) - 1
    # Offsets count bytes.
    before, after = lines[first].encode()[: node.col_offset], lines[last].encode()[node.end_col_offset :]
    lines[first : last + 1] = [f"{before.decode()}{text!r}{after.decode()}"]
    return "".join(lines)


def mutant(label: str, latex: str) -> str:
    """Return the first mutant of a formula that its check turns down as false."""
    claim = claim_of(label)
    for one in mutants(latex, claim.reading.is_function):
        try:
            verify(label, one.latex)
        except ReadingError:
            continue
        except ClaimError:
            return one.latex
    raise AssertionError(f"{label} has no mutant that is false")


@pytest.fixture(autouse=True, scope="module")
def _live() -> None:
    need_live()


each_page = pytest.mark.parametrize(
    "opened", [pytest.param((name, "desktop", "light"), id=name) for name in PART_I], indirect=True
)


@each_page
def test_cells_show_in_the_page_what_the_notebook_shows(opened: Visit) -> None:
    boxes = list(cells(opened.page))
    assert boxes, "no cell of this page can run in it"
    stored = [[words(out) for out in box.locator(".cell_output").all()] for box in boxes]
    assert run(boxes[-1], "above") == "held", words(boxes[-1])
    opened.page.evaluate("async () => { await MathJax.startup.promise; }")
    for box, before in zip(boxes, stored, strict=True):
        bar, out = box.locator(".live-bar"), box.locator(".live-output")
        assert bar.get_attribute("data-state") == "held", words(box)
        if box.locator(".widget-host").count():  # the page's own widget is what the cell shows
            assert words(out) == ""
            continue
        assert without_rounding(words(out)) == without_rounding(" ".join(before))
        hidden = box.locator(".cell_output:not(.live-output):visible")
        assert hidden.count() == 0, "the notebook's output stands beside the page's own"
    assert opened.complaints == []


@each_page
def test_a_cell_that_checks_a_formula_turns_down_its_mutant(opened: Visit) -> None:
    tried = 0
    for box in cells(opened.page):
        code = box.locator("pre").first.text_content() or ""
        for node, label, latex in checks(code) if "verify(" in code else ():
            press(box, "edit")
            typed(opened.page, box, replaced(code, node, mutant(label, latex)).rstrip("\n"))
            assert run(box) == "failed"
            assert words(box.locator(".live-error p")).startswith(f"The check {label}:")
            press(box, "reset")
            assert run(box) == "held"
            tried += 1
    assert tried, "no cell of this page checks a formula"
    assert opened.complaints == []


@each_page
def test_equations_hold_in_the_page_and_their_mutants_do_not(opened: Visit) -> None:
    wanted = {e.label: e.latex for e in equations()[0] if e.page == Path(opened.name).stem}
    buttons = opened.page.locator(".live-check")
    assert buttons.count() == len(wanted)
    for button in buttons.all():
        button.dispatch_event("click")
        panel = button.locator("xpath=../following-sibling::*[1][contains(@class, 'live-panel')]")
        panel.wait_for(state="attached")
        label = (panel.locator(".live-bar").get_attribute("aria-label") or "").removeprefix("Check ")
        assert run(panel) == "held", f"{label}: {panel.inner_text()}"
        typed(opened.page, panel, mutant(label, wanted.pop(label)))
        assert run(panel) == "failed", label
        assert label in (panel.locator(".live-answer").text_content() or "")
    assert wanted == {}
    assert opened.complaints == []
