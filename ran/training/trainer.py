"""Training (section 4.1): `fit`, one code path for every network, device and precision."""

import math
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing import parent_process
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from ran.data import Data, Shard
from ran.training.checkpoint import Checkpoint
from ran.training.devices import Devices, SingleDevice, choose_device
from ran.training.engine import Engine, fastest
from ran.training.epochs import Evaluation, evaluate, train_one_epoch
from ran.training.schedules import Schedule
from ran.training.steps import GraphedStep, Step


class TrainingDiverged(ArithmeticError):
    """The loss is not finite."""


class OutOfTime(TimeoutError):
    """The next epoch would end after the deadline; the checkpoint holds all epochs so far."""


class Fitted(NamedTuple):
    """The metrics of every epoch, the evaluation after the last epoch, and the sessions of the training (see `fit`)."""

    epochs: list[dict[str, float]]
    final: Evaluation
    sessions: list[dict[str, Any]]


def fit(
    network: nn.Module,
    data: Data,
    schedule: Schedule,
    seed: int = 0,
    device: torch.device | None = None,
    checkpoint: Checkpoint | None = None,
    report: Callable[[str], None] = print,
    deadline: float | None = None,
    devices: Devices | None = None,
    engine: Engine | None = None,
    session: Mapping[str, Any] | None = None,
) -> Fitted:
    """Train `network` on `data` by `schedule` and evaluate it after every epoch; nothing is chosen by the test set.

    Afterwards `network` has the weights that were evaluated: their average where the schedule has one. Training runs on
    a single `device`, or distributed over `devices` (see `join`) with the same result up to rounding. `engine` is by
    default the fastest for the device. `checkpoint` is written after every epoch, and training resumes from an
    existing one. `session` describes this call; it is added, with its first epoch, to the list of sessions.

    Raises ValueError for `device` beside `devices` and for a checkpoint of another training, TrainingDiverged when the
    loss is not finite, and OutOfTime before an epoch that would end after `deadline` (of time.monotonic), judged by the
    previous epoch.
    """
    if devices and device:
        raise ValueError("give `device` or `devices`, not both: `devices` know theirs.")
    devices = devices or SingleDevice(device or choose_device())
    trainer = Trainer(network, data, schedule, devices, engine or fastest(devices.device, devices, network))
    epochs: list[dict[str, float]] = []
    sessions: list[dict[str, Any]] = []
    # rank 0 reads for all devices, so other machines need no access to the file
    saved = devices.from_first(checkpoint.read(report) if checkpoint and devices.rank == 0 else None)
    if checkpoint and saved:
        trainer.restore(saved)
        epochs, sessions = saved["epochs"], saved["sessions"]
        report(f"continued after epoch {len(epochs)} from {checkpoint.path}")
    if len(epochs) < trainer.epochs:
        sessions = [*sessions, {"from_epoch": len(epochs) + 1, **(session or {})}]
    final = None
    try:
        while len(epochs) < trainer.epochs:
            expected = epochs[-1]["seconds"] if epochs else 0
            if devices.from_first(deadline is not None and time.monotonic() + expected > deadline):
                raise OutOfTime(f"out of time after epoch {len(epochs)} of {trainer.epochs}")
            metrics, final = trainer.epoch(len(epochs), seed)
            epochs.append(metrics)
            if checkpoint and devices.rank == 0:
                checkpoint.write(trainer.parts, epochs, sessions)
            report(_line(metrics, trainer.epochs))
    except KeyboardInterrupt as stop:
        stop.add_note(f"{len(epochs)} of {trainer.epochs} epochs are done" + (" and kept" if checkpoint else ""))
        raise
    final = final or trainer.evaluate()
    trainer.finish()
    return Fitted(epochs, final, sessions)


