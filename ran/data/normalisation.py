"""Normalisation: uint8 images to the float32 tensors that a network reads."""

from functools import lru_cache

import torch
from torch import Tensor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's training pixels, scaled to [0, 1]


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 → (B, 3, H, W) float32; `mean` and `std` (3,) are those of the training pixels in [0, 1]."""
    shift, scale = _in_bytes(tuple(mean.tolist()), tuple(std.tolist()), images.device)
    return ((images - shift) / scale).permute(0, 3, 1, 2)


@lru_cache(maxsize=16)
def _in_bytes(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and deviation in 0..255, cached on the device: a copy for every batch would make Python wait for the GPU."""
    return 255 * torch.tensor(mean, device=device), 255 * torch.tensor(std, device=device)
