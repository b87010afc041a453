"""Reading of one picture from a file, whatever its kind: upright, opaque, RGB with eight bits a channel."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor


class NotAPicture(ValueError):
    """A file is no picture, or not a whole one; `reason` says why."""

    def __init__(self, path: Path, reason: str):
        super().__init__(f"{str(path)!r} cannot be read as a picture ({reason}).")
        self.reason = reason


def read_picture(path: str | Path, background: Sequence[float] | Tensor) -> Image.Image:
    """The picture in `path`, of any size and kind that Pillow reads, as an RGB image.

    It is turned as its EXIF orientation says. What is transparent shows `background`, a colour (3,) in [0, 1], usually
    the mean of the training pixels: zero once normalised. 16-bit values are scaled to 8 bits, not cut off. Of several
    frames, the first is taken. Raises NotAPicture, a ValueError in one line with the file's name, for a file that is no
    picture or not a whole one, and FileNotFoundError for none.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{str(path)!r} does not exist: expected the file of a picture.")
    if not path.is_file():
        raise ValueError(f"{str(path)!r} is a folder, not the file of a picture.")
    try:
        with Image.open(path) as image:
            image.load()
            return _opaque(_in_eight_bits(_upright(image)), background)
    except Exception as error:  # whatever Pillow raises for what the file holds
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "its format is unknown" if unknown else " ".join(str(error).split())
        raise NotAPicture(path, reason) from error


def as_tensor(picture: Image.Image) -> Tensor:
    """An RGB image as (3, H, W) uint8."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # the pixels are whole, as they have been loaded: only what is said of them is damaged
        return image


def _in_eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits (which Pillow may hold as 32) or of floats in [0, 1] as 8 bits; any other image as it is.

    Pillow's own conversion cuts such values off at 255.
    """
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image)
    most = 1 if image.mode == "F" else 65535
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > most:
        raise ValueError(f"its values are not in 0 to {most}: save it with 8 or 16 bits")
    grey = Image.fromarray(np.round(values.astype(np.float64) * (255 / most)).astype(np.uint8))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):  # one grey is declared transparent
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def _opaque(image: Image.Image, background: Sequence[float] | Tensor) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    above = image.convert("RGBA")
    behind = Image.new("RGBA", above.size, tuple(round(255 * float(value)) for value in background))
    return Image.alpha_composite(behind, above).convert("RGB")
