"""Make the archives that a page's Python starts from. Runs under Pyodide, from ``pack.mjs``.

Modules are compiled, since compiling SymPy takes a browser five seconds and loading it half of one.
Docstrings go, since they are half of SymPy, and so do tests and what no reader has a use for here.
"""

import ast
import importlib
import importlib.util
import marshal
import sys
import zipfile
from pathlib import Path

HASHED_UNCHECKED = (1).to_bytes(4, "little")  # no look at a source, which may not be there

# SymPy's own functions import some of its packages late: test_live.py looks that none of these is among them.
NO_USE_HERE = {
    "packages": """
        sympy/algebras sympy/categories sympy/crypto sympy/diffgeom sympy/holonomic sympy/liealgebras
        sympy/parsing/autolev sympy/parsing/c sympy/parsing/fortran sympy/parsing/latex
        sympy/physics/biomechanics sympy/physics/continuum_mechanics sympy/physics/control sympy/physics/hep
        sympy/physics/mechanics sympy/physics/optics sympy/physics/quantum sympy/physics/vector sympy/plotting
        sympy/sandbox sympy/stats sympy/testing sympy/unify sympy/vector
    """.split(),  # noqa: SIM905 (a list of a hundred lines says no more)
    "stdlib": """
        _aix_support _android_support _apple_support _ios_support _osx_support _pydatetime _pyio _pyrepl
        _strptime argparse asyncio/proactor_events asyncio/windows_events asyncio/windows_utils bdb cProfile
        calendar cgi code compileall concurrent/futures/process concurrent/futures/thread configparser ctypes
        dbm difflib doctest email ensurepip filecmp fileinput ftplib getopt getpass gettext http html imaplib
        importlib/metadata ipaddress logging/config logging/handlers mailbox mailcap mimetypes modulefinder
        multiprocessing netrc nntplib optparse pdb pickletools platform plistlib poplib profile pstats
        py_compile pyclbr pydoc pydoc_data pyodide/console rlcompleter sched shelve smtplib socketserver
        sqlite3 stringprep tabnanny telnetlib tomllib trace tracemalloc turtle unittest urllib/request uuid
        venv wave webbrowser wsgiref xml xmlrpc zipapp zoneinfo
    """.split(),  # noqa: SIM905 (a list of a hundred lines says no more)
}
ENCODINGS = {
    "__init__",
    "aliases",
    "ascii",
    "idna",
    "latin_1",
    "utf_16",
    "utf_32",
    "utf_8",
    "utf_8_sig",
}


def module(name: str) -> str:
    """Return the module that a file of an archive holds."""
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def docstrings(tree: ast.Module) -> list[ast.Constant]:
    """Return the docstrings of a module and of all that it defines, in order."""
    found = []
    for node in ast.walk(tree):
        if (
            isinstance(
                node,
                ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef,
            )
            and node.body
        ):
            first = node.body[0].value if isinstance(node.body[0], ast.Expr) else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                found.append(first)
    return sorted(found, key=lambda first: first.lineno)


def bare(source: bytes) -> bytes:
    """Return a module's text with empty docstrings: without any, some of SymPy's code would fail."""
    lines = source.splitlines(keepends=True)
    for doc in reversed(docstrings(ast.parse(source))):
        before = lines[doc.lineno - 1][: doc.col_offset]
        after = lines[doc.end_lineno - 1][doc.end_col_offset :]
        lines[doc.lineno - 1 : doc.end_lineno] = [before + b'""' + after]
    return b"".join(lines)


def compiled(source: bytes, name: str) -> bytes:
    """Return a module without its docstrings, as a .pyc file holds it."""
    tree = ast.parse(source)
    for doc in docstrings(tree):
        doc.value = ""
    code = marshal.dumps(compile(tree, name, "exec", dont_inherit=True))
    return importlib.util.MAGIC_NUMBER + HASHED_UNCHECKED + importlib.util.source_hash(source) + code


def has_use(name: str, kind: str) -> bool:
    """Whether an archive is to hold a module that nothing imported so far."""
    parts = name.removesuffix(".py").split("/")
    if "tests" in parts or "benchmarks" in parts:
        return False
    if parts[0] == "encodings":
        return parts[1] in ENCODINGS
    return not any(parts[: entry.count("/") + 1] == entry.split("/") for entry in NO_USE_HERE[kind])


def archive(target: str, files: dict[str, bytes]) -> str:
    """Write files into an archive as they are, for a compressor that sees all of them at once."""
    with zipfile.ZipFile(f"/tmp/{target}", "w") as out:
        for name, data in files.items():
            out.writestr(zipfile.ZipInfo(name), data)  # of a fixed date: the same archive from the same files
    return target


def read_folder(root: str, pattern: str) -> dict[str, bytes]:
    """Return the Python files of a folder by their names in an archive."""
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(Path(root).glob(pattern))}


def packages() -> list[str]:
    """Pack the standard library, SymPy and mpmath: compiled what the book imports, and as text the rest."""
    sys.path[:0] = ["/site", "/book"]
    symbolic = importlib.import_module("vaelib.symbolic")
    symbolic.claims_by_topic()

    found = read_folder("/site", "sympy/**/*.py") | read_folder("/site", "mpmath/**/*.py")
    files = {}
    for name, source in found.items():
        if module(name) in sys.modules:
            files[name + "c"] = compiled(source, f"/lib/sympy.zip/{name}")
        elif has_use(name, "packages"):
            files[name] = bare(source)

    library = {}
    with zipfile.ZipFile("/pyodide/python_stdlib.zip") as stdlib:
        for name in stdlib.namelist():
            if name.endswith(".py") and (module(name) in sys.modules or has_use(name, "stdlib")):
                path = f"/lib/python{sys.version_info.major}{sys.version_info.minor}.zip/{name}"
                library[name + "c"] = compiled(stdlib.read(name), path)
    return [
        archive("sympy.zip", files),
        archive("python_stdlib.zip", library),
    ]


def book() -> list[str]:
    """Pack ``vaelib.symbolic`` and the kernel, with their text for those who read a traceback."""
    files = {}
    for pattern in (
        "vaelib/__init__.py",
        "vaelib/units.py",
        "vaelib/symbolic/*.py",
    ):
        files |= read_folder("/book", pattern)
    files["kernel.py"] = Path("/book/book/_live/kernel.py").read_bytes()
    made = {name + "c": compiled(text, f"/lib/book.zip/{name}") for name, text in files.items()}
    return [archive("book.zip", files | made)]


def pack(part: str) -> list[str]:
    """Write one part's archives into /tmp and return their names."""
    return {"packages": packages, "book": book}[part]()
