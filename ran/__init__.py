"""Residual Attention Network for Image Classification (Wang et al., CVPR 2017), built to be read and measured."""

from ran.model import PRESETS, NetworkConfig, ResidualAttentionNetwork, build

__version__ = "0.1.0"
__all__ = ["PRESETS", "NetworkConfig", "ResidualAttentionNetwork", "build"]
