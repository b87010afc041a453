"""What a machine can do at most, measured, and what a step of training asks of it, counted."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from ran.training import Engine

# such operations move no data: their outputs are their inputs' memory, or memory that nothing has been written to
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
    """Wait for all that was launched: a GPU computes while Python goes on."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rate(work: Callable[[], Any], amount: float, device: torch.device, seconds: float = 1.0) -> float:
    """`amount` per second of `work`: the median over at least three repetitions, and over at least `seconds`."""
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
    """Operations per second, two a multiply-add, of the product of two square matrices."""
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
    """Operations and bytes of every kernel, as (operations, bytes) in the order they were called."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kernels: list[tuple[int, int]] = []
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
    """(operations, bytes) of every kernel of one step without the optimiser, or of a forward pass, as PyTorch runs it.

    Two operations a multiply-add; bytes are those of all inputs and outputs, each moved once. `images` (B, 3, H, W).
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
    """The time below which these kernels cannot come: each takes that of its operations or of its bytes.

    `seconds` for both, each kernel by what binds it; `operations` and `bytes`, by one of them alone. Kernels that are
    joined into one move fewer bytes, so that compiled units may come below.
    """
    return {
        "seconds": sum(max(ops / operations_rate, moved / bytes_rate) for ops, moved in kernels),
        "operations": sum(ops for ops, _ in kernels) / operations_rate,
        "bytes": sum(moved for _, moved in kernels) / bytes_rate,
    }
