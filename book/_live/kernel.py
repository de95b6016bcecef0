"""A page's cells as one session: which cells one needs, and what each shows when it runs.

The pages' worker runs this under Pyodide, and the book's build asks it which cells can run there at all. The
standard library is all it needs. Outputs have the form in which a notebook stores them.
"""

import ast
import contextlib
import copy
import functools
import io
import linecache
import sys
import time
import traceback
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from symtable import SymbolTable, symtable
from typing import NamedTuple

Output = dict[str, object]

WIDGETS = "vaelib.widgets"

COMPREHENSIONS = {
    "listcomp",
    "setcomp",
    "dictcomp",
    "genexpr",
}  # run at once, unlike functions


# --- what a cell needs -----------------------------------------------------------------------------------


class Names(NamedTuple):
    """The names that a cell takes from the cells above it, and those that it leaves to the cells below."""

    read: frozenset[str]
    bound: frozenset[str]


def _in_order(statements: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Take loops, branches and the like apart: the head with nothing in it, then what stands in it."""
    for statement in statements:
        bodies = [field for field in ("body", "orelse", "finalbody") if hasattr(statement, field)]
        if not bodies or isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield statement
            continue
        head = copy.copy(statement)
        for field in bodies:
            setattr(head, field, [ast.Pass()] if getattr(statement, field) else [])
        handlers = getattr(statement, "handlers", [])
        if handlers:
            head.handlers = [ast.ExceptHandler(one.type, one.name, [ast.Pass()]) for one in handlers]
        yield head
        for body in [statement.body, *(one.body for one in handlers)]:
            yield from _in_order(body)
        for field in bodies[1:]:
            yield from _in_order(getattr(statement, field))


def _inner_reads(table: SymbolTable, *, at_once: bool = True) -> Iterator[tuple[str, bool]]:
    """Global names that inner scopes read, each with whether that happens before anything is called."""
    for inner in table.get_children():
        plain = at_once and (inner.get_type() == "class" or inner.get_name() in COMPREHENSIONS)
        for symbol in inner.get_symbols():
            if symbol.is_global() and symbol.is_referenced():
                yield symbol.get_name(), plain
        yield from _inner_reads(inner, at_once=plain)


@functools.cache
def names(source: str) -> Names:
    """Return what a cell reads before it binds it, and what it binds: nothing, if it is no Python."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return Names(frozenset(), frozenset())
    read: set[str] = set()
    bound: set[str] = set()
    called: set[str] = set()
    for statement in _in_order(tree.body):
        table = symtable(ast.unparse(statement), "<cell>", "exec")
        inner = list(_inner_reads(table))
        now = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced()}
        now |= {name for name, plain in inner if plain}
        if isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name):
            now.add(statement.target.id)
        read |= now - bound
        called |= {name for name, plain in inner if not plain}
        bound |= {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()}
    return Names(frozenset(read | (called - bound)), frozenset(bound))


@functools.cache
def modules(source: str) -> frozenset[str]:
    """Return the modules that a cell imports; of ``from a import b`` both ``a`` and ``a.b``."""
    found: set[str] = set()
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return frozenset()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def sources_of_names(cells: Sequence[str], k: int) -> dict[str, int]:
    """Return for each name that a cell reads the last cell above it that binds it, where there is one."""
    above = [names(cell).bound for cell in cells[:k]]
    read = names(cells[k]).read
    return {
        name: max(i for i in range(k) if name in above[i]) for name in read if any(name in a for a in above)
    }


def runnable(cells: Sequence[str], can_import: Callable[[str], bool]) -> list[bool]:
    """Return which cells run where only some modules can be imported, and not all cells above are run."""
    found: list[bool] = []
    for k, cell in enumerate(cells):
        at_hand = all(map(can_import, modules(cell)))
        found.append(at_hand and all(found[i] for i in sources_of_names(cells, k).values()))
    return found


# --- what a cell shows -----------------------------------------------------------------------------------

LOUDEST = 100_000  # characters that one cell may print; a page is no terminal
SILENCE = 0.1  # seconds between two parcels of printed text

REPRESENTATIONS = {
    "text/html": "_repr_html_",
    "text/markdown": "_repr_markdown_",
    "text/latex": "_repr_latex_",
}


def bundle(value: object) -> dict[str, str]:
    """Return a value in each form that it has for a notebook."""
    found = {"text/plain": repr(value)}
    for kind, method in REPRESENTATIONS.items():
        text = getattr(value, method, lambda: None)() if not isinstance(value, type) else None
        if text is not None:
            found[kind] = text
    return found


class _Printed(io.TextIOBase):
    """A stream whose text goes to the page in parcels, and stops when there is too much of it."""

    def __init__(self, name: str, emit: Callable[[Output], None]) -> None:
        self.name, self.emit = name, emit
        self.waiting: list[str] = []
        self.room, self.last = LOUDEST, time.monotonic()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self.room > 0:
            self.waiting.append(text[: self.room])
            self.room -= len(text)
            if self.room <= 0:
                self.waiting.append(f"\n[no more than {LOUDEST:,} characters are shown]\n")
            if self.room <= 0 or time.monotonic() - self.last > SILENCE:
                self.flush()
        return len(text)

    def flush(self) -> None:
        text, self.waiting = "".join(self.waiting), []
        if text:
            self.last = time.monotonic()
            self.emit({"output_type": "stream", "name": self.name, "text": text})


