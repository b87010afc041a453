"""The Residual Attention Network (section 3, figure 2, table 2): configurations, presets, and `build` by name."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn

from ran.choices import choose
from ran.model.activation_checkpointing import checkpoint_activations
from ran.model.attention import LEARNING, AttentionModule
from ran.model.masks import GATES, MASKS
from ran.model.units import UNITS, norm_relu


@dataclass(frozen=True)
class Stem:
    """The layers before the first stage: one convolution; with `pools`, BN-ReLU and 3×3/2 max-pooling follow.

    `image_size` is the usual side of the images, in pixels; `smallest_input` is the smallest side that is accepted.
    """

    kernel: int
    stride: int
    pools: bool
    image_size: int
    smallest_input: int


STEMS = {
    "cifar": Stem(kernel=3, stride=1, pools=False, image_size=32, smallest_input=32),
    "imagenet": Stem(kernel=7, stride=2, pools=True, image_size=224, smallest_input=64),
}


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
    """Structure of a network: p, t, r as in the paper; attention, mask and gate are keys of LEARNING, MASKS and GATES.

    `stem` is a key of STEMS; `unit`, a key of UNITS, is the kind of all residual units. A network without modules is a
    plain residual network, and the options of modules have no effect. Impossible values raise ValueError.
    """

    name: str
    stages: tuple[Stage, ...]
    stem: str = "cifar"
    stem_channels: int = 16
    unit: str = "bottleneck"
    p: int = 1
    t: int = 2
    r: int = 1
    num_classes: int = 10
    attention: str = "arl"
    mask: str = "encoder-decoder"
    gate: str = "mixed"

    @property
    def has_modules(self) -> bool:
        """Whether any stage has an attention module."""
        return any(stage.modules for stage in self.stages)

    def __post_init__(self) -> None:
        choose("stem", self.stem, STEMS)
        choose("unit", self.unit, UNITS)
        choose("attention", self.attention, LEARNING)
        choose("mask", self.mask, MASKS)
        choose("gate", self.gate, GATES)
        for name, least in {"num_classes": 2, "p": 0, "t": 1, "r": 1, "stem_channels": 1}.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}.")
        if self.has_modules and self.mask == "local-convolutions" and self.unit != "bottleneck":
            # the width of local convolutions is computed for bottlenecks
            raise ValueError(f"a mask of local convolutions is made of bottleneck units, not of {self.unit} units.")


def _cifar(name: str, modules: int, p: int = 1, t: int = 2, r: int = 1) -> NetworkConfig:
    """The CIFAR structure: `modules` attention modules in each of three stages at 32×32, 16×16 and 8×8."""
    stages = (Stage(64, 1, modules, 3), Stage(128, 2, modules, 2), Stage(256, 2, modules, 1))
    return NetworkConfig(name, stages, p=p, t=t, r=r)


def _imagenet(name: str, modules: tuple[int, int, int], unit: str = "bottleneck") -> NetworkConfig:
    """The ImageNet structure (table 2): `modules` at 56×56, 28×28 and 14×14, then three residual units at 7×7."""
    a, b, c = modules
    stages = (Stage(256, 1, a, 3, 0), Stage(512, 2, b, 2, 0), Stage(1024, 2, c, 1, 0), Stage(2048, 2, 0, 0, 2))
    return NetworkConfig(name, stages, stem="imagenet", stem_channels=64, unit=unit, num_classes=1000)


def _plain(name: str, units: int, widen: float = 1, unit: str = "bottleneck") -> NetworkConfig:
    """A baseline without attention: three stages of `units` residual units each, `widen` times as wide.

    Pre-activation ResNet (He et al. 2016) with bottlenecks, wide residual network (Zagoruyko 2016) with basic units.
    """
    base = (64, 128, 256) if unit == "bottleneck" else (16, 32, 64)
    stages = tuple(
        Stage(round(channels * widen), stride, 0, 0, units - 1)
        for channels, stride in zip(base, (1, 2, 2), strict=True)
    )
    return NetworkConfig(name, stages, unit=unit)


PRESETS: dict[str, NetworkConfig] = {
    preset.name: preset
    for preset in (
        _cifar("attention-56", 1),
        _cifar("attention-92", 2),
        _cifar("attention-128", 3),
        _cifar("attention-164", 4),
        _cifar("attention-236", 6),
        _cifar("attention-452", 6, p=2, t=4, r=3),
        _imagenet("attention-56-imagenet", (1, 1, 1)),
        _imagenet("attention-92-imagenet", (1, 2, 3)),
        _imagenet("attentionnext-56-imagenet", (1, 1, 1), "resnext"),
        _imagenet("attentioninception-56-imagenet", (1, 1, 1), "inception"),
        _plain("resnet-164", 18),
        _plain("resnet-1001", 111),
        _plain("wrn-16-8", 2, widen=8, unit="basic"),
        _plain("wrn-28-10", 4, widen=10, unit="basic"),
        # not in the paper: this book's baseline for Attention-56, without attention, of equal depth and about equal
        # size. 1,109,714 parameters, 8% more; 84 channels instead of 88 would be closer, but cannot be halved.
        _plain("resnet-56-wide", 6, widen=88 / 64),
    )
}


class ResidualAttentionNetwork(nn.Module):
    """Stem, stages of residual units and attention modules, BN-ReLU, global average pool, classifier.

    (B, 3, H, W) → logits (B, num_classes). Raises ValueError where H or W is below the stem's smallest input: 32 for
    the CIFAR networks, 64 for the ImageNet networks. With post-activation units, the last BN-ReLU is omitted.
    """

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        self.recompute = False  # True: activation checkpointing of every block in training
        self.stem = _stem(STEMS[config.stem], config.stem_channels)
        self.blocks = nn.ModuleDict()  # in the order of the forward pass: stage1_unit, stage1_module1, stage1_tail1, …
        channels, unit = config.stem_channels, UNITS[config.unit]
        for number, stage in enumerate(config.stages, 1):
            self.blocks[f"stage{number}_unit"] = unit(channels, stage.channels, stage.stride)
            channels = stage.channels
            for module in range(1, stage.modules + 1):
                sizes = (channels, stage.poolings, config.p, config.t, config.r)
                self.blocks[f"stage{number}_module{module}"] = AttentionModule(
                    *sizes, config.attention, config.mask, config.gate, config.unit
                )
            for tail in range(1, stage.tail + 1):
                self.blocks[f"stage{number}_tail{tail}"] = unit(channels)
        self.head = nn.Sequential(
            unit.preactivation(channels), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, config.num_classes)
        )
        self.apply(_initialise)

    def forward(self, x: Tensor, trace: dict[str, Tensor] | None = None) -> Tensor:
        """Logits (B, num_classes). A given `trace` is filled with the outputs of blocks and the features of modules.

        Keys, in order: stem, stage1_unit, stage1_module1.trunk, stage1_module1.mask, …, stage1_module1, …
        """
        smallest = STEMS[self.config.stem].smallest_input
        if x.ndim != 4 or x.shape[1] != 3 or min(x.shape[-2:]) < smallest:
            raise ValueError(f"expected images (B, 3, H, W) with H and W of at least {smallest}, got {tuple(x.shape)}.")
        x = self.stem(x)  # (B, stem_channels, H, W); (B, stem_channels, ⌈H/4⌉, ⌈W/4⌉) where the stem pools
        if trace is not None:
            trace["stem"] = x
        for name, block in self.blocks.items():
            if trace is None:
                again = self.recompute and torch.is_grad_enabled()
                x = checkpoint_activations(block, x) if again else block(x)  # (B, C, H/s, W/s)
                continue
            inside: dict[str, Tensor] = {}
            x = block(x, inside) if isinstance(block, AttentionModule) else block(x)
            trace |= {f"{name}.{branch}": feature for branch, feature in inside.items()} | {name: x}
        return self.head(x)  # (B, num_classes)

    @property
    def depth(self) -> int:
        """Layers with weights along the trunk: stem, residual units, classifier (36 m + 20 on CIFAR for p = 1, t = 2).

        Projections are not counted. Two published names count differently: wide residual networks count three
        projections instead of the classifier, and AttentionInception counts three layers per unit, as for a bottleneck.
        """
        config = self.config
        plain = sum(1 + stage.tail for stage in config.stages)
        inside = sum(stage.modules * (2 * config.p + config.t) for stage in config.stages)
        return 2 + UNITS[config.unit].layers * (plain + inside)

    def __repr__(self) -> str:
        config, stem = self.config, STEMS[self.config.stem]
        parameters = sum(parameter.numel() for parameter in self.parameters())
        convolution = f"{stem.kernel}×{stem.kernel} convolution"
        rows = [("stem", f"{convolution}, {config.stem_channels} channels, stride {stem.stride}")]
        rows += [("", "BN-ReLU; 3×3 max-pooling, stride 2")] if stem.pools else []
        for number, stage in enumerate(config.stages, 1):
            sizes = f"p={config.p}, t={config.t}, r={config.r}, poolings={stage.poolings}"
            rows.append((f"stage {number}", f"{config.unit} unit → {stage.channels} channels, stride {stage.stride}"))
            rows += [("", f"{stage.modules} × AttentionModule({sizes})")] if stage.modules else []
            rows += [("", f"{stage.tail} × {config.unit} unit")] if stage.tail else []
        before_pool = "BN-ReLU, " if [*UNITS[config.unit].preactivation(1)] else ""
        rows.append(("head", f"{before_pool}average pool, {config.num_classes} classes"))
        if config.has_modules:
            rows.insert(0, ("modules", f"{config.attention.upper()}, {config.mask} mask, {config.gate} attention"))
        lines = [f"  {name:8} {what}" for name, what in rows]
        return "\n".join([f"{config.name}: {parameters:,} parameters, trunk depth {self.depth}", *lines])


def _stem(stem: Stem, channels: int) -> nn.Module:
    """(B, 3, H, W) → (B, channels, H, W), or (B, channels, ⌈H/4⌉, ⌈W/4⌉) where the stem pools."""
    convolution = nn.Conv2d(3, channels, stem.kernel, stem.stride, padding=stem.kernel // 2, bias=False)
    if not stem.pools:
        return convolution
    return nn.Sequential(convolution, norm_relu(channels), nn.MaxPool2d(3, stride=2, padding=1))


def _initialise(module: nn.Module) -> None:
    """He initialisation of convolutions (section 4.1); batch norm starts as the identity, PyTorch's default."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)


