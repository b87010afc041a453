"""One training step on one batch: forward pass, backward pass, optimiser. Eager, or as one CUDA graph."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ran.training.devices import Devices
from ran.training.engine import Engine
from ran.training.schedules import Schedule

WARM_UP = 3  # eager steps before a graph is recorded, in which kernels are compiled and chosen


class Step:
    """Trains on one batch per call: images (B, 3, H, W); labels (B,), or probabilities (B, classes) with mixing.

    With probabilities, a prediction is right if it is the likeliest class (the first of equals). `network` is the
    result of `devices.wrap`. With gradient accumulation (see Schedule), only the `last` part of a step updates the
    weights.
    """

    def __init__(
        self, network: nn.Module, optimiser: torch.optim.Optimizer, schedule: Schedule, devices: Devices, engine: Engine
    ):
        self.network, self.optimiser, self.schedule, self.devices, self.engine = (
            network,
            optimiser,
            schedule,
            devices,
            engine,
        )
        self.precision = next(network.parameters()).dtype
        # sums stay on the device: reading them at every step would make it wait
        self.loss_sum, self.wrong = (torch.zeros((), device=devices.device) for _ in range(2))
        self.seen = 0

    def __call__(self, images: Tensor, labels: Tensor, last: bool = True) -> None:
        self.compute(images, labels, last)
        self.seen += len(labels)

    def compute(self, images: Tensor, labels: Tensor, last: bool = True) -> None:
        """One step, run eagerly."""
        images = images.to(self.precision, memory_format=self.engine.layout)
        mixed = labels.ndim == 2
        target = labels.to(self.precision) if mixed else labels
        smoothing = self.schedule.label_smoothing
        with self.devices.part(self.network, last):
            with self.engine.autocast(self.devices.device):
                logits = self.network(images).to(self.precision)
            loss = F.cross_entropy(logits, target, label_smoothing=smoothing)
            self.devices.backward(loss / self.schedule.accumulate)
        if last:
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
        self.loss_sum += loss.detach() * len(labels)
        right = labels.argmax(1) if mixed else labels
        self.wrong += (logits.detach().argmax(1) != right).sum()

    def results(self) -> tuple[float, float]:
        """Mean cross-entropy (nats) and error in %, over all images since the last call and over all devices."""
        sums = torch.stack([self.loss_sum, self.wrong, self.wrong.new_tensor(self.seen)]).double()
        loss, wrong, seen = self.devices.sum(sums).tolist()
        self.loss_sum.zero_()
        self.wrong.zero_()
        self.seen = 0
        return loss / seen, 100 * wrong / seen


class GraphedStep(Step):
    """The same step as one CUDA graph: recorded once, then replayed for every batch of the same shape.

    The first WARM_UP steps run eagerly. Then one step is recorded, which computes nothing, and replayed. A graph reads
    and writes the same memory each time: batches are copied into that memory. So are learning rates, which would
    otherwise be recorded as constants. Raises ValueError for a schedule with gradient accumulation.
    """

    def __init__(
        self, network: nn.Module, optimiser: torch.optim.Optimizer, schedule: Schedule, devices: Devices, engine: Engine
    ):
        super().__init__(network, optimiser, schedule, devices, engine)
        if schedule.accumulate > 1:
            raise ValueError("a step in parts is not recorded as a graph: set accumulate to 1, or graphed to False.")
        self.graph: torch.cuda.CUDAGraph | None = None
        self.beside = torch.cuda.Stream(devices.device)
        self.done = 0
        self.rates = [torch.zeros((), device=devices.device) for _ in optimiser.param_groups]

    def __call__(self, images: Tensor, labels: Tensor, last: bool = True) -> None:
        if self.done < WARM_UP:
            # on another stream, as graph capture requires
            self.beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.beside):
                self.compute(images, labels)
            torch.cuda.current_stream().wait_stream(self.beside)
        else:
            if self.graph is None:
                self.images, self.labels = images.clone(), labels.clone()
                self.graph = self.recorded()
            self.images.copy_(images)
            self.labels.copy_(labels)
            groups = self.optimiser.param_groups
            for group, rate in zip(groups, self.rates, strict=True):
                rate.fill_(group["lr"])
            self.graph.replay()
        self.done += 1
        self.seen += len(labels)

    def recorded(self) -> torch.cuda.CUDAGraph:
        """Record the step on `images` and `labels`, with the learning rates read from `rates`."""
        graph, groups = torch.cuda.CUDAGraph(), self.optimiser.param_groups
        numbers = [group["lr"] for group in groups]
        for group, rate in zip(groups, self.rates, strict=True):
            group["lr"] = rate
        # other threads, such as one that pins memory for batches, may go on meanwhile
        with torch.cuda.graph(graph, stream=self.beside, capture_error_mode="thread_local"):
            self.compute(self.images, self.labels)
        for group, number in zip(groups, numbers, strict=True):
            group["lr"] = number
        return graph
