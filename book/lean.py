"""Sphinx extension: take out of the built book what no page uses, so that a page is small at first load.

The theme brings an icon script of 1.5 MB, of which the book shows some fifteen icons, source maps, translations and a
client for live kernels. Here the icons become a font of their own, and the rest is deleted. The installed packages stay
as they are: it is done on the copies in the built book, after each build.
"""

import re
import shutil
from pathlib import Path
from typing import Any

import pydata_sphinx_theme
from bs4 import BeautifulSoup
from mathml import cut
from sphinx.application import Sphinx

from ran.files import write_whole

THEME = Path(pydata_sphinx_theme.__file__).parent / "theme" / "pydata_sphinx_theme" / "static"
STYLE = Path("styles") / "pydata-sphinx-theme.css"
FONTS = Path("vendor") / "fontawesome" / "webfonts"
ICON = re.compile(r'((?:\.fa-[\w-]+:before,?)+)\{content:"([^"]+)"\}')
FACE = re.compile(r"@font-face\{[^}]*/(fa-[\w-]+)\.woff2[^}]*\}")
UNUSED = (
    "**/*.map",
    "locales",
    "**/*webpack-macros.html",
    "scripts/fontawesome.js*",
    "sphinx-thebe.*",
    "vendor/fontawesome",
)


def named(static: Path, pages: list[Path]) -> set[str]:
    """The icons, `fa-bars`, that pages and scripts ask for by class."""
    files = [*pages, *(each for each in static.rglob("*.js") if each.stat().st_size < 1e6)]
    return {name for file in files for name in re.findall(r"\bfa-[a-z0-9-]+", file.read_text(encoding="utf-8"))}


def sign(content: str) -> str:
    """The character that CSS writes as `\\f0c9`."""
    return chr(int(content[1:], 16)) if content.startswith("\\") and len(content) > 2 else content[-1]


def icons(static: Path, pages: list[Path]) -> None:
    """Keep the icons that are used: their rules in the style sheet of the theme, and their shapes in a font."""
    style, wanted, used = (THEME / STYLE).read_text(encoding="utf-8"), named(static, pages), set()

    def keep(rule: re.Match[str]) -> str:
        names = [name for name in rule[1].split(",") if name.removeprefix(".").removesuffix(":before") in wanted]
        if names:
            used.add(sign(rule[2]))
        return f'{",".join(names)}{{content:"{rule[2]}"}}' if names else ""

    def face(rule: re.Match[str]) -> str:  # the solid icons are all that the theme shows
        if rule[1] != "fa-solid-900":
            return ""
        return re.sub(r"src:[^}]*", f'src:url(../{(FONTS / rule[1]).as_posix()}.woff) format("woff")', rule[0])

    style = ICON.sub(keep, style)
    styles = [style, *(each.read_text(encoding="utf-8") for each in static.rglob("*.css") if each.name != STYLE.name)]
    for each in styles:  # those that a style sheet shows itself, such as those of admonitions
        used |= {chr(int(code, 16)) for code in re.findall(r"\\([ef][0-9a-f]{3})\b", each)}
        used |= set(re.findall("[\ue000-\uf8ff]", each))
    shutil.rmtree(static / "vendor" / "fontawesome", ignore_errors=True)
    cut(THEME / FONTS / "fa-solid-900.ttf", used, static / FONTS / "fa-solid-900.woff")
    write_whole(static / STYLE, re.sub(r"/\*# sourceMappingURL.*", "", FACE.sub(face, style)))


def unload(path: Path) -> None:
    """Take out of a page the scripts and styles that are deleted, and those of cards and tabs where it has none."""
    html = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
    for element in html.select("script, link[rel=stylesheet]"):
        address = element.get("src") or element.get("href") or element.get_text()
        spare = "sphinx-design" in address or "design-tabs" in address
        if spare and not html.select_one("[class*=sd-]"):
            element.decompose()
        elif "fontawesome.js" in address or "sphinx-thebe." in address or "THEBE_JS_URL" in address:
            element.decompose()
    write_whole(path, str(html))


def lighten(app: Sphinx, fault: Exception | None) -> None:
    """Do all of it, once the pages are written."""
    if fault or app.builder.format != "html":
        return
    out = Path(app.outdir)
    static = out / "_static"
    for pattern in UNUSED:
        for each in list(static.glob(pattern)):
            shutil.rmtree(each) if each.is_dir() else each.unlink()
    pages = list(out.rglob("*.html"))
    for page in pages:
        unload(page)
    icons(static, pages)


def setup(app: Sphinx) -> dict[str, Any]:
    """Entry point for Sphinx."""
    app.connect("build-finished", lighten, priority=900)  # after those that still copy files
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
