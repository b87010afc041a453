"""What a record must be to be believed: types, bounds, and that its parts agree with each other and with its digest."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ran.files import Damaged, write_whole
from ran.runs.config import parse
from ran.runs.records import as_text, misclassified
from ran.training import Schedule

VERSION = 1  # of the form of a record
Percent = Annotated[float, Field(ge=0, le=100)]
Positive = Annotated[float, Field(gt=0)]
Loss = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Date = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
# it is shown on a page: no markup of HTML, Markdown or MyST, and one line
Plain = Annotated[str, Field(pattern=r"^[^<>`{}\[\]$\\\x00-\x1f]*$", max_length=2000)]


class Part(BaseModel):
    """Numbers are finite and of their type, and no field is unknown."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Git(Part):
    """The commit, and whether package or notebooks differed from it."""

    commit: Annotated[str, Field(pattern="^[0-9a-f]{40}$")] | None
    changed: bool | None


class Hardware(Part):
    """The processor; for a CPU the number of threads."""

    device: Plain
    name: Plain
    threads: Count | None = None


class Session(Part):
    """When, by what code and on what one part of a continued run was trained."""

    from_epoch: Count
    date: Date
    git: Git
    hardware: Hardware
    precision: Plain
    versions: dict[Plain, Plain]
    devices: Count = 1


class DataOf(Part):
    """The images: SHA-256 over pixels and labels, and the names of files that could not be decoded."""

    name: Plain
    classes: Annotated[list[str], Field(min_length=1)]
    train_images: Count
    test_images: Count
    sha256: Digest
    skipped: list[str] = []


class Epoch(Part):
    """The metrics of one epoch: losses in nats, errors in %, seconds, training images/s."""

    epoch: Count
    learning_rate: Annotated[float, Field(ge=0)]
    train_loss: Loss
    train_error: Percent
    test_loss: Loss
    test_error: Percent
    test_top5_error: Percent | None = None
    seconds: Positive
    images_per_second: Positive


class Record(Part):
    """A finished run: see `ran.runs.records.make_record`."""

    version: Annotated[int, Field(ge=1, le=VERSION)]
    sha256: Digest
    id: str
    date: Date
    git: Git
    devices: Count = 1
    precision: Plain
    hardware: Hardware
    versions: dict[Plain, Plain]
    sessions: list[Session] = []
    command: Plain
    config: dict[str, Any]
    schedule: dict[str, Any]
    parameters: Count
    measured_on: Plain = "the test set"
    test_error: Percent
    test_top5_error: Percent | None = None
    wall_seconds: Positive
    images_per_second: Positive
    images_per_second_per_device: Positive | None = None
    dataset: DataOf
    epochs: Annotated[list[Epoch], Field(min_length=1)]
    misclassified: str | None = None
    confusion: list[list[Annotated[int, Field(ge=0)]]] | None = None

    @model_validator(mode="after")
    def agrees(self) -> "Record":
        """Refuse a record whose parts contradict each other."""
        config, _ = parse(self.config)
        known = {each.name for each in fields(Schedule)}
        if unknown := set(self.schedule) - known:
            raise ValueError(f"its schedule has unknown settings: {', '.join(sorted(unknown))}")
        settings = self.schedule | ({"drops": tuple(self.schedule["drops"])} if "drops" in self.schedule else {})
        if config.name_by(Schedule(**settings)) != self.id:
            raise ValueError(f"its id {self.id} is not that of its config and schedule")
        if [each.epoch for each in self.epochs] != list(range(1, len(self.epochs) + 1)):
            raise ValueError("its epochs are not numbered 1, 2, 3, …")
        steps = max(1, self.dataset.train_images // settings.get("batch_size", Schedule.batch_size))
        expected = settings.get("epochs") or math.ceil(settings.get("iterations", Schedule.iterations) / steps)
        if len(self.epochs) != expected:
            raise ValueError(f"it has {len(self.epochs)} epochs, and its schedule takes {expected}")
        if self.epochs[-1].test_error != self.test_error:
            raise ValueError("its test_error is not that of its last epoch")
        wrong = round(self.test_error * self.dataset.test_images / 100)
        if self.confusion is not None:
            counts, classes = np.array(self.confusion), len(self.dataset.classes)
            if counts.shape != (classes, classes) or counts.sum() != self.dataset.test_images:
                raise ValueError("its confusion matrix is not one of its classes and test images")
            if counts.sum() - counts.trace() != wrong:
                raise ValueError("its test_error is not that of its confusion matrix")
        bits = misclassified(self.model_dump(exclude_none=True))
        if bits is not None and (len(bits) != self.dataset.test_images or int(bits.sum()) != wrong):
            raise ValueError("its test_error is not that of the images that it calls misclassified")
        return self


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with its version and a SHA-256 over all the rest, in front."""
    rest = {name: value for name, value in record.items() if name not in ("version", "sha256")}
    return {"version": VERSION, "sha256": _digest(rest), **rest}


def seal(path: Path) -> None:
    """Give a record of older code its version and checksum, in its file.

    Raises ValueError, and changes nothing, for one that has a checksum already or does not keep the schema.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(record, dict) or "sha256" in record:
            raise ValueError("it has a checksum already" if isinstance(record, dict) else "it is no record")
        check(sealed(record))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is not sealed: {_one_line(error)}") from error
    write_whole(path, as_text(sealed(record)))


def read_record(path: Path) -> dict[str, Any]:
    """The record of a file, which stands in the folder of its run.

    Raises Damaged, a ValueError in one line, for a file that is no record, was changed after it was written, whose
    parts contradict each other, or that belongs to another run.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(record, dict):
            raise ValueError("it is no record")
        if "sha256" not in record:
            raise ValueError("it has no checksum: `ran seal FILE` adds one to a record of older code")
        if record["sha256"] != _digest({k: v for k, v in record.items() if k not in ("version", "sha256")}):
            raise ValueError("its checksum is wrong: it was changed after it was written")
        check(record)
        if record["id"] != path.parent.name:
            raise ValueError(f"it is of the run {record['id']}")
    except (ValueError, TypeError, RecursionError) as error:
        raise Damaged(f"{path} is not a whole record ({_one_line(error)})") from error
    return record


def check(record: Mapping[str, Any]) -> None:
    """Raise ValueError where a record does not keep the schema, or its parts contradict each other."""
    try:
        Record.model_validate(dict(record))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        more = f"; {error.error_count() - 1} more" if error.error_count() > 1 else ""
        message = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{where}: {message}{more}" if where else message) from None


def _digest(rest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(rest, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
