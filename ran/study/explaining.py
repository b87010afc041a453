"""The paper's figure 1 for one picture: features and masks of every attention module, laid over the picture."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ran.files import cannot_write, write_whole
from ran.inference import DEFAULT, Explanation
from ran.runs import option
from ran.study.lettering import lettered
from ran.study.styles import SMALLEST, WIDTH

SIDE = 256  # pixels of the picture below each map
FURTHER = 2  # channels whose masks are shown beside the one that is followed through the module
CELL = 0.95  # inches
LEGEND = (
    "Features before and after the mask: red above zero, blue below,\n"
    "on one scale. Masks: bright where high, each on its own scale,\n"
    "which stands below it. ch.: channel."
)


@dataclass(frozen=True)
class ExplainConfig:
    """The parameters of notebooks/explain.ipynb."""

    image: str = option("book/_static/cat.jpg", "file of the picture, seen from the repository")
    weights: str = option(DEFAULT, "a published set, the folder of a run, or a file of weights")


def explanation(found: Explanation, title: str = "") -> Figure:
    """Above, the picture, the part that the network sees and its answers; below, one row for each attention module.

    A row follows the channel whose mask varies most over positions: its features before the mask, its mask, its
    features after; then the mean mask, and the masks of the next channels in that order. Before and after share one
    colour scale, red above and blue below zero; a mask is scaled to its own range, which stands below it.
    """
    rows = len(found.modules)
    heights = 2.2, (CELL + 0.85) * rows + 0.5
    figure = plt.figure(figsize=(WIDTH, sum(heights)), layout=ConstrainedLayoutEngine(hspace=0.06))
    above, below = figure.subfigures(2, 1, height_ratios=heights, squeeze=False)[:, 0]
    if title:
        above.suptitle(lettered(title), fontsize=SMALLEST)
    _answers(above, found)
    crop = found.picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC, found.seen)
    below.supxlabel(LEGEND, fontsize=SMALLEST)
    grid = below.subplots(rows, 4 + FURTHER, squeeze=False)
    for row, module in zip(grid, found.modules, strict=True):
        for axes in row:
            axes.set(xticks=[], yticks=[])
            for spine in axes.spines.values():
                spine.set_visible(False)
            axes.imshow(crop.convert("L"), cmap="gray", vmin=0, vmax=255)
        channels = module.varying(1 + FURTHER)
        first = channels[0]
        top = max(branch[first].abs().max().item() for branch in (module.trunk, module.attended))
        for axes, branch in ((row[0], module.trunk), (row[2], module.attended)):
            _lay_signed(axes, branch[first], top)
        for axes, mask in zip(row[[1, 3, *range(4, 3 + len(channels))]], _masks(module.mask, channels), strict=True):
            _lay_mask(axes, mask)
        for axes in row[3 + len(channels) :]:
            axes.set_visible(False)  # a narrow network has no more channels
        stage, number = module.name.split("_module")
        count, height, width = module.mask.shape
        row[0].set_ylabel(f"{stage.replace('stage', 'stage ')}\nmodule {number}\n{height}×{width}", fontsize=SMALLEST)
        heads = [f"{part}\nch. {first}" for part in ("before", "mask", "after")] + [f"mean mask\nof {count}"]
        for axes, text in zip(row, [*heads, *(f"mask\nch. {each}" for each in channels[1:])], strict=False):
            axes.set_title(text, fontsize=SMALLEST, pad=3)
    return figure


def picture_files(names: Sequence[str], folder: Path) -> dict[str, Path]:
    """A file in `folder` for the explanation of every picture of `names`, by name: no two are the same file.

    Raises NotADirectoryError where `folder` is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{str(folder)!r} is a file: expected a folder for the figures.")
    files: dict[str, Path] = {}
    for name in names:
        stem, number = Path(name).stem, 1
        while (path := folder / f"{stem}-attention{f'-{number}' if number > 1 else ''}.png") in files.values():
            number += 1
        files[name] = path
    return files


def save_explanation(found: Explanation, path: Path, title: str = "") -> Path:
    """Write the figure as a PNG, whole or not at all, in a folder that is made where it is missing; returns `path`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path.parent, error) from error
    figure, content = explanation(found, title), BytesIO()
    figure.savefig(content, format="png", dpi=220)
    plt.close(figure)
    write_whole(path, content.getvalue())
    return path


def _masks(mask: Tensor, channels: list[int]) -> Iterator[Tensor]:
    """The mask of the first channel, the mean mask, the masks of the other channels, (H, W) each."""
    yield from (mask[channels[0]], mask.mean(0), *(mask[channel] for channel in channels[1:]))


def _answers(above: SubFigure, found: Explanation) -> None:
    """The whole picture with the part that is seen, that part in the network's own pixels, and the answers as bars."""
    whole, seen, bars = above.subplots(1, 3, width_ratios=(1.3, 1, 2.2))
    left, top, right, bottom = found.seen
    shown = found.picture.copy()
    shown.thumbnail((600, 600))
    width, height = found.picture.size
    whole.imshow(shown, extent=(0, width, height, 0))
    for x, y, wide, high in ((0, 0, left, height), (right, 0, width - right, height)) + (
        (left, 0, right - left, top),
        (left, bottom, right - left, height - bottom),
    ):
        whole.add_patch(Rectangle((x, y), wide, high, color="white", alpha=0.65, lw=0))
    whole.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, color="C3", lw=1.5))
    whole.set(xlim=(0, width), ylim=(height, 0))
    whole.set_title(f"picture\n{width}×{height}", fontsize=SMALLEST, pad=3)
    seen.imshow(found.pixels.numpy())
    seen.set_title("the network reads\n{}×{}".format(*found.pixels.shape[:2]), fontsize=SMALLEST, pad=3)
    for axes in (whole, seen):
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set_visible(False)
    names, shares = zip(*found.likeliest, strict=True)
    places = range(len(names))
    bars.barh(places, [100 * share for share in shares], color="C0", height=0.7)
    for place, share in zip(places, shares, strict=True):
        bars.text(100 * share + 1.5, place, f"{share:.1%}", va="center", fontsize=SMALLEST)
    bars.set_yticks(places, [lettered(name) for name in names], fontsize=SMALLEST)
    bars.set(xlim=(0, 115), ylim=(len(names) - 0.5, -0.5), xticks=[])
    bars.grid(False)
    for side in ("top", "right", "bottom"):
        bars.spines[side].set_visible(False)
    bars.set_title("likeliest classes", fontsize=SMALLEST, pad=3)


def _fine(values: Tensor) -> NDArray:
    """(H, W) → (SIDE, SIDE), linear between the positions."""
    fine = F.interpolate(values[None, None], size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    return fine[0, 0].numpy()


def _lay_signed(axes: Axes, features: Tensor, top: float) -> None:
    """Features over the picture: the larger, the less of it shows through."""
    values = _fine(features) / max(top, 1e-12)
    axes.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1, alpha=np.clip(0.25 + np.abs(values), 0, 0.9))
    axes.set_xlabel(f"{features.min():.2f}\nto {features.max():.2f}", fontsize=SMALLEST, labelpad=2)


def _lay_mask(axes: Axes, mask: Tensor) -> None:
    axes.imshow(_fine(mask), cmap="inferno", alpha=0.65)
    axes.set_xlabel(f"{mask.min():.2f}\nto {mask.max():.2f}", fontsize=SMALLEST, labelpad=2)
