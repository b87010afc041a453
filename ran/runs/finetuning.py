"""Fine-tuning: a training that begins from trained weights, with a new classifier where the classes are others."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import nn

from ran.inference import FILE, Trained, differing, load, tensor_digest
from ran.model import ResidualAttentionNetwork
from ran.runs.config import RunConfig

CLASSIFIER = ("head.3.weight", "head.3.bias")
UNSEEN = ("attention", "gate")  # fields of a network that leave no trace in its tensors
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


def begin_from(
    network: ResidualAttentionNetwork,
    trained: Trained,
    classes: Sequence[str],
    report: Callable[[str], None] = lambda _: None,
) -> None:
    """Copy the trained weights into `network`; its classifier stays new, unless the classes are the same.

    Tensors alone do not show attention and gate: those of a file without metadata are taken to be the network's own,
    and `report` is told. Raises ValueError where the two are not the same network, but for the number of classes.
    """
    unknown = UNSEEN if trained.assumed else ()
    if other := differing(trained.network.config, network.config, but=("num_classes", *unknown)):
        raise ValueError(f"the weights {trained.name} are of another network: {'; '.join(other)}.")
    state, new_classifier = trained.network.state_dict(), trained.classes != tuple(classes)
    if trained.assumed:
        shaping = " and ".join(f"{name} {getattr(network.config, name)}" for name in unknown)
        report(
            f"{trained.source} holds tensors only. Assumed: "
            + (f"{shaping}, as in this run; " if network.config.has_modules else "")
            + ("its classes are others, and the classifier is new." if new_classifier else "its classes are the same.")
        )
    if new_classifier:
        new = network.state_dict()
        state |= {name: new[name] for name in CLASSIFIER}
    network.load_state_dict(state)
