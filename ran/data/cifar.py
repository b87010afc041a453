"""CIFAR-10 and CIFAR-100 as arrays: reading from any of three storage formats, and the download."""

import hashlib
import os
import zlib
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from tarfile import TarError
from typing import Any
from urllib.error import URLError
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ran.choices import choose
from ran.data.class_folders import list_part
from ran.data.normalisation import MEAN
from ran.data.pictures import NotAPicture, read_picture
from ran.files import check_room, only_one

DOWNLOADS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}  # and torchvision's folders
CACHED = ("images", "labels")
CLASSES = {"cifar10": 10, "cifar100": 100}
# SHA-256 of the sets as read_cifar gives them, whatever the format: see `checksum`
CHECKSUMS = {
    "cifar10": "c6623c884348854755943fdef0f4b6bd9a8e1cfabeea72e5bad128ba37491e1c",
    "cifar100": "eb114bfe3fbdb45fcdb7a01031e2ecbc3f7820fd541697f158263b1e994c196d",
}
DOWNLOADED = 400_000_000  # bytes of either set, packed and unpacked
SIZES = {"train": 50_000, "test": 10_000}  # images, of both sets
IMAGE = (32, 32, 3)


def read_cifar(name: str, root: Path) -> dict[str, NDArray]:
    """`classes` and, for train and test, `…_images` (N, 32, 32, 3) uint8 and `…_labels` (N,) int64, in a fixed order.

    Below `root`, the set may be one cached array, a folder of class folders, or in torchvision's format; the latter two
    are cached after reading, where `root` is writable. Processes that read it wait for the first. Raises
    FileNotFoundError, which lists the paths searched, for a missing set, and ValueError, which says what to do, for a
    set that is incomplete or cannot be decoded; such a set is not cached.
    """
    if not root.is_dir():
        raise FileNotFoundError(missing(name, root))
    with only_one(root):
        return _read_any(name, root)


def _read_any(name: str, root: Path) -> dict[str, NDArray]:
    cache, folder, batches = root / f"{name}.npz", root / name, root / DOWNLOADS[name]
    if cache.is_file() and os.access(cache, os.R_OK):  # another user may have kept it to himself
        arrays = _from_cache(cache)
        _refuse_another_set(name, arrays, cache)
        return arrays
    if (folder / "train").is_dir() and (folder / "test").is_dir():
        arrays, source = _decode(folder), folder
    elif batches.is_dir():
        arrays, source = _unpickle(name, root), batches
    else:
        raise FileNotFoundError(missing(name, root))
    _refuse_another_set(name, arrays, source)
    _save(cache, arrays)
    return arrays


def checksum(arrays: dict[str, NDArray]) -> str:
    """SHA-256 over training images and labels, then test images and labels: that of `DataSet.checksum`."""
    digest = hashlib.sha256()
    for part in ("train", "test"):
        for what in ("images", "labels"):
            digest.update(np.ascontiguousarray(arrays[f"{part}_{what}"]).tobytes())
    return digest.hexdigest()


def _from_cache(cache: Path) -> dict[str, NDArray]:
    """The arrays of a cached set. Raises ValueError, with what to do, for a file that is not whole."""
    try:
        with cache.open("rb") as file, np.load(file) as stored:  # np.load alone leaves a damaged file open
            arrays = {key: stored[key] for key in ("classes", *(f"{part}_{what}" for part in SIZES for what in CACHED))}
        for key, array in arrays.items():
            if array.ndim == 0 or array.shape[1:] != (IMAGE if key.endswith("images") else ()):
                raise ValueError(f"{key} of shape {array.shape}")
        return arrays
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{cache} is damaged ({type(error).__name__}): delete it, and it is made again from the images or batches "
            "beside it; without those, get the set again."
        ) from error


def _refuse_another_set(name: str, arrays: dict[str, NDArray], source: Path) -> None:
    """Raise ValueError for an incomplete set or other images: their error rates would look like the real ones."""

    def counts(train: int, test: int, classes: int) -> str:
        return f"{train:,} training and {test:,} test images of {classes} classes"

    found = counts(len(arrays["train_labels"]), len(arrays["test_labels"]), len(arrays["classes"]))
    expected = counts(SIZES["train"], SIZES["test"], CLASSES[name])
    if found != expected:
        raise ValueError(
            f"{source} holds {found}; {name} has {expected}. Delete it, and unpack or download the set again."
        )
    if checksum(arrays) != CHECKSUMS[name]:
        raise ValueError(
            f"{source} holds other images or labels than {name}: its checksum is wrong. Delete it, and unpack or "
            "download the set again; images of your own are the data set 'folder'."
        )


