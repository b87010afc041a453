"""The figures of the book: learning curves, masks, probes, gradients, confusion matrices, as matplotlib Figures."""

from itertools import cycle
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from ran.data import Data
from ran.model import ResidualAttentionNetwork
from ran.runs import measured
from ran.study.lettering import lettered, use_installed_fonts


def set_theme() -> None:
    """Set the style of all plots: colours that colour-blind readers can tell apart, on a light grid."""
    sns.set_theme(context="notebook", style="whitegrid", palette="colorblind")
    use_installed_fonts()


def learning_curves(record: dict[str, Any]) -> Figure:
    """Cross-entropy (nats) and error (%) on training and test set against epoch, for one record."""
    numbers = [epoch["epoch"] for epoch in record["epochs"]]
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for panel, quantity, label in zip(panels, ("loss", "error"), ("cross-entropy (nats)", "error (%)"), strict=True):
        for part, name, style in (("train", "train", "o--"), ("test", measured(record), "o-")):
            panel.plot(numbers, [epoch[f"{part}_{quantity}"] for epoch in record["epochs"]], style, label=name)
        panel.set(xlabel="epoch", ylabel=label, ylim=(0, None))
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.legend()
    figure.suptitle(f"{record['id']}")
    return figure


def test_curves(curves: dict[str, dict[str, Any]]) -> Figure:
    """Test error (%) against epoch for several records, {name in the legend: record}."""
    figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
    for name, record in curves.items():
        epochs = record["epochs"]
        axes.plot([epoch["epoch"] for epoch in epochs], [epoch["test_error"] for epoch in epochs], "o-", label=name)
    axes.set(xlabel="epoch", ylabel="test error (%)", ylim=(0, None))
    axes.locator_params(axis="x", integer=True)
    axes.legend(fontsize=9)
    return figure


@torch.inference_mode()
def soft_masks(network: ResidualAttentionNetwork, images: Tensor) -> dict[str, Tensor]:
    """The masks of all attention modules, averaged over channels: {module: (B, H', W')}.

    `images` are normalised, (B, 3, H, W); H', W' are the size of the module's stage.
    """
    trace: dict[str, Tensor] = {}
    network.eval()(images, trace)
    return {name.removesuffix(".mask"): mask.mean(1) for name, mask in trace.items() if name.endswith(".mask")}


