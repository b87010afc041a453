"""Print the book as one PDF, _build/book.pdf, with bookmarks and page numbers: `make pdf`.

Chromium prints what Sphinx builds as a single page. Needs Chromium or Chrome, and playwright, which `make` installs.
"""

import re
import shutil
import sys
from pathlib import Path

from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
NUMBER = (
    '<div style="width:100%;text-align:center;font:8px sans-serif">'
    '<span class="pageNumber"></span> / <span class="totalPages"></span></div>'
)
# beside what book.css says of paper
STYLE = """
#jb-print-docs-body, .toctree-wrapper > .caption, script {display: none !important}
.toctree-wrapper > section > h1, section.tex2jax_ignore > h1, .toctree-wrapper > span + section {break-before: page}
#title {display: block !important; visibility: visible !important; font-size: 2.2rem}
h4 {break-after: avoid}
"""


def browser() -> str:
    """The path of Chromium or Chrome. Raises FileNotFoundError where there is none."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise FileNotFoundError(f"it needs a browser, one of {', '.join(BROWSERS)}: install Debian's `chromium`.")
    return found


def for_paper(built: Path, target: Path) -> None:
    """Prepare the single page: all that is folded is open, and what only a screen can do is left out.

    Sphinx puts the page into the folder of the first one, with addresses as seen from the folder above.
    """
    html = BeautifulSoup(built.read_text(encoding="utf-8"), "html.parser")
    for plumbing in html.select(".tag_hide-input details.hide"):
        plumbing.decompose()  # code that only draws or lists
    for fold in html.select("article details"):
        fold["open"] = ""
    article = html.select_one("article.bd-article")
    if article is not None and html.title is not None:
        title = html.new_tag("h1", id="title")
        title.string = html.title.get_text(strip=True)
        article.insert(0, title)
    for name in ("src", "href"):
        for element in html.select(f'[{name}^="../"]'):
            element[name] = re.sub(r"^(\.\./)+", "", str(element[name]))
    assert html.head is not None
    style = html.new_tag("style")
    style.string = STYLE
    html.head.append(style)
    target.write_text(str(html), encoding="utf-8")


def print_book(page: Path, target: Path) -> None:
    """Print a page to `target`, A4, with the headings as bookmarks."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=browser(), args=["--no-sandbox"])  # root in a container
        sheet = chromium.new_page(color_scheme="light")
        sheet.goto(page.as_uri())
        sheet.wait_for_load_state("networkidle")
        sheet.pdf(
            path=target,
            format="A4",
            margin={"top": "18mm", "bottom": "18mm", "left": "16mm", "right": "16mm"},
            display_header_footer=True,
            header_template="<span></span>",
            footer_template=NUMBER,
            outline=True,
            tagged=True,
            print_background=True,
        )
        chromium.close()


def main() -> int:
    """Command line: 0, or 2 where there is no browser."""
    built, target = ROOT / "_build" / "singlehtml", ROOT / "_build" / "book.pdf"
    try:
        browser()
        for_paper(built / "book" / "intro.html", built / "printed.html")
        print_book(built / "printed.html", target)
    except (OSError, ImportError) as error:
        print(f"make pdf: {error}", file=sys.stderr)
        return 2
    print(target.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
