"""The time of a training step, by kind of operation."""

import re
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from ran.bench.loops import Loop, Rows, images_like_cifar
from ran.bench.measures import Size
from ran.bench.roofline import wait
from ran.model import build
from ran.training import fastest

OPTIMISER = "SGD"  # one name for all operations of an optimiser step
KINDS = {  # patterns for the names of PyTorch's operations; the first match counts
    "convolutions, backward": r"convolution_backward",
    "convolutions, forward": r"convolution|conv2d|aten::addmm|aten::mm",
    "batch norm": r"batch_norm",
    "ReLU": r"clamp_min|threshold|relu",
    "pooling, up-sampling": r"pool|upsample",
    "sums, masks": r"aten::add|aten::mul|sigmoid|aten::sum",
    "optimiser": rf"{OPTIMISER}|[Ss]gd",
}


def kind_of(name: str) -> str:
    """The kind of the operation `name`; "all else" where none fits."""
    return next((kind for kind, pattern in KINDS.items() if re.search(pattern, name)), "all else")


class _Clock(TorchDispatchMode):
    """Seconds of every operation on a CPU, by its name.

    PyTorch's profiler is not used here: it stores its events in the memory between the features, which then need new
    pages that the system has to clear. The profiled step is two to three times slower than the steps before it, and the
    extra time seems to fall on the operations with the largest outputs.
    """

    def __init__(self, optimiser: torch.optim.Optimizer) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.within = ""
        optimiser.register_step_pre_hook(lambda *_: setattr(self, "within", OPTIMISER))
        optimiser.register_step_post_hook(lambda *_: setattr(self, "within", ""))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        start = time.perf_counter()
        result = func(*args, **(kwargs or {}))
        self.seconds[self.within or func.name()] += time.perf_counter() - start
        return result


def by_clock(work: Callable[[], Any], optimiser: torch.optim.Optimizer) -> dict[str, float]:
    """Seconds of every operation of `work`, by name, on a CPU."""
    with _Clock(optimiser) as clock:
        work()
    return clock.seconds


def by_profiler(work: Callable[[], Any]) -> dict[str, float]:
    """Seconds of every operation of `work`, by name, on a GPU: the time of the kernels it launches."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as watched:
        work()
        wait(torch.device("cuda"))
    # the kernels are listed too, on the device, and would be counted twice
    operations = [event for event in watched.key_averages() if event.device_type.name == "CPU"]
    return {event.key: event.self_device_time_total / 1e6 for event in operations}


def measure_operation_times(size: Size, device: torch.device) -> Rows:
    """Percentage of the operations' time in a training step for each kind of operation, in the fastest engine.

    Compiled units and CUDA graphs are switched off, so that single operations can be told apart.
    """
    engine = replace(fastest(device), compiled=False, graphed=False)
    loop = Loop(build(size.network, size.narrow), images_like_cifar(size.batch, 1), size.batch, device, engine)
    for _ in range(size.steps):  # until the memory of a step is allocated
        loop.warm()

    def work() -> None:
        loop.steps(size.steps)

    names = by_profiler(work) if device.type == "cuda" else by_clock(work, loop.step.optimiser)
    seconds = dict.fromkeys([*KINDS, "all else"], 0.0)
    for name, each in names.items():
        seconds[kind_of(name)] += each
    return [{"name": kind, "share": round(100 * each / sum(seconds.values()), 1)} for kind, each in seconds.items()]
