"""Image folders of any size (section 4.2): indexed once, then decoded and augmented by worker processes."""

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ran.data.class_folders import Listing, in_words, kinds, list_part
from ran.data.crops import augmentation, centre_crop
from ran.data.folder_index import INDEX, index_files
from ran.data.mixing import PLAIN, Mixing
from ran.data.normalisation import MEAN, STD, normalise
from ran.data.pictures import as_tensor, read_picture
from ran.data.shards import WHOLE, Shard
from ran.interruption import end_with_parent

if TYPE_CHECKING:
    from torchvision.transforms import v2

CORRUPT_LIMIT = 0.01  # share of a part's files, rounded up to whole files, that may be skipped
EVALUATION_BATCH = 64


@dataclass(frozen=True)
class FolderPart:
    """Images in files below `root`: file `names`, `digests` of their bytes, and labels (N,) int64.

    Images are cropped to squares of `side` pixels. `skipped` names the corrupt files that are left out.
    """

    root: Path
    names: tuple[str, ...]
    digests: tuple[str, ...]
    labels: Tensor
    side: int
    skipped: tuple[str, ...] = ()
    masks: None = None  # the true object masks are not known

    def __len__(self) -> int:
        return len(self.labels)

    def head(self, count: int | None) -> "FolderPart":
        """`count` evenly spaced images, since the first ones are all of one class; all images for None."""
        if count is None or count >= len(self):
            return self
        return self.take(len(self) * torch.arange(count) // count)

    def take(self, where: Tensor) -> "FolderPart":
        """The images at the indices `where`."""
        names, digests = (tuple(values[each] for each in where.tolist()) for values in (self.names, self.digests))
        return FolderPart(self.root, names, digests, self.labels[where], self.side, self.skipped)

    @cached_property
    def images(self) -> Tensor:
        """All images, cropped, not augmented: (N, side, side, 3) uint8. A whole set may not fit in memory."""
        crop = centre_crop(self.side)
        return torch.stack([_pixels(crop(self.read(number))) for number in range(len(self))])

    def read(self, number: int) -> Tensor:
        """Image `number` as `read_picture` gives it, not cropped: (3, H, W) uint8.

        Raises ValueError for a file corrupted after indexing.
        """
        path = self.root / self.names[number]
        try:
            return as_tensor(read_picture(path, MEAN))
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{path} could be read when {self.root} was indexed and cannot be now ({error}); put it back, or "
                f"delete it and {self.root / INDEX} to go on without it."
            ) from error


