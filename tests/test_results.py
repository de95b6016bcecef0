import json
from collections.abc import Iterator
from typing import Any

import pytest

from vaelib import results


def entries(content: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The measurements of a file: of a reproduction each seed of each run, whose unit stands above all."""
    for name, entry in content.items():
        if name == "runs":
            for run, trained in entry.items():
                for seed in trained["seeds"]:
                    yield f"{run}, seed {seed['seed']}", {"unit": content["unit"], **seed}
        elif isinstance(entry, dict):  # the rest is prose about the file
            yield name, entry


def test_every_result_is_json_that_says_where_its_numbers_come_from() -> None:
    paths = sorted(results.FOLDER.glob("*.json"))
    assert paths
    for path in paths:
        content = json.loads(path.read_text())
        assert results.read(path.stem) == content
        for name, entry in entries(content):
            assert entry["unit"], (path, name)
            assert entry.get("source") or {"command", "seed", "versions", "date"} <= entry.keys(), (
                path,
                name,
            )


def test_published_terms_add_up_as_printed() -> None:
    entry = results.read("published")["giwoong"]
    # Three numbers printed with four decimals each: the sum is right to one unit in the last place.
    assert entry["distortion"] + entry["rate"] == pytest.approx(entry["total"], abs=1.01e-4)


def test_a_missing_result_says_where_results_are() -> None:
    with pytest.raises(FileNotFoundError, match="come with the book's repository"):
        results.read("nonsense")
