"""Residual Attention Network for Image Classification (Wang et al., CVPR 2017), built to be read and measured."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ran.model import PRESETS, NetworkConfig, ResidualAttentionNetwork, build

__version__ = "0.1.0"
__all__ = ["PRESETS", "NetworkConfig", "ResidualAttentionNetwork", "build"]


def __getattr__(name: str) -> Any:
    """Load the networks when one is asked for: PyTorch takes seconds, and a signal is answered before that."""
    if name not in __all__:
        raise AttributeError(f"module 'ran' has no attribute {name!r}")
    from ran import model

    return getattr(model, name)
