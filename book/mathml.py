"""Sphinx extension: equations as MathML, which browsers typeset themselves.

MathJax is 1.2 MB of script on each page with an equation, and moves the text once it has run. MathML needs no script,
holds still, and is what a screen reader reads. Its font, STIX Two Math, is cut down to the signs that the book uses.
"""

import logging
from io import BytesIO
from pathlib import Path
from typing import Any

import ziamath
from bs4 import BeautifulSoup
from docutils import nodes
from fontTools import subset
from fontTools.ttLib import TTFont
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.locale import _
from sphinx.util.math import get_node_equation_number

from ran.files import write_whole

STIX = Path(ziamath.__file__).parent / "fonts" / "STIXTwoMath-Regular.ttf"
FONT = Path("_static") / "stix-two-math.woff"


def inline(self: Any, node: nodes.math) -> None:
    """An equation in a line of text."""
    self.body.append(self.starttag(node, "span", "", CLASS="math notranslate nohighlight"))
    self.body.append(convert(node.astext()) + "</span>")
    raise nodes.SkipNode


def block(self: Any, node: nodes.math_block) -> None:
    """An equation on a line of its own, with its number and a link to it, as MathJax's renderer of Sphinx has them."""
    self.body.append(self.starttag(node, "div", CLASS="math notranslate nohighlight"))
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, _("Link to this equation"))
        self.body.append("</span>")
    self.body.append(convert(node.astext().strip(), display="block") + "</div>\n")
    raise nodes.SkipNode


def cut(font: Path, signs: set[str], target: Path) -> None:
    """Write a font with these characters and nothing else, as WOFF; forms that stretch stay with their character."""
    options = subset.Options(layout_features=["*"], notdef_outline=True, flavor="woff")
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells each table that it cuts
    whole = TTFont(font)
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=map(ord, signs))
    cutter.subset(whole)
    whole.flavor = "woff"
    content = BytesIO()
    whole.save(content)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target, content.getvalue())


ITALIC = {chr(ord("A") + at): chr(0x1D434 + at) for at in range(26)} | {
    chr(ord("a") + at): chr(0x1D44E + at) for at in range(26) if chr(ord("a") + at) != "h"
}
ITALIC |= {"h": "ℎ"} | {chr(0x3B1 + at): chr(0x1D6FC + at) for at in range(25)} | {"∂": "𝜕", "ϕ": "𝜙", "ε": "𝜀"}


def write_font(app: Sphinx, fault: Exception | None) -> None:
    """Cut the font down to the signs in all equations of the book. A browser shows a name of one letter in italics."""
    if fault or app.builder.format != "html":
        return
    signs = {" "}
    for page in Path(app.outdir).rglob("*.html"):
        for equation in BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser").find_all("math"):
            signs |= set(equation.get_text())
    cut(STIX, signs | {ITALIC[sign] for sign in signs if sign in ITALIC}, Path(app.outdir) / FONT)


def setup(app: Sphinx) -> dict[str, Any]:
    """Entry point for Sphinx; `html_math_renderer: mathml` chooses it."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    app.connect("build-finished", write_font)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
