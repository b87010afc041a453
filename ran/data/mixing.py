"""Cutout, mixup and cutmix of whole batches on the device.

An image's partner is the image half a shuffle after it, so every epoch makes new pairs. Random numbers are drawn for a
whole epoch at once, by position in the shuffle, so accumulation and the number of devices do not change them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Beta


@dataclass(frozen=True)
class Mixing:
    """Augmentation of training images in addition to crops and flips; none by default.

    `cutout` is the side, in pixels, of a square that is erased from every image, at a random place that may overlap the
    border (DeVries and Taylor 2017). `mixup` gives λ times the image and 1 - λ times its partner, with λ from
    Beta(mixup, mixup) (Zhang et al. 2018). `cutmix` pastes a rectangle of the partner into half of the images; it has 1
    - λ of the area, less where the border clips it (Yun et al. 2019). Mixup, where given, then applies to the other
    half.
    """

    cutout: int = 0
    mixup: float = 0.0
    cutmix: float = 0.0

    @property
    def mixes(self) -> bool:
        """Whether images are mixed with partners, so that labels are probabilities."""
        return bool(self.mixup or self.cutmix)

    def draw(self, count: int, size: tuple[int, int], generator: torch.Generator, device: torch.device) -> "Mixture":
        """The random numbers of an epoch of `count` images of `size` (H, W), all drawn from `generator` (CPU)."""
        hole = patch = own = None
        if self.cutout:
            hole = _rectangles(torch.full((count, 2), self.cutout), size, generator)
        if self.mixes:
            own = _beta(self.mixup, count, generator) if self.mixup else torch.ones(count)
            area = torch.zeros(count)
            if self.cutmix:
                pasted = torch.rand(count, generator=generator) < 0.5
                area = torch.where(pasted, 1 - _beta(self.cutmix, count, generator), area)
                own = own.masked_fill(pasted, 1)
            sides = (area.sqrt()[:, None] * torch.tensor(size)).long()
            patch = _rectangles(sides, size, generator)
        return Mixture(*(None if each is None else each.to(device) for each in (hole, patch, own)))


PLAIN = Mixing()


@dataclass(frozen=True)
class Mixture:
    """The random numbers of an epoch of N images, by position in the shuffle, on the device; None for unused ones.

    `hole` and `patch` (N, 2, 2) are rectangles as in `_rectangles`; a patch may be empty. `own` (N,) is the weight of
    the image itself outside its patch; the partner has the rest.
    """

    hole: Tensor | None
    patch: Tensor | None
    own: Tensor | None

    def batch(
        self, part: slice, view: Callable[[slice | Tensor], Tensor], labels: Tensor, classes: int
    ) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) and labels at the positions `part` of the shuffle: (B,), or (B, classes) with mixing.

        `view` gives the normalised images at given positions; `labels` (N,) are in the order of the shuffle. Cutout
        comes before mixing. Each label is weighted by the fraction of the pixels (a patch clipped at the border) of its
        image.
        """
        images = self._erased(view, part)
        if self.own is None or self.patch is None:
            return images, labels[part]
        count = len(labels)
        partner = (torch.arange(part.start, part.stop, device=labels.device) + count // 2) % count
        own = self.own[part, None, None, None].expand(-1, 1, *images.shape[2:])
        own = own.masked_fill(_inside(self.patch[part], images), 0)  # (B, 1, H, W)
        numbers = torch.arange(classes, device=labels.device)
        own_labels, partner_labels = ((labels[places, None] == numbers).float() for places in (part, partner))
        mixed_labels = torch.lerp(partner_labels, own_labels, own.mean((2, 3)))
        return torch.lerp(self._erased(view, partner), images, own), mixed_labels

    def _erased(self, view: Callable[[slice | Tensor], Tensor], places: slice | Tensor) -> Tensor:
        images = view(places)
        # zero, once normalised, is the mean colour
        return images if self.hole is None else images.masked_fill_(_inside(self.hole[places], images), 0)


def _beta(alpha: float, count: int, generator: torch.Generator) -> Tensor:
    """(count,) draws from Beta(alpha, alpha). PyTorch samples with the global generator: seeded here, then restored."""
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return Beta(alpha, alpha).sample((count,))


def _rectangles(sides: Tensor, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Rectangles (N, 2, 2) with `sides` (N, 2), centred on random pixels of images of `size` (H, W).

    [:, 0] is start and stop in rows, [:, 1] start and stop in columns; both may lie beyond the border.
    """
    centre = torch.stack([torch.randint(side, (len(sides),), generator=generator) for side in size], 1)
    start = centre - sides // 2
    return torch.stack([start, start + sides], 2)


def _inside(rectangles: Tensor, images: Tensor) -> Tensor:
    """Which pixels of `images` (B, C, H, W) lie in `rectangles` (B, 2, 2). (B, 1, H, W) bool"""
    start, stop = rectangles[:, :, :, None].unbind(2)  # (B, 2, 1) each
    rows, columns = (
        (start[:, axis] <= place) & (place < stop[:, axis])
        for axis, place in enumerate(torch.arange(side, device=images.device) for side in images.shape[2:])
    )
    return (rows[:, :, None] & columns[:, None, :])[:, None]
