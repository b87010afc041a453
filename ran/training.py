"""Training (section 4.1): one path for every network, device and precision, in three functions."""

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import parent_process
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from ran.data import Data
from ran.devices import Alone, autocast, choose_device
from ran.engine import Engine, fastest
from ran.schedules import Schedule
from ran.shares import Share
from ran.steps import GraphedStep, Step


class TrainingDiverged(ArithmeticError):
    """The loss is no longer a number."""


class OutOfTime(TimeoutError):
    """The next epoch would end after the deadline; the checkpoint holds all epochs so far."""


class Evaluation(NamedTuple):
    """Mean cross-entropy (nats), share of wrong answers in %, the predicted classes (N,), and the top-5 error in %.

    An answer is wrong by the top-5 error where the true class is not among the five likeliest.
    """

    loss: float
    error: float
    predictions: Tensor
    top5_error: float


def train_one_epoch(
    step: Step,
    batches: Iterator[tuple[Tensor, Tensor]],
    rates: LRScheduler,
    average: AveragedModel | None = None,
) -> tuple[float, float]:
    """One pass over `batches`; returns the mean cross-entropy (nats) and the training error in %, both as they went.

    `batches` are this device's share of the parts of steps, of which each takes `accumulate` of the step's schedule;
    `average` follows the weights. The means are those over all devices. Nothing in the loop waits for the device.
    """
    step.network.train()
    for number, (images, labels) in enumerate(batches, 1):
        last = number % step.schedule.accumulate == 0
        step(images, labels, last)
        if last:
            rates.step()
            if average is not None:
                average.update_parameters(step.network)
    return step.results()


@torch.inference_mode()
def evaluate(network: nn.Module, data: Data, device: torch.device, team: Alone | None = None) -> Evaluation:
    """Loss and errors of `network` on the whole test set, of which each device of a `team` takes a piece."""
    network.eval()
    team = team or Alone(device)
    loss, within5, predictions = 0.0, 0, [torch.empty(0, dtype=torch.int64)]
    for images, labels in data.test_batches(device, Share(rank=team.rank, count=team.count)):
        precision = next(network.parameters(), images).dtype
        with autocast(device):
            logits = network(images.to(precision))
        loss += F.cross_entropy(logits.to(precision), labels, reduction="sum").item()
        predictions.append(logits.argmax(1).cpu())
        likeliest = logits.topk(min(5, logits.shape[1])).indices  # (B, 5)
        within5 += (likeliest == labels[:, None]).sum().item()
    losses, hits, pieces = zip(*team.gather((loss, within5, torch.cat(predictions))), strict=True)
    loss, within5, predicted = sum(losses), sum(hits), torch.cat(pieces)
    wrong = (predicted != data.test.labels).sum().item()
    count = len(predicted)
    return Evaluation(loss / count, 100 * wrong / count, predicted, 100 * (count - within5) / count)


class Fitted(NamedTuple):
    """The metrics of every epoch, the evaluation that followed the last one, and the sessions it took (see `fit`)."""

    epochs: list[dict[str, float]]
    final: Evaluation
    sessions: list[dict[str, Any]]


