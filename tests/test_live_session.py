"""Python in the page as a reader meets it: nothing unasked, stopped at will, nothing lost that was typed."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, Response, expect

from tests.conftest import Visit
from tests.live import LONG, need_live, press, run, settled, typed, words
from tools.browser import HTML, SIZES, redrawn, served, settle, violations
from vaelib.symbolic.one_latent import Normal, OneLatent

NAME = "book/01-bayes.html"
MOST = 9_000_000  # bytes over the wire, by a server that compresses nothing
ASK = """import js
request = js.XMLHttpRequest.new()
request.open("GET", "{host}/objects.inv", False)
request.send()
assert request.status == 200
"""
FOREVER = "while True:\n    pass"


@pytest.fixture(autouse=True)
def _live() -> None:
    need_live()


@pytest.fixture
def page(visit: Callable[..., Visit], address: str) -> Page:
    return visit(address, NAME).page


def change(cell: Locator, text: str) -> None:
    """Type a text into a cell's editor, which is opened unless it is open."""
    if not cell.locator(".live-editor").count():
        press(cell, "edit")
    typed(cell.page, cell, text)


def nth(page: Page, place: int) -> Locator:
    return page.locator(".cell.live").nth(place)


def live_files(seen: Visit) -> list[str]:
    return [urlsplit(url).path for url in seen.addresses if "/_static/live/" in url]


# --- what is fetched -------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["", "#run", "#live?code=1;cell-1=print(1)"])
def test_nothing_is_fetched_or_run_before_the_reader_asks(
    visit: Callable[..., Visit], address: str, place: str
) -> None:
    seen = visit(address, NAME + place)
    assert seen.page.locator(".live-run").count() > 10
    assert live_files(seen) == []
    assert seen.page.locator(".live-output, .live-editor").count() == 0


def test_the_first_press_fetches_what_it_says_from_the_book_alone_and_the_next_page_nothing(
    browser: Browser, address: str
) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        answers: list[Response] = []
        context.on("response", lambda answer: answers.append(answer))
        page.goto(f"{address}/{NAME}")
        settle(page)
        before = len(answers)
        page.evaluate(
            """() => {
                window.said = [];
                const status = document.querySelector(".cell.live .live-status");
                new MutationObserver(() => window.said.push(status.textContent)).observe(
                    status, {childList: true, characterData: true, subtree: true});
            }"""
        )
        assert run(nth(page, 0)) == "held"
        fetched = [answer for answer in answers[before:] if answer.url.startswith("http")]
        assert {urlsplit(answer.url).netloc for answer in fetched} == {urlsplit(address).netloc}
        weight = sum(len(answer.body()) for answer in fetched)
        assert 5_000_000 < weight <= MOST
        said = page.evaluate("window.said")
        packed = sum(path.stat().st_size for path in (HTML / "_static" / "live").glob("*.bin"))
        assert any(f"of {packed / 1e6:.1f} MB" in text for text in said)

        other = context.new_page()
        other.goto(f"{address}/book/02-latent-variables.html")
        settle(other)
        before = len(answers)
        assert run(nth(other, 0)) == "held"
        assert not [answer.url for answer in answers[before:] if answer.url.endswith(".bin")]


def test_a_file_that_is_damaged_or_gone_is_reported_and_asked_for_again(page: Page) -> None:
    page.route("**/sympy-*.bin", lambda route: route.fulfill(status=404))
    cell = nth(page, 0)
    assert run(cell) == "failed"
    expect(cell.locator(".live-status")).to_contain_text("could not be fetched (404)")
    page.unroute("**/sympy-*.bin")
    page.route("**/sympy-*.bin", lambda route: route.fulfill(body=b"short"))
    assert run(cell) == "failed"
    expect(cell.locator(".live-status")).to_contain_text("is 5 bytes long")
    page.unroute("**/sympy-*.bin")
    assert run(cell) == "held"