def _decode(folder: Path) -> dict[str, NDArray]:
    """Read <folder>/{train,test}/<class>/*: decoding 60,000 small files takes about 20 s, so it is done once."""
    arrays: dict[str, NDArray] = {}
    for part in ("train", "test"):
        listing = list_part(folder, part)
        images = np.stack([_read(folder / file) for file, _ in listing.samples])
        labels = np.array([label for _, label in listing.samples])
        arrays |= _canonical(part, images, labels) | {f"{part}_classes": np.array(listing.classes)}
    train, test = arrays.pop("train_classes"), arrays.pop("test_classes")
    if train.tolist() != test.tolist():
        raise ValueError(f"{folder}/train and {folder}/test hold different class folders; they must be the same.")
    return arrays | {"classes": train}


def _unpickle(name: str, root: Path) -> dict[str, NDArray]:
    try:
        train, test = (_of_torchvision(name)(str(root), train=train) for train in (True, False))
    except RuntimeError as error:  # torchvision compares checksums
        folder = root / DOWNLOADS[name]
        raise ValueError(
            f"{folder} is not whole, or its files were changed: delete it, and `ran data {name} --data-root {root}` "
            "downloads the set again."
        ) from error
    return (
        _canonical("train", train.data, np.array(train.targets))
        | _canonical("test", test.data, np.array(test.targets))
        | {"classes": np.array(train.classes)}
    )


def _canonical(part: str, images: NDArray, labels: NDArray) -> dict[str, NDArray]:
    """Order images by a hash of their pixels, so that every storage format gives the same set and the same run."""
    order = np.argsort(
        np.array([hashlib.sha256(image.tobytes()).digest() for image in images], dtype="S32"), kind="stable"
    )
    return {f"{part}_images": images[order], f"{part}_labels": labels[order].astype(np.int64)}


def _read(path: Path) -> NDArray:
    try:
        image = np.asarray(read_picture(path, MEAN))
    except NotAPicture as error:
        raise ValueError(f"{error} Replace it or unpack the data set again.") from error
    if image.shape != IMAGE:
        raise ValueError(f"{path} is {image.shape[1]}×{image.shape[0]}; CIFAR images are 32×32.")
    return image


def _save(path: Path, arrays: dict[str, NDArray]) -> None:
    """Write the cache whole or not at all; where the folder is read-only, the set is decoded again next time."""
    partial = path.with_name(f"{path.name}.partial")
    with suppress(OSError):
        partial.unlink(missing_ok=True)  # of a process that was killed: only one writes at a time
        try:
            with partial.open("wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def missing(name: str, root: Path) -> str:
    """The error message for a missing CIFAR set: the paths searched, and the ways to get the set."""
    batches = DOWNLOADS[name]
    return (
        f"the data set {name!r} is not in {str(root)!r}. Looked for {root / name}/{{train,test}}/<class>/, "
        f"{root / batches}/ (torchvision's format) and {root / name}.npz (the cache). To get it: "
        f"`ran data {name} --data-root {root}` downloads it through torchvision; or name the folder that holds it "
        "(`-p data_root PATH`, `--data-root PATH`). The data set 'shapes' needs no files."
    )


def _of_torchvision(name: str) -> Any:
    from torchvision import datasets  # takes over a second to import

    return {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]


def download(name: str, root: str | Path) -> None:
    """Download a CIFAR set through torchvision into `root`.

    Raises ValueError for an unknown name and for a download that is not the set, ConnectionError, which names
    alternatives, for an unreachable server, and OSError where `root` cannot receive it.
    """
    source = _of_torchvision(choose("data set to download", name, DOWNLOADS))
    root = Path(root).expanduser()
    check_room(root, DOWNLOADED)
    try:
        source(str(root), download=True)
    except (URLError, HTTPException, ConnectionError, TimeoutError) as error:
        raise ConnectionError(
            f"{source.url} cannot be reached ({getattr(error, 'reason', None) or repr(error)}). Without a network, "
            f"copy the set from elsewhere to {root / source.base_folder}/, or as images to "
            f"{root / name}/{{train,test}}/<class>/."
        ) from error
    except (RuntimeError, TarError, EOFError, zlib.error) as error:
        raise ValueError(
            f"what came from {source.url} is not {name} ({error}): delete {root / source.filename}, and call again."
        ) from error
