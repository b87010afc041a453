"""What a record must be to be believed: types, bounds, and that its parts agree with each other and with its digest."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ran.files import Damaged, write_whole
from ran.runs.config import RunConfig, schema
from ran.runs.finetuning import PINNED
from ran.runs.measurements import seal_measurements
from ran.runs.provenance import COMMIT
from ran.runs.records import misclassified
from ran.sealing import VERSION, Plain, as_text, one_line, read_sealed, sealed
from ran.training import Schedule

Percent = Annotated[float, Field(ge=0, le=100)]
Positive = Annotated[float, Field(gt=0, le=1e12)]
Loss = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1, le=10**12)]
Precision = Literal["float32", "bf16 autocast"]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Date = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
ROUNDED = 0.06  # sums and means in a record have one decimal


class Part(BaseModel):
    """Numbers are finite and of their type, and no field is unknown."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Git(Part):
    """The commit, and whether package or notebooks differed from it; without git that is not known."""

    commit: Annotated[str, Field(pattern=COMMIT)] | None
    changed: bool | None

    @model_validator(mode="after")
    def agrees(self) -> "Git":
        """Refuse a state of no commit."""
        if self.commit is None and self.changed is not None:
            raise ValueError("it tells of changes, and of no commit")
        return self


class Hardware(Part):
    """The processor; for a CPU the number of threads."""

    device: Literal["cpu", "cuda"]
    name: Plain
    threads: Annotated[int, Field(ge=1, le=10**6)] | None = None

    @model_validator(mode="after")
    def agrees(self) -> "Hardware":
        """Refuse a processor without its threads, and threads of a GPU."""
        if (self.device == "cpu") != (self.threads is not None):
            raise ValueError("threads are those of a cpu, which must have some")
        return self


class Session(Part):
    """When, by what code and on what one part of a continued run was trained."""

    from_epoch: Count
    date: Date
    git: Git
    hardware: Hardware
    precision: Precision
    versions: dict[Plain, Plain]
    devices: Count = 1


class DataOf(Part):
    """The images: SHA-256 over pixels and labels, the files that could not be decoded, and all that was left out."""

    name: Plain
    classes: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=2)]
    train_images: Count
    test_images: Count
    sha256: Digest
    skipped: list[str] = []
    left_out: list[str] = []


class Epoch(Part):
    """The metrics of one epoch: losses in nats, errors in %, seconds, training images/s."""

    epoch: Count
    learning_rate: Annotated[float, Field(ge=0, le=1e6)]
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
    precision: Precision
    hardware: Hardware
    versions: dict[Plain, Plain]
    sessions: list[Session] = []
    command: Plain
    config: schema(RunConfig)  # type: ignore[valid-type]
    schedule: schema(Schedule)  # type: ignore[valid-type]
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
        config = RunConfig(**self.config.model_dump(exclude_unset=True))
        schedule = Schedule(**self.schedule.model_dump(exclude_unset=True))
        if schedule.name != config.schedule or config.name_by(schedule) != self.id:
            raise ValueError(f"its id {self.id} is not that of its config and schedule")
        if config.weights is not None and not PINNED.fullmatch(config.weights):
            raise ValueError("its weights are not named by their digest")
        if not config.is_repeated_by(self.command):
            raise ValueError("its command is not that of its config")
        if [each.epoch for each in self.epochs] != list(range(1, len(self.epochs) + 1)):
            raise ValueError("its epochs are not numbered 1, 2, 3, …")
        steps = max(1, self.dataset.train_images // schedule.batch_size)
        expected = schedule.epochs or math.ceil(schedule.iterations / steps)
        if len(self.epochs) != expected:
            raise ValueError(f"it has {len(self.epochs)} epochs, and its schedule takes {expected}")
        if self.epochs[-1].test_error != self.test_error:
            raise ValueError("its test_error is not that of its last epoch")
        if abs(sum(each.seconds for each in self.epochs) - self.wall_seconds) > ROUNDED:
            raise ValueError("its wall_seconds are not those of its epochs")
        if abs(mean(each.images_per_second for each in self.epochs) - self.images_per_second) > ROUNDED:
            raise ValueError("its images_per_second are not those of its epochs")
        if self.images_per_second_per_device is not None:
            if abs(self.images_per_second / self.devices - self.images_per_second_per_device) > ROUNDED:
                raise ValueError("its images_per_second_per_device are not those of its devices")
        self._check_answers()
        return self

    def _check_answers(self) -> None:
        """Refuse data of another name, and answers that make another error."""
        classes = len(self.dataset.classes)
        if self.dataset.name != self.config.dataset or len(set(self.dataset.classes)) != classes:
            raise ValueError("its dataset is not that of its config, or has a class twice")
        wrong = round(self.test_error * self.dataset.test_images / 100)
        if self.confusion is not None:
            counts = np.array(self.confusion)
            if counts.shape != (classes, classes) or counts.sum() != self.dataset.test_images:
                raise ValueError("its confusion matrix is not one of its classes and test images")
            if counts.sum() - counts.trace() != wrong:
                raise ValueError("its test_error is not that of its confusion matrix")
        bits = misclassified(self.model_dump(exclude_none=True))
        if bits is not None and (len(bits) != self.dataset.test_images or int(bits.sum()) != wrong):
            raise ValueError("its test_error is not that of the images that it calls misclassified")


def seal(path: Path) -> None:
    """Give a record of older code its version and checksum, in its file; likewise a table of measurements.

    Raises ValueError, and changes nothing, for one that has a checksum already or does not keep the schema.
    """
    if path.suffix == ".csv":
        return seal_measurements(path)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(record, dict) or "sha256" in record:
            raise ValueError("it has a checksum already" if isinstance(record, dict) else "it is no record")
        check(sealed(record))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is not sealed: {one_line(error)}") from error
    write_whole(path, as_text(sealed(record)))


def read_record(path: Path) -> dict[str, Any]:
    """The record of a file, which stands in the folder of its run.

    Raises Damaged, a ValueError in one line, for a file that is no record, was changed after it was written, whose
    parts contradict each other, or that belongs to another run.
    """
    try:
        record = read_sealed(path)
        check(record)
        if record["id"] != path.resolve().parent.name:
            raise ValueError(f"it is of the run {record['id']}")
    except ValueError as error:
        raise Damaged(f"{path} is not a whole record ({one_line(error)})") from error
    return record


def check(record: Mapping[str, Any]) -> None:
    """Raise ValueError where a record does not keep the schema, or its parts contradict each other."""
    Record.model_validate_json(json.dumps(record))
