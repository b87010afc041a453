"""The record of a run: its settings, results and provenance, as plain data for JSON."""

import base64
import datetime
import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from typing import Any

import numpy as np
import torch

import ran
from ran.data import Data
from ran.model import ResidualAttentionNetwork
from ran.runs.config import RunConfig
from ran.runs.provenance import git_state, hardware
from ran.training import Devices, Fitted, native_bf16

CONFUSION_CLASSES = 100  # the confusion matrix of more classes is no small text


# what depends on machine and moment: two records of one run may differ in it, and in nothing else
VARYING = ("sha256", "date", "git", "sessions", "wall_seconds", "images_per_second", "images_per_second_per_device")
VARYING_OF_EPOCHS = ("seconds", "images_per_second")


def reproducible(record: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a record that must be the same when the run is repeated on equal hardware.

    Dates, commits, times and speeds are left out. Hardware, precision and versions stay: rounding depends on them.
    """
    kept = {name: value for name, value in record.items() if name not in VARYING}
    epochs = [
        {name: value for name, value in epoch.items() if name not in VARYING_OF_EPOCHS} for epoch in record["epochs"]
    ]
    return kept | {"epochs": epochs}


def this_session(devices: Devices) -> dict[str, Any]:
    """Date, code, devices, precision, hardware and versions of the training session in this process."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "git": git_state(),
        "devices": devices.count,
        "precision": "bf16 autocast" if native_bf16(devices.device) else "float32",
        "hardware": hardware(devices.device),
        "versions": {
            "python": platform.python_version(),
            "torch": str(torch.__version__),  # a text of its own type, which no checkpoint may hold
            "torchvision": metadata.version("torchvision"),
            "ran": ran.__version__,
        },
    }


def make_record(
    config: RunConfig, data: Data, network: ResidualAttentionNetwork, session: dict[str, Any], fitted: Fitted
) -> dict[str, Any]:
    """The record of a finished run; `session` is its last session (see `this_session`).

    Errors are in %, times in seconds, speeds in training images/s. All "test" values belong to the images named in
    `measured_on`. `epochs` has the values of every epoch. Rows of `confusion` are true classes, columns are answers; it
    is None for more than CONFUSION_CLASSES classes. `misclassified` is the text of `pack`. `sessions` is there only if
    the run was continued.
    """
    classes, epochs = len(data.classes), fitted.epochs
    pairs = data.test.labels * classes + fitted.final.predictions
    speed = sum(epoch["images_per_second"] for epoch in epochs) / len(epochs)  # of all devices together
    confusion = torch.bincount(pairs, minlength=classes**2).view(classes, classes)
    continued = {"sessions": fitted.sessions} if len(fitted.sessions) > 1 else {}
    return {
        **session,
        **continued,
        "id": config.id,
        "command": config.command,
        "config": asdict(config),
        "schedule": asdict(config.recipe),
        "parameters": sum(p.numel() for p in network.parameters()),
        "measured_on": config.measured_on,  # and so for all that is called test here
        "test_error": fitted.final.error,
        "test_top5_error": fitted.final.top5_error,
        "wall_seconds": round(sum(epoch["seconds"] for epoch in epochs), 1),
        "images_per_second": round(speed, 1),
        "images_per_second_per_device": round(speed / session["devices"], 1),
        "dataset": {
            "name": data.name,
            "classes": list(data.classes),
            "train_images": len(data.train),
            "test_images": len(data.test),
            "sha256": data.checksum,
            "skipped": list(data.skipped),
            "left_out": list(data.left_out),
        },
        "epochs": epochs,
        "misclassified": pack(fitted.final.predictions != data.test.labels),
        "confusion": confusion.tolist() if classes <= CONFUSION_CLASSES else None,
    }


def pack(wrong: torch.Tensor) -> str:
    """`wrong`, (N,) bool in the order of the test set, as base64 text with one bit per image."""
    return base64.b64encode(np.packbits(wrong.numpy()).tobytes()).decode("ascii")


def misclassified(record: dict[str, Any]) -> torch.Tensor | None:
    """The wrongly classified test images of a record, (N,) bool; None for older records without this field."""
    if "misclassified" not in record:
        return None
    bits = np.frombuffer(base64.b64decode(record["misclassified"]), np.uint8)
    return torch.from_numpy(np.unpackbits(bits, count=record["dataset"]["test_images"]).astype(bool))


def measured(record: dict[str, Any]) -> str:
    """The name of the images on which a record's errors were measured: "test" or "held-out"."""
    return "held-out" if record["config"].get("held_out") else "test"
