"""What every attention module does to one picture: features before and after it, and its soft mask (figure 1)."""

from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from ran.inference.prediction import evaluating, predict
from ran.inference.weights import Trained


@dataclass(frozen=True)
class ModuleTrace:
    """The branches of one attention module for one picture, (C, H, W) each; `name` is as in the network's trace."""

    name: str
    trunk: Tensor
    mask: Tensor
    attended: Tensor

    @property
    def mean_mask(self) -> Tensor:
        """The mask averaged over channels, (H, W)."""
        return self.mask.mean(0)

    def varying(self, count: int) -> list[int]:
        """The `count` channels whose masks vary most over positions (by standard deviation), the first one most."""
        deviation = self.mask.std((1, 2), correction=0)  # (C,)
        chosen: list[int] = deviation.topk(min(count, len(deviation))).indices.tolist()
        return chosen


@dataclass(frozen=True)
class Explanation:
    """A picture as the network sees it: `picture` whole, `seen` (left, top, right, bottom) in its pixels, `pixels`
    (size, size, 3) uint8, the likeliest classes with probabilities, and all attention modules in forward order."""

    picture: Image.Image
    seen: tuple[float, float, float, float]
    pixels: Tensor
    likeliest: list[tuple[str, float]]
    modules: tuple[ModuleTrace, ...]


@torch.inference_mode()
def explain(trained: Trained, picture: Image.Image) -> Explanation:
    """Features and masks of every attention module for an RGB picture of any size.

    Raises ValueError for a network without attention modules.
    """
    if not trained.network.config.has_modules:
        raise ValueError(f"{trained.network.config.name} has no attention modules, and so no masks to show.")
    pixels, trace = trained.crop(picture), dict[str, Tensor]()
    with evaluating(trained.network):
        trained.network(trained.normalise(pixels[None]), trace)
    names = [name.removesuffix(".mask") for name in trace if name.endswith(".mask")]
    modules = tuple(
        ModuleTrace(name, *(trace[f"{name}.{branch}"][0] for branch in ("trunk", "mask", "attended"))) for name in names
    )
    width, height = picture.size
    side = min(width, height) / trained.margin
    left, top = (width - side) / 2, (height - side) / 2
    return Explanation(picture, (left, top, left + side, top + side), pixels, predict(trained, picture), modules)
