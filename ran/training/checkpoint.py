"""A training that was cut off goes on at its last whole epoch: what is kept for that, and whose it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Checkpoint:
    """The file of one training. `identity` says which one: network, data and schedule.

    It holds the metrics of every epoch so far, the sessions, and the state of each part by its name: network, optimiser
    and learning rates, and where the schedule averages weights, their average.
    """

    path: Path
    identity: str = ""

    def read(self) -> dict[str, Any] | None:
        """What was kept, on the CPU; None where there is no file. Raises ValueError for another training's."""
        if not self.path.is_file():
            return None
        saved: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        if saved["identity"] != self.identity:
            raise ValueError(
                f"{self.path} belongs to the run {saved['identity']!r}, not to {self.identity!r}; move it away to "
                "start anew."
            )
        return saved

    def write(self, parts: Mapping[str, Any], epochs: list[Any], sessions: list[Any]) -> None:
        """Keep the state of all `parts`, whole or not at all."""
        partial = self.path.with_name(self.path.name + ".partial")
        said = {"identity": self.identity, "epochs": epochs, "sessions": sessions}
        torch.save(said | {name: part.state_dict() for name, part in parts.items()}, partial)
        partial.replace(self.path)
