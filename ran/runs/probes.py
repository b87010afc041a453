"""Probes: statistics of the features and masks of a trained network, block by block, on test images."""

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from ran.data import Data
from ran.model import ResidualAttentionNetwork

INSIDE = ("trunk", "mask", "attended")  # what an attention module adds to a trace
BATCH = 50


@torch.inference_mode()
def probe(network: ResidualAttentionNetwork, data: Data, count: int = 250) -> pd.DataFrame:
    """Responses and object scores of all blocks and module branches, on the first `count` test images.

    Returns one row per block, and per trunk, mask and attended features of every attention module:

    - `block`: the name in the trace;
    - `response`: the mean absolute value of the output (the paper's figure in section 4.1);
    - `auc`: how well the branch separates object from background pixels, see `area_under_roc`;
    - `auc_shuffled`: the control, `auc` with the object of another image. A map that only knows the typical position of
      objects scores the same in both.

    `auc` and `auc_shuffled` are NaN for whole blocks, and for data sets without object masks. The scored map is the
    mean over channels of a mask, or the mean absolute value over channels of features, up-sampled to the image size.
    """
    part = data.test.head(count)
    device = next(network.parameters()).device
    network.eval()
    responses: dict[str, float] = {}
    maps: dict[str, list[Tensor]] = {}
    for images in part.images.split(BATCH):
        trace: dict[str, Tensor] = {}
        network(data.normalise(images.to(device)), trace)
        for name, feature in trace.items():
            responses[name] = responses.get(name, 0.0) + feature.float().abs().mean().item() * len(images) / len(part)
            if part.masks is not None and name.endswith(INSIDE):
                maps.setdefault(name, []).append(_map(name, feature, images.shape[1:3]).cpu())
    scores = {}
    if part.masks is not None:
        for name, pieces in maps.items():
            whole = torch.cat(pieces)
            scores[name] = (area_under_roc(whole, part.masks), area_under_roc(whole, part.masks.roll(1, 0)))
    nothing = (float("nan"), float("nan"))
    return pd.DataFrame(
        [(name, response, *scores.get(name, nothing)) for name, response in responses.items()],
        columns=["block", "response", "auc", "auc_shuffled"],
    )


def _map(name: str, feature: Tensor, size: torch.Size) -> Tensor:
    """The map that is scored: mean over channels, up-sampled to `size`. (B, C, H', W') → (B, H, W)"""
    flat = feature.float().mean(1, keepdim=True) if name.endswith("mask") else feature.float().abs().mean(1, True)
    return F.interpolate(flat, size=tuple(size), mode="bilinear", align_corners=True)[:, 0]


def area_under_roc(maps: Tensor, objects: Tensor) -> float:
    """Probability that an object pixel scores higher than a background pixel, mean over images; ties count half.

    `maps` (N, H, W) are scores, `objects` (N, H, W) is bool. 0.5 is chance, 0 and 1 are perfect separations. Images
    that are all object or all background are left out. Computed from the rank sum of Mann and Whitney, which equals the
    area under the ROC curve.
    """
    inside = objects.flatten(1).numpy()
    ranks = pd.DataFrame(maps.flatten(1).numpy()).rank(axis=1).to_numpy()  # ties share the mean of their ranks
    positive = inside.sum(1)
    negative = inside.shape[1] - positive
    told = (positive > 0) & (negative > 0)
    pairs_won = (ranks * inside).sum(1) - positive * (positive + 1) / 2
    return float((pairs_won[told] / (positive * negative)[told]).mean())
