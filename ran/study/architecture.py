"""The whole network as a drawing, with sizes, cost and links: the paper's figure 2 for any of the networks."""

import pandas as pd

from ran.model import STEMS, NetworkConfig, ResidualAttentionNetwork, cost
from ran.study.labels import label
from ran.study.styles import METHODS
from ran.study.svg import WIDE, Sketch

LEFT, RIGHT, GAP = 8, WIDE - 8, 12
TRUNK, MASK = 82, 246  # the middle of the two branches
GREY, TRUNKS, MASKS = "#7f7f7f", METHODS["ResNet"].colour, METHODS["ARL"].colour
# the pages that explain a part, beside the page that shows the drawing
UNIT, SOFT_MASK, MODULE, GATE = (
    f"{page}.html" for page in ("01_residual_unit", "02_soft_mask", "03_attention_module", "04_attention_types")
)
CODE = "05_full_network.html#the-network-in-a-dozen-lines"


def network_drawing(network: ResidualAttentionNetwork, size: int | None = None) -> str:
    """The network as SVG text, from an image of `size` × `size` pixels at the top to the classes at the bottom.

    Each block holds the shape of its output, (channels × height × width), and what it costs, and links to the chapter
    that explains it. Modules that follow each other are drawn once, as are the units at the end of a stage. Every
    number is counted on `network`, which may be on the meta device; `size` defaults to its usual one.
    """
    config, stem = network.config, STEMS[network.config.stem]
    counted = cost(network, size, branches=True).set_index("block")
    sketch, side = Sketch(), size or stem.image_size
    _words(sketch, f"image: 3 × {side} × {side}")
    _block(sketch, CODE, GREY, f"stem: {stem.kernel}×{stem.kernel}{', pooling' * stem.pools}", counted.loc["stem"])
    for number, stage in enumerate(config.stages, 1):
        _words(sketch, f"stage {number}")
        halves = f", stride {stage.stride}" if stage.stride > 1 else ""
        _block(sketch, UNIT, TRUNKS, f"residual unit{halves}", counted.loc[f"stage{number}_unit"])
        if stage.modules:
            rows = [counted.loc[f"stage{number}_module1{part}"] for part in ("", ".trunk", ".mask")]
            _module(sketch, config, stage.modules, stage.poolings, *rows)
        if stage.tail:
            name = "residual unit" if stage.tail == 1 else f"{stage.tail} residual units, each"
            _block(sketch, UNIT, TRUNKS, name, counted.loc[f"stage{number}_tail1"])
    _words(sketch, "head")
    _block(sketch, CODE, GREY, "average pool, classifier", counted.loc["head"], f"{config.num_classes:,} classes")
    total = counted[~counted.index.str.contains(".", regex=False)][["parameters", "multiply_adds"]].sum()
    sketch.text(WIDE / 2, sketch.y + 14, f"in all {_cost(total)}", "name small", "middle")
    sketch.y += 20
    return sketch.svg(label(config.name), _description(config, total))


def _words(sketch: Sketch, text: str) -> None:
    """What comes in, or where a stage begins, beside the arrow."""
    sketch.text(LEFT, sketch.y + 12, text, "name")
    sketch.arrow(WIDE / 2, sketch.y, sketch.y + 20)
    sketch.y += 20


def _block(sketch: Sketch, page: str, colour: str, name: str, row: pd.Series, shape: str = "") -> None:
    """A box of the whole width: its name and the shape of its output; below them, what it costs."""
    with sketch.link(page):
        sketch.box(LEFT, sketch.y, RIGHT - LEFT, 42, colour)
        _heading(sketch, name, row, shape)
    sketch.y += 42 + GAP
    sketch.line(f"M{WIDE / 2:g} {sketch.y - GAP:g}v{GAP}")


def _heading(sketch: Sketch, name: str, row: pd.Series, shape: str = "") -> None:
    height = f"{row.height:g}"
    sketch.text(LEFT + 8, sketch.y + 17, name, "name")
    sketch.text(RIGHT - 8, sketch.y + 17, shape or f"{row.channels:g} × {height} × {height}", "", "end")
    sketch.text(LEFT + 8, sketch.y + 34, _cost(row), "small")


