"""The built pages keep to themselves: what they may run, what they load, and what that weighs."""

from __future__ import annotations

import base64
import io
import re
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from fontTools.ttLib import TTFont
from PIL import Image
from playwright.sync_api import Page, Route

from tools.browser import HTML

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "book" / "_ext"))
import icons
import pictures
import policy

BUILT = sorted(path.relative_to(HTML).as_posix() for path in HTML.rglob("*.html")) if HTML.exists() else []
PAGES = [name for name in BUILT if name != "index.html"]  # that one only leads to the first page
ONE = "book/01-bayes.html"

# --- the page's text ---------------------------------------------------------------------------------------

HEAD = '<html><head>\n    <meta charset="utf-8" />\n    <title>A page</title></head>'
SCRIPTS = """
<script src="a.js"></script><script>let a = "</b>" && 1;</script>
<script type="application/json">{"a": 1}</script><script type="module">import("b")</script>"""


def test_hash_is_the_one_that_the_standard_gives() -> None:
    # The example of Content Security Policy Level 3.
    assert policy.source("alert('Hello, world.');") == "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='"


def test_scripts_are_found_and_data_is_not() -> None:
    assert policy.Page(HEAD + SCRIPTS).scripts == ['let a = "</b>" && 1;', 'import("b")']


def test_policy_is_written_once_and_follows_the_page() -> None:
    first = policy.with_policy(HEAD, policy.policy(["a"]))
    assert first.index("charset") < first.index("Content-Security-Policy") < first.index("<title>")
    assert policy.with_policy(first, policy.policy(["a"])) == first
    second = policy.with_policy(first, policy.policy(["b", "b"]))
    assert second == policy.with_policy(HEAD, policy.policy(["b"]))
    redirect = policy.with_policy(
        '\n<meta http-equiv="Refresh" content="0; url=a.html" />\n', "default-src 'none'"
    )
    assert redirect.startswith('<meta charset="utf-8">')
    assert policy.with_policy(redirect, "default-src 'none'") == redirect


def test_nothing_is_evaluated_and_only_the_search_fetches() -> None:
    rules = policy.policy(["a"])
    assert rules.startswith("default-src 'none'; script-src 'self' blob: 'sha256-")
    assert "eval" not in rules
    assert "connect-src" not in rules
    assert "connect-src 'self'" in policy.policy(["a"], search=True)


def test_a_page_that_runs_python_may_have_webassembly_and_its_own_files_and_no_more() -> None:
    plain, live = policy.policy(["a"]).split("; "), policy.policy(["a"], live=True).split("; ")
    assert [rule.replace(" 'wasm-unsafe-eval'", "") for rule in live] == [*plain, "connect-src 'self'"]


def test_handler_of_the_theme_becomes_an_attribute_and_others_are_refused() -> None:
    assert policy.without_handlers('<button onclick="window.print()">') == "<button data-print>"
    page = policy.Page('<p onclick="f()" title="on=1"><a href=" javascript:f()">a</a><code>onload="1"</code>')
    assert len(policy.refused(page)) == 2


def test_stills_of_widgets_wait_and_other_pictures_do_not() -> None:
    still, other = (
        '<img alt="a" src="../_images/widget-pad.webp" />',
        '<img src="../_images/a.webp" alt="widget-">',
    )
    late = policy.with_late_stills(still + other)
    assert late == '<img loading="lazy" alt="a" src="../_images/widget-pad.webp" />' + other
    assert policy.with_late_stills(late) == late


def test_inline_script_in_the_text_is_refused() -> None:
    assert policy.refused(policy.Page(f"{SCRIPTS}<article></article>")) == []
    assert len(policy.refused(policy.Page(f"<article>{SCRIPTS}</article>"))) == 2


