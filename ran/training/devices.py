"""Devices for training: a single device, or several for distributed, data-parallel training of one network.

`join` returns either of them behind one protocol, `Devices`. Distributed training is started by torchrun, on one
machine or more, with one process per device: `torchrun --nproc-per-node 8 -m ran run …`. Each process takes its
shard of every step's batch, Lightning Fabric averages the gradients, and batch norm is synchronised over all devices,
so the result is that of a single device with the whole batch. Rank 0 reports, reads checkpoints and writes the record.
"""

import datetime
import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ran.choices import choose

DEVICES = ("auto", "cpu", "cuda")
# a device that does not answer for so long counts as failed; a process that ended is noticed at once
TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")  # what it sets, all of them numbers
TIMEOUT = datetime.timedelta(minutes=10)


def choose_device(name: str = "auto") -> torch.device:
    """The device of this name; `auto` is the GPU where there is one. Raises ValueError for an unavailable device."""
    if choose("device", name, DEVICES) == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda needs a GPU that PyTorch sees, and there is none: take cpu, or auto.")
    return torch.device(name)


def native_bf16(device: torch.device) -> bool:
    """Whether the hardware has bfloat16 arithmetic, so that autocast saves time."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # newer than torch 2.11
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def autocast(device: torch.device) -> AbstractContextManager[Any]:
    """bf16 autocast where the hardware has bfloat16 arithmetic; otherwise float32 throughout."""
    return torch.autocast(device.type, torch.bfloat16) if native_bf16(device) else nullcontext()


class Devices(Protocol):
    """The devices that train one network, seen from the process of one of them.

    `device` is the device of this process, `rank` its number from 0, and `count` the number of devices.
    """

    device: torch.device
    rank: int
    count: int

    def wrap(self, network: nn.Module) -> nn.Module:
        """The module to call in training instead of `network`; it shares the weights of `network`."""

    def part(self, network: nn.Module, last: bool) -> AbstractContextManager[Any]:
        """The context of one part of a step, forward and backward pass; gradients are exchanged in the `last` one.

        `network` is the result of `wrap`.
        """

    def backward(self, loss: Tensor) -> None:
        """Add to the gradients."""

    def sum(self, values: Tensor) -> Tensor:
        """The sum of `values` over all devices, in the same shape."""

    def gather(self, value: Any) -> list[Any]:
        """The values of all devices, in the order of rank."""

    def from_first(self, value: Any) -> Any:
        """The value of rank 0."""

    def close(self) -> None:
        """Shut down the communication between devices."""


class SingleDevice:
    """A single device: rank 0 of 1. See `Devices` for the methods."""

    def __init__(self, device: torch.device):
        self.device, self.rank, self.count = device, 0, 1

    def wrap(self, network: nn.Module) -> nn.Module:
        return network

    def part(self, network: nn.Module, last: bool) -> AbstractContextManager[Any]:
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def sum(self, values: Tensor) -> Tensor:
        return values

    def gather(self, value: Any) -> list[Any]:
        return [value]

    def from_first(self, value: Any) -> Any:
        return value

    def close(self) -> None:
        pass


class Distributed:
    """This process's device in distributed training under torchrun. See `Devices` for the methods.

    Raises ValueError where Lightning Fabric is not installed.
    """

    def __init__(self, device: torch.device):
        try:
            from lightning_fabric import Fabric
            from lightning_fabric.strategies.ddp import DDPStrategy
        except ImportError as error:
            raise ValueError(
                "several devices need Lightning Fabric, which is not installed: "
                "`pip install 'residual-attention-network[distributed]'`, or start one process without torchrun."
            ) from error
        on_this_machine = int(os.environ["LOCAL_WORLD_SIZE"])
        self.fabric = Fabric(
            accelerator=device.type,
            devices=on_this_machine,
            num_nodes=int(os.environ["WORLD_SIZE"]) // on_this_machine,
            strategy=DDPStrategy(timeout=TIMEOUT),
        )
        self.fabric.launch()
        self.device, self.rank, self.count = self.fabric.device, self.fabric.global_rank, self.fabric.world_size

    def wrap(self, network: nn.Module) -> nn.Module:
        synchronise(network, self.device)
        return self.fabric.setup_module(network)

    def part(self, network: nn.Module, last: bool) -> AbstractContextManager[Any]:
        return self.fabric.no_backward_sync(network, enabled=not last)  # type: ignore[arg-type]  # set up by wrap

    def backward(self, loss: Tensor) -> None:
        self.fabric.backward(loss)

    def sum(self, values: Tensor) -> Tensor:
        return self.fabric.all_reduce(values, reduce_op="sum")  # type: ignore[return-value]  # a tensor gives a tensor

    def gather(self, value: Any) -> list[Any]:
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def from_first(self, value: Any) -> Any:
        return self.fabric.broadcast(value)

    def close(self) -> None:
        dist.destroy_process_group()


def several() -> bool:
    """Whether torchrun has started more than one process. Raises ValueError where it set only some variables."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return False
    if not all(os.environ.get(name, "").isdecimal() for name in TORCHRUN):
        raise ValueError(
            f"the environment variable WORLD_SIZE is {os.environ['WORLD_SIZE']!r}, but torchrun did not start this "
            f"process: it sets {', '.join(TORCHRUN)} to numbers. Start it with torchrun, or unset WORLD_SIZE."
        )
    return True


