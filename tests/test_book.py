"""The pages' sources and the rules they keep; and that no page is ever built from outdated outputs."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import nbformat
import pytest
import yaml
from jupyter_cache.executors.utils import ExecutionResult
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from sphinx.cmd.build import main as sphinx_build

from tools import notebooks

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))
PROSE = sorted((ROOT / "book").glob("*.md"))


def name_of(path: Path) -> str:
    return path.name


# --- the pages ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_page_keeps_the_rules(path: Path) -> None:
    assert notebooks.problems(nbformat.read(path, as_version=4)) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_page_is_stored_stripped(path: Path) -> None:
    stripped = nbformat.writes(notebooks.strip(nbformat.read(path, as_version=4))) + "\n"
    assert path.read_text(encoding="utf-8") == stripped, "run `make strip`"


@pytest.mark.parametrize("path", PROSE, ids=name_of)
def test_prose_page_holds_no_code_and_no_typed_metric(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    # Cells in Markdown would be run by the build and by no test: pages with code are notebooks.
    assert not re.search(r"^(```|:::+)\s*\{(code-cell|raw-cell)", text, re.MULTILINE)
    assert list(notebooks.typed_metrics(text)) == []


def test_table_of_contents_and_pages_are_the_same_set() -> None:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    chapters = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    listed = [toc["root"], *chapters]
    assert len(set(listed)) == len(listed)
    assert {f"book/{path.stem}" for path in NOTEBOOKS + PROSE} == set(listed)


# --- the rules: each is broken once, and must be named -----------------------------------------------------


def good() -> NotebookNode:
    """Return the smallest page that keeps every rule, with a checked output and a figure."""
    notebook = new_notebook(metadata=nbformat.from_dict(notebooks.METADATA))
    checked = new_code_cell(
        "print(2)", id="checked", execution_count=1, metadata={"tags": ["nbval-check-output"]}
    )
    checked.outputs = [new_output("stream", name="stdout", text="2\n")]
    notebook.cells = [
        new_markdown_cell("# A page\n\nRun it with `make lab`.", id="title"),
        new_code_cell("x = 1\nassert x == 1", id="assert"),
        checked,
        new_code_cell("figures.curve(x)", id="figure", metadata={"mystnb": {"image": {"alt": "A curve."}}}),
    ]
    return notebook


def with_cell(source: str, **more: object) -> NotebookNode:
    notebook = good()
    notebook.cells.append(new_code_cell(source, id="more", **more))
    return notebook


def with_text(source: str) -> NotebookNode:
    notebook = good()
    notebook.cells.append(new_markdown_cell(source, id="more"))
    return notebook


def without(cell: int, *names: str) -> NotebookNode:
    """Return the good page with parts of one cell put back to nothing."""
    notebook = good()
    for name in names:
        notebook.cells[cell][name] = {"outputs": [], "execution_count": None, "source": ""}.get(name, {})
    return notebook


def with_metadata(**metadata: object) -> NotebookNode:
    notebook = good()
    notebook.metadata.update(nbformat.from_dict(metadata))
    return notebook


def with_picture() -> NotebookNode:
    notebook = good()
    notebook.cells[2].outputs = [new_output("display_data", data={"image/png": "AAAA"})]
    return notebook


def with_attachment() -> NotebookNode:
    notebook = good()
    notebook.cells[0].attachments = nbformat.from_dict({"a.png": {"image/png": "AAAA"}})
    return notebook


def with_twin_ids() -> NotebookNode:
    notebook = good()
    notebook.cells[1].id = "title"
    return notebook


def test_good_page_has_no_problem() -> None:
    assert notebooks.problems(good()) == []


BROKEN = {
    "no assert": (without(1, "source"), "asserts nothing"),
    "only an assert that cannot fail": (without(1, "source"), "asserts nothing"),
    "not Python": (with_cell("%matplotlib inline"), "cell 3 is not plain Python"),
    "bare except": (with_cell("try:\n    f()\nexcept:\n    pass"), "cell 3 catches every error"),
    "except Exception": (with_cell("try:\n    f()\nexcept Exception:\n    pass"), "catches every error"),
    "except (ValueError, Exception)": (
        with_cell("try:\n    f()\nexcept (ValueError, Exception) as error:\n    pass"),
        "catches every error",
    ),
    "suppress": (with_cell("with contextlib.suppress(BaseException):\n    f()"), "catches every error"),
    "output without the tag": (without(2, "metadata"), "cell 1 stores an output or a count"),
    "count without the tag": (with_cell("x", execution_count=3), "cell 3 stores an output or a count"),
    "tag without output": (without(2, "outputs"), "stores no output to check"),
    "tag without count": (without(2, "execution_count"), "no execution_count"),
    "check as a comment": (with_cell("# NBVAL_CHECK_OUTPUT\nprint(1)"), "write it as a tag"),
    "picture": (with_picture(), "stores a picture or a widget"),
    "attachment": (with_attachment(), "attached"),
    "widget state": (with_metadata(widgets={"state": {}}), "widget state"),
    "other metadata": (with_metadata(mystnb={"execution_mode": "off"}), "metadata"),
    "twin ids": (with_twin_ids(), "a cell has no id, or two have the same"),
    "figure without words": (without(3, "metadata"), "cell 2 draws a figure without alt text"),
    "no word on running": (without(0, "source"), "does not say how to run it"),
} | {
    f"typed: {text}": (with_text(text), "typed into the text")
    for text in (
        "The ELBO is -81.3 nats.",
        "It reaches $-81.3$ nats.",
        "We find $-81.3 \\pm 0.2$ nats.",
        "An epoch takes 1.8 s on two cores.",
        "accuracy of **97.5** %",
        "| bound | value |\n|---|---|\n| ELBO | -81.30 |",
    )
}
BROKEN["only an assert that cannot fail"][0].cells[1].source = "assert True"


@pytest.mark.parametrize(("notebook", "name"), BROKEN.values(), ids=BROKEN)
def test_broken_rule_is_named(notebook: NotebookNode, name: str) -> None:
    named = notebooks.problems(notebook)
    assert [problem for problem in named if name in problem], named
    assert len(named) == 1, "one fault, one message"


@pytest.mark.parametrize("mark", sorted(notebooks.FORBIDDEN))
def test_no_cell_may_be_excused(mark: str) -> None:
    for notebook in (
        with_cell("f()", metadata={"tags": [mark]}),
        with_cell(f"f()\n  # {mark.upper().replace('-', '_')}"),
    ):
        assert notebooks.problems(notebook) == [f"cell 3 is excused from its test by {mark}"]


def test_every_excuse_that_nbval_knows_is_forbidden() -> None:
    from nbval.plugin import metadata_tags

    assert set(metadata_tags) - {notebooks.CHECKED} <= notebooks.FORBIDDEN


@pytest.mark.parametrize(
    "text",
    [
        "The bound is {glue:text}`elbo:.2f` nats.",
        "Half, or 0.5, of the pixels are black.",
        "$\\mathrm{KL} = 0.5 (\\sigma^2 + \\mu^2 - 1 - \\log \\sigma^2)$ in nats.",
        "```python\nelbo = -81.3  # nats\n```",
        "It needs Python 3.11 or newer.",
        "The ELBO has 2 terms and takes 3 seconds.",
    ],
)
def test_definitions_and_roles_are_no_typed_metric(text: str) -> None:
    assert list(notebooks.typed_metrics(text)) == []


def test_strip_brings_a_page_back_to_the_rules() -> None:
    notebook = good()
    kept = [output.text for output in notebook.cells[2].outputs]
    notebook.metadata = nbformat.from_dict(
        {"language_info": {"name": "python", "version": "3.99"}, "widgets": {}}
    )
    notebook.cells[1].execution_count = 7
    notebook.cells[1].outputs = [new_output("display_data", data={"image/png": "AAAA"})]
    notebook.cells[1].metadata = nbformat.from_dict({"collapsed": True, "tags": ["hide-input"]})
    notebook.cells[3].id = "title"
    stripped = notebooks.strip(notebook)
    assert notebooks.problems(stripped) == []
    assert [output.text for output in stripped.cells[2].outputs] == kept
    assert stripped.cells[1].metadata == {"tags": ["hide-input"]}
    assert notebooks.strip(stripped) == stripped


# --- the build: what is executed again, and what fails twice ------------------------------------------------


class TinyBook:
    """A book of one page, built by Sphinx with the real extension; only the kernel is played, and counts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.executions = 0
        (folder / "vaelib").mkdir()
        (folder / "vaelib" / "thing.py").write_text("VALUE = 1\n")
        (folder / "requirements.lock").write_text("")
        self.write("x = 1")

    def write(self, code: str, text: str = "# A page") -> None:
        cells = [new_markdown_cell(text, id="text"), new_code_cell(code, id="code")]
        notebook = new_notebook(cells=cells, metadata=nbformat.from_dict(notebooks.METADATA))
        nbformat.write(notebook, self.folder / "index.ipynb")

    def execute(self, notebook: NotebookNode, cwd: str, **_: object) -> ExecutionResult:
        self.executions += 1
        error = AssertionError() if "assert False" in notebook.cells[1].source else None
        return ExecutionResult(notebook, cwd, 1.0, error, repr(error) if error else None)

    def build(self, *strictness: str) -> int:
        """Build, by default with warnings as errors, and return the exit status."""
        build = self.folder / "_build"
        settings = {
            "extensions": "myst_nb,vaebook",
            "nb_execution_mode": "cache",
            "exclude_patterns": "_build",
        }
        options = [part for name, value in settings.items() for part in ("-D", f"{name}={value}")]
        options += ["-C", "-q", "-d", str(build / ".doctrees")]
        options += strictness or ["-W", "-n", "--keep-going"]
        return sphinx_build([*options, str(self.folder), str(build / "html")])


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TinyBook:
    monkeypatch.syspath_prepend(ROOT / "book" / "_ext")
    book = TinyBook(tmp_path)
    monkeypatch.setattr("myst_nb.core.execute.cache.single_nb_execution", book.execute)
    return book