def test_prune_keeps_what_matches_and_no_empty_folder(tmp_path: Path) -> None:
    for name in ("a.js", "b/c.js", "b/d.js", "e/f/g.js"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    policy.prune(tmp_path, ["b/c*"])
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["b", "b/c.js"]


# --- icons and pictures ------------------------------------------------------------------------------------

CSS = (
    r'a{color:red}.fa-bars:before,.fa-navicon:before{content:"\f0c9"}.fa-lg{font-size:2em}'
    r"@font-face{font-family:Font Awesome\ 6 Free;src:url(a.woff2)}@font-face{font-family:Lato}"
    r'p:after{content:"\f107"}'
)


def test_icons_are_read_from_the_sheet_and_taken_out_of_it() -> None:
    assert icons.named(CSS) == {"fa-bars": "\uf0c9", "fa-navicon": "\uf0c9"}
    slim = icons.slim(CSS)
    assert slim == r'a{color:red}.fa-lg{font-size:2em}@font-face{font-family:Lato}p:after{content:"\f107"}'
    assert icons.drawn(slim) == {"\uf107"}


def test_unknown_icon_is_named() -> None:
    html = '<i class="fas fa-bars fa-lg"></i><i class="far fa-nothing"></i><p class="fast">fa-text</p>'
    assert icons.used(html) == {"fa-bars", "fa-lg", "far", "fa-nothing"}
    assert len(icons.problems(icons.used(html), CSS)) == 2
    assert icons.problems(["fa-bars", "fa-lg"], CSS) == []


def test_font_holds_the_characters_and_no_more() -> None:
    font = icons.subset(icons.FONT, {"\uf0c9", "\uf107"})
    assert sorted(TTFont(io.BytesIO(font)).getBestCmap()) == [0xF0C9, 0xF107]
    assert font == icons.subset(icons.FONT, ["\uf107", "\uf0c9"]), "the same bytes each time"
    assert len(font) < 5_000


def test_link_takes_the_place_of_the_script_once() -> None:
    html = '<script src="../_static/scripts/fontawesome.js?digest=1"></script><script src="b.js"></script>'
    linked = icons.link(html, "icons.css?v=1")
    assert linked == '<link rel="stylesheet" href="../_static/icons.css?v=1" /><script src="b.js"></script>'
    assert icons.link(linked, "icons.css?v=2") == linked.replace("v=1", "v=2")


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGBA")).astype(int)


def over(image: np.ndarray, paper: int) -> np.ndarray:
    """Return what is seen of an image on paper of this grey."""
    cover = image[..., 3:] / 255
    return image[..., :3] * cover + paper * (1 - cover)


@pytest.mark.parametrize("paper", [255, 18])
def test_figure_keeps_its_pixels_and_a_noisy_one_nearly(monkeypatch: pytest.MonkeyPatch, paper: int) -> None:
    monkeypatch.setattr(pictures, "LARGE", 5_000)
    small, large = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 4), dtype=np.uint8)
    small[10:] = 0

    def apart(levels: np.ndarray) -> float:
        seen = over(pixels(pictures.webp(Image.fromarray(levels, "RGBA"))), paper)
        return np.abs(seen - over(levels.astype(int), paper)).max()

    assert apart(small) == 0
    # Half a step of colour and half a step of cover: five levels of 255 at most.
    assert 0 < apart(large) <= 5


def test_pages_name_the_new_files_and_old_figures_go(tmp_path: Path) -> None:
    figure, lost, drawing = "a" * 64, "b" * 64, "c.svg"
    for name in (figure, lost):
        Image.new("RGBA", (4, 4), "red").save(tmp_path / f"{name}.png")
    (tmp_path / drawing).touch()
    html = f'<img src="../_images/{figure}.png" /><img src="../_images/c.svg"><code>x.png</code>'
    for _ in range(2):  # a build that writes no page anew, after one that did
        pages = pictures.as_webp(tmp_path, {Path("a"): html})
        assert pages[Path("a")] == html.replace(f"{figure}.png", f"{figure}.webp")
        html = pages[Path("a")]
        assert sorted(path.name for path in tmp_path.iterdir()) == [f"{figure}.webp", drawing]


# --- the built pages, as text ------------------------------------------------------------------------------