def test_the_readers_code_reaches_no_other_host(page: Page, address: str) -> None:
    with served() as elsewhere:  # the same book at another port: another origin, which would answer anybody
        asked: list[str] = []
        page.context.on("requestfinished", lambda request: asked.append(request.url))
        for host, state in ((address, "held"), (elsewhere, "failed")):
            change(nth(page, 0), ASK.format(host=host))
            assert run(nth(page, 0)) == state
        assert f"{address}/objects.inv" in asked
        assert not [url for url in asked if url.startswith(elsewhere)]
    change(nth(page, 0), "import js\njs.eval('1 + 1')")
    assert run(nth(page, 0)) == "failed"
    assert "EvalError" in words(nth(page, 0).locator(".live-error p"))


def test_from_a_file_the_button_explains_how_to_serve_the_folder(visit: Callable[..., Visit]) -> None:
    seen = visit(HTML.as_uri(), NAME)
    press(nth(seen.page, 0), "run")
    status = nth(seen.page, 0).locator(".live-status")
    expect(status).to_contain_text(f'python3 -m http.server --bind 127.0.0.1 --directory "{HTML}/"')
    expect(status).to_contain_text(f"http://127.0.0.1:8000/{NAME}")
    seen.page.locator(".live-check").first.dispatch_event("click")
    expect(seen.page.locator(".ledger-line .live-status").first).to_contain_text("http.server")
    assert seen.complaints == []


# --- stopped, crashed, late ------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [FOREVER, "while True:\n    print('on and on')"])
def test_stop_ends_what_would_never_end_and_the_next_run_begins_anew(page: Page, code: str) -> None:
    first, second = nth(page, 0), nth(page, 1)
    assert run(first) == "held"
    change(second, code)
    press(second, "run")
    expect(second.locator(".live-stop")).to_be_visible(timeout=LONG)
    page.wait_for_timeout(300)  # it is well under way
    # The page has time for its reader: a frame is drawn, and typing arrives.
    redrawn(page)
    typed(page, second, "x = 6 * 7\nx")
    press(second, "stop")
    assert settled(second.locator(".live-bar")) == "stopped"
    assert second.locator(".cm-content").inner_text().startswith("x = 6 * 7")
    assert run(second) == "held"
    assert words(second.locator(".live-output")) == "42"


def test_stop_also_ends_the_loading_for_good(page: Page) -> None:
    asked: list[str] = []
    page.context.on("request", lambda request: asked.append(request.url))
    page.route("**/sympy-*.bin", lambda route: None)  # never answered
    press(nth(page, 0), "run")
    expect(nth(page, 0).locator("progress")).to_be_visible()
    press(nth(page, 0), "stop")
    assert settled(nth(page, 0).locator(".live-bar")) == "stopped"
    page.wait_for_timeout(300)
    assert sum("/sympy-" in url for url in asked) == 1  # nothing is fetched that nobody waits for
    page.unroute("**/sympy-*.bin")
    assert run(nth(page, 0)) == "held"


def test_a_crash_is_told_and_python_started_again_with_all_that_was_typed(page: Page) -> None:
    first, second = nth(page, 0), nth(page, 1)
    change(first, first.locator("pre").first.text_content() + "\nkept = 5")
    change(second, "import os\nos.abort()")
    assert run(second) == "failed"
    expect(second.locator(".live-status")).to_contain_text("Python has stopped")
    change(second, "kept")
    assert run(second) == "held"  # which needs the first cell, as it was typed
    assert words(second.locator(".live-output")) == "5"


def test_a_run_of_more_than_a_minute_says_so(visit: Callable[..., Visit], address: str) -> None:
    page = visit(address, NAME, prepare=lambda page: page.clock.install()).page
    first = nth(page, 0)
    assert run(first) == "held"
    change(first, FOREVER)
    press(first, "run")
    page.clock.fast_forward("01:05")
    expect(first.locator(".live-status")).to_contain_text("more than a minute")
    expect(first.locator(".live-stop")).to_be_visible()