def test_page_is_executed_again_when_and_only_when_something_beneath_it_changed(tiny: TinyBook) -> None:
    module = tiny.folder / "vaelib" / "thing.py"
    assert (tiny.build(), tiny.executions) == (0, 1)
    module.touch()
    (tiny.folder / "index.ipynb").touch()
    assert (tiny.build(), tiny.executions) == (0, 1)
    tiny.write("x = 1", text="# Another title")
    assert (tiny.build(), tiny.executions) == (0, 1)
    assert "Another title" in (tiny.folder / "_build/html/index.html").read_text(encoding="utf-8")
    module.write_text("VALUE = 2\n")
    assert (tiny.build(), tiny.executions) == (0, 2)
    (tiny.folder / "vaelib" / "more.js").write_text("")
    assert (tiny.build(), tiny.executions) == (0, 3)
    (tiny.folder / "requirements.lock").write_text("a==1\n")
    assert (tiny.build(), tiny.executions) == (0, 4)
    tiny.write("x = 2")
    assert (tiny.build(), tiny.executions) == (0, 5)
    assert len(list((tiny.folder / "_build" / ".jupyter_cache").iterdir())) == 1, "old outputs are dropped"


def test_failing_page_fails_every_build_until_it_is_mended(tiny: TinyBook) -> None:
    tiny.write("assert False")
    assert (tiny.build(), tiny.executions) == (1, 1)
    assert (tiny.build(), tiny.executions) == (1, 2)
    assert (tiny.build("-n"), tiny.executions) == (1, 3), "and without -W too"
    tiny.write("assert True")
    assert (tiny.build(), tiny.executions) == (0, 4)


