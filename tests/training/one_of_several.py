"""What test_devices.py starts, as one of several processes: one_of_several.py ROOT OUT [EPOCH that kills rank 1]."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from ran.data import Data, load
from ran.model import build
from ran.training import Checkpoint, Devices, Fitted, Schedule, choose_device, fit, join
from ran.training.devices import Distributed

SCHEDULE = Schedule("brief", batch_size=8, learning_rate=0.02, epochs=2, average=0.5, accumulate=2)


def train(root: str, out: Path, devices: Devices, killed_in: int | None = None) -> Fitted:
    """Train a small network in float64; leave weights in `out`."""
    data: Data = load("folder", root, size=64)
    torch.manual_seed(0)
    network = build("attention-56-imagenet", narrow=16, num_classes=len(data.classes)).double()
    network.recompute = True
    seen = 0

    def maybe_die(module, inputs):
        nonlocal seen
        seen += module.training
        if killed_in is not None and devices.rank == 1 and seen == 2 * 3 * (killed_in - 1) + 2:
            os.kill(os.getpid(), signal.SIGKILL)

    network.register_forward_pre_hook(maybe_die)
    exchanges: list[int] = []
    if isinstance(devices, Distributed):
        count_exchanges(devices, exchanges)
    lines: list[str] = []
    checkpoint = out / "checkpoint.pt"
    fitted = fit(network, data, SCHEDULE, checkpoint=Checkpoint(checkpoint, "a"), report=lines.append, devices=devices)
    if devices.rank == 0:
        kept = {"weights": network.state_dict(), "epochs": fitted.epochs, "lines": lines}
        torch.save(kept | {"predictions": fitted.final.predictions, "exchanges": len(exchanges)}, out / "done.pt")
    return fitted


def count_exchanges(devices: Distributed, exchanges: list[int]) -> None:
    """Add to `exchanges` for every backward pass after which gradients are averaged over the devices."""
    wrap = devices.wrap

    def exchange(_: Any, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        if bucket.is_last():
            exchanges.append(1)
        return allreduce_hook(dist.group.WORLD, bucket)

    def wrapped(network: nn.Module) -> nn.Module:
        module = wrap(network)
        module._forward_module.register_comm_hook(None, exchange)
        return module

    devices.wrap = wrapped  # type: ignore[method-assign]


if __name__ == "__main__":
    root, out, *killed_in = sys.argv[1:]
    torch.set_num_threads(1)
    devices = join(choose_device("cpu"))
    try:
        train(root, Path(out), devices, *(int(each) for each in killed_in))
        devices.close()
    except RuntimeError as error:
        print(f"stopped at {time.time()}: {error}", file=sys.stderr)
        raise
