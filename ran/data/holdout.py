"""Images held out of a training set, for choices that must not be made on the test set."""

from dataclasses import replace

import torch

from ran.data.arrays import DataSet

SEED = 0  # not the run's seed: runs that are compared must be measured on the same images


def hold_out(data: DataSet, count: int) -> DataSet:
    """`data` with `count` training images, equally many of each class, as its test set; the old test set is dropped.

    The same images are chosen for all runs, and both parts keep their order. Raises ValueError for a count that does
    not divide evenly among the classes, or that leaves a class without training images.
    """
    classes, labels = len(data.classes), data.train.labels
    fewest = int(torch.bincount(labels, minlength=classes).min())
    each, rest = divmod(count, classes)
    if rest or not 0 < each < fewest:
        raise ValueError(
            f"held_out must be a multiple of the {classes} classes of {data.name} and less than {classes * fewest}, so "
            f"that every class keeps training images, not {count}."
        )
    shuffle = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SEED))
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(classes):
        chosen[shuffle[labels[shuffle] == label][:each]] = True
    return replace(data, train=data.train.take(~chosen), test=data.train.take(chosen))
