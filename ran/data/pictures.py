"""Reading of one picture from a file, whatever its kind: upright, opaque, RGB with eight bits a channel."""

import errno
import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

# what Pillow does not decode itself: it starts Ghostscript for EPS, opens what IPTC holds as any kind, EPS too, and
# asks another library, or what a program registered, for the rest
HANDED_ON = {"EPS", "IPTC", "WMF", "FPX", "MIC", "BUFR", "GRIB", "HDF5"}


class NotAPicture(ValueError):
    """A file is no picture, or not a whole one; `reason` says why."""

    def __init__(self, path: Path, reason: str):
        super().__init__(f"{str(path)!r} cannot be read as a picture ({reason}).")
        self.reason = reason


def read_picture(path: str | Path, background: Sequence[float] | Tensor) -> Image.Image:
    """The picture in `path`, of any size and kind that Pillow itself decodes, as an RGB image.

    It is turned as its EXIF orientation says. What is transparent shows `background`, a colour (3,) in [0, 1], usually
    the mean of the training pixels: zero once normalised. 16-bit values are scaled to 8 bits, not cut off. Of several
    frames, the first is taken. `path` may be a pipe, such as /dev/stdin. Raises NotAPicture, a ValueError in one line
    with the file's name, for a file that is no picture or not a whole one, FileNotFoundError for none, and OSError with
    an errno where the machine cannot read it: without permission, say, or memory.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{str(path)!r} is a folder, not the file of a picture.")
    try:
        with path.open("rb") as file:
            whole = file if file.seekable() else BytesIO(file.read())
            with Image.open(whole, formats=_decoded()) as image:
                image.load()
                return _opaque(_in_eight_bits(_upright(image)), background)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{str(path)!r} does not exist: expected the file of a picture.") from error
    except MemoryError as error:
        raise cannot_read(path, OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))) from error
    except Exception as error:  # whatever Pillow raises for what the file holds: its own OSErrors have no errno
        # a damaged file may send Pillow to before its beginning, which is EINVAL
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise cannot_read(path, error) from error
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "its format is unknown" if unknown else " ".join(str(error).split())
        raise NotAPicture(path, reason) from error


def cannot_read(path: Path, error: OSError) -> OSError:
    """The error of a file or folder that the machine cannot read, in one line with what to do."""
    told = type(error)(
        f"{str(path)!r} cannot be read ({error.strerror or error}): see to that and call again, or move it away."
    )
    told.errno = error.errno
    return told


def as_tensor(picture: Image.Image) -> Tensor:
    """An RGB image as (3, H, W) uint8. Raises ValueError for anything else."""
    if not isinstance(picture, Image.Image) or picture.mode != "RGB":
        found = f"one of mode {picture.mode}" if isinstance(picture, Image.Image) else f"a {type(picture).__name__}"
        raise ValueError(
            f"the picture must be a PIL image of mode RGB, not {found}: `ran.data.read_picture` makes one of any file, "
            "and `picture.convert('RGB')` of an image without transparency."
        )
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def _decoded() -> list[str]:
    """The formats that Pillow knows now and decodes itself, in its order: the usual ones are tried first."""
    Image.preinit()
    Image.init()
    return [name for name in Image.ID if name not in HANDED_ON]


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
