"""Texts for tables and plots: labels of values, machines, schedules and records."""

import re
from typing import Any

import pandas as pd

from ran.runs import measured

HEADINGS = {
    "network": "Network",
    "attention": "Learning",
    "gate": "Attention",
    "mask": "Mask",
    "noise": "Noise",
    "dataset": "Data",
    "schedule": "Recipe",
}
LABELS = {
    "arl": "ARL",
    "nal": "NAL",
    "mixed": "f1, mixed",
    "channel": "f2, channel",
    "spatial": "f3, spatial",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "recipe-plain": "short for longer",
    "recipe-warm-up": "with brief warm-up",
    "recipe-bare": "with no decay of biases and norms",
    "recipe-smoothing": "with label smoothing",
    "recipe-average": "with averaged weights",
    "recipe-cutout": "with cutout",
    "best": "best (+ mixup)",
    "recipe-gentle": "best with mixup of alpha 0.2",
    "recipe-cutmix": "best with cutmix for cutout and mixup",
}


def length(record: dict[str, Any]) -> str:
    """The name and length of a record's schedule: "short, 8 epochs"."""
    epochs, iterations = record["schedule"].get("epochs"), record["schedule"].get("iterations")
    count = len(record["epochs"]) if epochs else iterations
    unit = "epoch" if epochs else "iteration"
    return f"{record['config']['schedule']}, {count:,} {unit}{'s' if count != 1 else ''}"


def label(value: Any) -> str:
    """The label of a value of RunConfig in tables; numbers such as `noise` in %."""
    if isinstance(value, float):
        return f"{100 * value:g}%"
    if value in LABELS:
        return LABELS[value]
    name = value.replace("resnet", "ResNet").replace("attention", "Attention").replace("wrn", "WRN")
    return name.replace("-", "\u2011")  # a hyphen at which no line breaks


def describe(hardware: dict[str, Any]) -> str:
    """The processor of a record as text: its name, and for a CPU the number of threads."""
    if "threads" not in hardware:
        return str(hardware["name"])
    return f"{hardware['name']}, {hardware['threads']} thread{'s' if hardware['threads'] > 1 else ''}"


def machines(record: dict[str, Any]) -> str:
    """The processors that a run was trained on, in the order of its sessions."""
    return "; ".join(dict.fromkeys(describe(each["hardware"]) for each in record.get("sessions", [record])))


def summary(record: dict[str, Any]) -> pd.DataFrame:
    """The main facts of a record as a table of text, with the columns `question` and `answer`."""
    data, schedule = record["dataset"], record["schedule"]
    length = schedule["epochs"] or schedule["iterations"] * schedule["batch_size"] / data["train_images"]
    answers = {
        f"{measured(record)} error": f"{record['test_error']:.2f}% after {length:.3g} epochs"
        + (f"; top-5 {record['test_top5_error']:.2f}%" if "test_top5_error" in record else ""),
        "parameters": f"{record['parameters']:,}",
        "schedule": f"{schedule['name']}, batch {schedule['batch_size']}",
        "seed": str(record["config"]["seed"]),
        "data set": f"{data['name']}, {data['train_images']:,} training and {data['test_images']:,} "
        + f"{measured(record)} images"
        + (f"; left out: {'; '.join(left_out)}" if (left_out := data.get("left_out")) else ""),
        "checksum of the data": f"{data['sha256'][:16]}…",
        "wall time": f"{record['wall_seconds']:.0f} s",
        "speed": f"{record['images_per_second']:.0f} images/s in training"
        + (f", on {devices} devices together" if (devices := record.get("devices", 1)) > 1 else ""),
        "hardware": f"{machines(record)}; {record['precision']}",
        "versions": ", ".join(f"{name} {version}" for name, version in record["versions"].items()),
        "date": when(record),
        "commit": f"{record['git']['commit']}{' and later changes' if record['git']['changed'] else ''}",
        "command": Markup(f"`{record['command']}`"),
    }
    return pd.DataFrame({"question": list(answers), "answer": list(answers.values())})


def when(record: dict[str, Any]) -> str:
    """The date of a record and, if the run was continued, the number of sessions."""
    return record["date"] + (f", the last of {len(record['sessions'])} sessions" if "sessions" in record else "")


class Markup(str):
    """Text that is MyST and may act as such: `list_table` does not escape it."""


def escaped(text: str) -> str:
    """`text` on one line, as MyST that shows exactly it: nothing in a record is markup of a page."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", re.sub(r"[^\S\xa0]+", " ", text).strip())


def list_table(frame: pd.DataFrame, name: str, caption: str) -> str:
    """`frame` as MyST text of a numbered table; a notebook cell returns it as Markdown.

    Heads and cells are escaped, but for those that are Markup; the caption is MyST.
    """
    rows = [list(frame.columns), *frame.astype(object).to_numpy().tolist()]
    texts = [[cell if isinstance(cell, Markup) else escaped(str(cell)) for cell in row] for row in rows]
    cells = ["* - " + "\n  - ".join(row) for row in texts]
    return "\n".join([f"```{{list-table}} {caption}", f":name: {name}", ":header-rows: 1", "", *cells, "```"])
