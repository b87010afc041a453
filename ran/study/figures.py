"""The figures of the book: learning curves, masks, probes, gradients, confusion matrices, as matplotlib Figures."""

import textwrap
from itertools import pairwise
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from torch import Tensor

from ran.data import Data
from ran.model import ResidualAttentionNetwork
from ran.runs import measured
from ran.study.labels import label
from ran.study.lettering import lettered
from ran.study.styles import METHODS, WIDTH, colours, line, lines, marks, set_theme, style

__all__ = [
    "METHODS",
    "WIDTH",
    "colours",
    "confusion_matrix",
    "filtered_gradients",
    "learning_curves",
    "line",
    "lines",
    "marks",
    "masks_over_images",
    "mean_absolute_response",
    "object_scores",
    "set_theme",
    "soft_masks",
    "style",
    "test_curves",
    "whole_training",
]


def learning_curves(record: dict[str, Any]) -> Figure:
    """Cross-entropy (nats) and error (%) on training and test set against epoch, for one record."""
    numbers, config = [epoch["epoch"] for epoch in record["epochs"]], record["config"]
    network = label(config["network"])
    method = line(label(config["attention"]) if network.startswith("Attention") else network)
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 2.8), layout="constrained")
    for panel, quantity, text in zip(panels, ("loss", "error"), ("cross-entropy (nats)", "error (%)"), strict=True):
        for part, name, other in (("train", "train", {"ls": ":", "mfc": "none"}), ("test", measured(record), {})):
            panel.plot(
                numbers, [epoch[f"{part}_{quantity}"] for epoch in record["epochs"]], label=name, **method | other
            )
        panel.set(xlabel="epoch", ylabel=text, ylim=(0, None))
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.legend()
    figure.suptitle(f"{record['id']}")
    return figure


