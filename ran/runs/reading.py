"""Reading the records of finished runs, and the measurements stored beside them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from ran.files import ROOT
from ran.runs.config import parse

NEEDED = ("id", "config", "schedule", "test_error", "hardware", "date", "epochs")


def read_records(*folders: Path, report: Callable[[str], None] = print) -> list[dict[str, Any]]:
    """All records below `folders`, sorted by run id, each with its `folder`; the first one where a run has several.

    Records that cannot be read, lack a field or have an invalid config are reported and left out.
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
    """All records below <results>/smoke (made on this machine) and <results>/runs.

    A run with a record in both has the one in smoke.
    """
    return read_records(results / "smoke", results / "runs", report=report)


def read_probes(record: dict[str, Any]) -> pd.DataFrame:
    """The table of `probe` for a recorded network. Raises FileNotFoundError if it was not stored."""
    return pd.read_csv(record["folder"] / "probes.csv")


def read_gradients(record: dict[str, Any]) -> pd.DataFrame:
    """The table of `gradient_filter` for a recorded network. Raises FileNotFoundError if it was not stored."""
    return pd.read_csv(record["folder"] / "gradients.csv")
