"""Training a network on data: schedules, steps, epochs, checkpoints, and the devices that compute."""

from ran.training.checkpoint import Checkpoint
from ran.training.devices import DEVICES, Devices, SingleDevice, choose_device, is_first, join, native_bf16, several
from ran.training.engine import PLAIN, Engine, fastest, keep_freed_memory
from ran.training.epochs import evaluate, train_one_epoch
from ran.training.schedules import RECIPE, SCHEDULES, Schedule
from ran.training.steps import WARM_UP, GraphedStep, Step
from ran.training.trainer import Fitted, OutOfTime, TrainingDiverged, fit

__all__ = [
    "Checkpoint",
    "DEVICES",
    "Devices",
    "Engine",
    "Fitted",
    "GraphedStep",
    "OutOfTime",
    "PLAIN",
    "RECIPE",
    "SCHEDULES",
    "Schedule",
    "SingleDevice",
    "Step",
    "TrainingDiverged",
    "WARM_UP",
    "choose_device",
    "evaluate",
    "fastest",
    "fit",
    "is_first",
    "join",
    "keep_freed_memory",
    "native_bf16",
    "several",
    "train_one_epoch",
]
