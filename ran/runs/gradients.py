"""Measurement of equation (2), section 3: the mask as a filter of the gradient that reaches the trunk."""

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from ran.data import Data
from ran.model import ResidualAttentionNetwork

BATCH = 25  # what the backward pass needs is kept: much more than a forward pass alone


def gradient_filter(network: ResidualAttentionNetwork, clean: Data, noisy: Data, count: int = 200) -> pd.DataFrame:
    """Gradient norms at the trunk of every attention module, for training images with right and with wrong labels.

    `network` was trained on `noisy`, which is `clean` after `with_label_noise`. The measurement uses up to `count`
    images with right labels and up to `count` with wrong ones, without augmentation. L is the cross-entropy (nats) of
    one image and its training label. G = ∂L/∂H is the gradient at the attended output: the trunk would receive G if the
    backward pass ignored this module's mask. The trunk receives ∂L/∂T, which is M · G for NAL and (1 + M) · G for ARL.

    Returns one row per `module` and `label` ("right", "wrong"). `count` is the number of images; the other columns are
    means over images, and the columns that end in `_se` are standard errors:

    - `loss`: L;
    - `without_mask`, `with_mask`: the L2 norms ‖G‖ and ‖∂L/∂T‖;
    - `ratio`: ‖∂L/∂T‖ / ‖G‖;
    - `filter`: ‖M · G‖ / ‖G‖, the same as `ratio` for NAL, and the norm of the mask term by ‖G‖ for ARL;
    - `mask`: the root mean square of M, which is the `filter` of a uniform gradient and serves as the control;
    - `relative`: `filter` / `mask` of each image, below 1 where the gradient is large at positions with a small mask.

    The norms grow with the loss, which is larger for wrong labels whatever the mask does. `ratio`, `filter` and
    `relative` do not depend on the scale of the gradient, and `relative` does not depend on the scale of the mask. The
    paper's claim predicts smaller values for wrong labels. Images with zero gradient are left out of these columns.
    """
    changed = clean.train.labels != noisy.train.labels
    network.eval()  # batch norm by running statistics: no image depends on the others of its batch
    pieces = []
    for label, chosen in (("right", ~changed), ("wrong", changed)):
        where = chosen.nonzero()[:, 0]
        if len(where) > count:
            where = where[len(where) * torch.arange(count) // count]  # at even distances: folders are sorted by class
        if not len(where):  # of a few images it may be that none was changed
            continue
        part = noisy.train.take(where)
        for images, labels in zip(part.images.split(BATCH), part.labels.split(BATCH), strict=True):
            pieces.append(_image_by_image(network, noisy.normalise(images), labels).assign(label=label))
    images = pd.concat(pieces)
    images["ratio"] = images.with_mask / images.without_mask
    images["filter"] = images.pop("filtered") / images.without_mask
    images["relative"] = images["filter"] / images["mask"]
    shares = ["ratio", "filter", "mask", "relative"]
    groups = images.groupby(["module", "label"])
    errors = groups[shares].sem().add_suffix("_se")
    columns = ["loss", "without_mask", "with_mask", *(name + end for name in shares for end in ("", "_se"))]
    means = groups.mean().join(errors)[columns]
    means.insert(0, "count", groups.size())
    return means.reset_index()


def _image_by_image(network: ResidualAttentionNetwork, images: Tensor, labels: Tensor) -> pd.DataFrame:
    """Loss, norms and root mean square mask of every image in every module. `images` (B, 3, H, W), `labels` (B,)."""
    device = next(network.parameters()).device
    trace: dict[str, Tensor] = {}
    loss = F.cross_entropy(network(images.to(device), trace), labels.to(device), reduction="none")  # (B,)
    modules = [name.removesuffix(".mask") for name in trace if name.endswith(".mask")]
    ends = [trace[f"{module}.{end}"] for module in modules for end in ("attended", "trunk")]
    gradients = torch.autograd.grad(loss.sum(), ends)  # of the sum: every image's place holds its own
    rows = []
    for module, without_mask, with_mask in zip(modules, gradients[::2], gradients[1::2], strict=True):
        mask = trace[f"{module}.mask"].detach()
        columns = {
            "loss": loss.detach(),
            "without_mask": _norm(without_mask),
            "with_mask": _norm(with_mask),
            "filtered": _norm(mask * without_mask),
            "mask": _norm(mask) / mask[0].numel() ** 0.5,
        }
        rows.append(pd.DataFrame({name: each.cpu().numpy() for name, each in columns.items()}).assign(module=module))
    return pd.concat(rows)


def _norm(feature: Tensor) -> Tensor:
    """L2 norm of every image's features. (B, C, H, W) → (B,)"""
    return feature.flatten(1).double().norm(dim=1)  # the squares of what is nearly learned vanish in float32
