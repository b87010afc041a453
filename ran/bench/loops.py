"""Timed work: this package's training loop, and the timing of several candidates in alternation."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import nn

from ran.bench.roofline import wait
from ran.data import DataSet, ImageSet, load
from ran.training import SCHEDULES, WARM_UP, Engine, GraphedStep, SingleDevice, Step, train_one_epoch

Rows = list[dict[str, Any]]


class Loop:
    """This package's training with the options of `engine`: epochs of `data`, or steps on one fixed batch."""

    def __init__(self, network: nn.Module, data: DataSet, batch: int, device: torch.device, engine: Engine):
        self.network, self.data, self.device, self.engine = network, data, device, engine
        called = engine.prepare(network, device)
        schedule = replace(SCHEDULES["paper"], batch_size=batch)
        optimiser = schedule.optimiser(network, engine.fused)
        self.rates = schedule.learning_rates(optimiser, 10**9)
        self.step = (GraphedStep if engine.graphed else Step)(called, optimiser, schedule, SingleDevice(device), engine)
        self.batches = data.training_batches(batch, device)
        self.generator = torch.Generator().manual_seed(0)

    def warm(self) -> None:
        """Warm up: kernels are compiled and recorded, and memory is allocated."""
        self.engine.settle(self.device)
        steps = WARM_UP + 1 if self.step.seen == 0 and self.engine.graphed else 1
        train_one_epoch(self.step, islice(self.batches.epoch(self.generator), steps), self.rates)

    def train(self) -> int:
        """Train one epoch; returns the number of images."""
        train_one_epoch(self.step, self.batches.epoch(self.generator), self.rates)
        return len(self.batches) * self.batches.size

    def steps(self, number: int) -> int:
        """Train `number` steps on one batch that is already on the device; returns the number of images."""
        batch = next(self.batches.epoch(self.generator))
        train_one_epoch(self.step, iter([batch] * number), self.rates)
        return number * self.batches.size


@dataclass(frozen=True)
class Turn:
    """A candidate for timing: `work` returns its number of images; `warm` runs before it and is not timed."""

    work: Callable[[], int]
    warm: Callable[[], Any]


def alternate(turns: Mapping[str, Turn], rounds: int, device: torch.device) -> Rows:
    """Images/s of every candidate, timed in alternation for `rounds` rounds; rows of `name` and `summary`."""
    values: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(rounds):
        for name, turn in turns.items():
            turn.warm()
            wait(device)
            start = time.perf_counter()
            images = turn.work()
            wait(device)
            values[name].append(images / (time.perf_counter() - start))
    return [{"name": name, **summary(each)} for name, each in values.items()]


def summary(values: list[float]) -> dict[str, Any]:
    """Median, smallest and largest of `values` in images/s, and all of them."""
    digits = [round(value, 2) for value in values]
    return {
        "images_per_second": round(statistics.median(values), 2),
        "least": min(digits),
        "most": max(digits),
        "all": digits,
    }


def images_like_cifar(train: int, test: int) -> DataSet:
    """`shapes` shortened or repeated to `train` and `test` images: as large as CIFAR's, and drawn in a second."""
    data = load("shapes")
    assert isinstance(data, DataSet)
    parts = (
        ImageSet(part.images[torch.arange(length) % len(part)], part.labels[torch.arange(length) % len(part)])
        for part, length in ((data.train, train), (data.test, test))
    )
    return DataSet("shapes", data.classes, *parts)


def noise_images(count: int, side: int, classes: int = 10) -> DataSet:
    """`count` images of noise with `side` × `side` pixels, for measurements that need no real data."""
    pixels = torch.randint(256, (count, side, side, 3), dtype=torch.uint8)
    return DataSet("noise", tuple(map(str, range(classes))), *2 * [ImageSet(pixels, torch.arange(count) % classes)])
