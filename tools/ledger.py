"""Check every labelled equation of the book, and hold each check to mutants of its equation.

Prints one line for each label and ends with ``N of M equations checked``. What was checked before, and has
not changed since, is not checked again: the results are kept in ``_build/ledger.json``, from which the book
makes its page "Verification ledger".
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import re
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vaelib.symbolic.claims import Claim

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
KEPT = ROOT / "_build" / "ledger.json"

# A result may be used again as long as these are the same, and the equation's own text; the second line only
# where the equation is held against PyTorch.
CODE = ("vaelib/symbolic/*.py", "tools/ledger.py", "requirements.lock")
TORCH_CODE = ("vaelib/*.py", "tools/against_torch.py")

MATH = re.compile(
    r"^[ \t]*(?P<fence>`{3,}|:{3,})\{math\}[ \t]*(?P<argument>[^\n]*)\n(?P<body>.*?)^[ \t]*(?P=fence)[ \t]*$",
    re.M | re.S,
)
DOLLARS = re.compile(r"\$\$(?P<body>.*?)\$\$(?P<label>[ \t]*\([\w-]+\))?", re.S)
LABEL = re.compile(r"^:label:[ \t]*(\S+)[ \t]*\n", re.M)
NAME = re.compile(r"(eq|def)-[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Equation:
    """A displayed equation as it stands in a page."""

    label: str
    page: str
    latex: str


@dataclass(frozen=True)
class Row:
    """What the ledger says about one equation; ``trouble`` is empty where all is well."""

    label: str
    page: str
    kinds: list[str]
    tolerance: str
    code: str
    trouble: str
    killed: int
    mutants: int
    equivalent: list[list[str]]
    seconds: float


def markdown(path: Path) -> str:
    """Return a page's prose; code and its outputs are not ours to check here."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    cells = json.loads(text)["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def displays(text: str) -> list[tuple[str, str]]:
    """Return label and text of each displayed equation, in order; the label is empty where there is none."""
    found = []
    for match in MATH.finditer(text):
        label = LABEL.search(match["body"])
        body = re.sub(r"^:\w+:.*\n", "", match["body"], flags=re.M)
        found.append((match.start(), label[1] if label else "", f"{match['argument']}\n{body}".strip()))
    rest = MATH.sub(lambda match: " " * len(match.group()), text)
    # Code may hold dollars; directives (a name in braces) may hold displays.
    rest = re.sub(
        r"^(`{3,})(?!\{).*?^\1[ \t]*$", lambda match: " " * len(match.group()), rest, flags=re.M | re.S
    )
    for match in DOLLARS.finditer(rest):
        found.append((match.start(), (match["label"] or "").strip(" ()"), match["body"].strip()))
    return [(label, latex) for _, label, latex in sorted(found)]


def equations(book: Path = BOOK) -> tuple[list[Equation], list[str]]:
    """Collect the book's equations, and what is wrong with their labels."""
    found: dict[str, Equation] = {}
    wrong = []
    for path in sorted([*book.glob("*.md"), *book.glob("*.ipynb")]):
        for label, latex in displays(markdown(path)):
            if not NAME.fullmatch(label):
                what = f"has the label {label!r}" if label else "has no label"
                wrong.append(f"{path.name}: the display {latex[:50]!r} {what}; eq-... or def-... is wanted")
            elif label in found:
                wrong.append(f"{path.name}: {label} is a label of {found[label].page} already")
            else:
                found[label] = Equation(label, path.stem, latex)
    return list(found.values()), wrong


def digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def contents(patterns: tuple[str, ...]) -> str:
    paths = sorted({path for pattern in patterns for path in ROOT.glob(pattern)})
    return digest(*(f"{path.name}\0{path.read_text(encoding='utf-8')}" for path in paths))


def place(topic: str, label: str) -> str:
    """Where the check's code is: file and line."""
    path = ROOT / "vaelib" / "symbolic" / f"{topic}.py"
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if f'"{label}"' in line:
            return f"{path.relative_to(ROOT)}:{number}"
    return str(path.relative_to(ROOT))


