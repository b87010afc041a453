"""Sphinx extension: mend what the theme leaves undone for screen readers, search engines and lost visitors.

Each page gets a description, its parts get names, and tables lose headers that say nothing. Beside the pages come
404.html, which stands alone because it is shown at any address, and sitemap.xml where the book's address is known.
"""

import re
from html import escape
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup
from sphinx.application import Sphinx
from sphinx.locale import _

from ran.files import write_whole

DESCRIPTION = 160  # characters; search engines cut longer ones
PREVIEW = "_static/attention.png"
PREVIEW_SHOWS = "Eight photographs, and below each what the masks of a trained network make of it."
LOST = """<!DOCTYPE html>
<html lang="{language}"><head><meta charset="utf-8"><title>Page not found – {title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">
<meta name="description" content="There is no page at this address.">
<style>:root{{color-scheme:light dark}}
body{{font:1.1rem/1.6 sans-serif;max-width:34rem;margin:15vh auto;padding:0 1rem}}
a{{color:inherit}}</style></head>
<body><main><h1>Page not found</h1>
<p>There is no page at this address. It may have moved: the <a href="{home}">first page of the book</a> leads to all
others.</p></main></body></html>
"""


def describe(html: BeautifulSoup, base: str = "", language: str = "en") -> None:
    """Take the first paragraph as what search engines and previews say of the page.

    A preview has a picture where the book's address `base` is known: it must have an address of its own. Editions in
    other languages have the English book's.
    """
    edition = f"/{language}/"
    paragraph = html.select_one("article section > p")
    if paragraph is None or html.head is None or html.select_one("meta[name=description]"):
        return
    words = " ".join(paragraph.get_text().split())
    if len(words) > DESCRIPTION:
        words = words[:DESCRIPTION].rpartition(" ")[0].rstrip(",;:") + " …"
    said = {"og:title": html.title.get_text(strip=True) if html.title else "", "og:type": "article"}
    said |= {"og:description": words, "twitter:card": "summary_large_image" if base else "summary"}
    if base:
        address = html.select_one("link[rel=canonical]")
        said |= {
            "og:image": f"{base.removesuffix(edition).rstrip('/')}/{PREVIEW}",
            "og:image:alt": str(_(PREVIEW_SHOWS)),
        }
        said |= {"og:url": str(address["href"])} if address else {}
    html.head.append(html.new_tag("meta", attrs={"name": "description", "content": words}))
    for name, content in said.items():
        html.head.append(html.new_tag("meta", attrs={"property": name, "content": content}))


def name_parts(html: BeautifulSoup) -> None:
    """Landmarks and names: each part of the page can be reached, and a button is called what it shows."""
    for sidebar in html.select("#pst-primary-sidebar"):
        sidebar.attrs |= {"role": "region", "aria-label": str(_("The book"))}
    for sidebar in html.select("#pst-secondary-sidebar"):
        sidebar.attrs |= {"role": "region", "aria-label": str(_("This page"))}
    for search in html.select("form.bd-search"):
        search["role"] = "search"
    for search in html.select(".search-button-field"):
        for attribute in ("aria-label", "title"):  # its text, Search Ctrl+K, is its name
            del search[attribute]
    for menu in html.select(".dropdown-download-buttons .dropdown-item"):
        del menu["title"]  # the same: .md, .pdf
    for button in html.select("button[title]:not([aria-label])"):
        button["aria-label"] = button["title"]
    for icon in html.select("i[class*=fa-], span[class*=fa-]"):
        icon["aria-hidden"] = "true"
    for fold in html.select("details > summary[aria-label]"):
        del fold["aria-label"]  # the same: Show code cell source
    for arrow in html.select(".prev-next-area a[title]"):
        del arrow["title"]  # hides the title of the page that it leads to
    for nav in html.select("#jb-print-toc nav"):
        nav["aria-label"] = str(_("Contents of the printed page"))
    for extra in html.select("#ethical-ad-placement"):
        extra.decompose()
    for entry in html.select(".citation-list > .citation"):
        entry["role"] = "listitem"  # what the list says it has
    for code in html.select("div.highlight > pre, div.math"):
        code["tabindex"] = "0"  # a keyboard can scroll it


def mend_tables(html: BeautifulSoup) -> None:
    """An empty header cell says nothing: it is a cell."""
    for header in html.select("th"):
        if not header.get_text(strip=True) and not header.find("img"):
            header.name = "td"


def keep_words(html: BeautifulSoup) -> None:
    """A narrow page breaks a command between its words, and not at the hyphens in them: --data-root."""
    commands = html.select("div.highlight-bash pre:not(:has(.word))")
    for text in [text for command in commands for text in command.find_all(string=re.compile("-"), recursive=False)]:
        pieces = re.split(r"(\S*-\S*)", text)
        for number, piece in enumerate(pieces):
            if piece:
                word = html.new_tag("span", attrs={"class": "word"}, string=piece) if number % 2 else piece
                text.insert_before(word)
        text.extract()


def redirect(html: BeautifulSoup, language: str) -> bool:
    """A page that only leads to another: say so to who cannot be led."""
    refresh = html.select_one("meta[http-equiv=refresh]")
    if refresh is None or html.body:
        return False
    target = str(refresh["content"]).partition("url=")[2]
    moved, here = _("This page has moved"), _("It is here.")
    head = f'<meta charset="utf-8"><title>{moved}</title>{html.head.decode_contents() if html.head else html}'
    body = f'<main><h1>{moved}</h1><p><a href="{escape(target)}">{here}</a></p></main>'
    html.clear()
    page = f'<html lang="{language}"><head>{head}</head><body>{body}</body></html>'
    html.append(BeautifulSoup(page, "html.parser"))
    return True


def mend(path: Path, language: str, base: str = "") -> None:
    """Do all of it to one page; a page that is mended already stays as it is."""
    html = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
    if not redirect(html, language):
        describe(html, base, language)
        name_parts(html)
        mend_tables(html)
        keep_words(html)
    write_whole(path, str(html))


def finish(app: Sphinx, fault: Exception | None) -> None:
    """Mend all pages, once they are written."""
    if fault or app.builder.format != "html":
        return
    out, language, base = Path(app.outdir), app.config.language, app.config.html_baseurl or ""
    pages = [page for page in out.rglob("*.html") if "_static" not in page.parts]
    for page in pages:
        mend(page, language, base)
    title, home = escape(app.config.html_title or app.config.project), escape(base or "/")
    write_whole(out / "404.html", LOST.format(language=language, title=title, home=home))
    if base:
        places = [f"{base.rstrip('/')}/{app.builder.get_target_uri(name)}" for name in sorted(app.env.found_docs)]
        entries = "".join(f"<url><loc>{escape(place)}</loc></url>\n" for place in places)
        head = '<?xml version="1.0" encoding="utf-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
        write_whole(out / "sitemap.xml", f"{head}{entries}</urlset>\n")


def setup(app: Sphinx) -> dict[str, Any]:
    """Entry point for Sphinx."""
    app.connect("build-finished", finish, priority=800)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
