"""The paper's tables beside what was recorded here: results/paper/*.csv and results/runs → results/tables/*.csv."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pandas as pd

from ran.experiments import TABLES, Cell, table
from ran.runs import RunConfig

HEADINGS = {
    "network": "Network",
    "attention": "Learning",
    "gate": "Attention",
    "mask": "Mask",
    "noise": "Noise",
    "dataset": "Data",
}
LABELS = {
    "arl": "ARL",
    "nal": "NAL",
    "mixed": "f1, mixed",
    "channel": "f2, channel",
    "spatial": "f3, spatial",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
}
NOT_RUN = "not run"
NEEDED = ("id", "config", "schedule", "test_error", "hardware", "date", "epochs")


def read_records(runs: Path, report: Callable[[str], None] = print) -> list[dict[str, Any]]:
    """All records below `runs`, by name. One that cannot be read or lacks a field is named and left out."""
    records = []
    for path in sorted(runs.glob("*/record.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            lacking = [name for name in NEEDED if name not in record]
        except (ValueError, TypeError) as error:
            report(f"{path} is left out: it is not a record ({error})")
            continue
        if lacking:
            report(f"{path} is left out: it lacks {', '.join(lacking)}")
        else:
            records.append(record)
    return records


def beside_paper(name: str, records: list[dict[str, Any]]) -> pd.DataFrame:
    """The table `name` of the paper, in %, and beside each cell what was recorded of it at every schedule.

    Runs that differ in the seed alone share a row: mean ± standard deviation over seeds. Another schedule or another
    number of epochs is another row. A cell without a record says "not run".
    """
    rows = []
    for cell in table(name):
        groups: dict[tuple[str, int], list[dict[str, Any]]] = {}  # by all settings of the schedule, and its length
        for record in records:
            config = asdict(RunConfig()) | record["config"]  # fields newer than the record are at their defaults
            if cell.wanted.items() <= config.items():
                settings = json.dumps([config["schedule"], record["schedule"]], sort_keys=True)
                groups.setdefault((settings, len(record["epochs"])), []).append(record)
        rows += [_row(cell, group) for group in groups.values()] or [_row(cell, [])]
    return pd.DataFrame(rows)


def _row(cell: Cell, group: list[dict[str, Any]]) -> dict[str, str]:
    row = {HEADINGS[name]: _label(value) for name, value in cell.varied.items()}
    row |= {"Paper": f"{cell.error:.2f}", "Recorded": NOT_RUN}
    row |= dict.fromkeys(("Schedule", "Seeds", "Hardware, date, record"), "")
    if not group:
        return row
    group = sorted(group, key=lambda record: record["config"]["seed"])
    errors = [record["test_error"] for record in group]
    spread = f" ± {stdev(errors):.2f}" if len(errors) > 1 else ""

    def every(answers: Iterable[Any]) -> str:
        return ", ".join(dict.fromkeys(str(answer) for answer in answers))

    return row | {
        "Recorded": f"{mean(errors):.2f}{spread}",
        "Schedule": f"{group[0]['config']['schedule']}, {len(group[0]['epochs'])} epochs",
        "Seeds": every(record["config"]["seed"] for record in group),
        "Hardware, date, record": every(
            f"{describe(record['hardware'])}; {record['date']}; {record['id']}" for record in group
        ),
    }


def _label(value: Any) -> str:
    """How a value of RunConfig is called in a table."""
    if isinstance(value, float):
        return f"{100 * value:g}%"
    if value in LABELS:
        return LABELS[value]
    name = value.replace("resnet", "ResNet").replace("attention", "Attention").replace("wrn", "WRN")
    return name.replace("-", "\u2011")  # a hyphen at which no line breaks


def describe(hardware: dict[str, Any]) -> str:
    """One phrase for the processor of a record: its name, and for a CPU the number of threads."""
    if "threads" not in hardware:
        return str(hardware["name"])
    return f"{hardware['name']}, {hardware['threads']} thread{'s' if hardware['threads'] > 1 else ''}"


def summary(record: dict[str, Any]) -> pd.DataFrame:
    """What a reader asks of one record first, as two columns of text."""
    data, schedule = record["dataset"], record["schedule"]
    length = schedule["epochs"] or schedule["iterations"] * schedule["batch_size"] / data["train_images"]
    answers = {
        "test error": f"{record['test_error']:.2f}% after {length:.3g} epochs",
        "parameters": f"{record['parameters']:,}",
        "schedule": f"{schedule['name']}, batch {schedule['batch_size']}",
        "seed": record["config"]["seed"],
        "data set": f"{data['name']}, {data['train_images']:,} training and {data['test_images']:,} test images",
        "checksum of the data": f"{data['sha256'][:16]}…",
        "wall time": f"{record['wall_seconds']:.0f} s",
        "speed": f"{record['images_per_second']:.0f} images/s in training",
        "hardware": f"{describe(record['hardware'])}; {record['precision']}",
        "versions": ", ".join(f"{name} {version}" for name, version in record["versions"].items()),
        "date": record["date"],
        "commit": f"{record['git']['commit']}{' and later changes' if record['git']['changed'] else ''}",
        "command": f"`{record['command']}`",
    }
    return pd.DataFrame({"question": list(answers), "answer": [str(answer) for answer in answers.values()]})


def list_table(frame: pd.DataFrame, name: str, caption: str) -> str:
    """`frame` as a numbered MyST table with its columns as headings, for a notebook cell to return as Markdown."""
    rows = [list(frame.columns), *frame.astype(str).to_numpy().tolist()]
    cells = ["* - " + "\n  - ".join(row) for row in rows]
    return "\n".join([f"```{{list-table}} {caption}", f":name: {name}", ":header-rows: 1", "", *cells, "```"])


def write_tables(results: Path, report: Callable[[str], None] = print) -> list[Path]:
    """Write every table of the paper to <results>/tables/NAME.csv, beside the records below <results>/runs.

    A table that has not changed is not touched, so that the book is not built anew for it.
    """
    records = read_records(results / "runs", report)
    written = []
    for name in TABLES:
        target = results / "tables" / f"{name}.csv"
        text = beside_paper(name, records).to_csv(index=False)
        if not target.is_file() or target.read_text(encoding="utf-8") != text:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        written.append(target)
    return written
