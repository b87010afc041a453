"""Published weights: one safetensors file with trained weights and the metadata to rebuild the network."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ran.data import normalise
from ran.model import ResidualAttentionNetwork, build

FILE = "weights.safetensors"
SHAPING = ("network", "narrow", "attention", "mask", "gate")  # the keys of a run's config that define the network


@dataclass(frozen=True)
class Trained:
    """A trained network in evaluation mode, its classes, mean and deviation (3,) of the training pixels in [0, 1]."""

    network: ResidualAttentionNetwork
    classes: tuple[str, ...]
    mean: Tensor
    std: Tensor

    def normalise(self, images: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 → (B, 3, H, W) float32, as in training."""
        return normalise(images, self.mean, self.std)


def save_weights(
    folder: Path,
    network: ResidualAttentionNetwork,
    config: Mapping[str, Any],
    classes: Sequence[str],
    mean: Tensor,
    std: Tensor,
) -> Path:
    """Write <folder>/weights.safetensors, with the `config` of the run that trained `network`; returns the path.

    `mean` and `std` (3,) are those of the training pixels in [0, 1].
    """
    about = {"config": config, "classes": classes, "mean": mean.tolist(), "std": std.tolist()}
    path = folder / FILE
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(state, path, {name: json.dumps(value) for name, value in about.items()})
    return path


def load(path: Path) -> Trained:
    """Build the network that `save_weights` wrote to `path`, with its weights."""
    with safe_open(path, "pt") as file:
        about = {name: json.loads(value) for name, value in file.metadata().items()}
        state = {name: file.get_tensor(name) for name in file.keys()}
    name, narrow, *others = (about["config"].get(key) for key in SHAPING)
    shape = {key: value for key, value in zip(SHAPING[2:], others, strict=True) if value is not None}
    network = build(name, narrow or 1, num_classes=len(about["classes"]), **shape)
    network.load_state_dict(state)
    return Trained(network.eval(), tuple(about["classes"]), torch.tensor(about["mean"]), torch.tensor(about["std"]))
