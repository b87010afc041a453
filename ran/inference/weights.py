"""Trained weights in one safetensors file, with what is needed to rebuild the network, and a digest over all of it."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ran.data import FIXED, IMAGE_SIZE, MARGIN, as_tensor, centre_crop, normalise
from ran.files import Damaged, write_whole
from ran.model import STEMS, NetworkConfig, ResidualAttentionNetwork, build

FILE = "weights.safetensors"
SHAPING = ("network", "narrow", "attention", "mask", "gate")  # the keys of a run's config that define the network
ABOUT = ("config", "classes", "mean", "std")  # the metadata beside the digest


@dataclass(frozen=True)
class Trained:
    """A trained network in evaluation mode, its classes, mean and deviation (3,) of the training pixels in [0, 1].

    `config` is the config of the run that trained it, by field name; `source` the file that it was read from. `assumed`
    says in words what that file does not hold and was supplied by convention; it is empty for files of `save_weights`.
    """

    network: ResidualAttentionNetwork
    classes: tuple[str, ...]
    mean: Tensor
    std: Tensor
    config: Mapping[str, Any]
    source: Path
    assumed: str = ""

    @property
    def name(self) -> str:
        """A short name for files: the run's id, or the name of a file that has its own."""
        return self.source.resolve().parent.name if self.source.name == FILE else self.source.stem

    @property
    def size(self) -> int:
        """Side of the square images that the network was tested on, in pixels."""
        if self.config.get("dataset") in FIXED:
            return IMAGE_SIZE
        own = STEMS[self.network.config.stem].image_size
        return self.config.get("test_size") or self.config.get("size") or own

    @property
    def margin(self) -> float:
        """Shorter side of a picture, by the side of the square that is cut out of its middle: see `crop`."""
        return MARGIN if self.config.get("dataset") == "folder" else 1.0

    def crop(self, picture: Image.Image) -> Tensor:
        """The middle of an RGB picture of any size, as in the test of the training: (size, size, 3) uint8."""
        return centre_crop(self.size, self.margin)(as_tensor(picture)).permute(1, 2, 0).contiguous()

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

    `mean` and `std` (3,) are those of the training pixels in [0, 1]. The file is written whole or not at all. Raises
    ValueError, and leaves what was there, for what `read_weights` would not take: tensors that are not those of the
    config's network, such as fused ones, and numbers that are not finite.
    """
    about = {"config": dict(config), "classes": list(classes), "mean": mean.tolist(), "std": std.tolist()}
    state = {name: value.detach().cpu().contiguous() for name, value in plain_names(network.state_dict()).items()}
    path = folder / FILE
    with torch.device("meta"):  # names and shapes only
        expected = _network(config, len(classes))
    for module in network.modules():  # itself, or what DataParallel or torch.compile wrapped
        if isinstance(module, ResidualAttentionNetwork) and (other := differing(module.config, expected.config)):
            raise ValueError(
                f"{path} is not written, since the network is not that of the config and classes: {'; '.join(other)}. "
                "Give the config that it was built by."
            )
    if wrong := _misfit(expected.state_dict(), state):
        raise ValueError(
            f"{path} is not written, since it could not be loaded as {_described(expected)}. {wrong}. Save the network "
            "as it was trained, not fused or changed."
        )
    if wrong := _unfit(mean, std):
        raise ValueError(f"{path} is not written, since {wrong}: measure them on the training images.")
    metadata = {name: json.dumps(value) for name, value in about.items()}
    write_whole(path, save(state, metadata | {"sha256": _digest(state, about)}))
    return path


def read_weights(path: Path) -> Trained:
    """Build the network that `save_weights` wrote to `path`, with its weights.

    Raises Damaged, a ValueError, for a file that does not hold what was written to it, and ValueError for tensors that
    do not fit the network of the config and for numbers that are not finite.
    """
    try:
        about, state = _read(path)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise Damaged(
            f"{path} is damaged ({error}): take it again from where it came from, or delete it; the same run makes it "
            "anew with another folder for results."
        ) from error
    network = _network(about["config"], len(about["classes"]))
    fill(network, state, path)
    mean, std = torch.tensor(about["mean"]), torch.tensor(about["std"])
    if wrong := _unfit(mean, std):
        raise ValueError(f"{path} cannot be used, since {wrong}: take it again from where it came from.")
    return Trained(network.eval(), tuple(about["classes"]), mean, std, about["config"], path)


def _network(config: Mapping[str, Any], classes: int) -> ResidualAttentionNetwork:
    """The network, of new weights, of a run's config."""
    name, narrow, *others = (config.get(key) for key in SHAPING)
    shape = {key: value for key, value in zip(SHAPING[2:], others, strict=True) if value is not None}
    return build(str(name), narrow or 1, num_classes=classes, **shape)


