"""The editions in other languages: their catalogues are whole and faithful, their pages lead to each other."""

import csv
import json
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import translate
from babel.messages.catalog import Catalog
from bs4 import BeautifulSoup
from sphinx_external_toc.parsing import parse_toc_yaml
from translation import PARTICLES, SearchKorean, edition

from ran.files import ROOT

HTML = ROOT / "_build" / "html"
KOREAN = HTML / "ko"
WORDS = edition("ko")
PAGES = [re.sub(r"\.(md|ipynb)$", "", entry) for entry in parse_toc_yaml(ROOT / "_toc.yml")]
ROLE, CODE, MATH = re.compile(r"\{[\w:]+\}`[^`]*`"), re.compile(r"`[^`]*`"), re.compile(r"\$[^$]+\$")
# the words that a number may stand for: a translation writes "8에폭" or "4분의 1" for "eight epochs" or "a quarter"
SPELT = {
    "1": "one once first half halv quarter third tenth hundredth seventeenth part",
    "2": "two twice second half halv doubl pair",
    "3": "three third",
    "4": "four quarter",
    "5": "five",
    "6": "six",
    "7": "seven",
    "8": "eight",
    "9": "nine",
    "10": "ten",
    "11": "eleven",
    "12": "twelve dozen",
    "16": "sixteen",
    "17": "seventeen",
    "0": "zero",
    "0.5": "half",
}


def marks(text):
    """Roles with what they lead to, equations, code and links: what a translation leaves as it is."""
    roles = [re.sub(r"`[^`<]*<([^>]*)>`", r"`\1`", role) for role in ROLE.findall(text)]
    rest = ROLE.sub("", text)
    return sorted([*roles, *MATH.findall(rest), *CODE.findall(rest), *re.findall(r"\]\(([^)]*)\)", rest)])


def numbers(text):
    return re.findall(r"\d+(?:[.,]\d+)*", MATH.sub("", CODE.sub("", ROLE.sub("", text))))


def unfaithful(english, translation):
    """Where a translation does not say the same: marks that differ, numbers that are missing or nowhere in English."""
    found = [] if marks(english) == marks(translation) else [f"{marks(english)} became {marks(translation)}"]
    spare = numbers(translation)
    for number in numbers(english):
        if number in spare:
            spare.remove(number)
        else:
            found.append(f"{number} is missing")
    said = english.lower()
    return found + [f"{each} is new" for each in spare if not any(w in said for w in SPELT.get(each, "").split())]


def terms():
    path = translate.LOCALE / "ko" / "terms.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return [(row["English"], row["Korean"]) for row in csv.DictReader(file)]


def strange_terms(english, translation):
    """Terms of the list that a translation calls otherwise; code, roles' targets and longer terms aside."""
    said = CODE.sub("", ROLE.sub("", english)).lower()
    found = []
    for term, korean in sorted(terms(), key=lambda pair: -len(pair[0])):
        pattern = rf"\b{re.escape(term)}s?\b"
        if re.search(pattern, said):
            if korean not in translation and term not in translation.lower():
                found.append(f"{term}: {korean}")
            said = re.sub(pattern, "", said)
    return found


def test_catalogues_are_whole():
    """Each missing, fuzzy or obsolete message is named; `make book` left the messages of the built book."""
    translate.messages()
    found = []
    for page in WORDS["pages"]:
        found += [f"{page}: {fault}" for fault in translate.faults(translate.renewed("ko", page))]
    assert not found, "\n".join(found) + "\nRun `make translations`, then translate these in book/locale."


def test_what_changed_in_english_is_fuzzy_and_named():
    old, new = Catalog(), Catalog()
    old.add("Ten networks make 5.52% errors.", "네트워크 열 개의 오차는 5.52%입니다.")
    old.add("What nobody says any more.", "이제 아무도 하지 않는 말.")
    new.add("Ten networks make 5.63% errors.")
    new.add("A wholly other sentence, about pictures")
    old.update(new)
    assert translate.faults(old) == [
        "fuzzy: Ten networks make 5.63% errors.",
        "missing: A wholly other sentence, about pictures",
        "obsolete: What nobody says any more.",
    ]


def test_a_page_that_english_has_left_behind_is_named(monkeypatch, capsys):
    changed = translate.template("book/glossary")
    changed.add("A term that came yesterday.")
    real = translate.template
    monkeypatch.setattr(translate, "template", lambda page: changed if page == "book/glossary" else real(page))
    assert "book/glossary" in translate.lacking("ko")
    assert "ko: book/glossary is English in part" in capsys.readouterr().out