class Tags(HTMLParser):
    """Every tag of a page with its attributes, read without the code under test."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.all: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.all.append((tag, dict(attrs)))


@pytest.mark.parametrize("name", BUILT)
def test_page_brings_its_policy_and_nothing_from_elsewhere(name: str) -> None:
    tags = Tags((HTML / name).read_text(encoding="utf-8")).all
    policies = [about["content"] for _, about in tags if about.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1
    assert policies[0].startswith("default-src 'none'; script-src 'self' blob:")
    assert not re.search(
        r"(?<!wasm-)unsafe-eval|unsafe-hashes|script-src[^;]*unsafe-inline|https?:|\*", policies[0]
    )
    assert [(tag, key) for tag, about in tags for key in about if key.startswith("on")] == []
    for tag, about in tags:
        # A link may lead anywhere; what is loaded may not.
        loaded = [about.get("src"), about.get("srcset"), about.get("href") if tag == "link" else None]
        assert not [url for url in loaded if url and re.match(r"(https?:)?//", url)], tag


def test_no_sheet_asks_for_a_file_that_is_not_there() -> None:
    for sheet in HTML.glob("_static/**/*.css"):
        for url in re.findall(r"url\(\s*[\"']?([^)\"']+)", sheet.read_text(encoding="utf-8")):
            assert url.startswith(("data:", "#")) or (sheet.parent / urlsplit(url).path).exists(), (
                sheet,
                url,
            )


def icons_in_the_book() -> tuple[set[str], set[int]]:
    """Return which icons the book's sheet names, and the characters of its font."""
    sheet = (HTML / "_static" / "icons.css").read_text(encoding="utf-8")
    font = base64.b64decode(re.search(r"base64,([^\"]+)", sheet)[1])
    return set(re.findall(r"\.(fa-[\w-]+):before", sheet)), set(TTFont(io.BytesIO(font)).getBestCmap())


@pytest.mark.parametrize("name", PAGES)
def test_page_uses_icons_that_the_book_has(name: str) -> None:
    named, _ = icons_in_the_book()
    html = (HTML / name).read_text(encoding="utf-8")
    used = {tuple(value.split()) for value in re.findall(r'class="([^"]*\bfa-[^"]*)"', html)}
    assert used
    assert [classes for classes in used if not named & set(classes)] == []
    assert "fontawesome.js" not in html


# --- the built pages, in a browser -------------------------------------------------------------------------


WATCH = """
    window.violations = [];
    addEventListener("securitypolicyviolation", (event) => window.violations.push(event.effectiveDirective));
"""
INJECTED = """<script>window.injected = ["a script"]</script>
<img src="data:," alt="" onerror="(window.injected ??= []).push('an error handler')">
<p id="bait" onclick="(window.injected ??= []).push('a handler')">A paragraph</p>"""


@pytest.mark.parametrize("protected", [True, False])
def test_what_is_injected_does_not_run(visit: Callable, address: str, protected: bool) -> None:
    def inject(route: Route) -> None:
        response = route.fetch()
        html = response.text() if protected else policy.POLICY.sub("", response.text())
        route.fulfill(response=response, body=html.replace("</article>", f"{INJECTED}</article>", 1))

    def prepare(page: Page) -> None:
        page.add_init_script(WATCH)
        page.route("**/*.html", inject)

    page = visit(address, ONE, prepare=prepare).page
    page.locator("#bait").click()
    ran = ["a script", "an error handler", "a handler"]
    assert page.evaluate("window.injected ?? []") == ([] if protected else ran)
    blocked = ["script-src-elem", "script-src-attr", "script-src-attr"]
    assert page.evaluate("window.violations") == (blocked if protected else [])


