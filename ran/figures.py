"""The pictures of this book: learning curves, masks over images, confusion matrices, each a matplotlib Figure."""

from typing import Any

import matplotlib.pyplot as plt
import seaborn as sns
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from ran.data import DataSet
from ran.network import ResidualAttentionNetwork


def set_theme() -> None:
    """The look of every plot in this book: colours that colour-blind readers can tell apart, on a light grid."""
    sns.set_theme(context="notebook", style="whitegrid", palette="colorblind")


def learning_curves(record: dict[str, Any]) -> Figure:
    """Cross-entropy (nats) and error (%) of training and test set, epoch by epoch, of one record."""
    numbers = [epoch["epoch"] for epoch in record["epochs"]]
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for panel, quantity, label in zip(panels, ("loss", "error"), ("cross-entropy (nats)", "error (%)"), strict=True):
        for part, style in (("train", "o--"), ("test", "o-")):
            panel.plot(numbers, [epoch[f"{part}_{quantity}"] for epoch in record["epochs"]], style, label=part)
        panel.set(xlabel="epoch", ylabel=label, ylim=(0, None))
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.legend()
    figure.suptitle(f"{record['id']}")
    return figure


@torch.inference_mode()
def soft_masks(network: ResidualAttentionNetwork, images: Tensor) -> dict[str, Tensor]:
    """The mask of every attention module by its name, averaged over channels: {name: (B, H', W')}.

    `images` are normalised, (B, 3, H, W); H', W' are the size of the module's stage.
    """
    trace: dict[str, Tensor] = {}
    network.eval()(images, trace)
    return {name.removesuffix(".mask"): mask.mean(1) for name, mask in trace.items() if name.endswith(".mask")}


def masks_over_images(network: ResidualAttentionNetwork, data: DataSet, count: int = 8) -> Figure:
    """The first `count` test images, and laid over each the mean mask of the first module of every stage.

    Colour runs from the smallest to the largest value of each single mask: it shows where it is higher, not how high.
    """
    part = data.test.head(count)
    masks = {
        name: mask
        for name, mask in soft_masks(network, data.normalise(part.images)).items()
        if name.endswith("module1")
    }
    figure, grid = plt.subplots(
        1 + len(masks), count, figsize=(1.25 * count, 1.35 * (1 + len(masks))), layout="constrained", squeeze=False
    )
    for column, (image, label) in enumerate(zip(part.images, part.labels, strict=True)):
        grid[0, column].imshow(image)
        grid[0, column].set_title(data.classes[label], fontsize=9)
        for row, mask in enumerate(masks.values(), 1):
            fine = F.interpolate(mask[column][None, None], size=image.shape[:2], mode="bilinear", align_corners=True)
            grid[row, column].imshow(image.float().mean(2), cmap="gray")
            grid[row, column].imshow(fine[0, 0], cmap="inferno", alpha=0.65)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
    for row, name in enumerate(["image", *(name.replace("_", "\n") for name in masks)]):
        grid[row, 0].set_ylabel(name, fontsize=9)
    return figure


def confusion_matrix(record: dict[str, Any]) -> Figure:
    """Share of each true class (rows, %) that was given each answer (columns), of one record."""
    counts = torch.tensor(record["confusion"], dtype=torch.float)
    classes = record["dataset"]["classes"]
    figure, axes = plt.subplots(figsize=(6.5, 5.2), layout="constrained")
    sns.heatmap(
        100 * counts / counts.sum(1, keepdim=True),
        annot=len(classes) <= 10,
        fmt=".0f",
        cmap="Blues",
        xticklabels=classes,
        yticklabels=classes,
        cbar_kws={"label": "share of the true class (%)"},
        ax=axes,
    )
    axes.set(xlabel="answer", ylabel="true class")
    return figure
