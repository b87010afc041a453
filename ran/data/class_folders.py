"""What lies in an image folder: its classes, the pictures that are read, and all that is left out, with the reason."""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ran.data.pictures import cannot_read

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # torchvision's ImageFolder's


@dataclass(frozen=True)
class Listing:
    """One part of an image folder: `samples` are (file below the root, number of its class), in a fixed order.

    `left_out` holds, for every reason, the files and folders that are not read for it.
    """

    classes: tuple[str, ...]
    samples: tuple[tuple[str, int], ...]
    left_out: dict[str, tuple[str, ...]]


def list_part(root: Path, part: str) -> Listing:
    """The pictures below <root>/<part>/<class>/, at any depth; hidden files and folders are left out, as are others.

    Raises ValueError, which names the folder, for less than two classes, a class without a picture, and for names that
    are no UTF-8 or have control characters: a record could not hold them; and OSError for a folder that cannot be read.
    """
    left_out: dict[str, list[str]] = {}
    classes = []
    for name, kind in kinds(root / part).items():
        if name.startswith("."):
            left_out.setdefault("hidden", []).append(f"{part}/{name}")
        elif kind == "folder":
            classes.append(_checked(part, name))
        else:
            left_out.setdefault("in no class folder", []).append(f"{part}/{name}")
    if len(classes) < 2:
        held = f"only the class folder {classes[0]!r}" if classes else "no class folder"
        raise ValueError(f"{root / part} holds {held}: a network learns to tell at least two classes apart.")
    samples: list[tuple[str, int]] = []
    for label, name in enumerate(classes):
        before = len(samples)
        samples += [(file, label) for file in _pictures(root, f"{part}/{name}", left_out)]
        if len(samples) == before:
            others = sum(each.startswith(f"{part}/{name}/") for names in left_out.values() for each in names)
            raise ValueError(
                f"{root / part / name} holds no picture ({others} other files): expected {', '.join(SUFFIXES)}."
            )
    return Listing(tuple(classes), tuple(samples), {reason: tuple(names) for reason, names in left_out.items()})


def kinds(folder: Path) -> dict[str, str]:
    """What lies in a folder, by name: "folder", "file", or why it is neither. Folders come first, each kind in order.

    Raises OSError, which names the folder, where it cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            found = {entry.name: _kind(entry) for entry in entries}
    except OSError as error:
        raise cannot_read(Path(error.filename or folder), error) from error
    return dict(sorted(found.items(), key=lambda each: (each[1] != "folder", each[0])))


def _kind(entry: os.DirEntry[str]) -> str:
    try:
        if entry.is_dir():  # this and the next ask the disk for links only
            return "folder"
        if entry.is_file():
            return "file"
        entry.stat()
        return "no regular file"  # but a pipe, a socket or a device: reading it might never end
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return "broken link"
        raise


def _pictures(root: Path, folder: str, left_out: dict[str, list[str]]) -> Iterator[str]:
    """The pictures of a class, as files below `root`; what is not read is added to `left_out`."""
    entered = set()
    found = []
    ahead = [Path(folder)]
    while ahead:
        place = ahead.pop(0)
        about = os.stat(root / place)
        if (about.st_dev, about.st_ino) in entered:  # a link to a folder above
            continue
        entered.add((about.st_dev, about.st_ino))
        for name, kind in kinds(root / place).items():
            if name.startswith("."):
                left_out.setdefault("hidden", []).append(str(place / name))
            elif kind == "folder":
                ahead.append(place / name)
            elif kind == "file" and (place / name).suffix.lower() in SUFFIXES:
                found.append(place / name)
            else:
                reason = kind if kind != "file" else (place / name).suffix.lower() or "no suffix"
                left_out.setdefault(f"not read ({reason})", []).append(str(place / name))
    for file in sorted(found, key=lambda file: (str(file.parent), file.name)):
        yield _checked(str(file.parent), file.name, str(file))


def _checked(place: str, name: str, whole: str | None = None) -> str:
    """`whole`, or the name itself, where the name can stand in a record."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"{ascii(name)} in {ascii(place)} has a name that is no UTF-8, or not in this locale: rename it, or call "
            "with LC_ALL=C.UTF-8."
        ) from None
    if not name.isprintable():
        raise ValueError(f"{name!r} in {place!r} has a control character in its name: rename it.")
    return whole or name


def in_words(left_out: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """For every reason one text: how many are left out, why, and the first of them by name."""
    texts = []
    for reason, names in left_out.items():
        if names:
            some = ", ".join(ascii(name)[1:-1] if not name.isprintable() else name for name in names[:3])
            texts.append(f"{len(names)} {reason}: {some}{', …' if len(names) > 3 else ''}")
    return tuple(texts)
