"""Each equation of Part I, checked in the page from the TeX that the page shows; then one mutant of each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Visit
from tests.live import PART_I, need_live, run, typed
from tests.test_live_cells import mutant
from tools.ledger import equations

EQUATIONS = equations()[0]


@pytest.mark.parametrize("name", PART_I)
def test_equations_hold_in_the_page_and_their_mutants_do_not(
    visit: Callable[..., Visit], address: str, name: str
) -> None:
    need_live()
    seen = visit(address, name)
    wanted = {equation.label: equation.latex for equation in EQUATIONS if equation.page == Path(name).stem}
    buttons = seen.page.locator(".live-check")
    assert buttons.count() == len(wanted)
    for button in buttons.all():
        button.dispatch_event("click")
        panel = button.locator("xpath=../following-sibling::*[1]")
        panel.wait_for(state="attached")
        label = (panel.locator(".live-bar").get_attribute("aria-label") or "").removeprefix("Check ")
        assert run(panel) == "held", f"{label}: {panel.inner_text()}"
        typed(seen.page, panel, mutant(label, wanted[label]))
        assert run(panel) == "failed", label
        assert label in (panel.locator(".live-answer").text_content() or "")
    assert seen.complaints == []
