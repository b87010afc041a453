"""The book in other languages: `make translations` renews the catalogues, `make book` builds the editions.

A catalogue, book/locale/LANGUAGE/LC_MESSAGES/PAGE.po, holds a page's messages, which Sphinx takes from the executed
notebooks; code, numbers, figures and outputs are those of the English book, and its files are shared.
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import yaml
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po
from bs4 import BeautifulSoup
from translation import LOCALE, edition

from ran.files import write_whole

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "_build"
HTML = BUILD / "html"
SHARED = ("_static", "_images", "_downloads", "_sources")
OWN = {"documentation_options.js", "language_data.js"}  # of _static, what differs by language
REFERENCE = re.compile(rf'\b(src|href)="((?:\.\./|\./)*)((?:{"|".join(SHARED)})/[^"?#]+)')
ENGLISH = "English"
# roles that show a title or number of their own, equations, and code: the same in every language
WORDLESS = re.compile(r"^\n.*|\{(?:doc|numref|eq|cite)(?::\w+)*\}`[^`<]*`|\$[^$]*\$|`[^`]*`", re.DOTALL)
HEADER = 'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=utf-8\\n"\n"Language: {language}\\n"\n\n'


def languages() -> list[str]:
    """The languages of editions beside the English one."""
    return sorted(path.parent.name for path in LOCALE.glob("*/edition.yml"))


def configuration(settings: dict[str, Any], name: str) -> Path:
    """Write _config.yml with other settings of Sphinx into the build folder."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    config["sphinx"]["config"] |= settings
    extensions = config["sphinx"]["local_extensions"]  # whose folders are seen from the configuration's
    config["sphinx"]["local_extensions"] = {name: str(ROOT / folder) for name, folder in extensions.items()}
    path = BUILD / f"config.{name}.yml"
    path.parent.mkdir(exist_ok=True)
    write_whole(path, yaml.safe_dump(config, allow_unicode=True, sort_keys=False))
    return path