def differing(theirs: NetworkConfig, ours: NetworkConfig, but: Iterable[str] = ()) -> list[str]:
    """What differs between two networks, in words, field by field; the fields named in `but` are left out."""
    return [
        f"{each.name} is {getattr(theirs, each.name)!r} and not {getattr(ours, each.name)!r}"
        for each in fields(theirs)
        if each.name not in but and getattr(theirs, each.name) != getattr(ours, each.name)
    ]


def _unfit(mean: Tensor, std: Tensor) -> str:
    """What keeps pixels from being normalised by mean and deviation, in words; empty where they can be."""
    if mean.shape == std.shape == (3,) and mean.isfinite().all() and std.isfinite().all() and (std > 0).all():
        return ""
    return f"mean {mean.tolist()} and std {std.tolist()} must be three finite numbers each, and those of std above 0"


def has_metadata(path: Path) -> bool:
    """Whether a safetensors file holds anything of what `save_weights` writes beside the tensors."""
    try:
        with safe_open(path, "pt") as file:
            return not {*ABOUT, "sha256"}.isdisjoint(file.metadata() or {})
    except SafetensorError:
        return True  # damaged, and `read_weights` says so


def fill(network: ResidualAttentionNetwork, state: Mapping[str, Tensor], path: Path) -> None:
    """Load `state`, read from `path`, into `network`. The prefixes of DataParallel and torch.compile are taken off.

    Raises ValueError, which names the first tensors that are missing, too many, of another shape or not numbers.
    """
    state = plain_names(state)
    try:
        wrong = _misfit(network.state_dict(), state)
        if not wrong:
            network.load_state_dict(state)
    except RuntimeError as error:  # of kinds of tensors that cannot be copied
        raise ValueError(
            f"{path} cannot be loaded into {_described(network)}: {' '.join(str(error).split())}"
        ) from error
    if wrong:
        raise ValueError(f"{path} does not fit {_described(network)}. {wrong}.")


def _described(network: ResidualAttentionNetwork) -> str:
    return f"{network.config.name} with {network.config.num_classes} classes"


def _misfit(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """Which tensors of `state` keep it from being loaded in the place of `own`, in words; empty where it can be."""
    shapes = [
        f"{name} is {tuple(state[name].shape)} and should be {tuple(value.shape)}"
        for name, value in own.items()
        if name in state and state[name].shape != value.shape
    ]
    weights = [name for name, value in own.items() if value.is_floating_point() and name in state]  # the rest counts
    types = [f"{name} is {state[name].dtype}" for name in weights if not state[name].is_floating_point()]
    infinite = [
        name
        for name in weights
        if state[name].is_floating_point() and not state[name].to(own[name].dtype).isfinite().all()
    ]
    found = (
        _some("missing: ", [name for name in own if name not in state]),
        _some("not part of it: ", [name for name in state if name not in own]),
        _some("of another shape: ", shapes),
        _some("not of floating-point numbers: ", types),
        _some("with NaN or infinite values: ", infinite),
    )
    return "; ".join(each for each in found if each)


def plain_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` without the prefixes that DataParallel (module.) and torch.compile (_orig_mod.) put before names."""
    state = {name.replace("_orig_mod.", ""): value for name, value in state.items()}
    while state and all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    return state


def _some(before: str, names: Iterable[str], most: int = 3) -> str:
    """The first of `names` after the words `before`, with the number of the others; empty where there are none."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{before}{', '.join(names[:most])}{more}" if names else ""


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
    """SHA-256 over the metadata and all tensors."""
    return tensor_digest(state, json.dumps(about, sort_keys=True))


def tensor_digest(state: Mapping[str, Tensor], before: str = "") -> str:
    """SHA-256 over the text `before`, and over name, type, shape and bytes of every tensor on the CPU, by name."""
    digest = hashlib.sha256(before.encode())
    for name in sorted(state):
        value = state[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
