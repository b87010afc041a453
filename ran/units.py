"""Residual units: the building block of every branch (section 3; pre-activation as in He et al. 2016)."""

from torch import Tensor, nn

EXPANSION = 4  # a bottleneck is this many times narrower than the unit's output


def norm_relu(channels: int) -> nn.Sequential:
    """BN-ReLU, the pre-activation that stands before every convolution. Keeps the shape (B, C, H, W)."""
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


class ResidualUnit(nn.Module):
    """Pre-activation bottleneck: BN-ReLU-1×1, BN-ReLU-3×3, BN-ReLU-1×1, added to the shortcut.

    (B, in_channels, H, W) → (B, out_channels, ⌈H/stride⌉, ⌈W/stride⌉)

    The shortcut is the input itself, or, where the shape changes, a 1×1 projection of the pre-activated input.
    `width` is the number of channels of the bottleneck, out_channels / 4 unless given.
    """

    def __init__(self, in_channels: int, out_channels: int | None = None, stride: int = 1, width: int | None = None):
        super().__init__()
        out_channels = out_channels or in_channels
        self.preact = norm_relu(in_channels)
        self.residual = self.convolutions(in_channels, out_channels, stride, width or out_channels // EXPANSION)
        reshapes = stride != 1 or in_channels != out_channels
        self.projection = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False) if reshapes else None

    @staticmethod
    def convolutions(in_channels: int, out_channels: int, stride: int, width: int) -> nn.Sequential:
        """What follows the first BN-ReLU on the residual branch."""
        return nn.Sequential(
            nn.Conv2d(in_channels, width, 1, bias=False),
            *norm_relu(width),
            nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False),
            *norm_relu(width),
            nn.Conv2d(width, out_channels, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        activated = self.preact(x)  # (B, in, H, W)
        shortcut = x if self.projection is None else self.projection(activated)  # (B, out, H/s, W/s)
        return shortcut + self.residual(activated)  # (B, out, H/s, W/s)


class BasicUnit(ResidualUnit):
    """Pre-activation unit of wide residual networks: BN-ReLU-3×3, BN-ReLU-3×3, added to the shortcut; no bottleneck."""

    @staticmethod
    def convolutions(in_channels: int, out_channels: int, stride: int, width: int) -> nn.Sequential:
        """Two 3×3 convolutions at full width; `width` is not used."""
        return nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
            *norm_relu(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        )


UNITS: dict[str, type[ResidualUnit]] = {"bottleneck": ResidualUnit, "basic": BasicUnit}


def residual_units(count: int, channels: int) -> nn.Sequential:
    """A chain of `count` residual units that keeps the shape (B, channels, H, W)."""
    return nn.Sequential(*(ResidualUnit(channels) for _ in range(count)))
