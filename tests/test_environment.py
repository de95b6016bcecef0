"""pyproject.toml, requirements.lock and environment.yml say the same, and can be installed as they stand."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tools.environment import Pin, read_lock, superfluous

ROOT = Path(__file__).resolve().parent.parent
LOCK = read_lock((ROOT / "requirements.lock").read_text(encoding="utf-8"))
BENCH = read_lock((ROOT / "requirements-bench.lock").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]

# The platforms that we promise, as packaging's markers see them.
PLATFORMS = [
    {"sys_platform": system, "platform_system": name, "os_name": "posix", "platform_machine": machine}
    | {"python_version": python, "python_full_version": f"{python}.0", "implementation_name": "cpython"}
    | {"platform_python_implementation": "CPython"}
    for system, name, machine in [("linux", "Linux", "x86_64"), ("darwin", "Darwin", "arm64")]
    for python in ("3.11", "3.12", "3.13")
]


def wanted() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"]
    return [Requirement(line) for line in [*PROJECT["dependencies"], *extras["book"], *extras["test"]]]


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda p: f"{p['sys_platform']}-{p['python_version']}")
def test_lock_satisfies_the_project_on_every_platform(platform: dict[str, str]) -> None:
    pins = [pin for pin in LOCK if pin.applies(platform)]
    versions = {pin.name: pin.version for pin in pins}
    assert len(versions) == len(pins), "one version of each"
    for requirement in wanted():
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), requirement


def test_lock_is_nothing_but_hashed_pins() -> None:
    assert [pin.name for pin in LOCK if not pin.hashes] == []
    assert all(digest.startswith("sha256:") for pin in LOCK for digest in pin.hashes)


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda p: f"{p['sys_platform']}-{p['python_version']}")
def test_benchmark_adds_to_the_lock_and_changes_nothing_of_it(platform: dict[str, str]) -> None:
    locked, added = ({pin.name: pin for pin in pins if pin.applies(platform)} for pins in (LOCK, BENCH))
    for name in locked.keys() & added.keys():
        assert locked[name].version == added[name].version, name
    for line in PROJECT["optional-dependencies"]["bench"]:
        requirement = Requirement(line)
        pin = added[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pin.version)
        assert pin.hashes


@pytest.mark.parametrize("line", ["-e .", "--index-url x", "torch>=2", "torch @ file:///torch.whl"])
def test_lock_may_not_hold_anything_else(line: str) -> None:
    with pytest.raises(ValueError, match="neither a pin nor a hash"):
        read_lock(line)


def test_lock_reader_takes_name_version_marker_and_hashes() -> None:
    pin = "A_b==1.0+x ; sys_platform == 'linux' \\\n"
    text = pin + "    --hash=sha256:00 \\\n    --hash=sha256:11\n    # via c\n"
    assert read_lock(text) == [Pin("a-b", "1.0+x", "sys_platform == 'linux'", ("sha256:00", "sha256:11"))]


def test_what_the_lock_does_not_name_is_superfluous() -> None:
    here, elsewhere = Pin("a", "1", None, ()), Pin("b", "1", "sys_platform == 'nowhere'", ())
    assert superfluous({"a", "b", "c", "pip", "vaelib"}, [here, elsewhere]) == ["b", "c"]


def test_conda_takes_the_lock_and_a_python_that_the_project_allows() -> None:
    *packages, pip = CONDA
    assert pip == {"pip": ["-r requirements.lock"]}
    (python,) = [Requirement(line) for line in packages if line.startswith("python")]
    allowed = SpecifierSet(PROJECT["requires-python"])
    minors = [f"3.{minor}" for minor in range(30)]
    offered = [minor for minor in minors if python.specifier.contains(minor)]
    assert offered
    assert all(allowed.contains(minor) for minor in offered)
    tested = {platform["python_version"] for platform in PLATFORMS}
    assert set(offered) == tested


def test_conda_pip_section_asks_for_exactly_the_lock(tmp_path: Path) -> None:
    """Do what conda does, up to the unpacking: `make setup` has unpacked the same files just before."""
    # conda writes the file beside environment.yml and runs pip there; -r is relative to the file.
    section = tmp_path / "section.txt"
    section.write_text("\n".join(CONDA[-1]["pip"]).replace("-r ", f"-r {ROOT}/"), encoding="utf-8")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--dry-run"]
    command += ["--ignore-installed", "--report", "-", "-r", str(section)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    found = [entry["metadata"] for entry in json.loads(done.stdout)["install"]]
    asked = {canonicalize_name(entry["name"]): entry["version"] for entry in found}
    assert asked == {pin.name: pin.version for pin in LOCK if pin.applies()}
