"""Every page of the built book as a reader's browser has it, in both themes (`make book` first).

A page asks no other host, is silent, small and still, shuts nobody out (axe-core), and shows its equations typeset.
"""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from ran.files import ROOT

HTML = ROOT / "_build" / "html"
FIRST_LOAD = 1_000_000  # bytes
WHOLE_BOOK = 15_000_000
PARTS = 6
SHIFT = 0.1  # cumulative layout shift; above it, text is felt to jump
AXE = """async (rules) => {
    const seen = new Set();  // words of code of one kind have one colour: the first of each is looked at
    for (const word of document.querySelectorAll(".highlight span[class]")) {
        if (seen.has(word.className)) word.dataset.again = "";
        seen.add(word.className);
    }
    const found = await axe.run({exclude: ["[data-again]"]}, {
        preload: false,  // asks for style sheets by a request, which a page on disk may not
        resultTypes: ["violations"],
        ...rules,
    });
    return found.violations.filter((each) => ["serious", "critical"].includes(each.impact)).map(
        (each) => `${each.id}: ${each.nodes.map((node) => node.target).join(", ")}`);
}"""
TAGS = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
ALL = {"runOnly": TAGS, "rules": {"label-content-name-mismatch": {"enabled": True}}}
ALL_BUT_COLOURS = ALL | {"rules": ALL["rules"] | {"color-contrast": {"enabled": False}}}
COLOURS = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}  # what the second theme changes
WATCH = """(theme) => {
    localStorage.setItem("mode", theme);
    localStorage.setItem("theme", theme);
    window.shift = 0;
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) window.shift += entry.hadRecentInput ? 0 : entry.value;
    }).observe({type: "layout-shift", buffered: true});
}"""
UNTYPESET = """() => [...document.querySelectorAll("article .math")].filter((each) => {
    const equation = each.querySelector("math");
    return !equation || !equation.getBoundingClientRect().width || equation.querySelector("merror");
}).map((each) => each.textContent)"""
SHUT_OUT = {
    "no label": ("document.querySelector('article').innerHTML += '<img src=data:,>'", "image-alt"),
    "pale": ("document.querySelector('article p').style.color = '#7a7a7a'", "color-contrast"),
    "pale code": ("document.querySelector('.highlight .c1').style.color = '#9a9a9a'", "color-contrast"),
    "other name": ("document.querySelector('.search-button-field').ariaLabel = 'Find'", "label-content-name-mismatch"),
}


