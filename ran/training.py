"""Training (section 4.1): one path for every network, device and precision, in three functions."""

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
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
from ran.schedules import Schedule
from ran.shares import Share


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


def choose_device(name: str = "auto") -> torch.device:
    """`auto` is the GPU where there is one. Raises ValueError for a device that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda") or (name == "cuda" and not torch.cuda.is_available()):
        raise ValueError(f"device must be auto, cpu, or cuda where there is a GPU, not {name!r}.")
    return torch.device(name)


def native_bf16(device: torch.device) -> bool:
    """Whether the processor multiplies bfloat16 itself, so that autocast gains time."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # newer than torch 2.11
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def autocast(device: torch.device) -> AbstractContextManager[Any]:
    """bf16 autocast where the processor has it; otherwise float32 throughout."""
    return torch.autocast(device.type, torch.bfloat16) if native_bf16(device) else nullcontext()


def train_one_epoch(
    network: nn.Module,
    batches: Iterator[tuple[Tensor, Tensor]],
    optimiser: torch.optim.Optimizer,
    rates: LRScheduler,
    device: torch.device,
    schedule: Schedule,
    average: AveragedModel | None = None,
) -> tuple[float, float]:
    """One pass over `batches`; returns the mean cross-entropy (nats) and the training error in %, both as they went.

    `batches` are the parts of steps, of which each takes `schedule.accumulate`; `average` follows the weights.
    """
    network.train()
    # sums stay on the device: reading them at every step would make it wait
    loss_sum, wrong, seen = torch.zeros((), device=device), torch.zeros((), device=device), 0
    for number, (images, labels) in enumerate(batches, 1):
        with autocast(device):
            logits = network(images)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=schedule.label_smoothing)
        (loss / schedule.accumulate).backward()
        if number % schedule.accumulate == 0:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            rates.step()
            if average is not None:
                average.update_parameters(network)
        loss_sum += loss.detach() * len(labels)
        wrong += (logits.detach().argmax(1) != labels).sum()
        seen += len(labels)
    return loss_sum.item() / seen, 100 * wrong.item() / seen


@torch.inference_mode()
def evaluate(network: nn.Module, data: Data, device: torch.device) -> Evaluation:
    """Loss and errors of `network` on the whole test set."""
    network.eval()
    loss, within5, predictions = 0.0, 0, []
    for images, labels in data.test_batches(device):
        with autocast(device):
            logits = network(images)
        loss += F.cross_entropy(logits.float(), labels, reduction="sum").item()
        predictions.append(logits.argmax(1).cpu())
        likeliest = logits.topk(min(5, logits.shape[1])).indices  # (B, 5)
        within5 += (likeliest == labels[:, None]).sum().item()
    predicted = torch.cat(predictions)
    wrong = (predicted != data.test.labels).sum().item()
    count = len(predicted)
    return Evaluation(loss / count, 100 * wrong / count, predicted, 100 * (count - within5) / count)


class Fitted(NamedTuple):
    """The metrics of every epoch, and the evaluation that followed the last one."""

    epochs: list[dict[str, float]]
    final: Evaluation


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
) -> Fitted:
    """Train `network` on `data` by `schedule` and evaluate it after every epoch; nothing is chosen by the test set.
    It ends with the weights that were evaluated: where the schedule averages them, the average.

    `checkpoint`, where given, is written after every epoch and continued from where it is there; it carries
    `identity`, and one that carries another raises ValueError. Raises TrainingDiverged when the loss is not finite,
    and OutOfTime before an epoch that would end after `deadline` (of time.monotonic), judged by the one before.
    """
    device = device or choose_device()
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    batches = data.training_batches(schedule.batch_size, device, Share(schedule.accumulate))
    total = schedule.total(len(batches))
    optimiser = schedule.optimiser(network)
    rates = schedule.learning_rates(optimiser, total)
    average = None
    if schedule.average:
        average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(schedule.average), use_buffers=True)
    measured = network if average is None else average.module
    state = {"network": network, "optimiser": optimiser, "rates": rates}
    state |= {} if average is None else {"average": average}
    epochs: list[dict[str, float]] = []
    if checkpoint is not None and checkpoint.is_file():
        epochs = _restore(checkpoint, identity, state, device)
        report(f"continued after epoch {len(epochs)} from {checkpoint}")
    count = math.ceil(total / len(batches))
    final = None
    while len(epochs) < count:
        done = len(epochs)
        expected = epochs[-1]["seconds"] if epochs else 0
        if deadline is not None and time.monotonic() + expected > deadline:
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
            disable=not sys.stderr.isatty() or parent_process() is not None,  # bars side by side overwrite each other
        )
        train_loss, train_error = train_one_epoch(
            network, (batch for _, batch in bar), optimiser, rates, device, schedule, average
        )
        trained = time.perf_counter() - start
        if not math.isfinite(train_loss):
            raise TrainingDiverged(
                f"the training loss is {train_loss} in epoch {done + 1}; a lower learning rate may help."
            )
        final = evaluate(measured, data, device)
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
        if checkpoint is not None:
            _keep(checkpoint, identity, state, epochs)
        report(_line(epochs[-1], count))
    final = final or evaluate(measured, data, device)
    if measured is not network:
        network.load_state_dict(measured.state_dict())
    return Fitted(epochs, final)


def _line(epoch: dict[str, float], count: int) -> str:
    return (
        f"epoch {epoch['epoch']:3.0f}/{count}: "
        f"train {epoch['train_loss']:.3f}, {epoch['train_error']:.2f}%; "
        f"test {epoch['test_loss']:.3f}, {epoch['test_error']:.2f}%; "
        f"{epoch['seconds']:.0f} s, {epoch['images_per_second']:.0f} images/s"
    )


def _keep(path: Path, identity: str, state: dict[str, Any], epochs: list[dict[str, float]]) -> None:
    """Write a checkpoint whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    torch.save(
        {"identity": identity, "epochs": epochs, **{name: part.state_dict() for name, part in state.items()}}, partial
    )
    partial.replace(path)


def _restore(path: Path, identity: str, state: dict[str, Any], device: torch.device) -> list[dict[str, float]]:
    saved = torch.load(path, map_location=device, weights_only=True)
    if saved["identity"] != identity:
        raise ValueError(
            f"{path} belongs to the run {saved['identity']!r}, not to {identity!r}; move it away to start anew."
        )
    for name, part in state.items():
        part.load_state_dict(saved[name])
    return saved["epochs"]
