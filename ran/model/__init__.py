"""The networks of the paper: residual units, soft masks, attention modules, and their cost. Imports no data code."""

from ran.model.attention import LEARNING, AttentionModule
from ran.model.cost import cost
from ran.model.masks import GATES, MASKS, EncoderDecoder, SoftMask
from ran.model.network import PRESETS, STEMS, NetworkConfig, ResidualAttentionNetwork, build, narrowed
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
