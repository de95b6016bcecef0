"""The ledger: it finds every equation, knows when one changed, and fails when it should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools import ledger
from tools.ledger import Equation, checked, displays, equations, held_against_torch, run, wrong_labels
from vaelib.symbolic import claims_by_topic, verify
from vaelib.symbolic.claims import ClaimError
from vaelib.symbolic.latex import LatexError
from vaelib.symbolic.reading import ReadingError

ROOT = Path(__file__).resolve().parent.parent
FOUND, WRONG = equations()
ENOUGH = 40


@pytest.fixture(scope="module")
def rows() -> dict[str, ledger.Row]:
    """Return the whole ledger; ``make book`` has just filled it, so that nothing is checked twice."""
    return {row.label: row for row in run(FOUND, quiet=True)}


# --- the book as it is -------------------------------------------------------------------------------------


def test_every_equation_of_the_book_is_checked_and_every_mutant_turned_down(
    rows: dict[str, ledger.Row],
) -> None:
    assert WRONG == []
    assert wrong_labels(FOUND) == []
    assert {row.label: row.trouble for row in rows.values() if row.trouble} == {}
    assert set(rows) == {equation.label for equation in FOUND}
    assert len(rows) >= ENOUGH
    assert all(row.kinds for row in rows.values())


def test_no_check_is_idle(rows: dict[str, ledger.Row]) -> None:
    claims = {label: claim for claims in claims_by_topic().values() for label, claim in claims.items()}
    for label, row in rows.items():
        assert row.mutants > 0 or claims[label].method == "typed", label
        assert row.killed == row.mutants, label
        assert all(why.strip() for _, why in row.equivalent), label


@pytest.mark.parametrize("page", sorted({equation.page for equation in FOUND}))
def test_changing_one_sign_in_the_page_alone_fails(page: str) -> None:
    """In each page, at the first equation that has a sign to change."""
    for equation in FOUND:
        altered = re.sub(
            r"(?<=\s)([-+])(?=\s)", lambda m: "+" if m[1] == "-" else "-", equation.latex, count=1
        )
        if equation.page == page and altered != equation.latex:
            assert checked(Equation(equation.label, page, altered)).trouble, equation.label
            return
    pytest.fail(f"{page} has no equation with a sign")


# What no mutant does, and people do: each of these once passed, or might.
BY_HAND = [
    ("eq-log-tangent", r"t - 1", r"t - 1 - \frac{1}{5} (t - 1)^2"),
    ("eq-log-tangent", r"\le", "<"),
    ("eq-log-tangent", r"\le", r"\to"),
    ("eq-best-draws", r"\ge", r"\ge \frac{1}{50} (L - L^*)^2 +"),
    ("eq-gaussian-kl-1d", r"&= \log \frac{\sigma_p}{\sigma_q} - \frac{1}{2}", r"& \log 7 - \frac{7}{2}"),
    ("eq-ppca-gradient", r"C^{-1} (S - C) C^{-1} W", r"W^\top C^{-1} (S - C) C^{-1}"),
    ("eq-ppca-profile", r"(D - J) \log", r"J \log"),
    ("eq-best-variance", r"\frac{1}{D - J}", r"\frac{1}{J}"),
    ("eq-evidence", r"\int", r"\int_0"),
    ("eq-no-density", r"\mathrm dx", r"\mathrm dx \, \mathrm dz"),
    ("eq-total-variance", "{V_x}", "{V_z}"),
    ("eq-without-replacement", r"\frac{N - M}{N - 1}", r"\frac{N - M}{M}"),
    ("eq-logits", r"\pi_d - x_d", r"\pi_1 - x_1"),
    ("eq-m-step", r"r_{n,k} \, x_n", r"r_{n,1} \, x_n"),
    ("def-minibatch", "z_i)", "z_1)"),
    ("eq-elbo", r"\log p_\theta(x)", r"\log p_\theta(x_7)"),
    ("eq-odds", r"p(x \mid z)", r"p(z \mid x)"),
    ("eq-surgery", r"\frac{1}{N}", "N"),
]


@pytest.mark.parametrize(("label", "right", "wrong"), BY_HAND)
def test_mistake_that_people_make_is_turned_down(label: str, right: str, wrong: str) -> None:
    [equation] = [equation for equation in FOUND if equation.label == label]
    assert right in equation.latex
    with pytest.raises((ClaimError, ReadingError, LatexError)):
        verify(label, equation.latex.replace(right, wrong, 1))


@pytest.mark.parametrize("latex", ["", r"\log t", r"\log t \le t - 1, t - 1"])
def test_statement_without_a_relation_claims_nothing_and_is_refused(latex: str) -> None:
    with pytest.raises(ReadingError, match="no relation"):
        verify("eq-log-tangent", latex)


def test_code_that_is_held_against_the_book_is_named_by_its_label() -> None:
    from tools.against_torch import AGAINST_TORCH

    # The labels are read from the text, which is quicker; they must be the ones that Python sees.
    assert held_against_torch() == set(AGAINST_TORCH)


# --- what it finds, and what it refuses --------------------------------------------------------------------


def test_displays_are_found_with_their_labels() -> None:
    fences = "A.\n\n```{math}\n:label: eq-a\na = b\n```\n\n$$ c = d $$ (eq-c)\n\n:::{math}\ne = f\n:::\n"
    text = fences + "\n```python\nx = '$$'\n```\n"
    assert displays(text) == [("eq-a", "a = b"), ("eq-c", "c = d"), ("", "e = f")]


def write_book(folder: Path, **pages: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in pages.items():
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
    return folder


def display(label: str, latex: str) -> str:
    return f"```{{math}}\n:label: {label}\n{latex}\n```\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("$$ a = b $$", "has no label"),
        ("```{math}\na = b\n```\n", "has no label"),
        (display("kl", "a = b"), "eq-... or def-... is wanted"),
        (display("eq-a", "a = b") + display("eq-a", "a = c"), "is a label of page already"),
    ],
)
def test_label_that_is_missing_or_taken_is_named(tmp_path: Path, text: str, words: str) -> None:
    _, wrong = equations(write_book(tmp_path / "book", page=text))
    assert len(wrong) == 1
    assert words in wrong[0]


def test_unknown_label_is_named() -> None:
    stranger = Equation("eq-nobody-knows", "page", "a = b")
    assert wrong_labels([*FOUND, stranger]) == ["page: eq-nobody-knows has no check"]


def test_check_without_an_equation_is_named() -> None:
    missing = FOUND[0]
    assert f"{missing.label} has a check, and no page shows it" in wrong_labels(FOUND[1:])


def test_symbol_that_is_defined_twice_is_named() -> None:
    one = next(equation for equation in FOUND if equation.label.startswith("def-"))
    again = Equation(one.label, "another page", one.latex)
    assert any("and so does" in problem for problem in wrong_labels([one, again]))
    assert not any("and so does" in problem for problem in wrong_labels([one]))


def test_row_is_checked_again_when_and_only_when_its_text_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "ledger.json"
    quick = min(FOUND, key=lambda equation: len(equation.latex))
    [first] = run([quick], quiet=True, kept_at=kept)
    written = kept.stat().st_mtime_ns
    [again] = run([quick], quiet=True, kept_at=kept)
    assert again == first  # its seconds too: it was not run again
    assert kept.stat().st_mtime_ns == written
    [changed] = run([Equation(quick.label, quick.page, f"{quick.latex} ")], quiet=True, kept_at=kept)
    assert changed.seconds != first.seconds
    monkeypatch.setattr(ledger, "contents", lambda patterns: "another state of the code")
    [later] = run([quick], quiet=True, kept_at=kept)
    assert later.seconds != first.seconds
    assert json.loads(kept.read_text(encoding="utf-8"))[quick.label]["row"]["label"] == quick.label


# --- the command -------------------------------------------------------------------------------------------


def command(*arguments: str, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, str(root / "tools" / "ledger.py"), *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_command_prints_a_line_a_label_and_ends_with_the_count(rows: dict[str, ledger.Row]) -> None:
    done = command()
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout[-3000:]
    assert lines[-1].startswith(f"{len(rows)} of {len(rows)} equations checked, ")
    assert [line.split()[1] for line in lines[:-1]] == list(rows)


def test_command_refuses_a_label_that_no_page_has() -> None:
    done = command("eq-no-such-thing")
    assert done.returncode == 1
    assert done.stderr == "No page has the label eq-no-such-thing. `make ledger` lists all.\n"


def test_command_fails_on_a_sign_changed_in_a_page(tmp_path: Path) -> None:
    """In a copy of the book where one page says something else, and the code is the same."""
    for name in ("book", "vaelib", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "requirements.lock", tmp_path)
    page = tmp_path / "book" / "11-training.ipynb"
    text = page.read_text(encoding="utf-8")
    right, wrong = r"\\sigma_j^2 - 1 - \\log \\sigma_j^2", r"\\sigma_j^2 - 1 + \\log \\sigma_j^2"
    assert text.count(right) == 1
    page.write_text(text.replace(right, wrong), encoding="utf-8")
    done = command("eq-training-kl", root=tmp_path)
    assert done.returncode == 1
    assert "FAILED eq-training-kl" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("0 of 1 equations checked")