def test_a_cell_whose_needs_fail_says_so_and_is_not_run(page: Page) -> None:
    change(nth(page, 0), f"{nth(page, 0).locator('pre').first.text_content()}\nraise ValueError('first')")
    assert run(nth(page, 1)) == "failed"
    expect(nth(page, 1).locator(".live-status")).to_contain_text("a cell above has failed")
    assert "ValueError: first" in words(nth(page, 0).locator(".live-error p"))


# --- what the reader typed -------------------------------------------------------------------------------


def test_edits_last_as_long_as_the_tab_and_go_with_reset(
    page: Page, visit: Callable[..., Visit], address: str
) -> None:
    cell = nth(page, 1)
    stored = words(cell.locator(".cell_output").first)
    change(cell, "print('mine')")
    assert run(cell) == "held"
    page.reload()
    settle(page)
    assert cell.locator("pre").first.text_content() == "print('mine')"
    expect(cell.locator(".live-bar")).to_have_class(re.compile("live-edited"))
    assert visit(address, NAME).page.locator(".live-edited").count() == 0  # another tab knows nothing of it
    press(cell, "reset")
    assert "seven = sp.Rational(40, 100)" in (cell.locator("pre").first.text_content() or "")
    assert words(cell.locator(".cell_output").first) == stored
    assert not [key for key in page.evaluate("Object.keys(sessionStorage)") if key.startswith("live ")]


def test_reset_brings_back_the_books_output_and_closes_the_editor(page: Page) -> None:
    cell = nth(page, 1)
    change(cell, "print('mine')")
    assert run(cell) == "held"
    expect(cell.locator(".live-output")).to_contain_text("mine")
    press(cell, "reset")
    expect(cell.locator(".live-output")).to_be_hidden()
    expect(cell.locator(".cell_output").filter(has_text="9/20")).to_be_visible()
    expect(cell.locator(".live-editor")).to_have_count(0)
    assert run(cell) == "held"
    expect(cell.locator(".live-output")).to_contain_text("9/20")


def test_fields_and_the_lines_that_they_stand_for_say_the_same(page: Page) -> None:
    cell = page.locator("#verify-it-yourself .cell.live").first
    fields = cell.locator(".live-field input")
    assert fields.count() >= 4
    code = cell.locator("pre").first
    fields.first.fill("2.25")
    assert code.text_content().startswith("observed = 2.25  # ")
    fields.first.fill("two")
    expect(fields.first).to_have_attribute("aria-invalid", "true")
    assert code.text_content().startswith("observed = 2.25  # ")
    fields.last.focus()
    expect(fields.first).to_have_value("2.25")  # what is no number is put back
    fields.first.press("Enter")
    assert settled(cell.locator(".live-bar")) == "held"
    rows = [words(row) for row in cell.locator(".live-output tr").all()]
    assert [row.split()[0] for row in rows] == ["computed", "the", "quadrature", "20,000"]
    assert "95 %" in rows[-1]
    change(cell, code.text_content().replace("2.25", "0.5", 1))
    expect(fields.first).to_have_value("0.5")
    change(cell, "pass")
    expect(fields.first).to_be_disabled()


def test_a_field_takes_the_numbers_that_python_takes_and_nothing_else(page: Page) -> None:
    cell = page.locator("#verify-it-yourself .cell.live").first
    field, code = cell.locator(".live-field input").first, cell.locator("pre").first
    for value in ("1e3", "-.5", "[1, -0.5]", "20_000"):
        field.fill(value)
        expect(field).to_have_attribute("aria-invalid", "false")
        assert (code.text_content() or "").startswith(f"observed = {value}  # ")
    before = code.text_content()
    for value in ("", "1; import os", "x", "1)", "[1", "1e", "--1", "__import__('os')", "1 # 2"):
        field.fill(value)
        expect(field).to_have_attribute("aria-invalid", "true")
        assert code.text_content() == before


