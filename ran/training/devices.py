"""Where training computes: one device alone, or several that train one network together (data parallel).

`join` gives the one or the other by one protocol, `Devices`, so that training is written once. Several are started by
torchrun, on one machine or more, one process a device: `torchrun --nproc-per-node 8 -m ran.cli run …`. Each takes its
shard of every step's batch, Lightning Fabric averages the gradients, and batch norm sees the images of all devices: the
result is that of one device with the whole batch. The first process reports, reads checkpoints and writes the record.
"""

import datetime
import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

# a device that says nothing for so long has failed; one whose process ended is noticed at once
TIMEOUT = datetime.timedelta(minutes=10)


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


class Devices(Protocol):
    """The devices that train one network, seen from the process of one of them.

    `device` is this process's own, `rank` its number, counted from 0, and `count` how many there are.
    """

    device: torch.device
    rank: int
    count: int

    def wrap(self, network: nn.Module) -> nn.Module:
        """What is called in training in the place of `network`, whose weights it shares."""

    def backward(self, loss: Tensor, network: nn.Module, last: bool) -> None:
        """Add up gradients; `last` says that a step of the optimiser follows. `network` is what `wrap` gave."""

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the devices, in the shape of `values`."""

    def gather(self, value: Any) -> list[Any]:
        """What each device has, by rank."""

    def from_first(self, value: Any) -> Any:
        """What the first device has."""

    def close(self) -> None:
        """Part in good order."""


class SingleDevice:
    """One device alone: rank 0 of 1. See `Devices` for the methods."""

    def __init__(self, device: torch.device):
        self.device, self.rank, self.count = device, 0, 1

    def wrap(self, network: nn.Module) -> nn.Module:
        return network

    def backward(self, loss: Tensor, network: nn.Module, last: bool) -> None:
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
    """This process's device among those that torchrun started. See `Devices` for the methods.

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

    def backward(self, loss: Tensor, network: nn.Module, last: bool) -> None:
        with self.fabric.no_backward_sync(network, enabled=not last):  # type: ignore[arg-type]  # set up by wrap
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
    """Whether torchrun has started more than this process."""
    return int(os.environ.get("WORLD_SIZE", 1)) > 1


def is_first() -> bool:
    """Whether this process is the one that speaks and writes."""
    return int(os.environ.get("RANK", 0)) == 0


def join(device: torch.device) -> Devices:
    """`device` alone, or among the others where torchrun has started several processes.

    Raises ValueError where Lightning Fabric, which they need, is not installed.
    """
    return Distributed(device) if several() else SingleDevice(device)


def synchronise(network: nn.Module, device: torch.device) -> None:
    """Replace every batch norm in `network` by one whose statistics are of the images of all devices.

    On GPUs that is PyTorch's own. On CPUs, which that refuses, it is SynchronisedBatchNorm, by the same formulas.
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
    """Batch norm over the images of all devices, of which each has equally many. (B, C, H, W) → same.

    Means and variances are exchanged in the forward pass, and so are their gradients in the backward pass. It is there
    to be right, not fast: PyTorch's kernels for this are for GPUs.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        exact = x.to(self.weight.dtype)  # under autocast, x may be of a coarser one
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
        # eval's formula, with these statistics in the place of the running ones, and differentiable in them
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return torch.addcmul(shift[:, None, None], exact, scale[:, None, None]).to(x.dtype)


class _SumOverDevices(torch.autograd.Function):
    """The sum over all devices; its gradient is the sum of theirs, for every device's loss depends on it."""

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
