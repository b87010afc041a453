"""The roofline: peak rates of the machine, measured, and operations and bytes of a training step, counted."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ran.training import Engine

# operations that move no data: their outputs are views of the inputs, or uninitialised
VIEWS = (
    "view",
    "_unsafe_view",
    "t",
    "transpose",
    "permute",
    "expand",
    "slice",
    "detach",
    "alias",
    "unsqueeze",
    "empty",
)


def wait(device: torch.device) -> None:
    """Wait until `device` has finished its work: a GPU computes asynchronously."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rate(work: Callable[[], Any], amount: float, device: torch.device, seconds: float = 1.0) -> float:
    """`amount` per second of `work`: the median over at least three repetitions and at least `seconds`."""
    work()
    durations: list[float] = []
    while len(durations) < 3 or sum(durations) < seconds:
        wait(device)
        start = time.perf_counter()
        work()
        wait(device)
        durations.append(time.perf_counter() - start)
    return amount / statistics.median(durations)


def product_rate(device: torch.device, dtype: torch.dtype, side: int | None = None, seconds: float = 1.0) -> float:
    """Operations per second (a multiply-add counts as two) of the product of two square matrices."""
    side = side or (8192 if device.type == "cuda" else 2048)
    matrix = torch.randn(side, side, device=device).to(dtype)
    out = torch.empty_like(matrix)
    return rate(lambda: torch.mm(matrix, matrix, out=out), 2 * side**3, device, seconds)


def copy_rate(device: torch.device, megabytes: int | None = None, seconds: float = 1.0) -> float:
    """Bytes per second, read and written, of a copy too large for any cache."""
    source = torch.zeros((megabytes or (4096 if device.type == "cuda" else 256)) << 18, device=device)
    target = torch.empty_like(source)
    return rate(lambda: target.copy_(source), 2 * 4 * source.numel(), device, seconds)


class _Counter(TorchDispatchMode):
    """(operations, bytes) of every kernel, in the order of the calls."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kernels: list[tuple[int, int]] = []
        from torch.utils.flop_counter import FlopCounterMode  # slow to import

        self.flops = FlopCounterMode(display=False)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with self.flops:
            before = self.flops.get_total_flops()
            result = func(*args, **(kwargs or {}))
            operations = self.flops.get_total_flops() - before
        if func.overloadpacket.__name__.split(".")[-1] not in VIEWS:
            tensors = {id(each): each for each in tree_leaves((args, kwargs, result)) if isinstance(each, Tensor)}
            self.kernels.append((operations, sum(each.numel() * each.element_size() for each in tensors.values())))
        return result


def count(network: nn.Module, images: Tensor, engine: Engine, training: bool = True) -> list[tuple[int, int]]:
    """(operations, bytes) of every kernel of a training step without the optimiser, or of a forward pass; uncompiled.

    A multiply-add counts as two operations; bytes count every input and output once. `images` is (B, 3, H, W).
    """
    network.train(training)
    with _Counter() as counter, torch.set_grad_enabled(training):
        with engine.autocast(images.device):
            logits = network(images)
        if training:
            F.cross_entropy(
                logits.float(), torch.zeros(len(images), dtype=torch.int64, device=images.device)
            ).backward()
    network.zero_grad(set_to_none=True)
    return counter.kernels


def least_seconds(kernels: list[tuple[int, int]], operations_rate: float, bytes_rate: float) -> dict[str, float]:
    """The roofline, in seconds: each kernel takes at least the time of its operations or that of its bytes.

    `seconds` adds up the larger of the two for each kernel; `operations` and `bytes` add up one of them. Fused kernels
    move fewer bytes, so that compiled units may be faster than this bound.
    """
    return {
        "seconds": sum(max(ops / operations_rate, moved / bytes_rate) for ops, moved in kernels),
        "operations": sum(ops for ops, _ in kernels) / operations_rate,
        "bytes": sum(moved for _, moved in kernels) / bytes_rate,
    }
