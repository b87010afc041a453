"""The paper's tables beside what was recorded here: results/paper/*.csv and results/runs → results/tables/*.csv."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

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


def arl_vs_nal(paper: pd.DataFrame, records: list[dict[str, Any]]) -> pd.DataFrame:
    """Test error (%) of the paper and of every record of the same network and learning on CIFAR-10, one row a record.

    `paper` has the columns network, attention, error. A cell of the paper without a record says "not run".
    """
    rows = []
    for cell in paper.itertuples():
        wanted = {"network": cell.network, "attention": cell.attention, "dataset": "cifar10"} | {
            "mask": "encoder-decoder",
            "gate": "mixed",
            "train_images": None,
            "noise": 0,
        }
        found = [record for record in records if wanted.items() <= ({"noise": 0} | record["config"]).items()]
        rows += [_row(cell, record) for record in found] or [_row(cell, None)]
    return pd.DataFrame(rows)


def _row(cell: Any, record: dict[str, Any] | None) -> dict[str, str]:
    row = {
        "Network": cell.network.capitalize(),
        "Learning": cell.attention.upper(),
        "Paper, 205 epochs": f"{cell.error:.2f}",
        "Recorded": NOT_RUN,
    } | dict.fromkeys(("Epochs", "Schedule", "Seed", "Hardware", "Date", "Record"), "")
    if record is None:
        return row
    return row | {
        "Recorded": f"{record['test_error']:.2f}",
        "Epochs": str(len(record["epochs"])),
        "Schedule": record["config"]["schedule"],
        "Seed": str(record["config"]["seed"]),
        "Hardware": describe(record["hardware"]),
        "Date": record["date"],
        "Record": record["id"],
    }


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


TABLES = {"arl_vs_nal": arl_vs_nal}


def write_tables(results: Path, report: Callable[[str], None] = print) -> list[Path]:
    """Write every table of TABLES to <results>/tables/NAME.csv from <results>/paper and <results>/runs.

    A table that has not changed is not touched, so that the book is not built anew for it.
    """
    records = read_records(results / "runs", report)
    written = []
    for name, table in TABLES.items():
        target = results / "tables" / f"{name}.csv"
        text = table(pd.read_csv(results / "paper" / f"{name}.csv"), records).to_csv(index=False)
        if not target.is_file() or target.read_text(encoding="utf-8") != text:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        written.append(target)
    return written