def _module(
    sketch: Sketch, config: NetworkConfig, count: int, poolings: int, row: pd.Series, trunk: pd.Series, mask: pd.Series
) -> None:
    """A frame with p units, the two branches side by side, the gate, what joins them, and p units again."""
    start, ends = sketch.y, 30 * bool(config.p)
    high = 216 + 2 * ends
    with sketch.link(MODULE):
        sketch.box(LEFT, start, RIGHT - LEFT, high, MASKS, 0.05)
        _heading(sketch, "attention module" if count == 1 else f"{count} attention modules, each", row)
    sketch.y += 44
    if config.p:
        _units(sketch, config.p)
    for middle in (TRUNK, MASK):
        sketch.arrow(middle, sketch.y, sketch.y + 12)
    sketch.y += 12
    _branches(sketch, config, poolings, row, trunk, mask)
    with sketch.link(GATE):
        sketch.box(MASK - 60, sketch.y, 120, 22, MASKS)
        sketch.text(MASK, sketch.y + 15, f"gate {label(config.gate)}", "small name", "middle")
    joined = sketch.y + 30
    sketch.line(f"M{TRUNK} {sketch.y - 12:g}V{joined + 11:g}h28M{MASK} {sketch.y + 22:g}V{joined + 11:g}h-32")
    with sketch.link(MODULE):
        sketch.box(TRUNK + 28, joined, MASK - TRUNK - 60, 22, GREY)
        text = "(1 + M) · T" if config.attention == "arl" else "M · T"
        sketch.text((TRUNK + MASK - 4) / 2, joined + 15, text, "small name", "middle")
    sketch.y = joined + 22
    if config.p:
        sketch.y += 8
        sketch.line(f"M{(TRUNK + MASK - 4) / 2:g} {joined + 22:g}v8")
        _units(sketch, config.p)
    sketch.y = start + high + GAP
    sketch.line(f"M{WIDE / 2:g} {sketch.y - GAP:g}v{GAP}")


def _units(sketch: Sketch, count: int) -> None:
    """A thin box for the p units before or after the branches."""
    with sketch.link(UNIT):
        sketch.box(LEFT + 8, sketch.y, RIGHT - LEFT - 16, 22, TRUNKS)
        sketch.text(WIDE / 2, sketch.y + 15, _some(count, "residual unit"), "small name", "middle")
    sketch.y += 22


def _branches(
    sketch: Sketch, config: NetworkConfig, poolings: int, row: pd.Series, trunk: pd.Series, mask: pd.Series
) -> None:
    """The trunk as a box; the mask branch narrow where its feature is small, or as a box where it keeps its size."""
    top, high = sketch.y, 92
    with sketch.link(UNIT):
        sketch.box(TRUNK - 62, top, 124, high, TRUNKS)
        words = ["trunk branch T", _some(config.t, "residual unit"), *_cost(trunk).split(", ")]
        for line, text in enumerate(words):
            sketch.text(TRUNK, top + 20 + 20 * line, text, "small" if line else "small name", "middle")
    whole = small = int(row.height)
    for _ in range(poolings):
        small = -(-small // 2)
    scales = config.mask == "encoder-decoder"
    way = f"{whole}×{whole} → {small}×{small} → {whole}×{whole}" if scales else label(config.mask)
    words = ["mask branch M", way, *_cost(mask).split(", ")]
    wide, narrow, middle = 96.0, 82.0 if scales else 96.0, top + high / 2
    corners = [(wide, top), (wide, top + 18), (narrow, middle), (wide, top + high - 18), (wide, top + high)]
    around = [(MASK + x, y) for x, y in corners] + [(MASK - x, y) for x, y in reversed(corners)]
    with sketch.link(SOFT_MASK):
        sketch.shape(around, MASKS)
        for line, text in enumerate(words):
            sketch.text(MASK, top + 20 + 20 * line, text, "small" if line else "small name", "middle")
    sketch.y = top + high + 12
    sketch.arrow(MASK, sketch.y - 12, sketch.y)


def _description(config: NetworkConfig, total: pd.Series) -> str:
    stages = []
    for number, stage in enumerate(config.stages, 1):
        units, modules = _some(1 + stage.tail, "residual unit"), _some(stage.modules, "attention module")
        stages.append(f"stage {number}: {stage.channels} channels, {units}, {modules}")
    return f"From the image down: stem; {'; '.join(stages)}; average pool and classifier. In all {_cost(total)}."


def _some(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _cost(row: pd.Series) -> str:
    return f"{_short(row.parameters)} parameters, {_short(row.multiply_adds)} multiply-adds"


def _short(number: float) -> str:
    """A number in three digits: 432, 8.19k, 1.84M, 6.27G."""
    for unit, least in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= 0.9995 * least:
            return f"{number / least:.3g}{unit}" if number < 999.5 * least else f"{number / least:.0f}{unit}"
    return f"{number:.0f}"