def fit(
    network: nn.Module,
    data: Data,
    schedule: Schedule,
    seed: int = 0,
    device: torch.device | None = None,
    checkpoint: Path | None = None,
    identity: str = "",
    report: Callable[[str], None] = print,
    deadline: float | None = None,
    team: Alone | None = None,
    engine: Engine | None = None,
    session: Mapping[str, Any] | None = None,
) -> Fitted:
    """Train `network` on `data` by `schedule` and evaluate it after every epoch; nothing is chosen by the test set.
    It ends with the weights that were evaluated: where the schedule averages them, the average.

    `device` computes alone; a `team` (see ran.devices) does so together, with the same result up to rounding.
    `engine` says how, the fastest one for the device unless given.
    `checkpoint`, where given, is written after every epoch and continued from where it is there; it carries
    `identity`, and one that carries another raises ValueError. It also keeps `session`, what is to be said of this
    call, with the first epoch that it trains: those of a continued run follow each other.
    Raises TrainingDiverged when the loss is not finite, and OutOfTime before an epoch that would end after `deadline`
    (of time.monotonic), judged by the one before.
    """
    team = team or Alone(device or choose_device())
    device = team.device
    engine = engine or fastest(device, team, network)
    wrapped = team.wrap(engine.prepare(network, device))
    batches = data.training_batches(
        schedule.batch_size, device, Share(schedule.accumulate, team.rank, team.count), schedule.mixing
    )
    total = schedule.total(len(batches))
    optimiser = schedule.optimiser(network, engine.fused)
    rates = schedule.learning_rates(optimiser, total)
    average = averaged(network, schedule.average) if schedule.average else None
    measured = network if average is None else average.module
    state = {"network": network, "optimiser": optimiser, "rates": rates}
    state |= {} if average is None else {"average": average}
    epochs: list[dict[str, float]] = []
    sessions: list[dict[str, Any]] = []
    if checkpoint is not None:
        # the first reads it for all: no other machine needs to see its file
        if saved := team.from_first(_read(checkpoint) if team.rank == 0 else None):
            epochs, sessions = _restore(saved, checkpoint, identity, state)
            for group in optimiser.param_groups:
                group["fused"] = engine.fused or None  # of this device, whatever it was where the run began
            report(f"continued after epoch {len(epochs)} from {checkpoint}")
    graphed = engine.graphed and schedule.accumulate == 1
    step = (GraphedStep if graphed else Step)(wrapped, optimiser, schedule, team, engine)
    count = math.ceil(total / len(batches))
    if len(epochs) < count:
        sessions = [*sessions, {"from_epoch": len(epochs) + 1, **(session or {})}]
    final = None
    while len(epochs) < count:
        done = len(epochs)
        expected = epochs[-1]["seconds"] if epochs else 0
        if team.from_first(deadline is not None and time.monotonic() + expected > deadline):
            raise OutOfTime(f"out of time after epoch {done} of {count}")
        # an epoch's chance depends on seed and epoch alone, so that a continued run equals an uninterrupted one
        generator = torch.Generator().manual_seed(seed * 1_000_003 + done)
        rate, start = optimiser.param_groups[0]["lr"], time.perf_counter()
        steps = min(len(batches), total - done * len(batches))
        bar = tqdm(
            zip(range(steps * schedule.accumulate), batches.epoch(generator), strict=False),
            f"epoch {done + 1}/{count}",
            steps * schedule.accumulate,
            leave=False,
            disable=team.rank > 0
            or not sys.stderr.isatty()
            or parent_process() is not None,  # bars side by side overwrite each other
        )
        train_loss, train_error = train_one_epoch(step, (batch for _, batch in bar), rates, average)
        # of the slowest device: all wait for it
        trained = max(team.gather(time.perf_counter() - start))
        if not math.isfinite(train_loss):
            raise TrainingDiverged(
                f"the training loss is {train_loss} in epoch {done + 1}, at a learning rate of about {rate:.2g}. The "
                "same run would come there again: take another schedule, of a lower rate, or another seed."
            )
        final = evaluate(measured, data, device, team)
        epochs.append(
            {
                "epoch": done + 1,
                "learning_rate": rate,
                "train_loss": train_loss,
                "train_error": train_error,
                "test_loss": final.loss,
                "test_error": final.error,
                "test_top5_error": final.top5_error,
                "seconds": time.perf_counter() - start,
                "images_per_second": steps * batches.size / trained,
            }
        )
        if checkpoint is not None and team.rank == 0:
            _keep(checkpoint, identity, state, epochs, sessions)
        report(_line(epochs[-1], count))
    final = final or evaluate(measured, data, device, team)
    if measured is not network:
        network.load_state_dict(measured.state_dict())
    return Fitted(epochs, final, sessions)


def averaged(network: nn.Module, decay: float) -> AveragedModel:
    """A copy of `network` that follows its weights and buffers as an exponential moving average.

    After n updates the decay is at most (1 + n) / (10 + n): the first weights are forgotten in short trainings, too.
    """
    average = AveragedModel(network, use_buffers=True)

    def follow(old: Any, new: Any, _: Any) -> None:
        count = int(average.n_averaged)  # it stays on the CPU, so that reading it makes no GPU wait
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


def _keep(path: Path, identity: str, state: dict[str, Any], epochs: list[Any], sessions: list[Any]) -> None:
    """Write a checkpoint whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    said = {"identity": identity, "epochs": epochs, "sessions": sessions}
    torch.save(said | {name: part.state_dict() for name, part in state.items()}, partial)
    partial.replace(path)


def _read(path: Path) -> dict[str, Any] | None:
    return torch.load(path, map_location="cpu", weights_only=True) if path.is_file() else None


def _restore(saved: dict[str, Any], path: Path, identity: str, state: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    if saved["identity"] != identity:
        raise ValueError(
            f"{path} belongs to the run {saved['identity']!r}, not to {identity!r}; move it away to start anew."
        )
    for name, part in state.items():
        part.load_state_dict(saved[name])
    return saved["epochs"], saved.get("sessions", [])  # checkpoints of older code have none
