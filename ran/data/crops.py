"""Squares of pictures of any size: by chance for training, the middle for tests and for whoever asks (section 4.2)."""

from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from torchvision.transforms import v2

JITTER = 0.4  # of brightness, contrast and saturation, as usual on ImageNet; the paper only says "colour augmentation"
MARGIN = 256 / 224  # shorter side of a resized test image / side of its centre crop
LONGEST = 32  # longer side of a picture / shorter side, of which more is cut off before resizing: it costs memory


def augmentation(size: int) -> "v2.Transform":
    """Scale and aspect-ratio augmentation (a random resized crop), horizontal flip, colour jitter (section 4.2).

    Image (3, H, W) uint8 → (3, size, size) uint8; random numbers come from torch's global generator.
    """
    from torchvision.transforms import v2  # takes over a second to import

    return v2.Compose(
        [
            v2.RandomResizedCrop(size, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(JITTER, JITTER, JITTER),
        ]
    )


def centre_crop(size: int, margin: float = MARGIN) -> "v2.Transform":
    """Resize the shorter side to `margin` times `size`, crop the centre: (3, H, W) uint8 → (3, size, size) uint8.

    Of a picture that is more than LONGEST times as long as wide, or as wide as long, only the middle is resized.
    """
    from torchvision.transforms import v2  # takes over a second to import

    return v2.Compose([_no_strip, v2.Resize(round(size * margin), antialias=True), v2.CenterCrop(size)])


def _no_strip(image: Tensor) -> Tensor:
    """The middle of an image (3, H, W) whose longer side is more than LONGEST times its shorter; another as it is."""
    height, width = image.shape[-2:]
    most = LONGEST * min(height, width)
    top, left = max(0, height - most) // 2, max(0, width - most) // 2
    return image[..., top : top + most, left : left + most]
