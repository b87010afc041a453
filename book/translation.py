"""Sphinx extension: what an edition in another language needs beside its catalogues in book/locale.

A page that the edition does not list stays English and says so at its top. Korean words are searched without the
particles that are written together with them. The edition's address is a folder of the book's.
"""

from pathlib import Path
from typing import Any

import yaml
from babel.messages.pofile import read_po
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.search import SearchLanguage

LOCALE = Path(__file__).resolve().parent / "locale"
# longest first; what is left has two syllables or more
PARTICLES = sorted(
    "은 는 이 가 을 를 의 에 에서 에서는 에는 에도 에게 로 으로 로는 으로는 로부터 으로부터 "
    "와 과 와는 과는 도 만 까지 부터 보다 처럼 마다 이나 나 이라 라 입니다 합니다 됩니다".split(),
    key=len,
    reverse=True,
)
STEMMER = """
var Stemmer = function() {
  const particles = PARTICLES;
  this.stemWord = (word) => {
    if (!/[가-힣]$/.test(word)) return word;
    const found = particles.find((each) => word.endsWith(each) && word.length >= each.length + 2);
    return found ? word.slice(0, -found.length) : word;
  };
};
"""


def edition(language: str) -> dict[str, Any]:
    """What book/locale/LANGUAGE/edition.yml says: its name, title and words, and the pages that are translated."""
    return yaml.safe_load((LOCALE / language / "edition.yml").read_text(encoding="utf-8"))


class SearchKorean(SearchLanguage):
    """Words without their particles, in the index and in what is looked for."""

    lang = "ko"
    language_name = "Korean"
    js_stemmer_code = STEMMER.replace("PARTICLES", str(PARTICLES))

    def stem(self, word: str) -> str:
        """The same as the script does."""
        if not ("가" <= word[-1:] <= "힣"):
            return word
        found = next((each for each in PARTICLES if word.endswith(each) and len(word) >= len(each) + 2), "")
        return word.removesuffix(found)


def translations(language: str, page: str) -> dict[str, str]:
    """What a page's catalogue says, by the English."""
    path = LOCALE / language / "LC_MESSAGES" / f"{page}.po"
    if not path.exists():
        return {}
    with path.open("rb") as file:
        return {str(each.id): str(each.string) for each in read_po(file) if each.id and each.string and not each.fuzzy}


def settle(app: Sphinx, config: Config) -> None:
    """An edition stands in a folder of the book, and has that for its address."""
    if config.language != "en" and config.html_baseurl:
        config.html_baseurl = f"{config.html_baseurl.rstrip('/')}/{config.language}/"


def name_parts(app: Sphinx, config: Config) -> None:
    """The parts of the book, in the sidebar: Sphinx translates captions before the table of contents is read."""
    said = translations(config.language, config.external_site_map.root.docname)
    for document in config.external_site_map.values():
        for tree in document.subtrees:
            tree.caption = said.get(tree.caption, tree.caption)


def tell(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Say at the top of a page that is not translated, or not whole, that it is not."""
    if app.config.language == "en" or app.builder.format != "html":
        return
    words = edition(app.config.language)
    section = next(iter(doctree.findall(nodes.section)), None)
    kind = "fallback" if page not in words["pages"] else "partial" if page in app.config.lacking else ""
    if kind and section is not None:
        section.insert(1, nodes.note("", nodes.paragraph("", words[kind]), classes=[kind]))


def describe(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Translate what describes the figures of notebooks, which come into the page after Sphinx translated it."""
    said = translations(app.config.language, page)
    for image in doctree.findall(nodes.image):
        if image.get("alt") in said:
            image["alt"] = said[image["alt"]]


def setup(app: Sphinx) -> dict[str, Any]:
    """Entry point for Sphinx."""
    app.add_config_value("lacking", [], "env", list)  # pages that English has left behind
    app.add_config_value("edition", "", "env", str)  # a fingerprint, see translate.py
    app.add_search_language(SearchKorean)
    app.add_js_file("words.js", priority=400, loading_method="defer")  # before the scripts that call it
    app.connect("config-inited", settle, priority=950)  # after the address of the book is known
    app.connect("config-inited", name_parts, priority=950)  # after the table of contents is read
    app.connect("doctree-resolved", tell)
    app.connect("doctree-resolved", describe)
    # a number more and every page is written anew, by which it gets the script above
    return {"version": "1", "env_version": 1, "parallel_read_safe": True, "parallel_write_safe": True}