@pytest.fixture(scope="module")
def axe():
    package = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    return (Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def visit(browser):
    """A function that opens a page by its path and says what it asked for and what its console holds."""
    assert (HTML / "index.html").exists(), "run `make book` first"
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    context.add_init_script(f"({WATCH})('light')")

    def open_(path):
        page, requests, console = context.new_page(), set(), []
        page.on("request", lambda each: requests.add(each.url))
        page.on("requestfailed", lambda each: console.append(f"missing: {each.url}"))
        page.on("pageerror", lambda error: console.append(error.message))
        page.on("console", lambda each: each.type in ("error", "warning") and console.append(each.text))
        page.goto(path.as_uri())
        page.evaluate("document.fonts.ready")
        return page, requests, console

    yield open_
    context.close()


def weight(requests):
    """Bytes of the files that were asked for, each once."""
    files = {Path(unquote(urlsplit(each).path)) for each in requests if each.startswith("file:")}
    return sum(file.stat().st_size for file in files if file.is_file())


def faults_of(page, requests, console, axe, rules=ALL):
    """All that is wrong with an open page, in words."""
    found = [f"asks {each}" for each in requests if not each.startswith(("file:", "data:", "blob:"))]
    found += [f"console: {each}" for each in console]
    if (bytes_ := weight(requests)) > FIRST_LOAD:
        found.append(f"weighs {bytes_}")
    if (shift := page.evaluate("window.shift")) > SHIFT:
        found.append(f"moves by {shift:.2f}")
    found += [f"not typeset: {each}" for each in page.evaluate(UNTYPESET)]
    page.evaluate(axe)
    return found + page.evaluate(AXE, rules)


@pytest.mark.parametrize("part", range(PARTS))  # which processes share
def test_no_page_shuts_anyone_out_or_keeps_them_waiting(visit, axe, part):
    pages = [page for page in sorted(HTML.rglob("*.html")) if "http-equiv" not in page.read_text(encoding="utf-8")]
    assert len(pages) > 20
    faults = []
    for path in pages[part::PARTS]:
        page, requests, console = visit(path)
        translated = "ko" in path.relative_to(HTML).parts  # its colours are those of the English page
        found = faults_of(page, requests, console, axe, ALL_BUT_COLOURS if translated else ALL)
        faults += [f"{path.relative_to(HTML)}: {each}" for each in found]
        if not translated:
            page.add_style_tag(content="* { transition: none !important }")  # colours on their way are no fault
            page.evaluate("() => { document.documentElement.dataset.theme = 'dark'; }")
            faults += [f"{path.relative_to(HTML)}, dark: {each}" for each in page.evaluate(AXE, COLOURS)]
        page.close()
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("kind", SHUT_OUT)
def test_what_shuts_people_out_is_found(visit, axe, kind):
    spoil, rule = SHUT_OUT[kind]
    page, requests, console = visit(HTML / "book" / "running.html")
    page.evaluate(f"() => {{ {spoil} }}")
    assert [each for each in faults_of(page, requests, console, axe) if each.startswith(rule)]
    page.close()


def test_the_whole_book_is_small():
    assert sum(file.stat().st_size for file in HTML.rglob("*") if file.is_file()) <= WHOLE_BOOK
    assert not list(HTML.rglob("*.map"))


@pytest.mark.parametrize("name", ["book/intro", "book/executed/04_attention_types"])
def test_icons_have_their_shapes(visit, name):
    page, _, _ = visit(HTML / f"{name}.html")
    for icon in page.locator("[class*=fa-]:visible").all():
        content = icon.evaluate("(each) => getComputedStyle(each, '::before').content")
        assert len(content) == 3, icon.evaluate("(each) => each.outerHTML")  # one sign in quotation marks
        assert page.evaluate("(sign) => document.fonts.check('900 1em \"Font Awesome 6 Free\"', sign)", content[1])
    page.close()


CUT = "(all) => all.filter((each) => each.scrollWidth > each.clientWidth + 1).map((each) => each.textContent)"


@pytest.mark.parametrize("name", ["03_attention_module", "06_arl_against_nal"])
def test_paper_cuts_no_code_and_has_no_empty_frames(visit, name):
    page, _, _ = visit(HTML / "book" / "executed" / f"{name}.html")
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 700, "height": 1000})
    assert page.locator("pre").evaluate_all(CUT) == []
    empty = page.locator(".widget, .tag_hide-input details").all()
    assert empty and not [frame for frame in empty if frame.is_visible()]
    solutions = page.locator(".tag_hide-cell pre").all()
    assert all(code.is_visible() for code in solutions) and bool(solutions) == (name == "03_attention_module")
    page.close()


# over two lines, though it is short enough for one
BROKEN = (
    "(each) => each.offsetHeight > 1.8 * parseFloat(getComputedStyle(each).fontSize) && each.textContent.length < 30"
)


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("name", ["book/running", "book/your_pictures", "book/executed/10_state_of_the_art"])
def test_a_command_is_shown_whole(visit, name, width):
    page, _, _ = visit(HTML / f"{name}.html")
    page.set_viewport_size({"width": width, "height": 900})
    commands = page.locator(".highlight-bash pre")
    assert commands.count() and commands.evaluate_all(CUT) == []
    words = page.locator(".highlight-bash .word").all()
    assert words and not [word.text_content() for word in words if word.evaluate(BROKEN)]
    page.close()


def test_no_sign_is_asked_of_a_font_that_is_left_out(visit):
    page, _, _ = visit(HTML / "book" / "references.html")
    links = page.locator("article a.github")
    sign = "(all) => all.map((each) => getComputedStyle(each, '::before').content)"
    assert links.count() and set(links.evaluate_all(sign)) == {"none"}
    page.close()


def test_pages_say_what_they_are(visit):
    page, _, _ = visit(HTML / "book" / "intro.html")
    assert page.evaluate("document.documentElement.lang") == "en"
    assert len(page.locator("meta[name=description]").get_attribute("content")) > 40
    icon = page.locator("link[rel~=icon]").get_attribute("href")
    assert (HTML / "book" / icon.partition("?")[0]).resolve().is_file()
    page.close()