class Trainer:
    """A network in training, with its batches, its optimiser and, where the schedule has one, its weight average.

    `epochs` is the number of epochs, of which the last may be cut short. `parts` are the states that a checkpoint
    stores, by name. `measured` is the network that is evaluated: the one in training, or its average.
    """

    def __init__(self, network: nn.Module, data: Data, schedule: Schedule, devices: Devices, engine: Engine):
        self.network, self.data, self.schedule, self.devices, self.engine = network, data, schedule, devices, engine
        wrapped = devices.wrap(engine.prepare(network, devices.device))
        shard = Shard(schedule.accumulate, devices.rank, devices.count)
        self.batches = data.training_batches(schedule.batch_size, devices.device, shard, schedule.mixing)
        self.total = schedule.total(len(self.batches))  # steps
        self.epochs = math.ceil(self.total / len(self.batches))
        self.optimiser = schedule.optimiser(network, engine.fused)
        self.rates = schedule.learning_rates(self.optimiser, self.total)
        self.average = averaged(network, schedule.average) if schedule.average else None
        self.measured = network if self.average is None else self.average.module
        self.parts: dict[str, Any] = {"network": network, "optimiser": self.optimiser, "rates": self.rates}
        self.parts |= {} if self.average is None else {"average": self.average}
        graphed = engine.graphed and schedule.accumulate == 1
        self.step = (GraphedStep if graphed else Step)(wrapped, self.optimiser, schedule, devices, engine)

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Load the state of every part from a checkpoint."""
        for name, part in self.parts.items():
            part.load_state_dict(saved[name])
        for group in self.optimiser.param_groups:
            group["fused"] = self.engine.fused or None  # as on this device: the run may have begun on another

    def epoch(self, done: int, seed: int) -> tuple[dict[str, float], Evaluation]:
        """Train one epoch after `done` others, and evaluate; returns the metrics and the evaluation.

        Random numbers depend only on `seed` and `done`, so that a resumed run equals an uninterrupted one. Raises
        TrainingDiverged where the loss is not finite.
        """
        generator = torch.Generator().manual_seed(seed * 1_000_003 + done)
        rate, start = self.optimiser.param_groups[0]["lr"], time.perf_counter()
        steps = min(len(self.batches), self.total - done * len(self.batches))
        bar = tqdm(
            zip(range(steps * self.schedule.accumulate), self.batches.epoch(generator), strict=False),
            f"epoch {done + 1}/{self.epochs}",
            steps * self.schedule.accumulate,
            leave=False,
            disable=self.devices.rank > 0
            or not sys.stderr.isatty()
            or parent_process() is not None,  # bars side by side overwrite each other
        )
        train_loss, train_error = train_one_epoch(self.step, (batch for _, batch in bar), self.rates, self.average)
        # of the slowest device: all wait for it
        trained = max(self.devices.gather(time.perf_counter() - start))
        found = self.evaluate() if math.isfinite(train_loss) else None
        # the last update of an epoch shows in no training loss
        for part, loss in (("training", train_loss), ("test", found.loss if found else 0.0)):
            if not math.isfinite(loss):
                raise TrainingDiverged(
                    f"the {part} loss is {loss} in epoch {done + 1}, at a learning rate of about {rate:.2g}. The same "
                    "run would come there again: take another schedule, of a lower rate, or another seed."
                )
        assert found is not None
        return {
            "epoch": done + 1,
            "learning_rate": rate,
            "train_loss": train_loss,
            "train_error": train_error,
            "test_loss": found.loss,
            "test_error": found.error,
            "test_top5_error": found.top5_error,
            "seconds": time.perf_counter() - start,
            "images_per_second": steps * self.batches.size / trained,
        }, found

    def evaluate(self) -> Evaluation:
        """Loss and errors of `measured` on the test set."""
        return evaluate(self.measured, self.data, self.devices.device, self.devices)

    def finish(self) -> None:
        """Load the weights that were evaluated into the network."""
        if self.measured is not self.network:
            self.network.load_state_dict(self.measured.state_dict())


def averaged(network: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of the weights and buffers of `network`, as a copy of it.

    After n updates the decay is at most (1 + n) / (10 + n), so that short trainings forget the initial weights, too.
    """
    average = AveragedModel(network, use_buffers=True)

    def follow(old: Any, new: Any, _: Any) -> None:
        count = int(average.n_averaged)  # n_averaged stays on the CPU, so reading it makes no GPU wait
        get_ema_multi_avg_fn(min(decay, (1 + count) / (10 + count)))(old, new, count)

    average.multi_avg_fn = follow
    return average


def _line(epoch: dict[str, float], count: int) -> str:
    return (
        f"epoch {epoch['epoch']:3.0f}/{count}: "
        f"train {epoch['train_loss']:.3f}, {epoch['train_error']:.2f}%; "
        f"test {epoch['test_loss']:.3f}, {epoch['test_error']:.2f}%; "
        f"{epoch['seconds']:.0f} s, {epoch['images_per_second']:.0f} images/s"
    )
