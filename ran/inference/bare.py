"""State dicts without metadata, as PyTorch users exchange them: the network is found by the names of its tensors."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ran.data import MEAN, STD
from ran.inference.weights import Trained, fill, plain_names
from ran.model import MASKS, PRESETS, NetworkConfig, ResidualAttentionNetwork, narrowed

# keys under which training scripts put the state dict of a network
WRAPPERS = ("state_dict", "model_state_dict", "model", "network")
COUNTER = "num_batches_tracked"  # of batch norms; it decides nothing, and some programs leave it out
CIFAR10 = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # mean and deviation of the training pixels in [0, 1]


def read_bare(path: Path) -> Trained:
    """The network whose tensors are in `path`: safetensors, or a state dict that torch.save wrote (.pt, .pth).

    Preset, narrowing, mask structure and number of classes follow from names and shapes. What leaves no trace in them
    is assumed, and said in `assumed`: attention residual learning with mixed attention, classes by number, mean and
    deviation of CIFAR-10 (CIFAR networks) or ImageNet. Raises ValueError for a file that is no state dict, and for
    tensors that fit no network.
    """
    state = plain_names(load_file(path) if path.suffix == ".safetensors" else _unpickled(path))
    network = _nearest(state)
    counters = {name: value for name, value in network.state_dict().items() if name.endswith(COUNTER)}  # all 0
    fill(network, counters | state, path)
    cifar = network.config.stem == "cifar"
    mean, std = CIFAR10 if cifar else (MEAN, STD)
    assumed = (
        f"{path} holds tensors only. Assumed: {'CIFAR-10' if cifar else 'ImageNet'}'s mean and deviation"
        + (", arl and mixed attention" if network.config.has_modules else "")
        + "; classes are numbered."
    )
    classes = tuple(f"class {number}" for number in range(network.config.num_classes))
    side = {"dataset": "cifar10"} if cifar else {"dataset": "folder"}
    return Trained(network.eval(), classes, torch.tensor(mean), torch.tensor(std), side, path, assumed)


def _unpickled(path: Path) -> dict[str, Tensor]:
    """The state dict in a file of torch.save; nothing but tensors and plain values is ever unpickled."""
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the unpickler raises for what the file holds
        raise ValueError(
            f"{path} holds no plain state dict: expected what torch.save(network.state_dict(), PATH) writes."
        ) from error
    for wrapper in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
    if not isinstance(found, Mapping) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise ValueError(f"{path} holds no plain state dict: expected tensors by name.")
    if odd := [name for name, value in found.items() if not isinstance(name, str) or not _is_dense(value)]:
        raise ValueError(
            f"{path} holds no plain state dict: expected dense tensors with their numbers, by names that are text, and "
            f"{odd[0]!r} is none."
        )
    return dict(found)


def _is_dense(value: Tensor) -> bool:
    """Whether every number of the tensor is there: it is not sparse or nested, and not a shape alone."""
    return value.layout == torch.strided and not value.is_meta and not value.is_nested


def _nearest(state: Mapping[str, Tensor]) -> ResidualAttentionNetwork:
    """The network, of new weights, whose tensors have most names in common with `state`."""
    stem = next((value for name, value in state.items() if name in ("stem.weight", "stem.0.weight")), None)
    bias = state.get("head.3.bias")
    classes = len(bias) if bias is not None and bias.ndim == 1 and len(bias) > 1 else None
    given = {name for name in state if not name.endswith(COUNTER)}
    best, common = None, -1.0
    for config in _configs():
        names = _names(config)
        share = len(names & given) / len(names | given)
        if share > common:
            best, common = config, share
        if share == 1:
            break
    assert best is not None
    if stem is not None and stem.ndim == 4 and 0 < len(stem) < best.stem_channels:
        try:
            best = narrowed(best, best.stem_channels // len(stem))
        except ValueError:
            pass  # no narrowing of ran's: the shapes that differ are named
    return ResidualAttentionNetwork(replace(best, num_classes=classes or best.num_classes))


@cache
def _names(config: NetworkConfig) -> frozenset[str]:
    """The names of a network's tensors but counters; the deepest take seconds to build."""
    with torch.device("meta"):  # names and shapes only
        return frozenset(name for name in ResidualAttentionNetwork(config).state_dict() if not name.endswith(COUNTER))


def _configs() -> Iterator[NetworkConfig]:
    """Every structure that leaves other names: the presets, and those of bottlenecks with each kind of mask."""
    for preset in PRESETS.values():
        masks = MASKS if preset.has_modules and preset.unit == "bottleneck" else (preset.mask,)
        yield from (replace(preset, mask=mask) for mask in masks)
