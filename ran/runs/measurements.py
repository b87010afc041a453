"""Tables of measurements beside a record, each with a last line that says whose they are and that they are whole."""

import hashlib
import io
from pathlib import Path

import pandas as pd

from ran.files import Damaged, write_whole

MEASUREMENTS = PROBES, GRADIENTS, ABLATION = "probes.csv", "gradients.csv", "ablation.csv"


def write_measurements(path: Path, table: pd.DataFrame) -> None:
    """Write `table` as CSV into the folder of its run; the last line has the run's id and a SHA-256 over the rest."""
    text = table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_whole(path, text + _last_line(path, text))


def read_measurements(path: Path) -> pd.DataFrame:
    """The table of a file of measurements. Raises FileNotFoundError, and Damaged where it is not as it was written."""
    try:
        text = path.read_bytes().decode("utf-8")
        body = text[: text.rindex("#")]
        if text != body + _last_line(path, body):
            raise ValueError("its last line is not that of its content and folder")
        return pd.read_csv(io.StringIO(body))
    except ValueError as error:
        what = "delete it, and the run measures anew where it has weights"
        raise Damaged(f"{path} is not a whole table of measurements ({error}): {what}.") from error


def seal_measurements(path: Path) -> None:
    """Give a table of older code its last line. Raises ValueError, and changes nothing, for one that has it already."""
    text = path.read_text(encoding="utf-8")
    if "#" in text or path.name not in MEASUREMENTS or pd.read_csv(io.StringIO(text)).empty:
        raise ValueError(f"{path} is not sealed: it is no table of measurements of older code.")
    write_whole(path, text + _last_line(path, text))


def _last_line(path: Path, text: str) -> str:
    return f"# {path.resolve().parent.name} sha256 {hashlib.sha256(text.encode()).hexdigest()}\n"