def test_an_equation_that_was_changed_is_shown_again_and_reset(page: Page) -> None:
    page.locator(".live-check").first.click()
    panel = page.locator(".live-panel").first
    panel.locator(".cm-content").wait_for()
    original = panel.locator(".cm-content").inner_text()
    typed(page, panel, "a = b")
    expect(panel.locator(".live-preview mjx-container")).to_have_count(1)
    page.reload()
    settle(page)
    page.locator(".live-check").first.click()
    assert panel.locator(".cm-content").inner_text() == "a = b"
    press(panel, "reset")
    assert panel.locator(".cm-content").inner_text() == original
    assert run(panel) == "held"
    page.locator(".live-check").first.click()
    expect(panel).to_be_hidden()


def test_a_cell_reads_the_widget_above_it_as_it_stands(visit: Callable[..., Visit], address: str) -> None:
    page = visit(address, "book/06-elbo.html").page
    host = page.locator(".widget-host").first
    reader = page.locator(".cell.live").filter(has_text="gap.decoder")
    for decoder, mean, deviation in (("straight", 0.25, 0.5), ("bent", -0.5, 0.75)):
        host.evaluate(
            "(host, values) => host.vaebook.model.set(values)",
            {"decoder": decoder, "mean": mean, "deviation": deviation},
        )
        assert run(reader) == "held"
        means = {"straight": lambda z: (2 * z,), "bent": lambda z: (math.tanh(2 * z),)}
        model = OneLatent(means[decoder], (0.5,), 1 / 20)  # as page 6 has them
        bound = model.elbo(Normal(mean, deviation))
        # Both integrate by the same quadrature; the machines' functions differ in the last digits.
        assert float(words(reader.locator(".live-output")).strip("(").split(",")[0]) == pytest.approx(
            bound, rel=1e-9
        )
        expect(host).to_be_visible()


# --- for everyone ----------------------------------------------------------------------------------------


def test_all_is_done_from_the_keyboard_and_said_aloud(page: Page) -> None:
    cell = nth(page, 1)
    voice = page.locator(".live-voice")
    cell.locator(".live-run").focus()
    page.keyboard.press("Enter")
    assert settled(cell.locator(".live-bar")) == "held"
    expect(cell.locator(".live-run")).to_be_focused()
    expect(voice).to_contain_text("cell 2 ran without an error")
    cell.locator(".live-edit").focus()
    page.keyboard.press("Enter")
    expect(cell.locator(".cm-content")).to_be_focused()
    page.keyboard.press("ControlOrMeta+Home")
    page.keyboard.type("assert 1 == 2\n")
    page.keyboard.press("Shift+Enter")
    assert settled(cell.locator(".live-bar")) == "failed"
    expect(voice).to_contain_text("cell 2 failed. This check does not hold: assert 1 == 2")
    page.keyboard.press("Tab")  # out of the editor, to the buttons
    expect(cell.locator(".live-run")).to_be_focused()


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("phone", "dark")])
def test_what_is_added_to_a_page_is_without_fault(
    visit: Callable[..., Visit], address: str, size: str, scheme: str
) -> None:
    seen = visit(address, NAME, size=size, scheme=scheme)
    page = seen.page
    assert run(nth(page, 3)) == "held"
    change(nth(page, 1), "1 / 0")
    assert run(nth(page, 1)) == "failed"
    change(nth(page, 2), "assert 1 == 2, 'a long word: ' + 'x' * 300")
    assert run(nth(page, 2)) == "failed"
    verify = page.locator("#verify-it-yourself .cell.live").first
    assert run(verify) == "held"
    page.locator(".live-check").first.click()
    assert run(page.locator(".live-panel").first) == "held"
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= SIZES[size][0], f"the page is {width} pixels wide"
    assert violations(page, strict=".live-bar, .live-fields, .live-output, .live-panel, .live-editor") == []
    assert seen.complaints == []
