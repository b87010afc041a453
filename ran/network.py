"""The Residual Attention Network (section 3, figure 2, table 2) as data, and `build`, the one door to it."""

from dataclasses import dataclass, fields, replace

from torch import Tensor, nn

from ran.attention import LEARNING, AttentionModule
from ran.choices import choose
from ran.masks import GATES, MASKS
from ran.units import ResidualUnit, norm_relu

SMALLEST_INPUT = 32


@dataclass(frozen=True)
class Stage:
    """One stage: a residual unit that sets channels and stride, attention modules, then `tail` residual units."""

    channels: int
    stride: int
    modules: int
    poolings: int
    tail: int = 1


@dataclass(frozen=True)
class NetworkConfig:
    """What a network is. p, t, r as in the paper; attention, mask and gate are keys of LEARNING, MASKS and GATES."""

    name: str
    stages: tuple[Stage, ...]
    stem_channels: int = 16
    p: int = 1
    t: int = 2
    r: int = 1
    num_classes: int = 10
    attention: str = "arl"
    mask: str = "encoder-decoder"
    gate: str = "mixed"

    def __post_init__(self) -> None:
        choose("attention", self.attention, LEARNING)
        choose("mask", self.mask, MASKS)
        choose("gate", self.gate, GATES)
        for name, least in {"num_classes": 2, "p": 0, "t": 1, "r": 1, "stem_channels": 1}.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}.")


def _cifar(name: str, modules: int, p: int = 1, t: int = 2, r: int = 1) -> NetworkConfig:
    """The CIFAR structure: `modules` attention modules in each of three stages at 32×32, 16×16 and 8×8."""
    stages = (Stage(64, 1, modules, 3), Stage(128, 2, modules, 2), Stage(256, 2, modules, 1))
    return NetworkConfig(name, stages, p=p, t=t, r=r)


PRESETS: dict[str, NetworkConfig] = {
    preset.name: preset
    for preset in (
        _cifar("attention-56", 1),
        _cifar("attention-92", 2),
        _cifar("attention-128", 3),
        _cifar("attention-164", 4),
        _cifar("attention-236", 6),
        _cifar("attention-452", 6, p=2, t=4, r=3),
    )
}


class ResidualAttentionNetwork(nn.Module):
    """Stem, stages of residual units and attention modules, BN-ReLU, global average pool, classifier.

    (B, 3, H, W), H and W of 32 or more, → logits (B, num_classes). Raises ValueError on another shape.
    """

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        self.stem = nn.Conv2d(3, config.stem_channels, 3, padding=1, bias=False)
        self.blocks = nn.ModuleDict()  # in the order of the forward pass: stage1_unit, stage1_module1, stage1_tail1, …
        channels = config.stem_channels
        for number, stage in enumerate(config.stages, 1):
            self.blocks[f"stage{number}_unit"] = ResidualUnit(channels, stage.channels, stage.stride)
            channels = stage.channels
            for module in range(1, stage.modules + 1):
                self.blocks[f"stage{number}_module{module}"] = AttentionModule(
                    channels, stage.poolings, config.p, config.t, config.r, config.attention, config.mask, config.gate
                )
            for tail in range(1, stage.tail + 1):
                self.blocks[f"stage{number}_tail{tail}"] = ResidualUnit(channels)
        self.head = nn.Sequential(
            norm_relu(channels), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, config.num_classes)
        )
        self.apply(_initialise)

    def forward(self, x: Tensor, trace: dict[str, Tensor] | None = None) -> Tensor:
        """Logits; `trace`, where given, receives every block's output by name, and modules' trunk, mask and attended.

        The keys are stem, stage1_unit, stage1_module1, stage1_module1.trunk, stage1_module1.mask, … in order.
        """
        if x.ndim != 4 or x.shape[1] != 3 or min(x.shape[-2:]) < SMALLEST_INPUT:
            raise ValueError(
                f"expected images (B, 3, H, W) with H and W of at least {SMALLEST_INPUT}, got {tuple(x.shape)}."
            )
        x = self.stem(x)  # (B, stem_channels, H, W)
        if trace is not None:
            trace["stem"] = x
        for name, block in self.blocks.items():
            if trace is None:
                x = block(x)  # (B, C, H/s, W/s)
                continue
            inside: dict[str, Tensor] = {}
            x = block(x, inside) if isinstance(block, AttentionModule) else block(x)
            trace |= {f"{name}.{branch}": feature for branch, feature in inside.items()} | {name: x}
        return self.head(x)  # (B, num_classes)

    @property
    def depth(self) -> int:
        """Layers with weights along the trunk: stem, three a residual unit, classifier (36 m + 20 for p = 1, t = 2)."""
        config = self.config
        units = sum(1 + stage.tail + stage.modules * (2 * config.p + config.t) for stage in config.stages)
        return 2 + 3 * units

    def __repr__(self) -> str:
        config = self.config
        lines = [
            f"{config.name}: {config.attention.upper()}, {config.mask} mask, {config.gate} attention, "
            f"{sum(p.numel() for p in self.parameters()):,} parameters, trunk depth {self.depth}",
            f"  stem    3×3 convolution, {config.stem_channels} channels",
        ]
        for number, stage in enumerate(config.stages, 1):
            lines.append(
                f"  stage {number} residual unit → {stage.channels} channels, stride {stage.stride}; "
                f"{stage.modules} × AttentionModule(p={config.p}, t={config.t}, r={config.r}, "
                f"poolings={stage.poolings}); "
                f"{stage.tail} × residual unit"
            )
        return "\n".join([*lines, f"  head    BN-ReLU, average pool, {config.num_classes} classes"])


def _initialise(module: nn.Module) -> None:
    """He initialisation of convolutions (section 4.1); batch norm starts as the identity, PyTorch's default."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)


def build(name: str, **options: object) -> ResidualAttentionNetwork:
    """Build a network by its preset's name: `build("attention-92", num_classes=10, attention="nal")`.

    `options` replace fields of the preset (see NetworkConfig). Unknown names and impossible values raise ValueError.
    """
    preset = PRESETS[choose("network", name, PRESETS)]
    for option in options:
        choose("option of build", option, (field.name for field in fields(NetworkConfig)))
    return ResidualAttentionNetwork(replace(preset, **options))  # type: ignore[arg-type]