def jupyter_book(settings: dict[str, Any], name: str, *options: str) -> None:
    """Build into a folder of its own. Exits with 1 where the build fails; then nothing of it stays."""
    config = configuration(settings, name)
    place = BUILD / name
    command = [Path(sys.executable).parent / "jupyter-book", "build", ROOT, "-q", "--config", config]
    done = subprocess.run(
        [*map(str, command), "--path-output", str(place), *options], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    if done.returncode:
        shutil.rmtree(place, ignore_errors=True)  # a cached page repeats no warning
        sys.exit(f"The book has faults in {name}, see above.")


def template(page: str) -> Catalog:
    """The messages of a page, as the last call of `messages` left them, and what its figures are described by.

    Sphinx does not take the latter: a notebook's figures come into the page after its messages.
    """
    with (BUILD / "gettext" / "_build" / "gettext" / f"{page}.pot").open("rb") as file:
        catalogue = read_po(file)
    notebook = ROOT / f"{page}.ipynb"
    if notebook.exists():
        for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
            if alternative := cell["metadata"].get("mystnb", {}).get("image", {}).get("alt"):
                catalogue.add(alternative)
    return catalogue


def read(language: str, page: str) -> Catalog:
    """A page's catalogue; an empty one where there is none yet."""
    path = LOCALE / language / "LC_MESSAGES" / f"{page}.po"
    if not path.exists():
        return Catalog(locale=language)
    with path.open("rb") as file:
        return read_po(file, locale=language)


def write(language: str, page: str, catalogue: Catalog) -> None:
    """Write a page's catalogue. No dates and no line numbers: a change shows only what changed."""
    path = LOCALE / language / "LC_MESSAGES" / f"{page}.po"
    for message in catalogue:
        message.flags -= {"python-format", "python-brace-format"}  # a guess, from the braces of MyST's roles
    content = BytesIO()
    write_po(content, catalogue, width=0, no_location=True, omit_header=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, HEADER.format(language=language) + content.getvalue().decode())


def messages() -> None:
    """Take all messages from the executed book, into _build/gettext."""
    settings = {"gettext_compact": False, "gettext_location": False}
    jupyter_book(settings, "gettext", "--builder", "custom", "--custom-builder", "gettext")


def by_rule(message: str, words: dict[str, Any]) -> str:
    """The translation of a message in which only numbers, names and the edition's `words` stand; else nothing.

    Code writes such messages from records, and a new record makes new ones.
    """
    said = message
    for pattern, replacement in words["words"]:
        said = re.sub(pattern, replacement, said)
    rest = re.sub("|".join(words["names"]), "", WORDLESS.sub("", said))
    return "" if re.search(r"[A-Za-z]{2}", rest) else said


def renewed(language: str, page: str) -> Catalog:
    """A page's catalogue as the English book has it now: what changed is fuzzy, what is gone obsolete."""
    catalogue, words = read(language, page), edition(language)
    catalogue.update(template(page))
    for message in catalogue:
        if message.id and (said := by_rule(str(message.id), words)):
            message.string = said
            message.flags.discard("fuzzy")
    return catalogue


def update() -> None:
    """Renew the catalogues of all translated pages, and say what is to translate."""
    messages()
    for language in languages():
        for page in edition(language)["pages"]:
            catalogue = renewed(language, page)
            write(language, page, catalogue)
            if found := faults(catalogue):
                print(f"{language}: {page}: {len(found)} of {len(catalogue)} messages to translate")


def lacking(language: str) -> list[str]:
    """The listed pages that fall back to English in part, because English has changed since; each is named."""
    pages = [page for page in edition(language)["pages"] if faults(renewed(language, page))]
    for page in pages:
        print(f"{language}: {page} is English in part: `make translations`, then translate what it names")
    return pages


def faults(catalogue: Catalog) -> list[str]:
    """What a catalogue lacks: each missing, fuzzy or obsolete message."""
    found = [f"fuzzy: {each.id}" for each in catalogue if each.id and each.fuzzy]
    found += [f"missing: {each.id}" for each in catalogue if each.id and not each.string]
    return found + [f"obsolete: {each}" for each in catalogue.obsolete]


def share(page: Path, top: Path, mine: set[str]) -> BeautifulSoup:
    """Lead a page of an edition to the files of the English book, which lies one folder higher."""

    def higher(reference: re.Match[str]) -> str:
        attribute, up, target = reference.groups()
        return f'{attribute}="{up}{"" if target in mine else "../"}{target}'

    return BeautifulSoup(REFERENCE.sub(higher, page.read_text(encoding="utf-8")), "html.parser")


def switch(html: BeautifulSoup, href: str, language: str, name: str) -> None:
    """Put a link to the same page in the other language into the header."""
    for earlier in html.select("a.language"):
        earlier.decompose()
    buttons = html.select_one(".article-header-buttons")
    if buttons is not None:
        link = html.new_tag("a", attrs={"class": "language", "href": href, "lang": language, "hreflang": language})
        link.string = name
        buttons.insert(0, link)


def alternates(html: BeautifulSoup, addresses: dict[str, str]) -> None:
    """Tell search engines where the page stands in each language."""
    for earlier in html.select("link[rel=alternate][hreflang]"):
        earlier.decompose()
    for language, address in addresses.items():
        attributes = {"rel": "alternate", "hreflang": language, "href": address}
        html.head.append(html.new_tag("link", attrs=attributes))  # type: ignore[union-attr]


def relabel(html: BeautifulSoup, words: dict[str, Any]) -> None:
    """Words of the theme, of notebooks and of widgets, which pass no catalogue; and what scripts will say."""
    interface = words["interface"]
    for name in ("title", "aria-label", "placeholder", "data-bs-title", "alt"):
        for element in html.select(f"[{name}]"):
            element[name] = interface.get(str(element[name]), str(element[name]))
    for place in html.select("summary p, .widget, noscript"):
        for text in place.find_all(string=True):
            if (said := " ".join(text.split())) in interface:
                text.replace_with(interface[said])
    for earlier in html.select("script#words"):
        earlier.decompose()
    spoken = html.new_tag("script", id="words", type="application/json")
    spoken.string = json.dumps(words["scripts"], ensure_ascii=False)
    html.head.append(spoken)  # type: ignore[union-attr]


def join(language: str) -> None:
    """Put the built edition into its folder of the English book, and lead every page to its other language."""
    built, home, words = BUILD / language / "_build" / "html", HTML / language, edition(language)
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(built, home)
    (home / "404.html").unlink()
    files = {path.relative_to(home).as_posix(): path for path in home.rglob("*") if path.is_file()}
    mine = {name for name in files if not (HTML / name).exists() or Path(name).name in OWN}
    for name in [name for name in files if name.startswith(SHARED) and name not in mine]:
        files[name].unlink()
    for folder in sorted((path for path in home.rglob("*") if path.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()
    for name, path in files.items():
        if path.suffix == ".html" and "_static" not in path.parts and path.exists():
            pair(path, HTML / name, language, mine, words)


def pair(page: Path, other: Path, language: str, mine: set[str], words: dict[str, Any]) -> None:
    """Finish one page of an edition, and its English one: each leads to the other."""
    top, depth = HTML / language, len(page.relative_to(HTML / language).parts) - 1
    name = page.relative_to(top)
    mended, english = share(page, top, mine), BeautifulSoup(other.read_text(encoding="utf-8"), "html.parser")
    switch(mended, f"{'../' * (depth + 1)}{name.as_posix()}", "en", ENGLISH)
    switch(english, f"{'../' * depth}{language}/{name.as_posix()}", language, words["name"])
    canonical = [html.select_one("link[rel=canonical]") for html in (english, mended)]
    if all(canonical):
        here, there = (str(link["href"]) for link in canonical if link)
        for html in (mended, english):
            alternates(html, {"en": here, language: there, "x-default": here})
    relabel(mended, words)
    if mended.select_one(".fallback") and (article := mended.select_one("article")):
        article["lang"] = "en"
        for note in article.select(".fallback"):
            note["lang"] = language
    write_whole(page, str(mended))
    write_whole(other, str(english))


def places(language: str) -> None:
    """Add the edition's pages to the book's sitemap, where its address is known."""
    whole, own = HTML / "sitemap.xml", HTML / language / "sitemap.xml"
    if own.exists():
        entries = "".join(line for line in own.read_text(encoding="utf-8").splitlines(True) if line.startswith("<url>"))
        text = whole.read_text(encoding="utf-8")
        write_whole(whole, text.replace(entries, "").replace("</urlset>", f"{entries}</urlset>"))
        own.unlink()


def fingerprint(language: str) -> str:
    """What all pages of an edition depend on: when it changes, all are built anew."""
    files = (LOCALE / language / "edition.yml", LOCALE / language / "LC_MESSAGES" / "sphinx.po")
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def build() -> None:
    """Build each edition and put it into the English book, which is built already."""
    messages()
    for language in languages():
        words = edition(language)
        settings: dict[str, Any] = {
            "lacking": lacking(language),
            "language": language,
            "locale_dirs": ["book/locale"],
            "gettext_compact": False,
        }
        settings |= {"html_title": words["title"], "edition": fingerprint(language)} | words["settings"]
        jupyter_book(settings, language, "-W", "--keep-going", "-n")
        join(language)
        places(language)


if __name__ == "__main__":
    {"update": update, "build": build}[sys.argv[1]]()