def is_first() -> bool:
    """Whether this process has rank 0, which reports and writes files."""
    return not several() or os.environ["RANK"] == "0"


def join(device: torch.device) -> Devices:
    """SingleDevice for `device`, or Distributed where torchrun has started several processes.

    Raises ValueError where Lightning Fabric, which Distributed needs, is not installed.
    """
    return Distributed(device) if several() else SingleDevice(device)


def synchronise(network: nn.Module, device: torch.device) -> None:
    """Replace every batch norm in `network` by one whose statistics are of the images of all devices.

    On GPUs that is PyTorch's SyncBatchNorm. PyTorch has none for CPUs; there it is SynchronisedBatchNorm, by the same
    formulas.
    """
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                twin = SynchronisedBatchNorm(child.num_features, child.eps, child.momentum)
                twin.to(child.weight.device, child.weight.dtype).load_state_dict(child.state_dict())
                setattr(parent, name, twin)


class SynchronisedBatchNorm(nn.BatchNorm2d):
    """Batch norm over the images of all devices, with equally many on each. (B, C, H, W) → same.

    Means and variances are exchanged in the forward pass, and their gradients in the backward pass. Written for CPUs,
    where PyTorch has no synchronised batch norm; correct rather than fast.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        exact = x.to(self.weight.dtype)  # under autocast, x may be bfloat16
        variance, mean = torch.var_mean(exact, dim=(0, 2, 3), correction=0)
        own = torch.stack([mean, variance])[None]  # (1, 2, C)
        places = torch.zeros(dist.get_world_size(), 1, 1, dtype=exact.dtype)
        places[dist.get_rank()] = 1
        means, variances = _SumOverDevices.apply(places * own).unbind(1)  # (devices, C) each
        mean = means.mean(0)
        variance = variances.mean(0) + (means - mean).square().mean(0)
        with torch.no_grad():
            count = len(means) * x.numel() // x.shape[1]
            assert self.running_mean is not None and self.running_var is not None
            assert self.num_batches_tracked is not None and self.momentum is not None
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            self.num_batches_tracked.add_(1)
        # the formula of evaluation mode, with differentiable batch statistics in place of the running ones
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return torch.addcmul(shift[:, None, None], exact, scale[:, None, None]).to(x.dtype)


class _SumOverDevices(torch.autograd.Function):
    """All-reduce sum. Every device's loss depends on the sum, so its gradient is the all-reduced sum of gradients."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        values = values.clone()
        dist.all_reduce(values)
        return values

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient
