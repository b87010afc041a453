"""Checkpoints, from which an interrupted training resumes after its last complete epoch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Checkpoint:
    """The checkpoint file of one training. `identity` names the training: network, data and schedule.

    The file holds the metrics of every epoch so far, the sessions (see `fit`), and the state of each part by name:
    network, optimiser, learning rates, and the average of the weights where the schedule has one.
    """

    path: Path
    identity: str = ""

    def read(self) -> dict[str, Any] | None:
        """The stored state, on the CPU; None without a file. Raises ValueError for another training's checkpoint."""
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
        """Write the state of all `parts`, whole or not at all."""
        partial = self.path.with_name(self.path.name + ".partial")
        header = {"identity": self.identity, "epochs": epochs, "sessions": sessions}
        torch.save(header | {name: part.state_dict() for name, part in parts.items()}, partial)
        partial.replace(self.path)
