"""Schedules: optimiser, learning rate, batch size, regularisation and augmentation of a training, with presets."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR, OneCycleLR

from ran.choices import choose
from ran.data import Mixing

POLICIES = ("steps", "one-cycle")


@dataclass(frozen=True)
class Schedule:
    """Nesterov SGD and its learning rate. The defaults are the paper's recipe for CIFAR (section 4.1).

    `batch_size` is the number of images of one optimiser step, over all devices. Without `epochs`, training lasts
    `iterations` steps. The policy "steps" divides the rate by 10 at `drops`, fractions of training (the paper's are 64k
    and 96k of 160k steps); "one-cycle" raises the rate during `warm_up`, also a fraction, and lowers it as a cosine.
    `decay_all` says whether weight decay applies to biases and batch norms too. `average`, where not 0, is the decay of
    an exponential moving average of the weights; the average is then evaluated and saved. `accumulate` is the number of
    parts of a step, whose gradients are added up; batch norm sees one part at a time. `cutout`, `mixup` and `cutmix`
    are explained in ran.data.mixing.Mixing. Raises ValueError for an unknown policy.
    """

    name: str
    policy: str = "steps"
    batch_size: int = 64
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warm_up: float = 0.0
    epochs: int | None = None
    iterations: int = 160_000
    drops: tuple[float, ...] = (2 / 5, 3 / 5)
    label_smoothing: float = 0.0
    decay_all: bool = True
    average: float = 0.0
    accumulate: int = 1
    cutout: int = 0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        choose("policy", self.policy, POLICIES)

    @property
    def mixing(self) -> Mixing:
        """Augmentation of training images in addition to crops and flips."""
        return Mixing(self.cutout, self.mixup, self.cutmix)

    def total(self, steps: int) -> int:
        """Number of steps of the whole training, with `steps` per epoch."""
        return self.iterations if self.epochs is None else self.epochs * steps

    def optimiser(self, network: nn.Module, fused: bool = False) -> torch.optim.SGD:
        groups: list[dict[str, Any]] = [{"params": list(network.parameters())}]
        if not self.decay_all:
            bare = [each for each in groups[0]["params"] if each.ndim == 1]  # biases and batch norms
            shaped = [each for each in groups[0]["params"] if each.ndim > 1]
            groups = [{"params": shaped}, {"params": bare, "weight_decay": 0.0}]
        options: dict[str, Any] = {"momentum": self.momentum, "weight_decay": self.weight_decay, "nesterov": True}
        # True or None: False would also switch off what PyTorch does by itself
        return torch.optim.SGD(groups, self.learning_rate, **options, fused=fused or None)

    def learning_rates(self, optimiser: torch.optim.SGD, total: int) -> LRScheduler:
        if self.policy == "one-cycle":
            # PyTorch counts a rise from its second step, and divides by nothing where there is only one
            rise = 1.5 / total if self.warm_up * total == 1 else self.warm_up
            return OneCycleLR(optimiser, self.learning_rate, total, pct_start=rise, cycle_momentum=False)
        return MultiStepLR(optimiser, [int(total * share + 1e-6) for share in self.drops])


# One-cycle (Smith and Topin) where time is short. `short`: a larger batch, the paper's rate scaled with it, a stronger
# decay. `smoke`: within a minute on two cores, so small batches and an early peak; tuned on shapes of other seeds.
_ONE_CYCLE = Schedule(
    "short", "one-cycle", batch_size=128, learning_rate=0.2, weight_decay=5e-4, warm_up=0.3, epochs=30
)
_PAPER = Schedule("paper")


def _recipe() -> Iterator[Schedule]:
    """This book's recipe for CIFAR: each schedule adds one part, from `short` at the paper's length to `best`.

    The values are from the literature and not tuned yet. Brief warm-up and no decay of biases and norms: He et al.
    2019, whose warm-up is linear; that of one-cycle is a cosine from 1/25 of the rate, and over five epochs the
    difference does not justify another policy. Cutout of 16 pixels: DeVries and Taylor 2017, for CIFAR-10. Mixup with
    alpha 1: Zhang et al. 2018, for CIFAR.
    """
    schedule = replace(_ONE_CYCLE, epochs=200)
    parts: dict[str, dict[str, Any]] = {
        "recipe-plain": {},
        "recipe-warm-up": {"warm_up": 5 / 200},
        "recipe-bare": {"decay_all": False},
        "recipe-smoothing": {"label_smoothing": 0.1},
        "recipe-average": {"average": 0.999},
        "recipe-cutout": {"cutout": 16},
        "best": {"mixup": 1.0},
    }
    for name, part in parts.items():
        yield (schedule := replace(schedule, name=name, **part))
    # candidates, to be compared with `best` on held-out images
    yield replace(schedule, name="recipe-gentle", mixup=0.2)
    yield replace(schedule, name="recipe-cutmix", cutout=0, mixup=0.0, cutmix=1.0)


RECIPE: dict[str, Schedule] = {schedule.name: schedule for schedule in _recipe()}
SCHEDULES: dict[str, Schedule] = {
    schedule.name: schedule
    for schedule in (
        _PAPER,
        _ONE_CYCLE,
        replace(_ONE_CYCLE, name="smoke", batch_size=32, weight_decay=1e-4, warm_up=0.1, epochs=None, iterations=220),
        # section 4.2
        replace(_PAPER, name="paper-imagenet", iterations=530_000, drops=(20 / 53, 40 / 53, 50 / 53)),
        # torchvision's second recipe for ResNet-50, without mixup and similar augmentation, at a sixth of the length
        Schedule(
            "modern-imagenet",
            "one-cycle",
            batch_size=1024,
            learning_rate=0.5,
            weight_decay=2e-5,
            warm_up=0.05,
            epochs=100,
            label_smoothing=0.1,
            decay_all=False,
            average=0.9999,
        ),
        *RECIPE.values(),
    )
}