@pytest.mark.parametrize(("name", "own"), [("book/11-training.html", set()), (ONE, {"http"})])
def test_no_script_reaches_out(visit: Callable, address: str, name: str, own: set[str]) -> None:
    """A page in which Python may run fetches from its own host, and from no other; other pages from none."""
    page = visit(address, name, prepare=lambda page: page.add_init_script(WATCH)).page
    asked, stopped = [], []
    page.on("request", lambda request: asked.append(request))
    page.on("requestfailed", lambda request: stopped.append((request, request.failure)))
    page.evaluate(
        """async () => {
            const elsewhere = "https://example.org/";
            await fetch(elsewhere).catch(() => null);
            await fetch(location.href).catch(() => null);
            const add = (tag, how) => document.body.append(Object.assign(document.createElement(tag), how));
            for (const tag of ["img", "script", "iframe"]) add(tag, { src: elsewhere });
            add("object", { data: elsewhere });
            navigator.sendBeacon(elsewhere);
            add("script", { textContent: "window.injected = 1" });
            add("script", { src: URL.createObjectURL(new Blob(["eval('window.injected = 1')"])) });
            await new Promise((resolve) => setTimeout(resolve, 200));
        }"""
    )
    blocked = [request for request, why in stopped if why == "csp"]
    answered = [urlsplit(request.url) for request in asked if request not in blocked]
    assert {url.scheme for url in answered} == {"blob"} | own
    assert {url.netloc for url in answered if url.scheme != "blob"} <= {urlsplit(address).netloc}
    assert page.evaluate("window.injected") is None
    found = set(page.evaluate("window.violations"))
    assert found == {"connect-src", "img-src", "script-src-elem", "script-src", "frame-src", "object-src"}


@pytest.mark.parametrize("place", ["http", "file"])
def test_widgets_may_run_and_fetch_their_models(visit: Callable, address: str, place: str) -> None:
    seen = visit(address if place == "http" else HTML.as_uri(), ONE)
    answer = seen.page.evaluate(
        """async () => {
            const text = new Blob(["export default 6 * 7"], { type: "text/javascript" });
            const module = await import(URL.createObjectURL(text));
            const script = document.createElement("script");
            script.src = "../_static/clipboard.min.js";
            await new Promise((resolve, reject) => {
                Object.assign(script, { onload: resolve, onerror: reject });
                document.head.append(script);
            });
            return module.default;
        }"""
    )
    assert answer == 42
    assert seen.complaints == []


def test_print_button_prints(visit: Callable, address: str) -> None:
    play = "window.print = () => { window.printed = true; };"
    seen = visit(address, ONE, prepare=lambda page: page.add_init_script(play))
    seen.page.locator(".dropdown-download-buttons > button").click()
    seen.page.locator(".btn-download-pdf-button").click()
    assert seen.page.evaluate("window.printed")
    assert seen.complaints == []


def test_buttons_of_the_theme_work(visit: Callable, address: str) -> None:
    seen = visit(address, ONE)
    page = seen.page
    modes = []
    for _ in range(3):
        page.locator(".theme-switch-button").first.click()
        modes.append(
            page.evaluate("[document.documentElement.dataset.mode, document.documentElement.dataset.theme]")
        )
        assert page.locator(".theme-switch:visible").get_attribute("data-mode") == modes[-1][0]
    assert sorted(mode for mode, _ in modes) == ["auto", "dark", "light"]
    assert {theme for _, theme in modes} == {"light", "dark"}
    solution = page.locator("button.toggle-button").first
    hidden = page.locator(".toggle-hidden").count()
    solution.click()
    assert page.locator(".toggle-hidden").count() < hidden
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    cell = page.locator("div.highlight").first
    cell.hover()
    cell.locator("button.copybtn").click()
    assert page.evaluate("navigator.clipboard.readText()").strip() in cell.inner_text().strip()
    page.locator(".search-button__button:visible").first.click()
    assert page.locator("#pst-search-dialog input").is_visible()
    assert seen.complaints == []


def test_sidebars_open_on_a_phone(visit: Callable, address: str) -> None:
    seen = visit(address, ONE, "phone")
    for side in ("primary", "secondary"):
        seen.page.locator(f".{side}-toggle:visible").click()
        assert seen.page.locator(f"#pst-{side}-sidebar-modal[open] a:visible").count() > 3
        seen.page.keyboard.press("Escape")
    assert seen.complaints == []


