"""A drawing of the attention module, made from its sizes: the paper's figure 2 as code."""

from typing import NamedTuple

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

LINE = "#555555"
COLOURS = {"unit": "#9ecae1", "pool": "#fdd0a2", "up": "#c7e9c0", "1×1": "#dadaeb", "gate": "#dadaeb"}


class Box(NamedTuple):
    """A drawn box: its centre and half its size. The unit is the horizontal distance of neighbouring mask units."""

    x: float
    y: float
    half_width: float = 0.4
    half_height: float = 0.31


def attention_module(p: int = 1, t: int = 2, r: int = 1, poolings: int = 3) -> Figure:
    """Draw an attention module with p, t, r and the number of poolings: one box per residual unit or layer.

    Labels: unit, residual unit; pool, max-pooling; up, bilinear up-sampling; 1×1, BN-ReLU-convolution. The trunk is at
    the top; the mask branch goes down one level per pooling, and back up.
    """
    figure, axes = plt.subplots(layout="constrained")
    split = _box(axes, "unit", 0, 0)
    for number in range(1, p):
        split = _box(axes, "unit", number, 0, split)

    previous, column, ways_down = split, split.x, []
    for scale in range(poolings):
        level = -1.1 - scale
        previous = _box(axes, "pool", column, level, previous)
        for _ in range(r):
            previous = _box(axes, "unit", previous.x + 1, level, previous)
        ways_down.append(previous)
        column = previous.x + 1
    for scale, way_down in reversed(list(enumerate(ways_down))):
        level = -1.1 - scale
        if scale < poolings - 1:  # the skip of one residual unit meets what comes back from below
            skip = _box(axes, "unit", way_down.x + 1, level, way_down)
            previous = _join(axes, "+", 0.17, previous.x + 1, level, skip, previous)
        previous = _box(axes, "unit", previous.x + 1, level, previous)
        previous = _box(axes, "up", previous.x + 1, level, previous)
    for label in ("1×1", "1×1", "gate"):
        previous = _box(axes, label, previous.x + 1, -1.1, previous)

    trunk, step = split, (previous.x + 0.5 - split.x) / (t + 1)
    for number in range(1, t + 1):
        trunk = _box(axes, "unit", split.x + step * number, 0, trunk)
    end = _join(axes, "(1 + M) · T", 0.6, previous.x + 1, 0, trunk, previous)
    for number in range(p):
        end = _box(axes, "unit", end.x + (1 if number else 1.25), 0, end)

    left, right, bottom, top = -0.6, end.x + 0.6, -1.1 - poolings, 0.85
    for label, height in (
        (f"trunk branch T: t = {t}", 0.5),
        (f"soft mask branch M: {poolings} pooling{'s' * (poolings > 1)}, r = {r}", bottom + 0.1),
    ):
        axes.text((split.x + end.x) / 2, height, label, ha="center", fontsize=10)
    axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    axes.axis("off")
    figure.set_size_inches(11, 11 * (top - bottom) / (right - left))
    return figure


def _box(axes: Axes, label: str, x: float, y: float, source: Box | None = None) -> Box:
    """Draw a labelled box, and an arrow from `source` to it."""
    box = Box(x, y)
    corner, pad = (x - box.half_width, y - box.half_height), 0.06
    patch = FancyBboxPatch(
        (corner[0] + pad, corner[1] + pad), 2 * (box.half_width - pad), 2 * (box.half_height - pad), f"round,pad={pad}"
    )
    axes.add_patch(patch)
    patch.set(facecolor=COLOURS[label], edgecolor=LINE, linewidth=0.8)
    axes.text(x, y, label, ha="center", va="center", fontsize=9)
    if source is not None:
        _arrow(axes, source, box)
    return box


def _join(axes: Axes, label: str, half_width: float, x: float, y: float, *sources: Box) -> Box:
    """Draw a node where branches meet, and an arrow from each of `sources` to it."""
    style = {"boxstyle": "round,pad=0.35", "facecolor": "#f7f7f7", "edgecolor": LINE, "linewidth": 0.8}
    axes.text(x, y, label, ha="center", va="center", fontsize=8, bbox=style)
    place = Box(x, y, half_width, 0.2)
    for source in sources:
        _arrow(axes, source, place)
    return place


def _arrow(axes: Axes, source: Box, target: Box) -> None:
    """Draw an arrow from the edge of `source` to the edge of `target`, with a right angle between different levels."""
    start, end, bend = (source.x + source.half_width, source.y), (target.x - target.half_width, target.y), "arc3"
    if source.y > target.y:
        start, bend = (source.x, source.y - source.half_height), "angle,angleA=-90,angleB=180,rad=4"
        if source.x == target.x:
            end, bend = (target.x, target.y + target.half_height), "arc3"
    elif source.y < target.y:
        end, bend = (target.x, target.y - target.half_height), "angle,angleA=0,angleB=90,rad=4"
    arrow = FancyArrowPatch(start, end, connectionstyle=bend, arrowstyle="-|>", mutation_scale=8, shrinkA=0, shrinkB=0)
    axes.add_patch(arrow)
    arrow.set(color=LINE, linewidth=0.9)
