"""The paper's tables as data: every row of results/paper/*.csv is one cell, and every cell is one RunConfig.

A table's columns are fields of RunConfig, and `error`, the paper's number in %. What a table does not name is as in
RunConfig, on CIFAR-10. A cell that stands in two tables is one run.
"""

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import pandas as pd

from ran.choices import choose
from ran.runs import ROOT, Places, RunConfig, run
from ran.training import OutOfTime

PAPER = ROOT / "results" / "paper"
# most valuable first: what the paper claims, then what it compares with
TABLES = ("arl_vs_nal", "attention_types", "mask_structures", "noisy_labels", "cifar")


@dataclass(frozen=True)
class Cell:
    """One number of the paper: what it varies (fields of RunConfig), and its test error in %."""

    varied: dict[str, Any]
    error: float

    @property
    def wanted(self) -> dict[str, Any]:
        """All fields of RunConfig that a record must have to stand in this cell: everything but schedule and seed."""
        config = RunConfig(**({"dataset": "cifar10"} | self.varied))
        free = ("schedule", "epochs", "seed")
        return {name: getattr(config, name) for name in config.__dataclass_fields__ if name not in free}


@cache
def table(name: str) -> tuple[Cell, ...]:
    """The cells of one table of the paper. Raises ValueError for an unknown name, with the known ones."""
    frame = pd.read_csv(PAPER / f"{choose('table', name, TABLES)}.csv")
    rows = frame.drop(columns="error").to_dict("records")
    return tuple(
        Cell({str(key): value for key, value in row.items()}, error)
        for row, error in zip(rows, frame["error"].tolist(), strict=True)
    )


def cells(tables: Iterable[str], **options: Any) -> list[RunConfig]:
    """The runs of all cells of `tables` in order, each once; `options` are the fields that no table sets.

    The schedule is `short` unless `options` say otherwise.
    """
    found: dict[str, RunConfig] = {}
    for name in tables:
        for cell in table(name):
            if clash := set(options) & ({*cell.varied, "dataset"}):
                raise ValueError(f"{', '.join(sorted(clash))} cannot be given for a table: its cells set it.")
            config = RunConfig(**({"dataset": "cifar10", "schedule": "short"} | cell.varied | options))
            found.setdefault(config.id, config)
    return list(found.values())


def parse_budget(text: str) -> float:
    """Seconds of a time such as 90s, 25m or 2h. Raises ValueError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if match is None:
        raise ValueError(f"a budget is a number and a unit, such as 90s, 25m or 2h, not {text!r}.")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


def work_through(
    configs: list[RunConfig],
    places: Places,
    budget: float | None = None,
    report: Callable[[str], None] = print,
) -> dict[str, str]:
    """Run what has no record yet, in order, and return {run id: reason} of what failed or was cut off.

    A failed run does not stop the others. `budget` is in seconds: when an epoch would end beyond it, the run stops at
    its checkpoint, to be continued by the next call, and no other run begins.
    """
    deadline = None if budget is None else time.monotonic() + budget
    unfinished: dict[str, str] = {}
    missing = [config for config in configs if not (places.folder(config) / "record.json").is_file()]
    for number, config in enumerate(missing, 1):
        report(f"[{number}/{len(missing)}] {config.id}")
        try:
            run(config, places, report, deadline)
        except OutOfTime as stop:
            return unfinished | {later.id: str(stop) for later in missing[number - 1 :]}
        except Exception as error:  # whatever it is, the other cells are worth their time
            report(f"failed: {error}")
            unfinished[config.id] = f"{type(error).__name__}: {error}"
    return unfinished
