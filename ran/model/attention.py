"""The Attention Module (section 3, figure 2): trunk branch, mask branch, and the two ways to combine them."""

from collections.abc import Callable

from torch import Tensor, nn

from ran.model.masks import SoftMask
from ran.model.units import residual_units


def naive_attention_learning(mask: Tensor, trunk: Tensor) -> Tensor:
    """NAL, equation (1): H = M · T. Both (B, C, H, W)."""
    return mask * trunk


def attention_residual_learning(mask: Tensor, trunk: Tensor) -> Tensor:
    """ARL, equation (3): H = (1 + M) · T. Both (B, C, H, W). A mask of zeros leaves the trunk as it is."""
    return (1 + mask) * trunk


LEARNING: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "arl": attention_residual_learning,
    "nal": naive_attention_learning,
}


class AttentionModule(nn.Module):
    """Attention Module(p, t, r): p residual units, then trunk (t units) and mask in parallel, combined, then p units.

    (B, C, H, W) → (B, C, H, W). `poolings` is the number of scales of the mask branch, `attention` a key of LEARNING;
    `mask` and `gate` are as in SoftMask; `unit`, a key of UNITS, is the kind of all residual units.
    """

    def __init__(
        self,
        channels: int,
        poolings: int,
        p: int = 1,
        t: int = 2,
        r: int = 1,
        attention: str = "arl",
        mask: str = "encoder-decoder",
        gate: str = "mixed",
        unit: str = "bottleneck",
    ):
        super().__init__()
        self.before = residual_units(p, channels, unit)
        self.trunk = residual_units(t, channels, unit)
        self.mask = SoftMask(channels, poolings, r, mask, gate, unit)
        self.after = residual_units(p, channels, unit)
        self.attention = attention

    def forward(self, x: Tensor, trace: dict[str, Tensor] | None = None) -> Tensor:
        """The module's output. A given `trace` is filled with the features trunk, mask and attended, by name."""
        x = self.before(x)  # (B, C, H, W), as everything below
        trunk, mask = self.trunk(x), self.mask(x)
        attended = LEARNING[self.attention](mask, trunk)
        if trace is not None:
            trace.update(trunk=trunk, mask=mask, attended=attended)
        return self.after(attended)

    def extra_repr(self) -> str:
        return f"attention={self.attention}"