@pytest.mark.parametrize("page", WORDS["pages"])
def test_translations_say_the_same(page):
    found = []
    for message in translate.read("ko", page):
        if message.id:
            faults = unfaithful(message.id, message.string) + strange_terms(message.id, message.string)
            found += [f"{message.id[:60]}: {fault}" for fault in faults]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("english", "translation"),
    [
        ("See {doc}`results`.", "{doc}`running`을 보십시오."),
        ("The mean is $x$.", "평균은 $y$입니다."),
        ("It makes 5.52% errors.", "오차는 5.25%입니다."),
        ("It makes no errors.", "오차는 3%입니다."),
        ("Take `ran`.", "ran을 쓰십시오."),
    ],
)
def test_an_unfaithful_translation_is_found(english, translation):
    assert unfaithful(english, translation)


def test_a_term_that_is_called_otherwise_is_found():
    assert strange_terms("A residual unit.", "레지듀얼 유닛.") == ["residual unit: 잔차 유닛"]
    assert not strange_terms("A residual unit.", "잔차 유닛.")


def test_what_code_writes_is_translated_by_rule():
    assert translate.by_rule("\\+0\\.43 ± 0\\.32 \\(3 seeds\\)", WORDS) == "\\+0\\.43 ± 0\\.32 \\(시드 3개\\)"
    assert translate.by_rule("{doc}`executed/run`, {eq}`eq-depth`: 3 × 2", WORDS)
    assert not translate.by_rule("The mask has 3 seeds", WORDS)


def test_the_listed_pages_are_in_the_book():
    assert set(WORDS["pages"]) <= set(PAGES)


def read_page(path):
    assert path.exists(), "run `make book` first"
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def all_pages():
    found = [path.relative_to(KOREAN) for path in KOREAN.rglob("*.html")]
    return [name for name in found if "http-equiv" not in (KOREAN / name).read_text(encoding="utf-8")]


def test_every_page_leads_to_the_same_page_in_the_other_language():
    names = all_pages()
    assert {f"{page}.html" for page in PAGES} | {"search.html"} <= {name.as_posix() for name in names}
    for name in names:
        for here, there, language in ((HTML / name, KOREAN / name, "ko"), (KOREAN / name, HTML / name, "en")):
            (link,) = read_page(here).select(".bd-header-article a.language")
            assert (here.parent / link["href"]).resolve() == there, here
            assert link["lang"] == link["hreflang"] == language and link.get_text(strip=True)


def test_korean_pages_say_their_language_and_share_files():
    for name in all_pages():
        html = read_page(KOREAN / name)
        assert html.html["lang"] == "ko"
        for element in html.select("[src], link[href], a[href]"):
            address = urlsplit(element.get("src") or element.get("href"))
            if not address.scheme and not address.netloc and address.path:
                assert (KOREAN / name).parent.joinpath(unquote(address.path)).resolve().exists(), (name, element)
    own = {path.name for path in (KOREAN / "_static").rglob("*") if path.is_file()}
    assert own <= translate.OWN | {"translations.js"}
    assert not (KOREAN / "_images").exists() and not (KOREAN / "_sources").exists()


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_translated_or_says_that_it_is_not(page):
    html = read_page(KOREAN / f"{page}.html")
    notes = html.select("article .fallback")
    if page in WORDS["pages"]:
        assert not notes and re.search("[가-힣]", html.h1.get_text())
        for picture in html.select("article figure img, article .cell_output img"):
            assert re.search("[가-힣]", picture["alt"]), picture["alt"]
    else:
        assert len(notes) == 1 and WORDS["fallback"] in notes[0].get_text()
        assert html.select_one("article")["lang"] == "en" and notes[0]["lang"] == "ko"


def test_buttons_and_fields_are_named_in_korean():
    html = read_page(KOREAN / "book" / "executed" / "02_soft_mask.html")
    names = {str(each.get("aria-label") or each["title"]) for each in html.select("button[aria-label], button[title]")}
    assert names and all(re.search("[가-힣]", name) for name in names), names
    assert "풀이 보기" in {each.get_text(strip=True) for each in html.select("summary p")}


def test_the_parts_of_the_book_are_named_in_korean():
    sidebar = read_page(KOREAN / f"{PAGES[0]}.html").select_one(".bd-sidebar-primary")
    captions = [each.get_text(strip=True) for each in sidebar.select(".caption-text")]
    assert captions and all(re.search("[가-힣]", each) for each in captions)


