"""What test_devices.py starts, as one of several processes: one_of_several.py ROOT OUT [EPOCH that kills rank 1]."""

import os
import signal
import sys
import time
from pathlib import Path

import torch

from ran.data import Data, load
from ran.model import build
from ran.training import Checkpoint, Devices, Fitted, Schedule, choose_device, fit, join

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
    lines: list[str] = []
    checkpoint = out / "checkpoint.pt"
    fitted = fit(network, data, SCHEDULE, checkpoint=Checkpoint(checkpoint, "a"), report=lines.append, devices=devices)
    if devices.rank == 0:
        kept = {"weights": network.state_dict(), "epochs": fitted.epochs, "lines": lines}
        torch.save(kept | {"predictions": fitted.final.predictions}, out / "done.pt")
    return fitted


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