def checked(equation: Equation) -> Row:
    """Check one equation and all its mutants."""
    from vaelib.symbolic import claim_of, claims_by_topic
    from vaelib.symbolic.claims import DIGITS, Trial, check, kinds, trial

    begun = time.perf_counter()
    label, latex = equation.label, equation.latex
    topic = next(topic for topic, claims in claims_by_topic().items() if label in claims)
    claim = claim_of(label)
    done: list[str] = []
    trouble: list[str] = []
    result = Trial(0, (), ())
    try:
        check(label, claim, latex)
        done = kinds(claim, latex)
        if label in held_against_torch():
            against_torch(label, claim, latex)
            done.append("against torch")
        result = trial(label, claim, latex)
    except Exception as error:  # noqa: BLE001 (whatever it is, the row says so, and the ledger fails)
        trouble.append(f"{type(error).__name__}: {error}")
    else:
        trouble += [f"a mutant survives: {mutant.what}" for mutant in result.survivors]
        same = {what for what, _ in result.equivalent}
        trouble += [
            f"excused, but no surviving mutant: {what}" for what in claim.equivalent if what not in same
        ]
        if not result.total and claim.method != "typed":
            trouble.append("no mutant could be made, so nothing tests the check")
    return Row(
        label=label,
        page=equation.page,
        kinds=done,
        tolerance="exact" if claim.method == "symbolic" else f"1e-{DIGITS}",
        code=place(topic, label),
        trouble="; ".join(trouble),
        killed=result.killed,
        mutants=result.total,
        equivalent=[list(pair) for pair in result.equivalent],
        seconds=time.perf_counter() - begun,
    )


def held_against_torch() -> set[str]:
    """Return the labels in ``tools/against_torch.py``, without the seconds that importing PyTorch takes."""
    text = (ROOT / "tools" / "against_torch.py").read_text(encoding="utf-8")
    return set(re.findall(r'^    "((?:eq|def)-[a-z0-9-]+)":', text, re.M))


def against_torch(label: str, claim: Claim, latex: str) -> None:
    """Compare the last side of an equation's first statement with vaelib or PyTorch."""
    from tools.against_torch import AGAINST_TORCH, RELATIVE
    from vaelib.symbolic.claims import POINTS, ClaimError, number, pairs, point, statements

    *_, (_, left, right) = pairs(claim, statements(claim, latex)[0])
    for k in range(POINTS):
        values = point(label, claim, left.free_symbols | right.free_symbols, k)
        formula = number(right)(values)
        code = AGAINST_TORCH[label]({symbol.name: value for symbol, value in values.items()})
        if not abs(formula - code) <= RELATIVE * (1 + abs(formula)):
            raise ClaimError(f"{label}: the formula gives {formula:.12g}, the code {code:.12g}")


def run(
    found: list[Equation], *, fresh: bool = False, quiet: bool = False, kept_at: Path = KEPT
) -> list[Row]:
    """Return a row for each equation, from the last run where nothing has changed since."""
    from tqdm import tqdm

    from vaelib.files import write_atomically

    kept = json.loads(kept_at.read_text(encoding="utf-8")) if kept_at.exists() and not fresh else {}
    code, torch_code, torch_labels = contents(CODE), contents(TORCH_CODE), held_against_torch()
    keys = {
        e.label: digest(code, torch_code if e.label in torch_labels else "", e.latex, e.page) for e in found
    }
    rows = {
        label: Row(**kept[label]["row"])
        for label, key in keys.items()
        if label in kept and kept[label]["key"] == key
    }
    todo = [equation for equation in found if equation.label not in rows]
    if todo:
        # Spawned, not forked: a fork of a process in which PyTorch has started its threads may wait for ever.
        workers, context = min(len(todo), os.cpu_count() or 1), multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            jobs = [pool.submit(checked, equation) for equation in todo]
            for job in tqdm(
                as_completed(jobs), total=len(jobs), desc="equations", disable=quiet, leave=False
            ):
                rows[job.result().label] = job.result()
    state = {label: {"key": keys[label], "row": asdict(rows[label])} for label in keys}
    text = json.dumps(state, indent=1).encode()
    kept_at.parent.mkdir(parents=True, exist_ok=True)
    if not kept_at.exists() or kept_at.read_bytes() != text:  # else the book would make its page anew
        write_atomically(kept_at, text)
    return [rows[equation.label] for equation in found]