def test_korean_words_are_searched_without_particles(browser):
    english, korean = (
        SearchKorean({}),
        ["마스크를", "마스크", "잔차는", "어텐션에서", "결과", "효과", "CNN", "1을", "네트워크가"],
    )
    page = browser.new_page()
    page.evaluate(SearchKorean.js_stemmer_code.replace("var Stemmer", "window.Stemmer"))
    same = [page.evaluate("(word) => new Stemmer().stemWord(word)", word) for word in korean]
    assert same == [english.stem(word) for word in korean]
    assert same == ["마스크", "마스크", "잔차", "어텐션", "결과", "효과", "CNN", "1을", "네트워크"]
    assert all(len(each) for each in PARTICLES)
    page.close()


@pytest.mark.parametrize(
    ("words", "found"), [("소프트 마스크", "소프트 마스크"), ("병목", "잔차 유닛"), ("어텐션은", "어텐션의 종류")]
)
def test_the_search_finds_korean_words(browser, words, found):
    page = browser.new_page()  # not open_page: a page on disk cannot fetch others to quote them, in any language
    page.goto(f"{(KOREAN / 'search.html').as_uri()}?q={words}")
    page.wait_for_selector("#search-results li a")
    titles = page.locator("#search-results li > a").all_inner_texts()
    assert any(found in title for title in titles), titles
    page.locator("#search-results li > a").first.click()
    assert "/ko/" in page.url and page.evaluate("document.documentElement.lang") == "ko"
    page.close()


def test_the_switch_works_from_the_keyboard(open_page):
    page = open_page("ko/book/executed/02_soft_mask")
    page.locator("a.language").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/html/book/executed/02_soft_mask.html")
    assert page.evaluate("document.documentElement.lang") == "en"


SAID = """() => [...document.querySelectorAll(".widget, .widget *, .enlarged, .enlarged *")].flatMap((each) => [
    each.getAttribute("aria-label"), each.getAttribute("aria-valuetext"),
    ...[...each.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data)])
    .filter((text) => text?.trim())"""


def test_widgets_and_enlarged_figures_speak_korean(open_page):
    names = {"ARL", "NAL", "PNG", "JPEG", "WebP", "notes.txt"}  # the same in every language
    explorer = open_page("ko/book/explorer")
    explorer.get_by_role("button", name="네트워크 불러오기").click()
    explorer.get_by_role("status").filter(has_text="마쳤습니다").wait_for(timeout=60_000)
    said = explorer.evaluate(SAID)
    names |= set(explorer.evaluate("RAN.classes"))
    file = {"name": "notes.txt", "mimeType": "image/png", "buffer": b"no picture"}
    explorer.locator("input[type=file]").set_input_files(file)
    explorer.get_by_role("status").filter(has_text="읽을 수 없습니다").wait_for()
    said += explorer.evaluate(SAID)
    chapter = open_page("ko/book/executed/03_attention_module")
    said += chapter.evaluate(SAID)
    chapter.locator("a.enlarge").first.click()
    chapter.get_by_role("button", name="닫기", exact=True).wait_for()
    said += chapter.evaluate(SAID)
    foreign = {word for text in said for word in re.findall(r"[A-Za-z.]{3,}", text)} - names
    assert any("모듈" in text for text in said) and not foreign, foreign


def test_alternates_name_both_addresses():
    html = BeautifulSoup("<head></head>", "html.parser")
    addresses = {"en": "https://a.example/p.html", "ko": "https://a.example/ko/p.html"}
    for _ in range(2):  # a page that is finished already is not changed
        translate.alternates(html, addresses)
    assert {link["hreflang"]: link["href"] for link in html.select("link[rel=alternate]")} == addresses


def test_the_edition_has_its_own_index():
    index = (KOREAN / "searchindex.js").read_text(encoding="utf-8")
    content = json.loads(index.removeprefix("Search.setIndex(").removesuffix(")"))
    assert {"마스크", "어텐션", "잔차"} <= set(content["terms"])
    assert set(PAGES) <= set(content["docnames"])


def test_no_catalogue_is_forgotten():
    """A catalogue of a page that is not listed would be shown in part."""
    folder = translate.LOCALE / "ko" / "LC_MESSAGES"
    there = {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.po")}
    assert there == {*WORDS["pages"], "sphinx"}
    assert Path(ROOT / "book" / "locale" / "ko" / "terms.csv").exists()
