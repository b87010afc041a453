"""The options that make training fast. Each can be switched off, which is how `ran bench` measures its effect.

Results differ only by rounding: bfloat16 is less precise, and compiled kernels round differently.
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

KINDS = 4096  # limit of recompilations, above the number of unit kinds in one process; PyTorch's default is 8


@dataclass(frozen=True)
class Engine:
    """How training steps are computed; `fastest` chooses for a device. Raises ValueError for impossible options.

    `channels_last`: the memory format of features and weights.
    `bf16`: convolutions and products in bfloat16 by autocast, weights and sums in float32.
    `keeps_memory`: on a CPU, memory that a step frees is kept for the next one (see `keep_freed_memory`).
    `fused`: the fused optimiser, one kernel for many weights.
    `compiled`: torch.compile of residual units, once for each kind; the whole network would take minutes to compile.
    `tuned`: on a GPU, cuDNN tries its kernels for each convolution and uses the fastest.
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
        """Move `network` to `device` in this engine's memory format; returns the module to call in training.

        That is `network` itself, or its `compiled_twin`, whose units are compiled in the first step.
        """
        network.to(device, memory_format=self.layout)  # type: ignore[call-overload]
        self.settle(device)
        return compiled_twin(network) if self.compiled else network

    def settle(self, device: torch.device) -> None:
        """Apply the settings of the whole process: done by `prepare`; repeat it after another engine was in use."""
        torch.backends.cudnn.benchmark = self.tuned
        if device.type == "cpu":
            keep_freed_memory(self.keeps_memory)

    @property
    def layout(self) -> torch.memory_format:
        """The memory format of features and weights."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """The context of the forward pass: bf16 autocast, or none."""
        return torch.autocast(device.type, torch.bfloat16) if self.bf16 else nullcontext()


PLAIN = Engine()  # PyTorch's defaults


def fastest(device: torch.device, devices: Devices | None = None, network: nn.Module | None = None) -> Engine:
    """The engine for training on `device`.

    On a CPU, compiled units are no faster than PyTorch's own kernels. Distributed training exchanges gradients and
    batch statistics within a step, and activation checkpointing changes the batch norms within a step: both run without
    compiled units and CUDA graphs. Units are compiled where `can_compile` allows it.
    """
    bf16 = native_bf16(device)
    if device.type == "cpu":
        return Engine(channels_last=True, bf16=bf16, keeps_memory=True)
    whole = (devices is None or devices.count == 1) and not getattr(network, "recompute", False)
    compiled = whole and isinstance(network, ResidualAttentionNetwork) and can_compile()
    return Engine(channels_last=True, bf16=bf16, fused=True, tuned=True, compiled=compiled, graphed=whole)


def can_compile() -> bool:
    """Whether torch.compile can work for a GPU here: it needs a C compiler and the headers of this Python."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    return bool(compiler) and Path(sysconfig.get_path("include"), "Python.h").is_file()


def compiled_twin(network: nn.Module, backend: str | Callable[..., Any] = "inductor") -> nn.Module:
    """A copy of `network` that shares its weights and buffers, with residual units compiled on their first call.

    Units of one kind share the compiled code. Units are of one kind if channels, stride and size of the feature are
    equal. Sizes are compiled in (dynamic=False): kernels for any size are slower, and training meets only a few.
    `network` itself stays uncompiled, for uses too short to be worth a compilation.
    """
    for limit in ("recompile_limit", "accumulated_recompile_limit"):
        setattr(torch._dynamo.config, limit, max(KINDS, getattr(torch._dynamo.config, limit)))
    shared = {id(each): each for each in (*network.parameters(), *network.buffers())}
    twin = copy.deepcopy(network, memo=shared)
    for module in twin.modules():
        if isinstance(module, ResidualUnit):
            module.compile(dynamic=False, backend=backend)
    return twin


# from glibc's malloc.h; USUAL is what glibc adapts to once blocks of the largest size it keeps have been freed
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
KEEPING = {M_MMAP_THRESHOLD: 1 << 30, M_TRIM_THRESHOLD: -1, M_TOP_PAD: 1 << 28}  # -1: however much is free
USUAL = {M_MMAP_THRESHOLD: 32 << 20, M_TRIM_THRESHOLD: 64 << 20, M_TOP_PAD: 128 << 10}


def keep_freed_memory(keep: bool = True) -> bool:
    """Make the C library keep freed memory, for the whole process; returns whether all of that worked.

    It fails without glibc; an old glibc refuses to keep blocks above 32 MiB, and then keeps the smaller ones only.

    Otherwise features of 32 MiB or more, and with the pattern of a training step many smaller ones, return to the
    system when they are freed. The next step asks for the memory again, and the system hands out every page anew,
    filled with zeros: several times slower than writing the feature.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    wanted = KEEPING if keep else USUAL
    done = [library.mallopt(name, value) for name, value in wanted.items()]
    if not done[0]:
        library.mallopt(M_MMAP_THRESHOLD, USUAL[M_MMAP_THRESHOLD])
    return all(done)
