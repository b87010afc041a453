"""The networks of the paper: residual units, soft masks, attention modules, and their cost. Imports no data code."""

from ran.model.attention import AttentionModule, LEARNING
from ran.model.cost import cost
from ran.model.masks import EncoderDecoder, GATES, MASKS, SoftMask
from ran.model.network import NetworkConfig, PRESETS, ResidualAttentionNetwork, STEMS, build, narrowed
from ran.model.units import ResidualUnit, norm_relu, residual_units

__all__ = [
    "AttentionModule",
    "EncoderDecoder",
    "GATES",
    "LEARNING",
    "MASKS",
    "NetworkConfig",
    "PRESETS",
    "ResidualAttentionNetwork",
    "ResidualUnit",
    "STEMS",
    "SoftMask",
    "build",
    "cost",
    "narrowed",
    "norm_relu",
    "residual_units",
]