@dataclass(frozen=True)
class FolderData:
    """A training part and a test part of class folders; the same interface as `ran.data.DataSet`.

    `workers` is the number of decoding processes per device; with 0, the training process decodes. `left_out` says in
    words which files of the folder are not among the images, and why.
    """

    name: str
    classes: tuple[str, ...]
    train: FolderPart
    test: FolderPart
    workers: int = 0
    left_out: tuple[str, ...] = ()
    mean: ClassVar[Tensor] = torch.tensor(MEAN)
    std: ClassVar[Tensor] = torch.tensor(STD)

    @cached_property
    def checksum(self) -> str:
        """sha256 over the bytes of every file and its label, in order."""
        digest = hashlib.sha256()
        for part in (self.train, self.test):
            digest.update("".join(part.digests).encode())
            digest.update(part.labels.numpy().tobytes())
        return digest.hexdigest()

    @property
    def skipped(self) -> tuple[str, ...]:
        """The corrupt files, with the reasons."""
        return self.train.skipped + self.test.skipped

    @property
    def report(self) -> tuple[str, ...]:
        """What was found in the folder, in one line, and what was left out and why, in another."""
        shown = ", ".join(self.classes[:10]) + (", …" if len(self.classes) > 10 else "")
        twice = len({*self.train.digests} & {*self.test.digests})
        return (
            f"found in {self.train.root}: {len(self.train):,} training and {len(self.test):,} test images of "
            f"{len(self.classes):,} classes ({shown})"
            + (f"; {twice:,} of the test images are training images, too, byte for byte" if twice else ""),
            f"left out: {'; '.join(self.left_out) or 'nothing'}",
        )

    def normalise(self, images: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 → (B, 3, H, W) float32 in channels_last order, by ImageNet's mean and deviation."""
        return normalise(images, self.mean, self.std)

    def training_batches(
        self, size: int, device: torch.device, shard: Shard = WHOLE, mixing: Mixing = PLAIN
    ) -> "FolderBatches":
        if mixing != PLAIN:
            raise ValueError(f"image folders are not trained with {mixing}: take a schedule without cutout and mixing.")
        return FolderBatches(self, min(size, len(self.train)), device, shard)

    def test_batches(self, device: torch.device, shard: Shard = WHOLE) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the test set in order, centre crops: (images (B, 3, H, W) float32 channels_last, labels (B,))."""
        images = _Decoded(self.test, centre_crop(self.test.side))
        mine = torch.arange(len(self.test))[shard.of_whole(len(self.test))]
        plan = [[(number, 0) for number in part.tolist()] for part in mine.split(EVALUATION_BATCH)]
        yield from _on_device(self, _loader(images, plan, self.workers, device), device)


class FolderBatches:
    """A training part, decoded anew in every epoch: a new shuffle with new crops, flips and colours.

    `size` images make a step, and `len` is the number of steps in an epoch; `shard` selects this device's images of
    every step. The augmentation of an image depends on the epoch and its position in the shuffle, not on `workers`.
    """

    def __init__(self, data: FolderData, size: int, device: torch.device, shard: Shard = WHOLE):
        self.data, self.size, self.device = data, size, device
        self.portions = shard.of_step(size)
        self.plan: list[list[tuple[int, int]]] = []  # (number, seed) of the images of every batch
        images = _Decoded(data.train, augmentation(data.train.side))
        self.loader = _loader(images, self.plan, data.workers, device, persistent=True)

    def __len__(self) -> int:
        return len(self.data.train) // self.size  # the last, incomplete batch of a shuffle is left out

    def epoch(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (images (B, 3, H, W) float32 channels_last, labels (B,)); random numbers are from `generator` (CPU)."""
        count = len(self.data.train)
        order = torch.randperm(count, generator=generator).tolist()
        seeds = torch.randint(2**62, (count,), generator=generator).tolist()
        drawn = list(zip(order, seeds, strict=True))
        steps = (drawn[number * self.size : (number + 1) * self.size] for number in range(len(self)))
        self.plan[:] = [step[portion] for step in steps for portion in self.portions]
        yield from _on_device(self.data, self.loader, self.device)


class _Decoded(Dataset):
    """(number, seed) → the decoded image, transformed with that seed, (side, side, 3) uint8, and its label."""

    def __init__(self, part: FolderPart, transform: "v2.Transform"):
        self.part, self.transform = part, transform

    def __getitem__(self, which: tuple[int, int]) -> tuple[Tensor, Tensor]:
        number, seed = which
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return _pixels(self.transform(self.part.read(number))), self.part.labels[number]


def _pixels(image: Tensor) -> Tensor:
    return image.permute(1, 2, 0).contiguous()


def _loader(
    images: Dataset, plan: list[list[tuple[int, int]]], workers: int, device: torch.device, persistent: bool = False
) -> DataLoader:
    """Batches of `images` by `plan`, which may change between epochs: the sampler runs in this process.

    They are decoded by `workers` processes, but no more than there are cores for this process.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(workers, cores)
    return DataLoader(
        images,
        batch_sampler=plan,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        persistent_workers=persistent and workers > 0,
        # a fork of a process with threads, such as those that index or compute, may hang
        multiprocessing_context="forkserver" if workers else None,
        worker_init_fn=end_with_parent,
        generator=torch.Generator(),  # the loader draws a seed for workers; that must not advance the global one
    )


def _on_device(data: FolderData, loader: DataLoader, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    with _without_main():
        batches = iter(loader)  # starts the workers
    for images, labels in batches:
        # copied as uint8, a quarter of the bytes of float32
        yield data.normalise(images.to(device, non_blocking=True)), labels.to(device, non_blocking=True)


@contextmanager
def _without_main() -> Iterator[None]:
    """Hide the script that was started from processes that start now: they would run it once more.

    Without an `if __name__ == "__main__":` around it, a script that trains would then wait in its own workers for the
    lock that it holds. Decoding needs nothing from the script.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def load_folder(root: Path, size: int = 224, test_size: int | None = None, workers: int = 0) -> FolderData:
    """Load <root>/train/<class>/* and <root>/val/<class>/* (test/ where there is no val/), with crops of `size` pixels.

    Test crops have `test_size` pixels, by default `size`. Every file is decoded once to find the corrupt ones; the
    outcome is stored in <root>/.ran-index.json, so later only new or changed files are decoded. Raises
    FileNotFoundError for a missing folder, OSError for what the machine cannot read, and ValueError for what
    `list_part` refuses, where the classes of the two parts differ or more than CORRUPT_LIMIT of a part cannot be
    decoded.
    """
    tests = [name for name in ("val", "test") if (root / name).is_dir()]
    if not tests or not (root / "train").is_dir():
        raise FileNotFoundError(
            f"{str(root)!r} holds no image folders: expected {root}/train/<class>/ and {root}/val/<class>/ (or test/) "
            "with images; name the folder that holds them (`-p data_root PATH`, `--data-root PATH`)."
        )
    train, test = (list_part(root, part) for part in ("train", tests[0]))
    if train.classes != test.classes:
        differing = ", ".join(sorted({*train.classes} ^ {*test.classes})[:5])
        raise ValueError(
            f"{root}/train and {root}/{tests[0]} must hold the same class folders; differing: {differing}."
        )
    places = [name for name, kind in kinds(root).items() if kind == "folder" and not name.startswith(".")]
    others = tuple(name for name in places if name not in ("train", tests[0]))
    index = index_files(root, [name for name, _ in (*train.samples, *test.samples)])
    parts = _part(root, "train", train, index, size), _part(root, tests[0], test, index, test_size or size)
    unread = {
        f"beside train/ and {tests[0]}/, which is the test set": others,
        "that cannot be decoded": parts[0].skipped + parts[1].skipped,
    }
    left_out = in_words(train.left_out) + in_words(test.left_out) + in_words(unread)
    return FolderData("folder", train.classes, *parts, workers, left_out)


def _part(root: Path, part: str, listing: Listing, index: dict[str, dict[str, Any]], side: int) -> FolderPart:
    """The images of one part that can be decoded."""
    samples = listing.samples
    corrupt = [f"{name} ({index[name]['corrupt']})" for name, _ in samples if "corrupt" in index[name]]
    allowed = ceil(CORRUPT_LIMIT * len(samples))
    if len(corrupt) > allowed:
        some = "; ".join(corrupt[:10])
        raise ValueError(
            f"{len(corrupt)} of {len(samples)} images in {root / part} cannot be decoded, more than the {allowed} "
            f"that may be skipped ({CORRUPT_LIMIT:.0%}): {some}. Replace or delete them."
        )
    sound = [(name, label) for name, label in samples if "digest" in index[name]]
    if len({label for _, label in sound}) < len(listing.classes):
        lost = ", ".join(sorted({*listing.classes} - {listing.classes[label] for _, label in sound}))
        raise ValueError(f"no image of the class {lost} in {root / part} can be decoded: {'; '.join(corrupt[:3])}.")
    labels = torch.tensor([label for _, label in sound], dtype=torch.int64)
    names = tuple(name for name, _ in sound)
    return FolderPart(root, names, tuple(index[name]["digest"] for name in names), labels, side, tuple(corrupt))
