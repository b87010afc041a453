"""Loading of all data sets by name: arrays in memory, and image folders, whose images stay in files."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from ran.choices import choose
from ran.data import shapes
from ran.data.arrays import DataSet, ImageSet
from ran.data.cifar import DOWNLOADS, read_cifar
from ran.data.folders import FolderData, load_folder

Data = DataSet | FolderData
AnyData = TypeVar("AnyData", DataSet, FolderData)


def shortened(data: AnyData, train_images: int | None) -> AnyData:
    """`data` with `train_images` training images (see `head` of its parts), or all of them for None.

    Raises ValueError for as many as there are, or more: a run on all of them has one name only.
    """
    if train_images is not None and train_images >= len(data.train):
        raise ValueError(
            f"train_images must be less than the {len(data.train):,} training images of {data.name}, not "
            f"{train_images:,}: leave it out to train on all of them."
        )
    return replace(data, train=data.train.head(train_images))


def with_label_noise(data: AnyData, noise: float, seed: int) -> AnyData:
    """Change the label of each training image with probability `noise` to another class, each equally likely.

    The transition matrix of section 4.1 ("noisy label"): r = 1 - noise on the diagonal, (1 - r)/9 elsewhere for ten
    classes. Test labels stay clean. The same `seed` changes the same labels in the same way.
    """
    generator = torch.Generator().manual_seed(seed)
    labels, classes = data.train.labels, len(data.classes)
    changed = torch.rand(len(labels), generator=generator) < noise
    shift = torch.randint(1, classes, labels.shape, generator=generator)  # never 0: a change is to another class
    noisy = torch.where(changed, (labels + shift) % classes, labels)
    return replace(data, train=replace(data.train, labels=noisy))


def load(name: str, root: str | Path = "data", **reading: Any) -> Data:
    """Load `shapes`, `cifar10`, `cifar100` or `folder`. `root` is the folder that holds the CIFAR sets (see
    ran.data.cifar), or train/ and val/ of an image folder; `reading` are the options of `load_folder`.

    Raises ValueError for an unknown name or an incomplete set, and FileNotFoundError, which lists the paths searched,
    for a missing set.
    """
    return SOURCES[choose("dataset", name, SOURCES)](Path(root).expanduser(), **reading)


def _shapes(_: Path) -> DataSet:
    parts = (shapes.draw(split) for split in ("train", "test"))
    train, test = (ImageSet(*(torch.from_numpy(array) for array in part)) for part in parts)
    return DataSet("shapes", shapes.CLASSES, train, test)


def _cifar(name: str) -> Callable[[Path], DataSet]:
    def load_cifar(root: Path) -> DataSet:
        arrays = read_cifar(name, root)
        train, test = (
            ImageSet(torch.from_numpy(arrays[f"{part}_images"]), torch.from_numpy(arrays[f"{part}_labels"]))
            for part in ("train", "test")
        )
        return DataSet(name, tuple(arrays["classes"].tolist()), train, test)

    return load_cifar


FIXED: dict[str, Callable[[Path], DataSet]] = {"shapes": _shapes} | {  # sets of one image size
    name: _cifar(name) for name in DOWNLOADS
}
SOURCES: dict[str, Callable[..., Data]] = {**FIXED, "folder": load_folder}
