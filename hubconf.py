"""Networks through torch.hub: `torch.hub.load(CHECKOUT, "attention_56", source="local", pretrained=True)`.

Every preset of `ran info` is an entry point, with underscores for hyphens.
"""

from collections.abc import Callable

from torch import nn

from ran.inference import load
from ran.model import PRESETS, build

dependencies = ["torch", "torchvision", "numpy", "safetensors", "PIL"]


def _entry(preset: str) -> Callable[..., nn.Module]:
    def entry(pretrained: bool | str = False, **options: object) -> nn.Module:
        if not pretrained:
            return build(preset, **options)
        if options:
            raise ValueError(f"{', '.join(options)}: options go with pretrained=False; trained weights have their own.")
        network = load(preset if pretrained is True else pretrained).network
        if network.config.name.split(",")[0] != preset:
            raise ValueError(f"{pretrained!r} holds weights of {network.config.name}, not of {preset}.")
        return network

    entry.__name__ = preset.replace("-", "_")
    entry.__doc__ = f"""{preset}: with new weights, or in evaluation mode with published ones.

    `pretrained` is False, True (the published set of this network) or the name of one. Without it, `options` are those
    of `ran.build`, such as num_classes=10 or attention="nal". Images are (B, 3, H, W) float32, normalised; mean,
    deviation and classes are in `ran.inference.load({preset!r})`. Raises ValueError where nothing is published.
    """
    return entry


globals().update({preset.replace("-", "_"): _entry(preset) for preset in PRESETS})
