"""What makes training fast, piece by piece. Each piece can be left out, which is how `ran bench` measures it.

None of it changes what is computed, but for rounding: bfloat16 rounds coarsely, and compiled kernels round elsewhere.
"""

import copy
import ctypes
import os
import platform
import shutil
import sysconfig
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ran.model import ResidualAttentionNetwork, ResidualUnit
from ran.training.devices import Devices, native_bf16

KINDS = 4096  # more kinds of residual units than one process meets, over all its networks; PyTorch gives up at 8


@dataclass(frozen=True)
class Engine:
    """How the steps of training are computed; `fastest` says what is best on a device.

    `channels_last`: the channels of a pixel lie side by side, as the processors' convolutions read them.
    `bf16`: convolutions and products in bfloat16 by autocast, weights and sums in float32.
    `keeps_memory`: on a CPU, memory that a step frees is kept for the next one (see `keep_freed_memory`).
    `fused`: one kernel of the optimiser for many weights at once.
    `compiled`: kernels for the residual unit, compiled once for each of its kinds and not for the network as a whole,
    whose compilation would take minutes.
    `tuned`: on a GPU, cuDNN tries its kernels for each convolution and goes on with the fastest.
    `graphed`: on a GPU, the kernels of a step are recorded once and then launched as one CUDA graph, so that small
    batches do not wait for Python.
    """

    channels_last: bool = False
    bf16: bool = False
    keeps_memory: bool = False
    fused: bool = False
    tuned: bool = False
    compiled: bool = False
    graphed: bool = False

    def __post_init__(self) -> None:
        if self.graphed and not self.fused:
            raise ValueError(
                "a CUDA graph needs the fused optimiser, which reads learning rates on the GPU: set fused."
            )
        if self.graphed and not torch.cuda.is_available():
            raise ValueError("CUDA graphs need a GPU, and there is none: leave graphed at False.")

    def prepare(self, network: nn.Module, device: torch.device) -> nn.Module:
        """Move `network` to `device`, in this engine's layout; what it returns is called in training in its place.

        That is the network itself, or its twin with compiled units, which are compiled in the first step.
        """
        network.to(device, memory_format=self.layout)  # type: ignore[call-overload]
        self.settle(device)
        return compiled_twin(network) if self.compiled else network

    def settle(self, device: torch.device) -> None:
        """Set what holds for the whole process: done by `prepare`, and again after the turn of another engine."""
        torch.backends.cudnn.benchmark = self.tuned
        if device.type == "cpu":
            keep_freed_memory(self.keeps_memory)

    @property
    def layout(self) -> torch.memory_format:
        """How features and weights lie in memory."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """Where the forward pass is computed."""
        return torch.autocast(device.type, torch.bfloat16) if self.bf16 else nullcontext()


PLAIN = Engine()  # PyTorch as it comes


def fastest(device: torch.device, devices: Devices | None = None, network: nn.Module | None = None) -> Engine:
    """The engine that training takes on `device`.

    On a CPU, compiled units are no faster than PyTorch's own kernels. Several devices exchange gradients and batch
    statistics in the midst of a step, and features that are computed again change the batch norms in the midst of one:
    both go without compiled units and graphs. Units are compiled where `can_compile` says that it is possible.
    """
    bf16 = native_bf16(device)
    if device.type == "cpu":
        return Engine(channels_last=True, bf16=bf16, keeps_memory=True)
    whole = (devices is None or devices.count == 1) and not getattr(network, "recompute", False)
    compiled = whole and isinstance(network, ResidualAttentionNetwork) and can_compile()
    return Engine(channels_last=True, bf16=bf16, fused=True, tuned=True, compiled=compiled, graphed=whole)


def can_compile() -> bool:
    """Whether this machine has what compilation for a GPU starts: a C compiler, and the headers of this Python."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    return bool(compiler) and Path(sysconfig.get_path("include"), "Python.h").is_file()


def compiled_twin(network: nn.Module, backend: str | Callable[..., Any] = "inductor") -> nn.Module:
    """The same network with the same weights and buffers, whose residual units are compiled when they are first run.

    Units of one kind share what was compiled. A kind is all that the kernels depend on: channels, stride and size of
    the feature. Sizes are compiled in (dynamic=False): kernels for any size are slower, and training meets only a few.
    `network` itself stays as written, for passes that are too few to be worth a compilation.
    """
    for limit in ("recompile_limit", "accumulated_recompile_limit"):
        setattr(torch._dynamo.config, limit, max(KINDS, getattr(torch._dynamo.config, limit)))
    shared = {id(each): each for each in (*network.parameters(), *network.buffers())}
    twin = copy.deepcopy(network, memo=shared)
    for module in twin.modules():
        if isinstance(module, ResidualUnit):
            module.compile(dynamic=False, backend=backend)
    return twin


# of glibc's malloc.h; the values it comes to by itself when blocks of the largest size it keeps have been freed
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
KEEPING = {M_MMAP_THRESHOLD: 1 << 30, M_TRIM_THRESHOLD: -1, M_TOP_PAD: 1 << 28}  # -1: however much is free
USUAL = {M_MMAP_THRESHOLD: 32 << 20, M_TRIM_THRESHOLD: 64 << 20, M_TOP_PAD: 128 << 10}


def keep_freed_memory(keep: bool = True) -> bool:
    """Have the C library keep what is freed, for this whole process; False where it does not, or not all of it.

    That is where it is not glibc, or one so old that it refuses to keep blocks above 32 MiB; it then keeps the smaller.

    A feature of 32 MiB or more, and with a training step's pattern many a smaller one, is returned to the system when
    it is freed. The next step asks for it again, and the system hands out every page anew, filled with zeros: several
    times slower than to write the feature.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    wanted = KEEPING if keep else USUAL
    done = [library.mallopt(name, value) for name, value in wanted.items()]
    if not done[0]:
        library.mallopt(M_MMAP_THRESHOLD, USUAL[M_MMAP_THRESHOLD])
    return all(done)
