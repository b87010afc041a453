"""Data sets as whole arrays, and augmentation of whole batches on the device (section 4.1): no worker processes.

Image folders, whose images stay in files, are in ran.data.folders.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ran.data import shapes
from ran.data.mixing import PLAIN, Mixing
from ran.data.normalisation import normalise
from ran.data.shards import WHOLE, Shard

IMAGE_SIZE = shapes.SIZE  # pixels along a side, in all sets but image folders
PADDING = 4  # pixels on each side before the random crop


@dataclass(frozen=True)
class ImageSet:
    """Images (N, H, W, 3) uint8, labels (N,) int64 and, where they are known, the true object masks (N, H, W) bool."""

    images: Tensor
    labels: Tensor
    masks: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def head(self, count: int | None) -> "ImageSet":
        """The first `count` images; all of them for None."""
        return self.take(slice(count))

    def take(self, where: Tensor | slice) -> "ImageSet":
        """The images at the indices `where`."""
        return ImageSet(self.images[where], self.labels[where], None if self.masks is None else self.masks[where])


@dataclass(frozen=True)
class DataSet:
    """A training set and a test set. The order of the images does not depend on the storage format."""

    name: str
    classes: tuple[str, ...]
    train: ImageSet
    test: ImageSet
    skipped: ClassVar[tuple[str, ...]] = ()  # no corrupt files: a set that has any is refused
    left_out: ClassVar[tuple[str, ...]] = ()
    report: ClassVar[tuple[str, ...]] = ()  # nothing to tell: it is whole, or refused

    @cached_property
    def checksum(self) -> str:
        """sha256 over every image and label; does not depend on the storage format."""
        digest = hashlib.sha256()
        for part in (self.train, self.test):
            digest.update(part.images.numpy().tobytes())
            digest.update(part.labels.numpy().tobytes())
        return digest.hexdigest()

    @cached_property
    def mean(self) -> Tensor:
        """Per-channel mean of the training pixels, scaled to [0, 1]. (3,)"""
        return self.train.images.double().mean((0, 1, 2)).float() / 255

    @cached_property
    def std(self) -> Tensor:
        """Per-channel standard deviation of the training pixels, scaled to [0, 1]. (3,)"""
        return self.train.images.double().std((0, 1, 2)).float() / 255

    def normalise(self, images: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 → (B, 3, H, W) float32 in channels_last order, mean 0 and deviation 1 in each channel.

        The paper subtracts the mean and does not say how pixels are scaled; this book divides by the deviation.
        """
        return normalise(images, self.mean, self.std)

    def training_batches(
        self, size: int, device: torch.device, shard: Shard = WHOLE, mixing: Mixing = PLAIN
    ) -> "TrainingBatches":
        return TrainingBatches(self, size, device, shard, mixing)

    def test_batches(self, device: torch.device, shard: Shard = WHOLE) -> Iterator[tuple[Tensor, Tensor]]:
        return evaluation_batches(self, device, shard=shard)


class TrainingBatches:
    """A training set on its device; every epoch is a new shuffle with new crops and flips, gathered batch by batch.

    `batch_size` images make a step, and `len` is the number of steps in an epoch. `shard` selects this device's images
    of every step; `mixing` adds cutout, mixup and cutmix.
    """

    def __init__(
        self, data: DataSet, batch_size: int, device: torch.device, shard: Shard = WHOLE, mixing: Mixing = PLAIN
    ):
        self.data, self.device, self.mixing = data, device, mixing
        self.size = min(batch_size, len(data.train))
        self.portions = shard.of_step(self.size)
        self.height, self.width = data.train.images.shape[1:3]
        images = torch.from_numpy(_pad(data.train.images.numpy(), (255 * data.mean).round().byte().numpy()))
        self.padded = images.to(device)  # (N, H + 8, W + 8, 3) uint8
        self.labels = data.train.labels.to(device)

    def __len__(self) -> int:
        return len(self.labels) // self.size  # the last, incomplete batch of a shuffle is left out

    def epoch(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (images (B, 3, H, W) float32 channels_last, labels (B,)); random numbers come from `generator` (CPU).

        With mixup or cutmix, labels are probabilities (B, classes).
        """
        count = len(self.labels)
        order = torch.randperm(count, generator=generator).to(self.device)
        top, left = torch.randint(2 * PADDING + 1, (2, count, 1), generator=generator).to(self.device)
        flipped = torch.rand(count, 1, generator=generator).to(self.device) < 0.5
        rows = torch.arange(self.height, device=self.device)
        columns = torch.arange(self.width, device=self.device)
        labels = self.labels[order]
        # drawn last, so that shuffle, crops and flips are the same with and without mixing
        mixture = self.mixing.draw(count, (self.height, self.width), generator, self.device)

        def view(places: slice | Tensor) -> Tensor:
            index = order[places]
            across = left[places] + torch.where(flipped[places], columns.flip(0), columns)  # (B, W)
            # one gather crops, flips and batches, and the result is already channels_last
            images = self.padded[
                index[:, None, None], (top[places] + rows)[:, :, None], across[:, None, :]
            ]  # (B, H, W, 3)
            return self.data.normalise(images)

        for start, portion in product(range(0, len(self) * self.size, self.size), self.portions):
            part = slice(start + portion.start, start + portion.stop)
            yield mixture.batch(part, view, labels, len(self.data.classes))


def _pad(images: NDArray, colour: NDArray) -> NDArray:
    """Surround images (N, H, W, 3) by PADDING pixels of `colour`, the training mean: zero once normalised."""
    count, height, width, _ = images.shape
    padded = np.empty((count, height + 2 * PADDING, width + 2 * PADDING, 3), np.uint8)
    padded[:] = colour
    padded[:, PADDING:-PADDING, PADDING:-PADDING] = images
    return padded


def evaluation_batches(
    data: DataSet, device: torch.device, batch_size: int = 250, shard: Shard = WHOLE
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the test set in order, not augmented: (images (B, 3, H, W) float32 channels_last, labels (B,))."""
    mine = shard.of_whole(len(data.test))
    parts = (whole[mine].split(batch_size) for whole in (data.test.images, data.test.labels))
    for images, labels in zip(*parts, strict=True):
        yield data.normalise(images.to(device)), labels.to(device)