def wrong_labels(found: list[Equation]) -> list[str]:
    """Name labels that have no claim, claims that have no equation, and symbols that are defined twice."""
    from vaelib.symbolic import claim_of, claims_by_topic
    from vaelib.symbolic.latex import LatexError

    claims = [label for claims in claims_by_topic().values() for label in claims]
    labels = {equation.label for equation in found}
    wrong = [
        f"{label} is claimed by two topics" for label in sorted({x for x in claims if claims.count(x) > 1})
    ]
    wrong += [f"{e.page}: {e.label} has no check" for e in found if e.label not in claims]
    wrong += [f"{label} has a check, and no page shows it" for label in claims if label not in labels]
    strays = sorted(held_against_torch() - labels)
    wrong += [f"{label} is held against torch, and no page shows it" for label in strays]
    defined: dict[str, str] = {}
    for equation in found:
        if equation.label.startswith("def-") and equation.label in claims:
            try:
                chains = claim_of(equation.label).reading.chains(equation.latex)
            except LatexError:
                continue  # its own row says so
            for chain in chains:
                side = chain.sides[0]
                symbol = re.sub(
                    r"\s|\\[,;:!]|\\(left|right|[bB]igg?[lr]?)(?![a-z])",
                    "",
                    equation.latex[side.start : side.end],
                )
                if symbol in defined:
                    wrong.append(f"{equation.label} defines {symbol}, and so does {defined[symbol]}")
                defined[symbol] = equation.label
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("labels", nargs="*", metavar="LABEL", help="only these (default: all)")
    parser.add_argument("--fresh", action="store_true", help="check again what has not changed, too")
    parser.add_argument("--quiet", action="store_true", help="print only what is wrong, and the last line")
    arguments = parser.parse_args()
    begun = time.perf_counter()
    found, wrong = equations()
    unknown = set(arguments.labels) - {equation.label for equation in found}
    if unknown:
        sys.exit(f"No page has the label {', '.join(sorted(unknown))}. `make ledger` lists all.")
    if arguments.labels:
        wrong = []  # of the whole book, which is not the question
    elif not wrong:
        wrong = wrong_labels(found)
    for problem in wrong:
        print(f"WRONG  {problem}")
    from vaelib.symbolic import claims_by_topic

    claimed = {label for claims in claims_by_topic().values() for label in claims}
    chosen = [
        e for e in found if e.label in claimed and (not arguments.labels or e.label in arguments.labels)
    ]
    kept_at = KEPT if not arguments.labels else KEPT.with_name("ledger-part.json")
    rows = run(chosen, fresh=arguments.fresh, quiet=arguments.quiet, kept_at=kept_at)
    for row in rows:
        if row.trouble or not arguments.quiet:
            state = "FAILED" if row.trouble else "ok"
            print(
                f"{state:6} {row.label:34} {', '.join(row.kinds):48} "
                f"{row.killed}/{row.mutants} mutants {row.seconds:6.2f} s"
            )
            if row.trouble:
                print(f"       {row.trouble}")
    held = [row for row in rows if not row.trouble]
    total = len(arguments.labels or found)
    print(
        f"{len(held)} of {total} equations checked, "
        f"{sum(row.killed for row in rows)} of {sum(row.mutants for row in rows)} mutants killed, "
        f"{time.perf_counter() - begun:.0f} s"
    )
    sys.exit(bool(wrong) or len(held) < total)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