def whole_training(record: dict[str, Any], published: float) -> Figure:
    """Training and test error (%) against epoch for one record, on a logarithmic axis, beside the paper's test error.

    A vertical line stands after the last epoch that began with one learning rate, and says the next one: the drops of
    section 4.1.
    """
    epochs = record["epochs"]
    numbers, method = [epoch["epoch"] for epoch in epochs], line(label(record["config"]["attention"]))
    figure, axes = plt.subplots(figsize=(WIDTH, 3.6), layout="constrained")
    for part, other in (("train", {"ls": ":"}), ("test", {"ls": "-"})):
        errors = [epoch[f"{part}_error"] for epoch in epochs]
        axes.plot(numbers, errors, **method | other | {"marker": "", "lw": 1.5}, label=part)
    axes.axhline(published, color="0.3", ls="--", lw=1, label=f"test, paper: {published:.2f}")
    for before, after in pairwise(epochs):
        if after["learning_rate"] < before["learning_rate"]:
            axes.axvline(before["epoch"] + 0.5, color="0.6", lw=1)
            place: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "va": "top"}
            axes.text(before["epoch"] + 2.5, 0.97, f"rate {after['learning_rate']:g}", **place)
    axes.set(xlabel="epoch", ylabel="error (%), logarithmic", yscale="log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.legend(loc="lower left")
    return figure


def test_curves(curves: dict[str, dict[str, Any]]) -> Figure:
    """Test error (%) against epoch for several records, {name: record}: a panel for each network, two in a row.

    A record has the style of its learning, and the axes are logarithmic, so that the last epochs can be told apart.
    """
    networks = list(dict.fromkeys(record["config"]["network"] for record in curves.values()))
    ways = list(dict.fromkeys(label(record["config"]["attention"]) for record in curves.values()))
    rows, columns = -(-len(networks) // 2), min(2, len(networks))
    shape: dict[str, Any] = {"figsize": (WIDTH, 0.6 + 2.4 * rows), "sharex": True, "sharey": True, "squeeze": False}
    figure, panels = plt.subplots(rows, columns, **shape, layout="constrained")
    for axes, network in zip(panels.flat, networks, strict=False):
        for name, record in curves.items():
            if record["config"]["network"] == network:
                epochs, method = record["epochs"], line(label(record["config"]["attention"]))
                errors = [epoch["test_error"] for epoch in epochs]
                axes.plot([epoch["epoch"] for epoch in epochs], errors, **method, ms=5, lw=1.3, label=name)
        axes.set(title=label(network), yscale="log")
        axes.locator_params(axis="x", integer=True)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    for axes in panels.flat[len(networks) :]:
        axes.axis("off")
    figure.supxlabel("epoch", fontsize="medium")
    figure.supylabel("test error (%), logarithmic", fontsize="medium")
    figure.legend(handles=marks(ways), loc="outside upper center", ncols=len(ways))
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
        1 + len(masks), count, figsize=(WIDTH, 0.85 * (1 + len(masks)) + 0.6), layout="constrained", squeeze=False
    )
    for column, (image, number) in enumerate(zip(part.images, part.labels, strict=True)):
        grid[0, column].imshow(image.numpy())
        grid[0, column].set_title(lettered(data.classes[number]), rotation=40, ha="left", va="bottom", x=0.1)
        for row, mask in enumerate(masks.values(), 1):
            fine = F.interpolate(mask[column][None, None], size=image.shape[:2], mode="bilinear", align_corners=True)
            grid[row, column].imshow(image.float().mean(2).numpy(), cmap="gray")
            grid[row, column].imshow(fine[0, 0].numpy(), cmap="inferno", alpha=0.65)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
    for row, name in enumerate(["image", *(name.replace("_", "\n") for name in masks)]):
        grid[row, 0].set_ylabel(name)
    return figure


def mean_absolute_response(probes: dict[str, pd.DataFrame]) -> Figure:
    """Mean absolute response of every block, in the order of the forward pass, with one line per variant.

    `probes` is {variant: table of `ran.runs.probes.probe`}, for variants of one network. Source: the paper's figure in
    section 4.1.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 3.6), layout="constrained")
    for name, table in probes.items():
        outer = table[~table.block.str.contains(".", regex=False)]  # outputs of blocks, not the insides of modules
        axes.plot(range(len(outer)), outer.response, **line(name), label=name, ms=5)
    blocks = outer.block.tolist()
    for number, block in enumerate(blocks):
        if block.endswith("_unit"):
            axes.axvline(number - 0.5, color="0.6", lw=1)
            axes.text(number - 0.4, 0.98, block[:6].replace("e", "e "), transform=axes.get_xaxis_transform(), va="top")
    axes.set_xticks(range(len(blocks)), [block.split("_")[-1] for block in blocks], rotation=90)
    axes.set(ylabel="mean absolute response", yscale="log")
    axes.margins(y=0.15)
    axes.legend(loc="upper right")
    return figure


def object_scores(probes: dict[str, pd.DataFrame]) -> Figure:
    """Area under the ROC curve of trunk, mask and attended features as scores for object pixels, with its control.

    Bars begin at 0.5, chance: what lies below separates object and background the other way round. `probes` is as in
    `mean_absolute_response`, for a data set with object masks.
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
        1, len(probes), figsize=(WIDTH, 3.4), sharey=True, layout="constrained", squeeze=False
    )
    for axes, name in zip(panels[0], probes, strict=True):
        part = scores[scores.variant == name]
        modules = list(dict.fromkeys(part.module))
        for offset, (branch, text) in enumerate(branches.items()):
            rows = part[part.branch == branch].set_index("module").loc[modules]
            places = [number + 0.25 * (offset - 1) for number in range(len(modules))]
            axes.bar(places, rows.auc - 0.5, 0.22, 0.5, color=("0.45", "0.7", "0.88")[offset], label=text)
            control = "other image's object" if offset == 2 else None
            axes.scatter(places, rows.auc_shuffled, color="0.1", marker="_", s=130, zorder=3, label=control)
        axes.axhline(0.5, color="0.3", ls=":", lw=1)
        turned = {"rotation": 90} if len(modules) > 3 else {}
        axes.set_xticks(range(len(modules)), [module.replace("_", "\n") for module in modules], **turned)
        axes.set(title=name, ylim=(0, 1))
    panels[0, 0].set_ylabel("area under the ROC curve")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def filtered_gradients(gradients: dict[str, pd.DataFrame]) -> Figure:
    """The part of the gradient that passes each mask, relative to its control, for right and for wrong labels.

    `gradients` is {title: table of `ran.runs.gradients.gradient_filter`}, one panel each, two in a row. The plot shows
    the column `relative`; the dotted line at 1 is a uniform gradient. Bars are ± two standard errors.
    """
    rows = -(-len(gradients) // 2)
    figure, panels = plt.subplots(
        rows, 2, figsize=(WIDTH, 1 + 2.6 * rows), sharey=True, layout="constrained", squeeze=False
    )
    for axes, (name, table) in zip(panels.flat, gradients.items(), strict=False):
        modules = list(dict.fromkeys(table.module))
        for number, (kind, fill) in enumerate((("right", "0.2"), ("wrong", "white"))):
            part = table[table.label == kind]
            places = [modules.index(module) + 0.24 * (number - 0.5) for module in part.module]
            looks = {"fmt": "o", "color": "0.2", "mfc": fill, "capsize": 4, "label": f"{kind} labels"}
            axes.errorbar(places, part.relative, 2 * part.relative_se, **looks)
        axes.axhline(1, color="0.2", ls=":", lw=1.2, label="gradient the same everywhere")
        axes.set_xticks(range(len(modules)), [module.replace("_", "\n") for module in modules])
        axes.set_title(textwrap.fill(name, 26))
        axes.set_xlim(-0.5, len(modules) - 0.5)
    for axes in panels.flat[len(gradients) :]:
        axes.axis("off")
    for row in panels:
        row[0].set_ylabel("let through, by control")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def confusion_matrix(record: dict[str, Any]) -> Figure:
    """Confusion matrix of one record: each row is a true class, each column an answer, in % of the true class.

    If the record has too many classes to hold a matrix, the figure is a note that says so.
    """
    if record["confusion"] is None:
        figure = plt.figure(figsize=(WIDTH, 1))
        figure.text(
            0.5, 0.5, f"{len(record['dataset']['classes']):,} classes are too many for this matrix.", ha="center"
        )
        return figure
    counts = torch.tensor(record["confusion"], dtype=torch.float)
    classes = [lettered(name) for name in record["dataset"]["classes"]]
    figure, axes = plt.subplots(figsize=(WIDTH, 5.2), layout="constrained")
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
