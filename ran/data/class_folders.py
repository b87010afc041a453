"""What lies in an image folder: its classes, the pictures that are read, and all that is left out, with the reason."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
    are no UTF-8 or have control characters: a record could not hold them.
    """
    left_out: dict[str, list[str]] = {}
    classes = []
    for entry in sorted(os.scandir(root / part), key=lambda each: each.name):
        if entry.name.startswith("."):
            left_out.setdefault("hidden", []).append(f"{part}/{entry.name}")
        elif entry.is_dir():
            classes.append(_checked(part, entry.name))
        else:
            left_out.setdefault("in no class folder", []).append(f"{part}/{entry.name}")
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


def _pictures(root: Path, folder: str, left_out: dict[str, list[str]]) -> Iterator[str]:
    """The pictures of a class, as files below `root`; what is not read is added to `left_out`."""
    entered = set()
    found = []
    for place, folders, names in os.walk(root / folder, followlinks=True):
        inside = Path(place).relative_to(root)
        about = os.stat(place)
        if (about.st_dev, about.st_ino) in entered:  # a link to a folder above
            folders.clear()
            continue
        entered.add((about.st_dev, about.st_ino))
        hidden = [name for name in (*folders, *names) if name.startswith(".")]
        left_out.setdefault("hidden", []).extend(str(inside / name) for name in hidden)
        folders[:] = [name for name in folders if name not in hidden]
        found += [inside / name for name in names if name not in hidden]
    for file in sorted(found, key=lambda file: (str(file.parent), file.name)):
        if file.suffix.lower() in SUFFIXES:
            yield _checked(str(file.parent), file.name, str(file))
        else:
            left_out.setdefault(f"not read ({file.suffix.lower() or 'no suffix'})", []).append(str(file))


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
