"""The records of finished runs, read back: what each holds, and the measurements beside it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from ran.files import ROOT
from ran.runs.config import parse

NEEDED = ("id", "config", "schedule", "test_error", "hardware", "date", "epochs")


def read_records(*folders: Path, report: Callable[[str], None] = print) -> list[dict[str, Any]]:
    """All records below `folders`, by name, each with its own `folder`; of one run, the first that is found.

    A record that cannot be read or lacks a field is named and left out.
    """
    records: dict[str, dict[str, Any]] = {}
    for path in (path for folder in folders for path in sorted(folder.glob("*/record.json"))):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            lacking = [name for name in NEEDED if name not in record]
            if lacking:
                raise ValueError(f"it lacks {', '.join(lacking)}")
            parse(record["config"])
        except (ValueError, TypeError) as error:
            report(f"{path} is left out: it is not a whole record ({error})")
            continue
        records.setdefault(record["id"], record | {"folder": path.parent})
    return [records[name] for name in sorted(records)]


def all_records(results: Path = ROOT / "results", report: Callable[[str], None] = print) -> list[dict[str, Any]]:
    """The records below <results>/smoke, of this machine, and where there is none, those below <results>/runs."""
    return read_records(results / "smoke", results / "runs", report=report)


def read_probes(record: dict[str, Any]) -> pd.DataFrame:
    """What `probe` measured of a recorded network. Raises FileNotFoundError where that was not kept."""
    return pd.read_csv(record["folder"] / "probes.csv")


def read_gradients(record: dict[str, Any]) -> pd.DataFrame:
    """What `gradient_filter` measured of a recorded network. Raises FileNotFoundError where that was not kept."""
    return pd.read_csv(record["folder"] / "gradients.csv")