def masks_over_images(network: ResidualAttentionNetwork, data: Data, count: int = 8) -> Figure:
    """The first `count` test images, with the mean mask of the first module of every stage as an overlay.

    The colours of each mask are scaled from its smallest to its largest value, so they cannot be compared across masks.
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
        grid[0, column].imshow(image.numpy())
        grid[0, column].set_title(lettered(data.classes[label]), fontsize=9)
        for row, mask in enumerate(masks.values(), 1):
            fine = F.interpolate(mask[column][None, None], size=image.shape[:2], mode="bilinear", align_corners=True)
            grid[row, column].imshow(image.float().mean(2).numpy(), cmap="gray")
            grid[row, column].imshow(fine[0, 0].numpy(), cmap="inferno", alpha=0.65)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
    for row, name in enumerate(["image", *(name.replace("_", "\n") for name in masks)]):
        grid[row, 0].set_ylabel(name, fontsize=9)
    return figure


def mean_absolute_response(probes: dict[str, pd.DataFrame]) -> Figure:
    """Mean absolute response of every block, in the order of the forward pass, with one line per variant.

    `probes` is {variant: table of `ran.runs.probes.probe`}, for variants of one network. Source: the paper's figure in
    section 4.1.
    """
    figure, axes = plt.subplots(figsize=(9, 3.4), layout="constrained")
    for (name, table), style in zip(probes.items(), cycle(("o-", "s--", "^:")), strict=False):
        outer = table[~table.block.str.contains(".", regex=False)]  # outputs of blocks, not the insides of modules
        axes.plot(range(len(outer)), outer.response, style, label=name, ms=5)
    blocks = outer.block.tolist()
    for number, block in enumerate(blocks):
        if block.endswith("_unit"):
            axes.axvline(number - 0.5, color="0.6", lw=1)
            axes.text(number - 0.4, 0.98, block[:6].replace("e", "e "), transform=axes.get_xaxis_transform(), va="top")
    axes.set_xticks(range(len(blocks)), [block.split("_")[-1] for block in blocks], rotation=60, ha="right", fontsize=9)
    axes.set(ylabel="mean absolute response", yscale="log")
    axes.margins(y=0.15)
    axes.legend(loc="upper right")
    return figure


def object_scores(probes: dict[str, pd.DataFrame]) -> Figure:
    """Area under the ROC curve of trunk, mask and attended features as scores for object pixels, with its control.

    `probes` is as in `mean_absolute_response`, for a data set with object masks.
    """
    tables = [
        table.dropna(subset=["auc"]).assign(
            variant=name,
            module=lambda each: each.block.str.split(".").str[0],
            branch=lambda each: each.block.str.split(".").str[1],
        )
        for name, table in probes.items()
    ]
    scores = pd.concat(tables, ignore_index=True)
    branches = {"trunk": "trunk", "mask": "mask", "attended": "after the mask"}
    figure, panels = plt.subplots(
        1, len(probes), figsize=(4.6 * len(probes), 3.6), sharey=True, layout="constrained", squeeze=False
    )
    for axes, name in zip(panels[0], probes, strict=True):
        part = scores[scores.variant == name]
        modules = list(dict.fromkeys(part.module))
        for offset, (branch, label) in enumerate(branches.items()):
            rows = part[part.branch == branch].set_index("module").loc[modules]
            places = [number + 0.25 * (offset - 1) for number in range(len(modules))]
            axes.bar(places, rows.auc, 0.22, color=f"C{offset}", label=label)
            control = "other image's object" if offset == 2 else None
            axes.scatter(places, rows.auc_shuffled, color="0.1", marker="_", s=130, zorder=3, label=control)
        axes.axhline(0.5, color="0.3", ls=":", lw=1)
        axes.set_xticks(range(len(modules)), [module.replace("_", "\n") for module in modules], fontsize=9)
        axes.set(title=name, ylim=(0, 1))
    panels[0, 0].set_ylabel("area under the ROC curve")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9)
    return figure


def filtered_gradients(gradients: dict[str, pd.DataFrame]) -> Figure:
    """The part of the gradient that passes each mask, relative to its control, for right and for wrong labels.

    `gradients` is {title: table of `ran.runs.gradients.gradient_filter`}, one panel each, two in a row. The plot shows
    the column `relative`; the dotted line at 1 is a uniform gradient. Bars are ± two standard errors.
    """
    lines = -(-len(gradients) // 2)
    figure, panels = plt.subplots(
        lines, 2, figsize=(9.2, 0.4 + 3 * lines), sharey=True, layout="constrained", squeeze=False
    )
    for axes, (name, table) in zip(panels.flat, gradients.items(), strict=False):
        modules = list(dict.fromkeys(table.module))
        for number, (label, marker) in enumerate((("right", "o"), ("wrong", "s"))):
            rows = table[table.label == label]
            places = [modules.index(module) + 0.24 * (number - 0.5) for module in rows.module]
            axes.errorbar(places, rows.relative, 2 * rows.relative_se, fmt=marker, capsize=4, label=f"{label} labels")
        axes.axhline(1, color="0.2", ls=":", lw=1.2, label="gradient the same everywhere")
        axes.set_xticks(range(len(modules)), [module.replace("_", "\n") for module in modules], fontsize=9)
        axes.set_title(name, fontsize=9)
        axes.set_xlim(-0.5, len(modules) - 0.5)
    for axes in panels.flat[len(gradients) :]:
        axes.axis("off")
    for line in panels:
        line[0].set_ylabel("let through, by control")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    return figure


def confusion_matrix(record: dict[str, Any]) -> Figure:
    """Confusion matrix of one record: each row is a true class, each column an answer, in % of the true class.

    If the record has too many classes to hold a matrix, the figure is a note that says so.
    """
    if record["confusion"] is None:
        figure = plt.figure(figsize=(6.5, 1))
        figure.text(
            0.5, 0.5, f"{len(record['dataset']['classes']):,} classes are too many for this matrix.", ha="center"
        )
        return figure
    counts = torch.tensor(record["confusion"], dtype=torch.float)
    classes = [lettered(name) for name in record["dataset"]["classes"]]
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