def test_warning_fails_every_build_and_executes_nothing_again(tiny: TinyBook) -> None:
    tiny.write("x = 1", text="# A page\n\n{ref}`nowhere`")
    assert (tiny.build(), tiny.executions) == (1, 1)
    assert (tiny.build(), tiny.executions) == (1, 1)
    tiny.write("x = 1")
    assert (tiny.build(), tiny.executions) == (0, 1)


def test_display_without_a_label_fails_every_build(tiny: TinyBook) -> None:
    tiny.write("x = 1", text="# A page\n\n```{math}\na = b\n```")
    assert (tiny.build(), tiny.executions) == (1, 1)
    assert tiny.build("-n") == 1, "and without -W too"
    tiny.write("x = 1", text="# A page\n\n```{math}\n:label: eq-a\na = b\n```")
    assert tiny.build() == 0


# --- the way in --------------------------------------------------------------------------------------------


def test_makefile_explains_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {target for target in phony.split() if f"make {target} " not in shown} == {"help"}


def test_system_packages_are_named_in_one_place() -> None:
    for name in ("README.md", ".ci/run"):
        assert ".ci/packages.txt" in (ROOT / name).read_text(encoding="utf-8"), name


def test_no_tool_or_test_names_a_package_index() -> None:
    for path in [
        ROOT / "Makefile",
        ROOT / "requirements.lock",
        ROOT / "environment.yml",
        ROOT / ".ci" / "run",
    ]:
        text = path.read_text(encoding="utf-8")
        assert "index-url" not in text.replace("--no-emit-index-url", ""), path
        assert "://" not in text.replace("http://127.0.0.1", ""), path
