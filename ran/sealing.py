"""Records as sealed JSON: a checksum over all of it, and texts that are no markup."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

# text of a record is shown on a page: no markup of HTML, Markdown or MyST, and one line
Plain = Annotated[str, Field(pattern=r"^[^<>`{}\[\]$\\\x00-\x1f]*$", min_length=1, max_length=2000)]
VERSION = 1  # of the form of records


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with its version and a SHA-256 over all the rest, in front."""
    rest = _unsealed(record)
    return {"version": VERSION, "sha256": _digest(rest), **rest}


def read_sealed(path: Path) -> dict[str, Any]:
    """The record of a JSON file. Raises ValueError where it is none, or is not as it was sealed."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(record, dict):
        raise ValueError("it is no record")
    if "sha256" not in record:
        raise ValueError("it has no checksum: `ran seal FILE` adds one to a record of older code")
    if record["sha256"] != _digest(_unsealed(record)):
        raise ValueError("its checksum is wrong: it was changed after it was written")
    return record


def as_text(record: Mapping[str, Any]) -> str:
    """The record as JSON text, as in its file."""
    return json.dumps(record, indent=1, ensure_ascii=False) + "\n"


def one_line(error: Exception) -> str:
    """What an exception says, on one line; of pydantic's, the first finding with its place."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        more = f"; {error.error_count() - 1} more" if error.error_count() > 1 else ""
        message = first["msg"].removeprefix("Value error, ")
        return " ".join((f"{where}: {message}{more}" if where else message).split())
    return " ".join(str(error).split()) or type(error).__name__


def _unsealed(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in ("version", "sha256")}


def _digest(rest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(rest, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
