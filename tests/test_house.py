"""The house itself: which room may know which, and what an import costs."""

import ast
import doctest
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import vaelib
from tools.ledger import equations

PACKAGE = Path(vaelib.__file__).parent
# A room is a file, or a folder of files that belong together.
ROOMS = {path.stem: [path] for path in sorted(PACKAGE.glob("*.py")) if not path.stem.startswith("__")}
ROOMS |= {
    path.parent.name: sorted(path.parent.glob("*.py")) for path in sorted(PACKAGE.glob("*/__init__.py"))
}


def known(room: str) -> set[str]:
    """The other rooms that a room imports, at its top or inside a function."""
    imports: set[str] = set()
    for node in (node for path in ROOMS[room] for node in ast.walk(ast.parse(path.read_text()))):
        if isinstance(node, ast.ImportFrom) and node.module == "vaelib":
            imports |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vaelib."):
            imports.add(node.module.split(".")[1])
    return imports & ROOMS.keys() - ({room} if len(ROOMS[room]) > 1 else set())


def reach(room: str) -> set[str]:
    found, new = set(), known(room)
    while new:
        found |= new
        new = set().union(*(known(other) for other in new)) - found
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_arrows_between_rooms_go_one_way(room: str) -> None:
    assert room not in reach(room)


@pytest.mark.parametrize(
    ("room", "unknown"),
    [
        ("symbolic", set(ROOMS)),
        ("units", set(ROOMS) - {"units"}),
        ("likelihoods", set(ROOMS) - {"likelihoods"}),
        ("divergences", set(ROOMS) - {"divergences"}),
        ("aggregate", set(ROOMS) - {"aggregate", "divergences"}),
        ("models", {"training", "evaluation", "objectives", "figures", "data", "cli"}),
        ("objectives", {"training", "evaluation", "figures", "data", "cli"}),
        ("figures", {"training", "models", "data", "snapshots", "cli"}),
        ("evaluation", {"training", "snapshots", "figures", "cli"}),
        ("training", {"snapshots", "figures", "cli"}),
        ("snapshots", {"training", "figures", "movies", "cli"}),
        ("movies", set(ROOMS) - {"movies", "errors"}),
        ("pretrained", {"training", "evaluation", "figures", "widgets", "cli"}),
        ("widgets", {"training", "movies", "results", "cli"}),
    ],
)
def test_a_room_does_not_know_what_is_built_upon_it(room: str, unknown: set[str]) -> None:
    assert not reach(room) & unknown


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_rooms_within_symbolic_go_one_way() -> None:
    """Pages' topics know the reader, the reading and the checks; those know no topic."""
    folder = PACKAGE / "symbolic"
    for name, others in {
        "latex": set(),
        "reading": {"latex"},
        "claims": {"latex", "reading"},
        "numeric": set(),
    }.items():
        imported = re.findall(
            r"^from vaelib\.symbolic\.(\w+) import", (folder / f"{name}.py").read_text(), re.M
        )
        assert set(imported) <= others, name


@pytest.mark.parametrize("room", ["cli", "sources", "settings", "errors", "units"])
def test_rooms_that_answer_at_once_load_no_torch(room: str) -> None:
    loaded = loaded_by(f"import vaelib.{room}")
    assert "vaelib" in loaded
    assert not loaded & {"torch", "numpy", "matplotlib", "torchvision"}


def test_importing_the_package_loads_nothing_but_the_standard_library() -> None:
    assert loaded_by("import vaelib") - {"vaelib"} <= loaded_by("pass")


def test_equations_that_docstrings_cite_are_labelled_in_the_book() -> None:
    text = "".join(path.read_text() for paths in ROOMS.values() for path in paths)
    cited = {
        label
        for line in re.findall(r"Book: (.*)", text)
        for label in re.findall(r"\b(?:eq|def)-[a-z0-9-]+", line)
    }
    assert cited  # else the pattern has rotted
    assert cited <= {equation.label for equation in equations()[0]}


def test_examples_in_docstrings_hold() -> None:
    modules = [path.relative_to(PACKAGE.parent).with_suffix("") for paths in ROOMS.values() for path in paths]
    results = [doctest.testmod(importlib.import_module(".".join(module.parts))) for module in modules]
    assert sum(result.failed for result in results) == 0
    assert sum(result.attempted for result in results) > 0