def complaint(error: BaseException, filename: str, source: str) -> Output:
    """Return an error as a notebook stores it, told from the cell on, and the check that failed, if any."""
    told = traceback.TracebackException.from_exception(error)
    while told.stack and not told.stack[0].filename.startswith("cell "):
        told.stack.pop(0)
    check = ""
    if type(error).__name__ == "ClaimError":  # which is an AssertionError, too
        check = str(error).partition(":")[0]
    elif isinstance(error, AssertionError):
        lines = [frame.lineno for frame in told.stack if frame.filename == filename and frame.lineno]
        check = next((text for line in reversed(lines) if (text := _assert_at(source, line))), "")
    return {
        "output_type": "error",
        "ename": type(error).__name__,
        "evalue": str(error),
        "traceback": ["".join(told.format()).rstrip()],
        "check": check,
    }


@contextlib.contextmanager
def patched_modules(stand_ins: dict[str, types.ModuleType]) -> Iterator[None]:
    """Let imports find other modules under these names for as long as the context lasts."""
    before = {name: sys.modules[name] for name in stand_ins if name in sys.modules}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            sys.modules.pop(name, None)
        sys.modules.update(before)


def _assert_at(source: str, line: int) -> str:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assert) and node.lineno <= line <= (node.end_lineno or node.lineno):
            return ast.get_source_segment(source, node) or ""
    return ""


class PageWidget(types.SimpleNamespace):
    """A widget as the page shows it, for the cells that read it: its traits, as they stand there."""


class Session:
    """What has been run on a page, and what it left.

    Cells are known by their place in the page; ``emit`` takes a cell's place and an output. ``widgets`` holds
    what the page's widgets show, each by the place of the cell that makes it.
    """

    def __init__(self, emit: Callable[[int, Output], None]) -> None:
        self.emit = emit
        self.module = types.ModuleType("page")
        sys.modules["page"] = self.module  # where dataclasses look for the class's module
        self.ran: dict[int, tuple[int, str]] = {}  # a cell -> when it last ran well, and what it was
        self.owner: dict[str, int] = {}  # a name -> the cell that bound it last
        self.place, self.clock = 0, 0
        self.widgets: dict[int, dict[str, object]] = {}
        self.module.__dict__["display"] = self.display
        self.stand_ins = {name: types.ModuleType(name) for name in ("IPython", "IPython.display", WIDGETS)}
        self.stand_ins["IPython.display"].__dict__["display"] = self.display
        self.stand_ins[WIDGETS].__dict__["__getattr__"] = lambda _: self._widget

    def _widget(self, **traits: object) -> PageWidget:
        """Stand in for the class of a widget: what it makes is on the page already."""
        return PageWidget(**self.widgets.get(self.place, {}) | traits)

    def display(self, *values: object) -> None:
        """Show values, as IPython's function does."""
        for value in values:
            self._flush()
            self.emit(self.place, {"output_type": "display_data", "data": bundle(value)})

    def _flush(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()

    def plan(self, cells: Sequence[str], k: int) -> list[int]:
        """Return what has to run so that a cell finds what the page promises it: the cell itself is last."""
        needs = [sources_of_names(cells, i) for i in range(k + 1)]
        binds = [names(cell).bound for cell in cells[: k + 1]]

        @functools.cache
        def fresh(i: int) -> bool:
            when, source = self.ran.get(i, (0, None))
            if WIDGETS in modules(cells[i]):  # the widget may have been moved
                return False
            return source == cells[i] and all(fresh(j) and self.ran[j][0] < when for j in needs[i].values())

        todo = {k}
        while True:
            owner, missing = dict(self.owner), set()
            for i in sorted(todo):
                missing |= {j for name, j in needs[i].items() if owner.get(name) != j or not fresh(j)}
                owner |= dict.fromkeys(binds[i], i)
            if missing <= todo:
                return sorted(todo)
            todo |= missing

    def run(self, source: str, place: int) -> bool:
        """Run one cell and show what it shows; return whether it ran to its end."""
        self.place, self.clock = place, self.clock + 1
        self.ran.pop(place, None)
        filename = f"cell {place + 1}"
        linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)

        def emit(output: Output) -> None:
            self.emit(place, output)

        with (
            patched_modules(self.stand_ins),
            contextlib.redirect_stdout(_Printed("stdout", emit)),
            contextlib.redirect_stderr(_Printed("stderr", emit)),
        ):
            try:
                tree = ast.parse(source, filename)
                last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
                exec(compile(tree, filename, "exec"), self.module.__dict__)
                if isinstance(last, ast.Expr):
                    code = compile(ast.Expression(last.value), filename, "eval")
                    value = eval(code, self.module.__dict__)
                    if value is not None and not isinstance(value, PageWidget):
                        self._flush()
                        emit({"output_type": "execute_result", "data": bundle(value)})
                self.ran[place] = (self.clock, source)
            except BaseException as error:  # noqa: BLE001 (the reader sees what it was)
                self._flush()
                emit(complaint(error, filename, source))
            self._flush()
        self.owner |= dict.fromkeys(names(source).bound, place)
        return place in self.ran

    def check(self, label: str, latex: str) -> Output:
        """Check a formula by the claim of one of the book's labels; say what was done, or what is wrong."""
        from vaelib.symbolic import claim_of
        from vaelib.symbolic.claims import check, comparisons, kinds

        try:
            claim = claim_of(label)
            check(label, claim, latex)
            compared = [tuple(pair) for pair in comparisons(claim, latex)]
            return {"ok": True, "kinds": kinds(claim, latex), "compared": compared}
        except Exception as error:  # noqa: BLE001 (it is the reader's formula)
            return {"ok": False, "ename": type(error).__name__, "evalue": str(error)}
