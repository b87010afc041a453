"""Drawings of the attention module and its mask branch, made from their sizes: the paper's figure 2 as code."""

from typing import Any, NamedTuple

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from ran.study.styles import WIDTH

LINE = "#555555"
COLOURS = {"unit": "#9ecae1", "pool": "#fdd0a2", "up": "#c7e9c0", "1×1": "#dadaeb", "gate": "#dadaeb"}
PITCH = 0.56  # of the rows of boxes
FIRST = -4 * PITCH  # the row of the first pooling; the trunk, or what goes in and comes out, is at 0


class Box(NamedTuple):
    """A drawn box: its centre and half its size. The unit is a little more than the width of a box."""

    x: float
    y: float
    half_width: float = 0.43
    half_height: float = 0.2


def attention_module(p: int = 1, t: int = 2, r: int = 1, poolings: int = 3) -> Figure:
    """Draw an attention module with p, t, r and the number of poolings: one box per residual unit or layer.

    Labels: unit, residual unit; pool, max-pooling; up, bilinear up-sampling; 1×1, BN-ReLU-convolution. The trunk runs
    along the top; the mask branch goes down on the left, one level per pooling, and comes back up on the right.
    """
    figure, axes = plt.subplots(layout="constrained")
    join = Box(0.7 + max(2.4, 0.95 * t), 0, 0.7)
    mask, bottom = _mask_branch(axes, join.x, r, poolings)
    previous = Box(-0.6 - p, 0, 0)
    for number in range(p):
        previous = _box(axes, "unit", number - p, 0, previous)
    space = (join.x - join.half_width) / t
    for number in range(t):
        previous = _box(axes, "unit", space * (number + 0.5), 0, previous, min(0.43, 0.38 * space))
    _arrow(axes, Box(0, 0, 0, 0), Box(0, FIRST))
    previous = _join(axes, "(1 + M) · T", join, previous, mask)
    for number in range(p):
        previous = _box(axes, "unit", previous.x + (1 if number else 1.4), 0, previous)
    right = previous.x + previous.half_width + 0.35
    _arrow(axes, previous, Box(right, 0, 0))
    words = f"mask branch M: {poolings} pooling{'s' * (poolings > 1)}, r = {r}"
    axes.text(join.x / 2, 0.4, f"trunk branch T: t = {t}", ha="center")
    axes.text(join.x / 2, bottom - 0.55, words, ha="center")
    return _finish(figure, axes, (-0.6 - p, right, bottom - 0.7, 0.7))


def soft_mask(r: int = 1, poolings: int = 3, size: int = 32) -> Figure:
    """Draw the mask branch for a feature of `size` × `size` positions: what goes down, what crosses, what comes up.

    Boxes as in `attention_module`. The size stands beside each level.
    """
    figure, axes = plt.subplots(layout="constrained")
    up = 3.0
    mask, bottom = _mask_branch(axes, up, r, poolings, size)
    start, end, middle = Box(0, 2 * PITCH + FIRST, 0, 0.3), Box(up, 0, 0.5, 0.25), (bottom + FIRST) / 2
    _arrow(axes, start, Box(0, FIRST))
    _arrow(axes, mask, end)
    style: dict[str, Any] = {"ha": "center", "va": "center"}
    axes.text(0, start.y, f"feature\n{size}×{size}", **style)
    axes.text(up, 0.05, f"mask\n{size}×{size}", **style)
    axes.text(up / 2, FIRST, "skips carry across\nwhat pooling loses", **style, color=LINE)
    style |= {"rotation": 90, "color": LINE}
    axes.text(-1.7, middle, "going down: half the size each time,\na unit sees twice as far", **style)
    axes.text(up + 1.7, middle, "coming up: twice the size each time,\na value for every position", **style)
    return _finish(figure, axes, (-2.1, up + 2.1, bottom - 0.4, 0.45))


def _mask_branch(axes: Axes, up: float, r: int, poolings: int, size: int | None = None) -> tuple[Box, float]:
    """Draw the mask branch, down at x = 0 and up at x = `up`; its last box, and the height of its lowest row.

    On the way down, a level has its pooling and r units; on the way up a sum, a unit and the up-sampling. With `size`,
    the number of positions that it has stands beside each level.
    """
    rows = max(3, r + 1)
    ways: list[Box] = []
    for level in range(poolings):
        top = FIRST - PITCH * rows * level
        previous = _box(axes, "pool", 0, top, ways[-1] if ways else None)
        for number in range(r):
            previous = _box(axes, "unit", 0, top - PITCH * (rows - r + number), previous)
        ways.append(previous)
    for level, way in reversed(list(enumerate(ways))):
        y = way.y
        if level == poolings - 1:
            previous = _box(axes, "unit", up, y, way)
        else:  # the skip of one residual unit meets what comes back from below
            skip = _box(axes, "unit", up / 2, y, way)
            join = _join(axes, "+", Box(up, y, 0.17, 0.17), skip, previous)
            y += PITCH
            previous = _box(axes, "unit", up, y, join)
        if size is not None:
            side = -(-size // 2 ** (level + 1))  # halves rounded up, one after the other, are one division rounded up
            axes.text(-0.52, way.y, f"{side}×{side}", ha="right", va="center")
            axes.text(up + 0.52, y, f"{side}×{side}", va="center")
        previous = _box(axes, "up", up, FIRST - PITCH * (rows * level + rows - 3), previous)
    for number, label in enumerate(("1×1", "1×1", "gate")):
        previous = _box(axes, label, up, FIRST + PITCH * (number + 1 - (rows - 3)), previous)
    return previous, ways[-1].y


def _finish(figure: Figure, axes: Axes, limits: tuple[float, float, float, float]) -> Figure:
    """Set the limits, left, right, bottom and top, and a size with which they fill the width of a page."""
    left, right, bottom, top = limits
    axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    axes.axis("off")
    figure.set_size_inches(WIDTH, WIDTH * (top - bottom) / (right - left))
    return figure


def _box(axes: Axes, label: str, x: float, y: float, source: Box | None = None, half_width: float = 0.43) -> Box:
    """Draw a labelled box, and an arrow from `source` to it."""
    box = Box(x, y, half_width)
    _patch(axes, label, box, COLOURS[label])
    if source is not None:
        _arrow(axes, source, box)
    return box


def _join(axes: Axes, label: str, place: Box, *sources: Box) -> Box:
    """Draw a node where branches meet, and an arrow from each of `sources` to it."""
    _patch(axes, label, place, "#f7f7f7")
    for source in sources:
        _arrow(axes, source, place)
    return place


def _patch(axes: Axes, label: str, box: Box, colour: str) -> None:
    left, low, wide, high = box.x - box.half_width, box.y - box.half_height, 2 * box.half_width, 2 * box.half_height
    patch = FancyBboxPatch((left, low), wide, high, "round,pad=0,rounding_size=0.05")
    axes.add_patch(patch)
    patch.set(facecolor=colour, edgecolor=LINE, linewidth=0.8)
    axes.text(box.x, box.y, label, ha="center", va="center")


def _arrow(axes: Axes, source: Box, target: Box) -> None:
    """Draw an arrow from the edge of `source` to the edge of `target`, which lie in one row or one column."""
    if source.x == target.x:
        down = 1 if source.y > target.y else -1
        start, end = (source.x, source.y - down * source.half_height), (target.x, target.y + down * target.half_height)
    else:
        start, end = (source.x + source.half_width, source.y), (target.x - target.half_width, target.y)
    arrow = FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=9, shrinkA=0, shrinkB=0)
    axes.add_patch(arrow)
    arrow.set(color=LINE, linewidth=0.9)
