"""Trained weights that travel with the repository: one safetensors file that says itself how to use it."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ran.folders import normalise
from ran.network import ResidualAttentionNetwork
from ran.runs import Run, RunConfig

FILE = "weights.safetensors"


@dataclass(frozen=True)
class Trained:
    """A trained network in evaluation mode, its classes, mean and deviation (3,) of its training pixels in [0, 1]."""

    network: ResidualAttentionNetwork
    classes: tuple[str, ...]
    mean: Tensor
    std: Tensor

    def normalise(self, images: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 → (B, 3, H, W) float32, as in training."""
        return normalise(images, self.mean, self.std)


def publish(run: Run) -> Path:
    """Write the weights of a finished run beside its record, in float32: <folder>/weights.safetensors.

    Raises ValueError where the run has none, as in a fresh clone.
    """
    if run.network is None:
        raise ValueError(f"{run.folder} holds no weights; with another results folder the run is trained again.")
    said = {
        "config": run.record["config"],
        "classes": run.data.classes,
        "mean": run.data.mean.tolist(),
        "std": run.data.std.tolist(),
    }
    path = run.folder / FILE
    state = {name: value.contiguous() for name, value in run.network.state_dict().items()}
    save_file(state, path, {name: json.dumps(value) for name, value in said.items()})
    return path


def load(path: Path) -> Trained:
    """Build the network that `publish` wrote to `path`, with its weights."""
    with safe_open(path, "pt") as file:
        said = {name: json.loads(value) for name, value in file.metadata().items()}
        state = {name: file.get_tensor(name) for name in file.keys()}
    network = RunConfig(**said["config"]).build(len(said["classes"]))
    network.load_state_dict(state)
    return Trained(network.eval(), tuple(said["classes"]), torch.tensor(said["mean"]), torch.tensor(said["std"]))
