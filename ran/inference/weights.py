"""Trained weights in one safetensors file, with what is needed to rebuild the network, and a digest over all of it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ran.data import normalise
from ran.files import Damaged
from ran.model import ResidualAttentionNetwork, build

FILE = "weights.safetensors"
SHAPING = ("network", "narrow", "attention", "mask", "gate")  # the keys of a run's config that define the network
ABOUT = ("config", "classes", "mean", "std")  # the metadata beside the digest


@dataclass(frozen=True)
class Trained:
    """A trained network in evaluation mode, its classes, mean and deviation (3,) of the training pixels in [0, 1].

    `config` is the config of the run that trained it, by field name.
    """

    network: ResidualAttentionNetwork
    classes: tuple[str, ...]
    mean: Tensor
    std: Tensor
    config: Mapping[str, Any]

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

    `mean` and `std` (3,) are those of the training pixels in [0, 1]. The file is written whole or not at all.
    """
    about = {"config": dict(config), "classes": list(classes), "mean": mean.tolist(), "std": std.tolist()}
    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    path = folder / FILE
    partial = path.with_name(path.name + ".partial")
    metadata = {name: json.dumps(value) for name, value in about.items()}
    save_file(state, partial, metadata | {"sha256": _digest(state, about)})
    partial.replace(path)
    return path


def load(path: Path) -> Trained:
    """Build the network that `save_weights` wrote to `path`, with its weights.

    Raises Damaged, a ValueError, for a file that does not hold what was written to it.
    """
    try:
        about, state = _read(path)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise Damaged(
            f"{path} is damaged ({error}): take it again from where it came from, or delete it; the same run makes it "
            "anew with another folder for results."
        ) from error
    name, narrow, *others = (about["config"].get(key) for key in SHAPING)
    shape = {key: value for key, value in zip(SHAPING[2:], others, strict=True) if value is not None}
    network = build(name, narrow or 1, num_classes=len(about["classes"]), **shape)
    network.load_state_dict(state)
    mean, std = torch.tensor(about["mean"]), torch.tensor(about["std"])
    return Trained(network.eval(), tuple(about["classes"]), mean, std, about["config"])


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Metadata and tensors of a file whose digest is right; ValueError where it is not."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        state = {name: file.get_tensor(name) for name in file.keys()}
    about = {name: json.loads(metadata[name]) for name in ABOUT}
    if _digest(state, about) != metadata["sha256"]:
        raise ValueError("its checksum is wrong")
    return about, state


def _digest(state: Mapping[str, Tensor], about: Mapping[str, Any]) -> str:
    """SHA-256 over the metadata and over name, type, shape and bytes of every tensor."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(state):
        value = state[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
