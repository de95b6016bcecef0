"""The text of each widget's module: files that stand in one scope must not declare one name twice."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from vaelib.widgets.core import HERE, module


@pytest.mark.parametrize("name", sorted(path.stem for path in HERE.glob("*.js")))
def test_no_name_is_declared_twice_in_a_module(name: str) -> None:
    declared = re.findall(r"^(?:export )?(?:const|let|function|class) (\w+)", module(name), re.MULTILINE)
    assert declared  # else the pattern has rotted
    assert [found for found, times in Counter(declared).items() if times > 1] == []
