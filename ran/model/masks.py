"""The soft mask branch M (section 3.2): two mask structures, and the three gates at its output (section 3.3)."""

from collections.abc import Callable
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ran.model.units import EXPANSION, UNITS, ResidualUnit, norm_relu, residual_units


def mixed(x: Tensor) -> Tensor:
    """f1, mixed attention, equation (4): a sigmoid on every channel and position. (B, C, H, W) → same, in (0, 1)."""
    return x.sigmoid()


def channel(x: Tensor, eps: float = 1e-6) -> Tensor:
    """f2, channel attention, equation (5): L2 norm over the channels of each position. (B, C, H, W) → same, in [-1, 1].

    No spatial information remains: the vector at every position has length 1. `eps` prevents division by zero.
    """
    return F.normalize(x, dim=1, eps=eps)


def spatial(x: Tensor, eps: float = 1e-5) -> Tensor:
    """f3, spatial attention, equation (6): each channel's map normalised over its positions, then a sigmoid.

    (B, C, H, W) → same, in (0, 1). `eps` (added to the variance, as in batch norm) prevents division by zero.
    """
    variance, mean = torch.var_mean(x, dim=(2, 3), correction=0, keepdim=True)  # (B, C, 1, 1)
    return ((x - mean) / (variance + eps).sqrt()).sigmoid()


GATES: dict[str, Callable[[Tensor], Tensor]] = {"mixed": mixed, "channel": channel, "spatial": spatial}


class EncoderDecoder(nn.Module):
    """Bottom-up top-down structure of the soft mask (figure 2), as one scale that contains the next smaller one.

    (B, C, H, W) → (B, C, H, W) for any H, W: sizes are read from the tensors.

    A scale consists of max-pooling, `r` residual units, two parallel paths that are added (the next smaller scale, and
    a skip connection of one residual unit), one more unit, and bilinear up-sampling to the input's size. The smallest
    scale has no parallel paths, so it has r + 1 units. `unit`, a key of UNITS, is the kind of residual unit.
    """

    def __init__(self, channels: int, poolings: int, r: int = 1, unit: str = "bottleneck"):
        super().__init__()
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.down = residual_units(r, channels, unit)
        self.inner = EncoderDecoder(channels, poolings - 1, r, unit) if poolings > 1 else None
        self.skip = UNITS[unit](channels) if poolings > 1 else None
        self.up = UNITS[unit](channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.down(self.pool(x))  # (B, C, ⌈H/2⌉, ⌈W/2⌉)
        if self.inner is not None and self.skip is not None:
            y = self.skip(y) + self.inner(y)
        # corners aligned, as in the authors' layer
        return F.interpolate(self.up(y), size=x.shape[-2:], mode="bilinear", align_corners=True)  # (B, C, H, W)


def local_convolutions(channels: int, poolings: int, r: int = 1, unit: str = "bottleneck") -> nn.Sequential:
    """Three residual units at full resolution, with about the FLOPs of the encoder-decoder that they replace.

    (B, C, H, W) → (B, C, H, W). The alternative mask structure of section 4.1 ("mask structures").

    A bottleneck of width w costs 2·C·w + 9·w² multiply-adds per position. The encoder-decoder has r + 2 units on each
    scale (r + 1 on the smallest), and each scale has 1/4 of the positions of the one before. The width w is chosen so
    that three units cost as much. The formula holds for bottlenecks only: NetworkConfig refuses other kinds of unit.
    """
    per_unit = 2 * channels * (channels // EXPANSION) + 9 * (channels // EXPANSION) ** 2
    units = sum((r + 2 - (scale == poolings)) / 4**scale for scale in range(1, poolings + 1))
    width = (-channels + sqrt(channels**2 + 9 * per_unit * units / 3)) / 9  # the positive root
    return nn.Sequential(*(ResidualUnit(channels, width=max(1, round(width))) for _ in range(3)))


MASKS: dict[str, Callable[[int, int, int, str], nn.Module]] = {
    "encoder-decoder": EncoderDecoder,
    "local-convolutions": local_convolutions,
}


class SoftMask(nn.Module):
    """The mask branch M(x): structure, then BN-ReLU-1×1 twice, then the gate. (B, C, H, W) → (B, C, H, W).

    `mask` is a key of MASKS, `gate` of GATES, `unit` of UNITS; `poolings` is the number of scales, `r` the number of
    residual units between adjacent poolings. With post-activation units, the first BN-ReLU is omitted.
    """

    def __init__(
        self,
        channels: int,
        poolings: int,
        r: int = 1,
        mask: str = "encoder-decoder",
        gate: str = "mixed",
        unit: str = "bottleneck",
    ):
        super().__init__()
        self.structure = MASKS[mask](channels, poolings, r, unit)
        self.output = nn.Sequential(
            *UNITS[unit].preactivation(channels),
            nn.Conv2d(channels, channels, 1, bias=False),
            *norm_relu(channels),
            nn.Conv2d(channels, channels, 1, bias=False),
        )
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        return GATES[self.gate](self.output(self.structure(x)))  # (B, C, H, W)

    def extra_repr(self) -> str:
        return f"gate={self.gate}"
