"""How plots look: one colour and one marker for each method, text that a phone can show, sharp on every screen."""

import sys
from collections.abc import Iterable
from io import BytesIO, StringIO
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D

from ran.study.lettering import use_installed_fonts

# A phone shows a page 343 pixels wide: letters of 11 points in a figure of 6.4 inches are then 8 pixels high.
WIDTH = 6.4  # inches, of every figure of the book
SMALLEST = 11  # points
CSS_PIXELS = 96  # in an inch
SHARP = 2  # pixels of a PNG for each pixel of the page
MARGIN: dict[str, Any] = {"bbox_inches": "tight", "pad_inches": 0.03}
CELLS = 1000  # more cells of colour than that are smaller as pixels


class Style(NamedTuple):
    """What tells a method from the others: the colour and marker that it alone has, and its line."""

    colour: str
    marker: str
    line: str = "-"


METHODS = {
    "ARL": Style("#0173b2", "o"),
    "NAL": Style("#d55e00", "X", "--"),
    "f1": Style("#029e73", "^"),
    "f2": Style("#cc78bc", "v"),
    "f3": Style("#999933", "<"),
    "encoder-decoder": Style("#7b3294", "p"),
    "local-convolutions": Style("#7f7f7f", "*"),
    "Attention": Style("#0173b2", "o"),  # with ARL unless it says otherwise: the same method
    "AttentionNeXt": Style("#56b4e9", "h"),
    "AttentionInception": Style("#332288", "D"),
    "ResNet": Style("#de8f05", "s"),
    "ResNeXt": Style("#8c510a", "P"),
    "Inception-ResNet": Style("#882255", "d"),
    "WRN": Style("#1b1b1b", ">"),
}


def set_theme() -> None:
    """Set the style of all plots: letters large enough for a phone, on a light grid; in a notebook, sharp figures."""
    smallest = dict.fromkeys(("font.size", "xtick.labelsize", "ytick.labelsize", "legend.fontsize"), SMALLEST)
    size = {"figure.figsize": (WIDTH, 3.4), "axes.labelsize": SMALLEST, "axes.titlesize": SMALLEST}
    import seaborn as sns  # slow to import, and pictures of one explanation need only the sizes

    rc = smallest | size | {"figure.titlesize": SMALLEST, "svg.hashsalt": "ran"}
    sns.set_theme(context="notebook", style="whitegrid", palette="colorblind", rc=rc)
    use_installed_fonts()
    if "IPython" in sys.modules and (shell := sys.modules["IPython"].get_ipython()):
        _show_sharp(shell)


def style(name: str) -> Style:
    """The style of the method that `name` begins with: "NAL", "f1, mixed", "Attention-92"; else KeyError."""
    plain = name.replace("\u2011", "-")  # the hyphen at which no line breaks
    found = [method for method in METHODS if plain.startswith(method)]
    if not found:
        raise KeyError(f"{name!r} has no style: expected a name that begins with one of {', '.join(METHODS)}.")
    return METHODS[max(found, key=len)]


def line(name: str, recorded: bool = False) -> dict[str, Any]:
    """Options of `Axes.plot` for a method; its markers are filled where the number is the paper's, else hollow."""
    colour, marker, dashes = style(name)
    return {"color": colour, "marker": marker, "ls": dashes} | ({"mfc": "none", "mew": 1.6} if recorded else {})


def colours(names: Iterable[str]) -> dict[str, str]:
    """The palette of seaborn's bars for these methods: {name: colour}."""
    return {name: style(name).colour for name in names}


def lines(names: Iterable[str]) -> dict[str, Any]:
    """Options of seaborn's line plots, with the methods as hue and as style."""
    names = list(dict.fromkeys(names))
    dashes = {name: (4, 1.5) if style(name).line == "--" else "" for name in names}
    return {"palette": colours(names), "markers": {name: style(name).marker for name in names}, "dashes": dashes}


def marks(names: Iterable[str]) -> list[Line2D]:
    """What a legend shows for these methods: the marker of each, and its line."""
    return [Line2D([], [], label=name, **line(name)) for name in names]


def is_drawing(figure: Figure) -> bool:
    """Whether lines make up the figure, and no picture or map of many cells does: an SVG shows it best."""
    maps = [mesh.get_array() for mesh in figure.findobj(QuadMesh) if isinstance(mesh, QuadMesh)]
    cells = sum(each.size for each in maps if each is not None)
    return not figure.findobj(AxesImage) and cells <= CELLS


def as_svg(figure: Figure) -> str:
    """The figure as SVG; the same figure gives the same text."""
    content = StringIO()
    figure.savefig(content, format="svg", **MARGIN, metadata={"Date": None, "Creator": None})
    return content.getvalue()


def as_png(figure: Figure) -> bytes:
    """The figure as PNG, at twice the pixels that a page shows it with."""
    content = BytesIO()
    figure.savefig(content, format="png", **MARGIN, dpi=SHARP * CSS_PIXELS)
    return content.getvalue()


def _show_sharp(shell: Any) -> None:
    """Let a notebook show drawings as SVG and pictures as a PNG for dense screens."""
    plt.get_backend()
    from matplotlib_inline import backend_inline  # noqa: F401  sets formats of its own when it is imported

    formatters = shell.display_formatter.formatters
    formatters["image/svg+xml"].for_type(Figure, lambda figure: as_svg(figure) if is_drawing(figure) else None)
    formatters["image/png"].for_type(Figure, lambda figure: None if is_drawing(figure) else as_png(figure))
