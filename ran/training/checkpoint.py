"""A training that was cut off goes on at its last whole epoch: what is kept for that, and checked before it is used."""

import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ran.files import Damaged, write_whole

DIGEST = hashlib.sha256().digest_size  # bytes at the end of a file: the SHA-256 of all before them


@dataclass(frozen=True)
class Checkpoint:
    """The file of one training, and beside it the one before it (`.previous`), in case the newer one gets damaged.

    `identity` says which training it is: network, schedule and data. A file holds the metrics of every epoch so far,
    the sessions, and the state of each part by its name: network, optimiser and learning rates, and where the schedule
    averages weights, their average.
    """

    path: Path
    identity: str = ""

    @property
    def previous(self) -> Path:
        """The checkpoint of one epoch earlier."""
        return self.path.with_name(f"{self.path.name}.previous")

    def read(self, report: Callable[[str], None] = print) -> dict[str, Any] | None:
        """The newest state that is whole, on the CPU; None where there is no file.

        A damaged file is named by `report`, and the one before it is taken. Raises ValueError where no file is whole,
        and for the checkpoint of another training.
        """
        found = [path for path in (self.path, self.previous) if path.is_file()]
        for path in found:
            try:
                saved = _read(path)
            except Damaged as damage:
                report(f"{path} is damaged ({damage}) and is not used")
                continue
            if saved["identity"] != self.identity:
                raise ValueError(
                    f"{path} belongs to the run {saved['identity']!r}, not to {self.identity!r}; move it away to start "
                    "anew."
                )
            return saved
        if found:
            raise ValueError(
                f"no checkpoint in {self.path.parent} is whole: delete {' and '.join(path.name for path in found)} "
                "there to start anew."
            )
        return None

    def write(self, parts: Mapping[str, Any], epochs: list[Any], sessions: list[Any]) -> None:
        """Keep the state of all `parts`, whole or not at all.

        What was kept before stays as `previous`, and is not touched before the new file has been read back. Raises
        OSError where the disk does not hold what was written, or is full.
        """
        header = {"identity": self.identity, "epochs": epochs, "sessions": sessions}
        content = io.BytesIO()
        torch.save(header | {name: part.state_dict() for name, part in parts.items()}, content)
        write_whole(self.path, content.getvalue() + hashlib.sha256(content.getvalue()).digest(), self._replaces)

    def _replaces(self, partial: Path) -> None:
        """Keep the file as `previous`, once the one that takes its place has been read back."""
        try:
            _content(partial)
        except Damaged as damage:
            raise OSError("the disk does not hold what was written: look at the disk") from damage
        if self.path.is_file():
            self.path.replace(self.previous)

    def delete(self) -> None:
        """Remove both files: the training is done."""
        for path in (self.path, self.previous):
            path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    saved: dict[str, Any] = torch.load(io.BytesIO(_content(path)), map_location="cpu", weights_only=True)
    return saved


def _content(path: Path) -> bytes:
    """What was written, without the digest. Raises Damaged where the digest is that of something else."""
    whole = path.read_bytes()
    content, digest = whole[:-DIGEST], whole[-DIGEST:]
    if hashlib.sha256(content).digest() != digest:
        raise Damaged("its checksum is wrong: it was cut off or changed, or is of an older version of this code")
    return content
