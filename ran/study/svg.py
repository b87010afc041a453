"""An SVG that grows downwards: boxes, words, arrows and links, in the colours of the page around it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape

WIDE = 360  # units; a phone shows it with nearly one pixel for each
STYLE = """
.sketch{width:100%;max-width:27rem;height:auto;display:block;margin:0 auto}
svg:root.sketch{font-family:sans-serif}
.sketch text{fill:var(--pst-color-text-base,#222);font-size:13px}
.sketch .small{font-size:11.5px}
.sketch .name{font-weight:600}
.sketch :is(rect,polygon){stroke:var(--pst-color-text-muted,#666)}
.sketch .line{stroke:var(--pst-color-text-muted,#666);stroke-width:1.2;fill:none}
.sketch .tip{fill:var(--pst-color-text-muted,#666)}
.sketch a{text-decoration:none;outline:none}
.sketch a:is(:hover,:focus-visible) :is(rect,polygon){stroke:var(--pst-color-primary,#125ac2);stroke-width:2.5}
.sketch a:is(:hover,:focus-visible) .name{text-decoration:underline}
"""


class Sketch:
    """What has been drawn, and `y`, how far down it reaches. Sizes are in units, of which WIDE make up the width."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.y = 4.0

    def text(self, x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> None:
        """Words on the line `y`; `anchor`, start, middle or end, is the part of them that stands at `x`."""
        self.parts.append(f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>')

    def box(self, x: float, y: float, wide: float, high: float, colour: str, strength: float = 0.2) -> None:
        """A rectangle with round corners, filled with so much of `colour` that words on it stay legible."""
        place = f'x="{x:g}" y="{y:g}" width="{wide:g}" height="{high:g}" rx="5"'
        self.parts.append(f'<rect {place} fill="{colour}" fill-opacity="{strength:g}"/>')

    def shape(self, points: Sequence[tuple[float, float]], colour: str, strength: float = 0.2) -> None:
        """A polygon, filled as a box is."""
        corners = " ".join(f"{x:g},{y:g}" for x, y in points)
        self.parts.append(f'<polygon points="{corners}" fill="{colour}" fill-opacity="{strength:g}"/>')

    def arrow(self, x: float, y: float, end: float) -> None:
        """Straight down, from `y` to `end`."""
        self.line(f"M{x:g} {y:g}V{end - 5:g}")
        self.parts.append(f'<path class="tip" d="M{x - 3.5:g} {end - 6:g}h7l-3.5 6z"/>')

    def line(self, path: str) -> None:
        """Any line, in the language of SVG paths."""
        self.parts.append(f'<path class="line" d="{path}"/>')

    @contextmanager
    def link(self, address: str) -> Iterator[None]:
        """What is drawn within leads to `address`."""
        self.parts.append(f'<a href="{escape(address)}">')
        yield
        self.parts.append("</a>")

    def svg(self, title: str, description: str) -> str:
        """The whole, with a title and a description for those who cannot see it."""
        name = "".join(letter if letter.isalnum() else "-" for letter in title.lower())
        named = f'role="group" aria-labelledby="{name}-title" aria-describedby="{name}-desc"'
        told = f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(description)}</desc>'
        size = f'viewBox="0 0 {WIDE} {self.y:g}"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" class="sketch" {size} {named}>{told}<style>{STYLE}</style>'
        return "\n".join([head, *self.parts, "</svg>"])
