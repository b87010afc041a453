"""Reading the records of finished runs, and the measurements stored beside them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from ran.files import ROOT, Damaged
from ran.runs.measurements import ABLATION, GRADIENTS, PROBES, read_measurements
from ran.runs.schema import read_record


def read_records(*folders: Path, report: Callable[[str], None] = print) -> list[dict[str, Any]]:
    """All records in the run folders below `folders`, sorted by id, each with its `folder` (a Path) added.

    If two folders hold the record of one run, the first is taken. A record that is not whole (see `read_record`) is
    reported and left out.
    """
    records: dict[str, dict[str, Any]] = {}
    for path in (path for folder in folders for path in sorted(folder.glob("*/record.json"))):
        try:
            record = read_record(path)
        except (Damaged, OSError) as error:
            report(f"{error}; it is left out")
            continue
        records.setdefault(record["id"], record | {"folder": path.parent})
    return [records[name] for name in sorted(records)]


def is_recorded(folder: Path) -> bool:
    """Whether the folder of a run holds a whole record."""
    try:
        read_record(folder / "record.json")
    except (Damaged, OSError):
        return False
    return True


def all_records(results: Path = ROOT / "results", report: Callable[[str], None] = print) -> list[dict[str, Any]]:
    """All records below <results>/smoke (made on this machine) and <results>/runs.

    A run with a record in both has the one in smoke.
    """
    return read_records(results / "smoke", results / "runs", report=report)


def read_probes(record: dict[str, Any]) -> pd.DataFrame:
    """The table of `probe` for a recorded network. Raises FileNotFoundError and Damaged as `read_measurements` does."""
    return read_measurements(record["folder"] / PROBES)


def read_gradients(record: dict[str, Any]) -> pd.DataFrame:
    """The table of `gradient_filter` for a recorded network. Raises as `read_probes` does."""
    return read_measurements(record["folder"] / GRADIENTS)


def read_ablation(record: dict[str, Any]) -> pd.DataFrame:
    """The table of `ablate` for a recorded network. Raises as `read_probes` does."""
    return read_measurements(record["folder"] / ABLATION)