def narrowed(config: NetworkConfig, narrow: int) -> NetworkConfig:
    """`config` with all channels, stem and stages, divided by `narrow`: for trials, not for the paper's tables.

    Raises ValueError where the width of a unit, or of one of its layers, would not be a whole number.
    """
    multiple, channels = UNITS[config.unit].multiple, min(stage.channels for stage in config.stages)
    if narrow < 1 or channels // multiple % narrow or config.stem_channels % narrow:
        raise ValueError(
            f"narrow must divide the stem's {config.stem_channels} channels and 1/{multiple} of the {channels} in the "
            f"narrowest stage of {config.name}, which {narrow} does not."
        )
    stages = tuple(replace(stage, channels=stage.channels // narrow) for stage in config.stages)
    name = config.name if narrow == 1 else f"{config.name}, channels / {narrow}"
    return replace(config, name=name, stem_channels=config.stem_channels // narrow, stages=stages)


def build(name: str, narrow: int = 1, **options: object) -> ResidualAttentionNetwork:
    """Build a network by its preset's name: `build("attention-92", num_classes=10, attention="nal")`.

    `options` replace fields of the preset (see NetworkConfig); `narrow` divides its channels. Unknown names and
    impossible values raise ValueError.
    """
    preset = PRESETS[choose("network", name, PRESETS)]
    for option in options:
        choose("option of build", option, ("narrow", *(field.name for field in fields(NetworkConfig))))
    return ResidualAttentionNetwork(replace(narrowed(preset, narrow), **options))  # type: ignore[arg-type]
