"""Words of others in plots, such as names of classes: letters that a font has, and no formula."""

from functools import cache

from matplotlib import font_manager, rcParams
from matplotlib.ft2font import FT2Font

# asked for what the font of the plots lacks, where they are installed
FURTHER = (
    *(f"{family} {script}" for family in ("Noto Sans CJK", "Source Han Sans") for script in ("JP", "KR", "SC", "TC")),
    "WenQuanYi Zen Hei",
    "Hiragino Sans",
    "Apple SD Gothic Neo",
    "Yu Gothic",
    "Malgun Gothic",
    "Microsoft YaHei",
    "Noto Sans",
)


def use_installed_fonts() -> None:
    """Let plots take what the font of the theme lacks from those of FURTHER that are installed."""
    installed = {each.name for each in font_manager.fontManager.ttflist}
    rcParams["font.family"] = ["sans-serif", *(name for name in FURTHER if name in installed)]


def lettered(name: str) -> str:
    """`name` for a plot: letters that none of its fonts has as their numbers (\\u5927), and no `$` begins a formula."""
    known = {letter for family in rcParams["font.family"] for letter in _letters(family)}
    letters = (each if ord(each) in known else each.encode("ascii", "backslashreplace").decode() for each in name)
    return "".join(letters).replace("$", r"\$")


@cache
def _letters(family: str) -> frozenset[int]:
    path = font_manager.findfont(font_manager.FontProperties(family=[family]))
    return frozenset(FT2Font(path).get_charmap())
