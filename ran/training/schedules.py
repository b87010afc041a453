"""Schedules: the optimiser, its learning rate and what goes with them, as data."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR, OneCycleLR

from ran.data import Mixing


@dataclass(frozen=True)
class Schedule:
    """Nesterov SGD and its learning rate. The defaults are the paper's recipe for CIFAR (section 4.1).

    `batch_size` is the number of images of one step of the optimiser, over all devices. Without `epochs`, training
    lasts `iterations` steps. The policy "steps" divides the rate by 10 at `drops`, shares of training (the paper's are
    64k and 96k of 160k steps); "one-cycle" lets it rise for `warm_up`, a share as well, and fall as a cosine.
    `decay_all` says whether the weight decay concerns biases and batch norms too. `average`, where not 0, is the decay
    of an exponential moving average of the weights, which is then what is evaluated and kept. A step takes its batch
    in `accumulate` parts, one after the other, whose gradients add up; batch norm sees one part at a time. `cutout`,
    `mixup` and `cutmix` are explained by ran.data.mixing.Mixing.
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

    @property
    def mixing(self) -> Mixing:
        """What is done to training images beside crops and flips."""
        return Mixing(self.cutout, self.mixup, self.cutmix)

    def total(self, steps: int) -> int:
        """Number of steps, where an epoch has `steps`."""
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
    """Our own recipe for CIFAR, one part more in each schedule, from `short` at the paper's length to `best`.

    The values are where the literature begins, tuned by nothing yet. Brief warm-up and no decay of biases and norms: He
    et al. 2019, who let the rate rise in a straight line; one-cycle's rise is a cosine from a 25th of the rate, and
    over five epochs that is no difference worth a policy of its own. Cutout of 16 pixels: DeVries and Taylor 2017, for
    CIFAR-10. Mixup with alpha 1: Zhang et al. 2018, for CIFAR.
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
    # what might be better, to be held against `best` on images that are held out
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
        # torchvision's second recipe for ResNet-50, without mixup and its kin, at a sixth of its length
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
