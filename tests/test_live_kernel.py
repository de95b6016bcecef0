"""The kernel of the pages' Python, without a browser: what a cell needs, and what it shows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "book" / "_live"))
import kernel


def session() -> tuple[kernel.Session, list[tuple[int, dict]]]:
    shown: list[tuple[int, dict]] = []
    return kernel.Session(lambda place, output: shown.append((place, output))), shown


def shown_by(source: str) -> list[dict]:
    made, shown = session()
    made.run(source, 0)
    return [output for _, output in shown]


# --- what a cell needs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "read", "bound"),
    [
        ("x = y", {"y"}, {"x"}),
        ("x = 1\nz = x", set(), {"x", "z"}),
        ("x = x + 1", {"x"}, {"x"}),
        ("x += 1", {"x"}, {"x"}),
        ("import a.b, c as d\nfrom e import f as g", set(), {"a", "d", "g"}),
        ("def f(a, b=c):\n    local = a + d\n    return local", {"c", "d"}, {"f"}),
        ("def f():\n    return later\nlater = 1", set(), {"f", "later"}),  # found when it is called
        ("f = lambda a: a + b", {"b"}, {"f"}),
        ("[i * k for i in range(3)]", {"range", "k"}, set()),
        ("k = [k for k in ks]", {"ks"}, {"k"}),
        ("for i in rows:\n    h = i\n    print(h, w)", {"rows", "print", "w"}, {"i", "h"}),
        ("try:\n    a = b\nexcept E as e:\n    c = e\nelse:\n    d = a", {"b", "E"}, {"a", "e", "c", "d"}),
        ("with m() as n:\n    o = n", {"m"}, {"n", "o"}),
        ("if p:\n    q = 1\nelif r:\n    q = 2\nelse:\n    q = s", {"p", "r", "s"}, {"q"}),
        ("class A(B):\n    c = d\n    def e(self):\n        return f", {"B", "d", "f"}, {"A"}),
        ("(n := m)", {"m"}, {"n"}),
        ("x.y = z\nx[i] = j", {"x", "z", "i", "j"}, set()),
        ("def f(:", set(), set()),  # no Python: it runs into its own error, and nobody needs it
    ],
)
def test_names_are_those_that_a_cell_takes_and_leaves(source: str, read: set[str], bound: set[str]) -> None:
    assert kernel.names(source) == (read, bound)


def test_a_cell_runs_only_where_all_that_it_reads_is_left_by_cells_that_run() -> None:
    page = [
        "import math",
        "import torch\nx = torch.ones(1)",
        "y = math.pi",
        "z = x + y",
        "x = 2.0",  # from here on x needs no torch
        "w = x + y",
        "def f():\n    import torch",
    ]
    assert kernel.runnable(page, {"math"}.__contains__) == [True, False, True, False, True, True, False]


def test_of_a_module_both_it_and_what_is_taken_from_it_must_be_there() -> None:
    assert kernel.modules("from vaelib import figures\nimport sympy as sp, os.path") == {
        "vaelib",
        "vaelib.figures",
        "sympy",
        "os.path",
    }


NAMES = "abc"


@st.composite
def pages(draw: st.DrawFn) -> list[str]:
    """Cells that bind few names again and again, from those that were bound before."""
    bound: set[str] = set()
    cells = []
    for place in range(draw(st.integers(2, 7))):
        target = draw(st.sampled_from(NAMES))
        terms = draw(st.lists(st.sampled_from(sorted(bound)), max_size=2)) if bound else []
        cells.append(f"{target} = ({place}, {', '.join(terms)})")
        bound.add(target)
    return cells


@given(pages(), st.data())
def test_a_cell_gives_what_the_whole_page_would_whatever_was_run_or_changed_before(
    page: list[str], data: st.DataObject
) -> None:
    made, _ = session()
    for _ in range(data.draw(st.integers(0, 6))):
        place = data.draw(st.integers(0, len(page) - 1))
        if data.draw(st.booleans()):
            page[place] = page[place].replace("(", f"({data.draw(st.integers(0, 9))}, ", 1)
        for step in made.plan(page, place):
            assert made.run(page[step], step)
        whole, _ = session()
        for step in range(place + 1):
            whole.run(page[step], step)
        target = page[place][0]
        assert made.module.__dict__[target] == whole.module.__dict__[target]


def test_nothing_is_run_again_that_is_as_it_was() -> None:
    page = ["a = 1", "b = a", "c = 5", "d = b"]
    made, _ = session()
    assert made.plan(page, 3) == [0, 1, 3]
    for step in made.plan(page, 3):
        made.run(page[step], step)
    assert made.plan(page, 3) == [3]
    assert made.plan(["a = 2", *page[1:]], 3) == [0, 1, 3]


def test_a_cell_that_failed_is_run_again_before_another_relies_on_it() -> None:
    page = ["a = 1\nassert a == 2", "b = a"]
    made, _ = session()
    assert not made.run(page[0], 0)
    assert made.plan(page, 1) == [0, 1]


# --- what a cell shows -----------------------------------------------------------------------------------


def test_outputs_are_those_of_a_notebook_in_their_order() -> None:
    outputs = shown_by(
        "import sys\n"
        "from IPython.display import display\n"
        "class Both:\n"
        "    def __repr__(self): return 'text'\n"
        "    def _repr_latex_(self): return '$tex$'\n"
        "print('before')\n"
        "display(Both(), 2)\n"
        "print('after', file=sys.stderr)\n"
        "Both()\n"
    )
    assert outputs == [
        {"output_type": "stream", "name": "stdout", "text": "before\n"},
        {"output_type": "display_data", "data": {"text/plain": "text", "text/latex": "$tex$"}},
        {"output_type": "display_data", "data": {"text/plain": "2"}},
        {"output_type": "stream", "name": "stderr", "text": "after\n"},
        {"output_type": "execute_result", "data": {"text/plain": "text", "text/latex": "$tex$"}},
    ]


@pytest.mark.parametrize("source", ["None", "x = 1", "", "# nothing", "def f(): return 1"])
def test_what_a_notebook_would_not_show_is_not_shown(source: str) -> None:
    assert shown_by(source) == []


def test_a_class_is_shown_as_itself_and_not_as_one_of_its_objects() -> None:
    [output] = shown_by("class A:\n    def _repr_latex_(self): return '$a$'\nA")
    assert list(output["data"]) == ["text/plain"]


def test_a_cell_that_prints_without_end_is_cut_short_and_says_so() -> None:
    outputs = shown_by("for k in range(40_000):\n    print('seven')")
    text = "".join(output["text"] for output in outputs)
    assert text.startswith("seven\nseven\n")
    assert text.endswith(f"[no more than {kernel.LOUDEST:,} characters are shown]\n")
    assert len(text) < kernel.LOUDEST + 100
    assert len(outputs) < 1000  # in parcels: the page has other things to do


def test_an_assert_that_fails_is_named_as_it_stands() -> None:
    [output] = shown_by("x = 1\nassert (\n    x\n    == 2\n)")
    assert (output["ename"], output["check"]) == ("AssertionError", "assert (\n    x\n    == 2\n)")


def test_a_claim_that_fails_is_named_by_its_label() -> None:
    source = 'from vaelib.symbolic import verify\nverify("eq-bayes", r"p(z \\mid x) = p(x \\mid z)")'
    [output] = shown_by(source)
    assert (output["ename"], output["check"]) == ("ClaimError", "eq-bayes")


def test_a_traceback_begins_with_the_cell_and_quotes_it() -> None:
    made, shown = session()
    made.run("def f():\n    return missing", 0)
    made.run("1 + f()", 1)
    [(place, output)] = shown
    lines = output["traceback"][0].splitlines()
    assert place == 1
    assert lines[:2] == ["Traceback (most recent call last):", '  File "cell 2", line 1, in <module>']
    assert "    return missing" in lines
    assert lines[-1] == "NameError: name 'missing' is not defined"
    assert output["check"] == ""


@pytest.mark.parametrize(
    ("source", "name"),
    [("def f(:", "SyntaxError"), ("exit()", "SystemExit"), ("raise KeyboardInterrupt", "KeyboardInterrupt")],
)
def test_whatever_ends_a_cell_the_session_lives_on(source: str, name: str) -> None:
    made, shown = session()
    assert not made.run(source, 0)
    assert shown[0][1]["ename"] == name
    assert made.run("1", 1)


def test_a_formula_is_checked_by_its_label_and_told_apart_from_one_that_cannot_be_read() -> None:
    made, _ = session()
    good = made.check("eq-bayes", r"p(z \mid x) = \frac{p(x \mid z) \, p(z)}{p(x)}")
    assert (good["ok"], good["kinds"]) == (True, ["symbolic"])
    assert made.check("eq-bayes", r"p(z \mid x) = p(z)")["ename"] == "ClaimError"
    assert made.check("eq-bayes", r"\frac{")["ename"] == "LatexError"
    assert made.check("eq-nowhere", "a = a")["ename"] == "KeyError"


# --- widgets ---------------------------------------------------------------------------------------------


def test_a_widget_is_read_as_the_page_shows_it_and_not_shown_twice() -> None:
    page = ["from vaelib.widgets import TheGap\ngap = TheGap()\ngap", "gap.mean + gap.deviation"]
    made, shown = session()
    for mean, total in ((0.25, 1.25), (0.5, 1.5)):
        made.widgets = {0: {"mean": mean, "deviation": 1.0}}
        assert made.plan(page, 1) == [0, 1]  # each time: it may have been moved
        for step in (0, 1):
            assert made.run(page[step], step)
        assert shown.pop() == (1, {"output_type": "execute_result", "data": {"text/plain": str(total)}})
        assert shown == []


def test_stand_ins_are_there_for_cells_alone() -> None:
    before = {name: sys.modules.get(name) for name in ("IPython", "IPython.display", "vaelib.widgets")}
    made, _ = session()
    assert made.run("from IPython.display import display\nimport vaelib.widgets", 0)
    assert {name: sys.modules.get(name) for name in before} == before
