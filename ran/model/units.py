"""Residual units: the bottleneck of all branches (section 3), and the other kinds of unit (section 4.2)."""

import torch
from torch import Tensor, nn

EXPANSION = 4  # a bottleneck is this many times narrower than the unit's output
GROUPS = 32  # of a ResNeXt unit's 3×3 convolution; the ResNeXt paper calls this number cardinality


def norm_relu(channels: int) -> nn.Sequential:
    """BN-ReLU, the pre-activation before a convolution. Keeps the shape (B, C, H, W)."""
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


class ResidualUnit(nn.Module):
    """Pre-activation bottleneck (He et al. 2016): BN-ReLU-1×1, BN-ReLU-3×3, BN-ReLU-1×1, added to the shortcut.

    (B, in_channels, H, W) → (B, out_channels, ⌈H/stride⌉, ⌈W/stride⌉)

    The shortcut is the input itself, or, where the shape changes, a 1×1 projection of the pre-activated input. `width`
    is the number of channels of the bottleneck, by default out_channels / expansion. Subclasses override the static
    methods, `layers` (the number of convolutions on the longest path of the residual branch) and `multiple`
    (out_channels must be divisible by this number).
    """

    expansion = EXPANSION
    multiple = EXPANSION
    layers = 3

    def __init__(self, in_channels: int, out_channels: int | None = None, stride: int = 1, width: int | None = None):
        super().__init__()
        out_channels = out_channels or in_channels
        self.preact = self.preactivation(in_channels)
        self.residual = self.convolutions(in_channels, out_channels, stride, width or out_channels // self.expansion)
        reshapes = stride != 1 or in_channels != out_channels
        self.projection = self.projected(in_channels, out_channels, stride) if reshapes else None

    @staticmethod
    def preactivation(channels: int) -> nn.Sequential:
        """The layers before everything that reads a unit's output: next unit, mask's first 1×1, average pool."""
        return norm_relu(channels)

    @staticmethod
    def projected(in_channels: int, out_channels: int, stride: int) -> nn.Module:
        """The projection shortcut, for units that change the shape."""
        return nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)

    @staticmethod
    def convolutions(in_channels: int, out_channels: int, stride: int, width: int) -> nn.Sequential:
        """The residual branch after the first BN-ReLU."""
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

    layers = 2

    @staticmethod
    def convolutions(in_channels: int, out_channels: int, stride: int, width: int) -> nn.Sequential:
        """Two 3×3 convolutions at full width; `width` is not used."""
        return nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
            *norm_relu(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        )


def conv_norm(in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """A convolution and its BN, for post-activation units. (B, in, H, W) → (B, out, ⌈H/stride⌉, ⌈W/stride⌉)."""
    convolution = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels))


class PostActivationUnit(ResidualUnit):
    """Post-activation unit, as in the first residual networks: BN follows every convolution, ReLU follows the sum.

    The output is already activated, so the next layer needs no BN-ReLU. Subclasses define the convolutions; the
    residual branch and the projection both end in BN.
    """

    @staticmethod
    def preactivation(channels: int) -> nn.Sequential:
        """No layers: the feature is already activated."""
        return nn.Sequential()

    @staticmethod
    def projected(in_channels: int, out_channels: int, stride: int) -> nn.Module:
        """A 1×1 convolution followed by BN."""
        return conv_norm(in_channels, out_channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu()  # (B, out, H/s, W/s)


class ResNeXtUnit(PostActivationUnit):
    """The unit of AttentionNeXt (Xie et al. 2017): 1×1-BN-ReLU, 3×3 in 32 groups-BN-ReLU, 1×1-BN, added, ReLU."""

    expansion = 2
    multiple = 2 * GROUPS

    @staticmethod
    def convolutions(in_channels: int, out_channels: int, stride: int, width: int) -> nn.Sequential:
        """A bottleneck of twice the usual width, whose 3×3 convolution mixes channels only within its groups."""
        return nn.Sequential(
            *conv_norm(in_channels, width, 1),
            nn.ReLU(inplace=True),
            *conv_norm(width, width, 3, stride, GROUPS),
            nn.ReLU(inplace=True),
            *conv_norm(width, out_channels, 1),
        )


class InceptionUnit(PostActivationUnit):
    """The unit of AttentionInception: 1×1, 1×1-3×3 and 1×1-3×3-3×3 in parallel, concatenated, 1×1-BN, added, ReLU.

    The paper says only that it is the unit of Inception-ResNet (Szegedy et al. 2017), and that the network is as large
    as Attention-56: 31.9M parameters, 6.3 G multiply-adds. The paper does not say which of the blocks A, B, C is used,
    nor their widths, the order of layers, or the stride. Chosen here:

    - block A at every scale, each branch 1/8 of the unit's channels wide, as in Inception-ResNet-v1; the first layer of
      the longest branch has half of that, so that a unit of C channels has 1.04 C² weights (a bottleneck has 1.06 C²);
    - order and projection as in the ResNeXt unit; BN replaces the original's scaling of the residual;
    - the last convolution of every branch has the stride, as in Inception's reduction blocks.
    """

    expansion = 8
    multiple = 16  # the narrowest convolution has 1/16 of the channels
    layers = 4

    @staticmethod
    def convolutions(in_channels: int, out_channels: int, stride: int, width: int) -> nn.Sequential:
        """The three branches, and the 1×1 convolution that restores the number of channels."""
        branches = ((width,), (width, width), (width // 2, width, width))
        return nn.Sequential(
            Concatenated(_branch(in_channels, stride, *widths) for widths in branches),
            *conv_norm(3 * width, out_channels, 1),
        )


class Concatenated(nn.ModuleList):
    """Parallel branches; their outputs (B, C_i, H, W) are concatenated along the channels."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self], dim=1)


def _branch(channels: int, stride: int, *widths: int) -> nn.Sequential:
    """A 1×1 convolution to the first width, a 3×3 convolution to each further width, BN-ReLU after each of them."""
    layers: list[nn.Module] = []
    for number, width in enumerate(widths, 1):
        kernel, step = 1 if number == 1 else 3, stride if number == len(widths) else 1
        layers += [*conv_norm(channels, width, kernel, step), nn.ReLU(inplace=True)]
        channels = width
    return nn.Sequential(*layers)


UNITS: dict[str, type[ResidualUnit]] = {
    "bottleneck": ResidualUnit,
    "basic": BasicUnit,
    "resnext": ResNeXtUnit,
    "inception": InceptionUnit,
}


def residual_units(count: int, channels: int, unit: str = "bottleneck") -> nn.Sequential:
    """A chain of `count` residual units, of the kind `unit` in UNITS, that keeps the shape (B, channels, H, W)."""
    return nn.Sequential(*(UNITS[unit](channels) for _ in range(count)))
