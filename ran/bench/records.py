"""The record of a machine's measurements: its schema, and how it is written and read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, JsonValue, TypeAdapter, model_validator

from ran.files import Damaged, write_whole
from ran.runs import Date, Git, Hardware, Part
from ran.sealing import Plain, as_text, one_line, read_sealed, sealed


class Measured(Part):
    """What one part of `ran bench` found, when and with what."""

    date: Date
    git: Git
    versions: dict[Plain, Plain]
    size: dict[str, JsonValue]
    seconds: Annotated[float, Field(ge=0)]
    found: JsonValue

    @model_validator(mode="after")
    def has_plain_texts(self) -> "Measured":
        """Refuse markup: the texts are shown on pages."""
        TypeAdapter(list[Plain]).validate_python(list(_texts([self.size, self.found])))
        return self


class Bench(Part):
    """The measurements of one device."""

    version: Annotated[int, Field(ge=1)]
    sha256: str
    hardware: Hardware
    parts: dict[Plain, Measured]


def write_bench(path: Path, record: dict[str, Any]) -> None:
    """Write a record with its checksum."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, as_text(sealed(record)))


def read_bench_record(path: Path) -> dict[str, Any]:
    """The record of one device. Raises Damaged where it is not as it was written, or does not keep the schema."""
    try:
        record = read_sealed(path)
        Bench.model_validate(record)
    except ValueError as error:
        raise Damaged(f"{path} is not a whole record of measurements ({one_line(error)}): move it away.") from error
    return record


def read_bench(folder: Path) -> list[dict[str, Any]]:
    """The records below `folder`, one for each device, by name. Raises as `read_bench_record` does."""
    return [read_bench_record(path) for path in sorted(folder.glob("*.json"))]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield name
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
