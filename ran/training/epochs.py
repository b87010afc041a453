"""One pass over the training images, and one over the test images (section 4.1)."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from ran.data import Data, Shard
from ran.training.devices import Devices, SingleDevice, autocast
from ran.training.steps import Step


class Evaluation(NamedTuple):
    """Mean cross-entropy (nats), error in %, the predicted classes (N,), and the top-5 error in %.

    The top-5 error counts images whose true class is not among the five likeliest.
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
    """Train on `batches`; returns mean cross-entropy (nats) and training error in %, measured during training.

    `batches` are this device's shards, each one part of a step; `accumulate` parts (see Schedule) make a step.
    `average` is updated after every step. Both results are means over all devices. Nothing in the loop waits for the
    device.
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
def evaluate(network: nn.Module, data: Data, device: torch.device, devices: Devices | None = None) -> Evaluation:
    """Loss and errors of `network` on the whole test set; each of the `devices` evaluates its shard."""
    network.eval()
    devices = devices or SingleDevice(device)
    loss, within5, predictions = 0.0, 0, [torch.empty(0, dtype=torch.int64)]
    for images, labels in data.test_batches(device, Shard(rank=devices.rank, count=devices.count)):
        precision = next(network.parameters(), images).dtype
        with autocast(device):
            logits = network(images.to(precision))
        loss += F.cross_entropy(logits.to(precision), labels, reduction="sum").item()
        predictions.append(logits.argmax(1).cpu())
        likeliest = logits.topk(min(5, logits.shape[1])).indices  # (B, 5)
        within5 += (likeliest == labels[:, None]).sum().item()
    losses, hits, pieces = zip(*devices.gather((loss, within5, torch.cat(predictions))), strict=True)
    loss, within5, predicted = sum(losses), sum(hits), torch.cat(pieces)
    wrong = (predicted != data.test.labels).sum().item()
    count = len(predicted)
    return Evaluation(loss / count, 100 * wrong / count, predicted, 100 * (count - within5) / count)