@pytest.mark.parametrize("place", ["http", "file"])
def test_search_finds_a_word(visit: Callable, address: str, place: str) -> None:
    seen = visit(address if place == "http" else HTML.as_uri(), "search.html?q=jensen")
    seen.page.wait_for_selector("#search-results ul.search li a")
    assert seen.page.locator("#search-results ul.search li a").count() > 1
    if place == "http":  # with the sentence around it, which cannot be fetched from a file
        seen.page.wait_for_selector("#search-results ul.search p.context")
        assert seen.complaints == []


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_icons_are_drawn(visit: Callable, address: str, size: str) -> None:
    page = visit(address, ONE, size, "dark").page
    _, characters = icons_in_the_book()
    page.locator(".dropdown-download-buttons > button").click()
    shown = page.evaluate(
        """[...document.querySelectorAll("[class*='fa-']")].map((icon) => {
            const before = getComputedStyle(icon, "::before");
            return {
                name: icon.className, seen: icon.checkVisibility(), width: icon.getBoundingClientRect().width,
                content: before.content, font: before.fontFamily, weight: before.fontWeight,
            };
        })"""
    )
    assert sum(icon["seen"] for icon in shown) >= 8
    for icon in shown:
        assert "Font Awesome 6 Free" in icon["font"], icon
        assert icon["weight"] == "900", icon
        assert ord(icon["content"].strip('"')) in characters, icon
        if icon["seen"]:
            assert 8 <= icon["width"] <= 40, icon
    # And those that the theme draws beside titles.
    titles = page.locator(".admonition > .admonition-title").evaluate_all(
        "all => all.map((title) => getComputedStyle(title, '::after').content)"
    )
    drawn = {content.strip('"') for content in titles} - {"none"}  # a solution's title has none
    assert drawn
    assert {ord(character) for character in drawn} <= characters
    assert page.evaluate("[...document.fonts].some(f => /Awesome/.test(f.family) && f.status === 'loaded')")


@pytest.mark.parametrize("place", ["http", "file"])
def test_formulas_are_typeset_spoken_and_extended(visit: Callable, address: str, place: str) -> None:
    seen = visit(address if place == "http" else HTML.as_uri(), ONE)
    page = seen.page
    assert page.locator("mjx-container mjx-math").count() > 20
    assert page.locator("mjx-container mjx-assistive-mml math").count() > 20
    # A macro of an extension that no page uses yet.
    page.evaluate("MathJax.tex2chtmlPromise('\\\\cancel{x} + \\\\ce{H2O} + \\\\require{physics} \\\\dv{x}')")
    assert page.evaluate("['cancel', 'mhchem', 'physics'].every(name => MathJax._.input.tex[name])")
    assert seen.complaints == []


def test_formulas_that_scroll_are_reached_by_key(visit: Callable, address: str) -> None:
    page = visit(address, ONE, "phone").page
    page.set_viewport_size({"width": 200, "height": 800})
    page.wait_for_selector("mjx-container[tabindex]")
    boxes = page.locator("div.math, mjx-container[display='true']").evaluate_all(
        "all => all.map(box => [box.scrollWidth > box.clientWidth, box.tabIndex === 0])"
    )
    assert {wide == reached for wide, reached in boxes} == {True}
    assert {wide for wide, _ in boxes} == {True, False}


def test_scroll_spy_follows_the_contents_and_no_other_link() -> None:
    body = '<body data-bs-spy="scroll" data-bs-target=".bd-toc-nav" data-offset="180">'
    with_contents = policy.with_contents_to_spy_on(f'{body}<nav id="pst-page-toc-nav"></nav>')
    assert 'data-bs-target="#pst-page-toc-nav"' in with_contents
    assert "data-bs-spy" not in policy.with_contents_to_spy_on(f"{body}<main></main>")


def test_contents_show_where_the_reader_is(visit, address: str) -> None:
    page = visit(address, "book/06-elbo.html").page
    page.locator("h2").nth(3).scroll_into_view_if_needed()
    page.mouse.wheel(0, 400)
    page.locator("#pst-page-toc-nav a.active").first.wait_for(state="attached")
