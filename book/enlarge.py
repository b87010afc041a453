"""Sphinx extension: figures at their own size, larger at a click or Enter, and drawings with links as part of the page.

A picture gets its width and height, so that no text jumps when it comes, and becomes a link to its file, which
_static/enlarge.js opens above the page; its file is made light. An SVG that has links of its own takes the place of its
picture: there its links work, and its colours are those of the theme.
"""

import os
import re
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from bs4 import BeautifulSoup, Tag
from PIL import Image
from sphinx.application import Sphinx

from ran.files import write_whole

CSS_PIXELS, POINTS = 96, 72  # in an inch
HEAVY = 400_000  # bytes: a page has a million
STEP = 5  # of 255, the steps of colours


def size(path: Path) -> tuple[int, int] | None:
    """Width and height in pixels of the page: those of the file, or fewer where it says that it is made denser."""
    if path.suffix == ".svg":
        head = path.read_text(encoding="utf-8")[:2000]
        sides = re.findall(r'\b(?:width|height)="([\d.]+)pt"', head)
        return (
            (round(float(sides[0]) * CSS_PIXELS / POINTS), round(float(sides[1]) * CSS_PIXELS / POINTS))
            if sides
            else None
        )
    with Image.open(path) as image:
        dense = max(1, round(image.info.get("dpi", (CSS_PIXELS,))[0] / CSS_PIXELS))
        return image.width // dense, image.height // dense


def place(picture: Tag, path: Path, html: BeautifulSoup) -> None:
    """Make one picture of a page a link to its file, or the drawing itself."""
    text = path.read_text(encoding="utf-8") if path.suffix == ".svg" else ""
    if "<a " in text:
        drawing = BeautifulSoup(text, "html.parser").svg
        assert drawing is not None
        picture.replace_with(drawing)
        return
    if not any(picture.has_attr(each) for each in ("width", "height", "style")) and (sides := size(path)):
        picture["width"], picture["height"] = map(str, sides)
    if not picture.find_parent("a"):
        picture.wrap(html.new_tag("a", attrs={"class": "enlarge", "href": str(picture["src"])}))


def smaller(picture: bytes) -> bytes:
    """A PNG in fewer bytes: as many pixels, their colours in steps that no eye sees; black and white stay.

    Of a photograph that is heavy all the same, the 256 colours that cover it best are kept.
    """
    content = BytesIO()
    with Image.open(BytesIO(picture)) as image:
        opaque = image.mode == "RGBA" and image.getchannel("A").getextrema()[0] == 255
        density = {"dpi": image.info["dpi"]} if "dpi" in image.info else {}
        whole: Image.Image = image.convert("RGB") if opaque else image
        if whole.mode in ("L", "RGB", "RGBA"):
            whole = whole.point(lambda value: round(value / STEP) * STEP)
        whole.save(content, "PNG", optimize=True, **density)
        if content.tell() > HEAVY and whole.mode == "RGB":
            content = BytesIO()
            cover, none = Image.Quantize.MAXCOVERAGE, Image.Dither.NONE
            whole.quantize(256, cover, kmeans=3, dither=none).save(content, "PNG", optimize=True, **density)
    return min(content.getvalue(), picture, key=len)


def figures(app: Sphinx, fault: Exception | None) -> None:
    """Do it to all pages, once they are written, then make pictures light; what is done already stays as it is."""
    if fault or app.builder.format != "html":
        return
    for page in Path(app.outdir).rglob("*.html"):
        html = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
        pictures = [each for each in html.select("article img[src]") if not each.find_parent(class_="widget")]
        for picture in pictures:
            path = Path(os.path.normpath(page.parent / unquote(str(picture["src"]))))
            if path.is_file():
                place(picture, path, html)
        if pictures:
            write_whole(page, str(html))
    for path in (Path(app.outdir) / "_images").glob("*.png"):
        write_whole(path, smaller(path.read_bytes()))


def setup(app: Sphinx) -> dict[str, Any]:
    """Entry point for Sphinx."""
    app.add_js_file("enlarge.js", loading_method="defer")
    app.connect("build-finished", figures, priority=850)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
