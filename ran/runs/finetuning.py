"""Fine-tuning: a training that begins from trained weights, with a new classifier where the classes are others."""

import re
from collections.abc import Sequence
from dataclasses import fields, replace

from torch import nn

from ran.inference import FILE, Trained, load, tensor_digest
from ran.model import ResidualAttentionNetwork
from ran.runs.config import RunConfig

CLASSIFIER = ("head.3.weight", "head.3.bias")
DIGITS = 16  # of the digest of the weights, in a run's config
PINNED = re.compile(rf"[\w.+-]+@[0-9a-f]{{{DIGITS}}}", re.ASCII)  # the weights of a config that names them for good


def pinned(config: RunConfig) -> tuple[RunConfig, Trained | None]:
    """`config` with its `weights` as NAME@DIGEST, and those weights; unchanged, and None, without weights.

    The digest is over the tensors, so that a run is named by what it began from and not by a path. Raises ValueError
    where the digest is given and another one is found, and as `ran.inference.load` does.
    """
    if config.weights is None:
        return config, None
    name, _, wanted = config.weights.rpartition("@") if PINNED.fullmatch(config.weights) else (config.weights, "", "")
    trained = load(name)
    found = digest(trained.network)
    if wanted and wanted != found:
        raise ValueError(f"weights must have the digest {wanted}, and {trained.source} has {found}.")
    own = trained.name if trained.source.name == FILE else trained.source.name
    short = re.sub(r"[^\w.+-]+", "-", own, flags=re.ASCII).strip("-") or "weights"
    return replace(config, weights=f"{short}@{found}"), trained


def digest(network: nn.Module) -> str:
    """The first digits of the SHA-256 over every tensor of `network`."""
    return tensor_digest(network.state_dict())[:DIGITS]


def begin_from(network: ResidualAttentionNetwork, trained: Trained, classes: Sequence[str]) -> None:
    """Copy the trained weights into `network`; its classifier stays new, unless the classes are the same.

    Raises ValueError where the two are not the same network, but for the number of classes.
    """
    theirs = trained.network.config
    differing = [
        f"{each.name} is {getattr(theirs, each.name)!r} and not {getattr(network.config, each.name)!r}"
        for each in fields(theirs)
        if each.name != "num_classes" and getattr(theirs, each.name) != getattr(network.config, each.name)
    ]
    if differing:
        raise ValueError(f"the weights {trained.name} are of another network: {'; '.join(differing)}.")
    state = trained.network.state_dict()
    if trained.classes != tuple(classes):
        new = network.state_dict()
        state |= {name: new[name] for name in CLASSIFIER}
    network.load_state_dict(state)
