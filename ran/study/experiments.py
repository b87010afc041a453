"""The paper's tables as data: every row of results/paper/*.csv is one cell, and every cell is one RunConfig.

The columns of a table are fields of RunConfig, and `error`, the paper's test error in %. Other fields have their
defaults, on CIFAR-10. The same cell in two tables is one run. A profile sets schedule, data and size for all cells.

One table, `recipe`, is our own: its cells name their schedules and have no number of the paper.
"""

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from multiprocessing import get_context
from typing import Any

import pandas as pd
import torch

from ran.choices import choose
from ran.files import ROOT
from ran.runs import Environment, RunConfig, is_recorded, run
from ran.training import RECIPE, OutOfTime

PAPER = ROOT / "results" / "paper"
# most valuable first: what the paper claims, then what it compares with
CLAIMS = ("arl_vs_nal", "attention_types", "mask_structures", "noisy_labels")
TABLES = (*CLAIMS, "cifar")
OWN = ("recipe",)


@dataclass(frozen=True)
class Profile:
    """How the cells of all tables are run: their schedule, and the changes for small trials.

    `epochs` replaces the number of epochs of the schedule, and `dataset` the data set of the cells. `narrow` divides
    the channels; `narrower` has other divisors for single networks. `results` is the folder for the records, `tables`
    are the tables that "all" stands for, and every cell is run with all `seeds`, unless a seed is given.
    """

    schedule: str
    epochs: int | None = None
    dataset: str | None = None
    narrow: int = 1
    narrower: dict[str, int] = field(default_factory=dict)
    results: str = Environment.results
    tables: tuple[str, ...] = TABLES
    seeds: tuple[int, ...] = (RunConfig.seed,)

    def options(self, cell: dict[str, Any]) -> dict[str, Any]:
        """The fields of RunConfig for a cell whose own fields are `cell`."""
        options = {"dataset": "cifar10", "schedule": self.schedule} | cell
        if self.epochs is not None:
            options["epochs"] = self.epochs
        network = options.get("network", RunConfig.network)
        return options | {
            "dataset": self.dataset or options["dataset"],
            "narrow": self.narrower.get(network, self.narrow),
        }


PROFILES: dict[str, Profile] = {
    # the whole grid on two cores within a quarter of an hour; its records are of this machine and not committed
    "smoke": Profile(
        "smoke",
        epochs=1,
        dataset="shapes",
        narrow=2,
        narrower={"wrn-28-10": 8}
        | dict.fromkeys(
            ("attention-128", "attention-164", "attention-236", "attention-452", "resnet-1001", "wrn-16-8"), 4
        ),
        results="results/smoke",
    ),
    # the paper's claims in small, with a spread: two hours on two cores and no download
    "study": Profile("short", epochs=12, dataset="shapes", narrow=2, tables=CLAIMS, seeds=(0, 1, 2)),
    "short": Profile("short"),
    "paper": Profile("paper"),
}
NOT_BEGUN = "out of time before it began"  # why a run has no record
PROFILE_SCHEDULES = {profile.schedule for profile in PROFILES.values()}


@dataclass(frozen=True)
class Cell:
    """One row of a table: its fields of RunConfig, `varied`, and the paper's test error in %, if there is one."""

    varied: dict[str, Any]
    error: float | None = None

    @property
    def name(self) -> str:
        """The values of `varied`, joined by hyphens: attention-164-nal."""
        return "-".join(str(value) for value in self.varied.values())

    def config(self, profile: str = "short", **options: Any) -> RunConfig:
        """The run of this cell at a profile; `options` are fields that neither the table nor the profile sets.

        Raises ValueError for an unknown profile, and for `options` that the table or the profile sets.
        """
        settled = PROFILES[choose("profile", profile, PROFILES)].options(self.varied)
        if clash := set(options) & set(settled):
            raise ValueError(
                f"{', '.join(sorted(clash))} cannot be given for a table: its cells or the profile set it."
            )
        return RunConfig(**settled, **options)

    def members(self, profile: str = "short") -> Callable[[Mapping[str, Any]], bool]:
        """A function that says whether a record with a config (all fields of a RunConfig) belongs to this cell.

        Any seed does. The other fields must be those of the cell's run at `profile`. At a profile without a data set of
        its own (`short`, `paper`), the number of epochs may also differ. So may the schedule if the cell names none: it
        may be that of any profile, but not a recipe of ours. Runs measured on held-out images belong to no cell.
        """
        wanted = asdict(self.config(profile))
        schedules, free = {wanted["schedule"]}, {"seed", "schedule"}
        if PROFILES[profile].dataset is None:
            free.add("epochs")
            schedules = schedules if "schedule" in self.varied else PROFILE_SCHEDULES
        fixed = {name: value for name, value in wanted.items() if name not in free}

        def belongs(config: Mapping[str, Any]) -> bool:
            return config["schedule"] in schedules and all(config[name] == value for name, value in fixed.items())

        return belongs


# every step of the recipe in the smaller network of the goals, the whole recipe in the larger ones too
RECIPE_CELLS = tuple(
    Cell({"network": network, "schedule": schedule})
    for network, schedules in (("attention-92", [*RECIPE]), ("attention-236", ["best"]), ("attention-452", ["best"]))
    for schedule in schedules
)


@cache
def table(name: str) -> tuple[Cell, ...]:
    """The cells of a table, the paper's or ours. Raises ValueError, with the known names, for an unknown one."""
    if choose("table", name, (*TABLES, *OWN)) in OWN:
        return RECIPE_CELLS
    frame = pd.read_csv(PAPER / f"{name}.csv")
    rows = frame.drop(columns="error").to_dict("records")
    return tuple(
        Cell({str(key): value for key, value in row.items()}, error)
        for row, error in zip(rows, frame["error"].tolist(), strict=True)
    )


def cell(table_name: str, name: str) -> Cell:
    """The cell `name` of a table. Raises ValueError, with the known names, for an unknown table or cell."""
    known = {each.name: each for each in table(table_name)}
    return known[choose(f"cell of {table_name}", name, known)]


def configs(cells: Iterable[Cell], profile: str = "short", **options: Any) -> list[RunConfig]:
    """The runs of `cells` at a profile, without duplicates: all cells with the first seed, then with the next.

    `options` are as in Cell.config; a `seed` among them replaces the seeds of the profile. Raises ValueError as
    Cell.config does.
    """
    cells = list(cells)
    seeds = (options.pop("seed"),) if "seed" in options else PROFILES[choose("profile", profile, PROFILES)].seeds
    found = (each.config(profile, seed=seed, **options) for seed in seeds for each in cells)
    return list({config.id: config for config in found}.values())


def parse_budget(text: str) -> float:
    """The seconds in a text such as 90s, 25m or 2h. Raises ValueError for any other form."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if match is None:
        raise ValueError(f"a budget is a number and a unit, such as 90s, 25m or 2h, not {text!r}.")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


def work_through(
    configs: list[RunConfig],
    environment: Environment,
    budget: float | None = None,
    report: Callable[[str], None] = print,
    jobs: int = 1,
) -> dict[str, str]:
    """Run the configs that have no record, in order; returns {run id: reason} for those still without a record.

    A failed run does not stop the others. `budget` is in seconds: if the next epoch would end after it, the run stops
    with a checkpoint, no other run begins, and the next call continues. `jobs` is the number of processes that work at
    the same time and share the CPU cores.
    """
    deadline = None if budget is None else time.monotonic() + budget

    def recorded(config: RunConfig) -> bool:
        return is_recorded(environment.folder(config))

    missing = [config for config in configs if not recorded(config)]
    attempts = {
        config.id: partial(_attempt, config, environment, deadline, f"[{number}/{len(missing)}]", report)
        for number, config in enumerate(missing, 1)
    }
    reasons = dict.fromkeys(attempts, NOT_BEGUN)
    outcomes = _one_by_one(attempts) if jobs == 1 else _side_by_side(attempts, jobs)
    for name, reason in outcomes:
        reasons[name] = reason
    return {config.id: reasons[config.id] for config in missing if not recorded(config)}


def _attempt(
    config: RunConfig, environment: Environment, deadline: float | None, number: str, report: Callable[[str], None]
) -> tuple[str, bool]:
    """Run one config; returns the reason why it has no record (empty if it has one), and whether time is up."""

    def say(line: str) -> None:
        report(f"{number} {line}")

    # with several jobs, the next runs may have been handed out before time was up
    if deadline is not None and time.monotonic() > deadline:
        return NOT_BEGUN, True
    say(config.id)
    try:
        run(config, environment, say, deadline)
    except OutOfTime as stop:
        return str(stop), True
    except Exception as error:  # whatever it is, the other cells are worth their time
        say(f"failed: {error}")
        return f"{type(error).__name__}: {error}", False
    return "", False


Attempts = Mapping[str, Callable[[], tuple[str, bool]]]


def _one_by_one(attempts: Attempts) -> Iterator[tuple[str, str]]:
    for name, attempt in attempts.items():
        reason, out_of_time = attempt()
        yield name, reason
        if out_of_time:
            return


def _side_by_side(attempts: Attempts, jobs: int) -> Iterator[tuple[str, str]]:
    """As `_one_by_one`, in `jobs` processes. Each has its share of the threads, so that none waits for a core."""
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with ProcessPoolExecutor(jobs, get_context("spawn"), torch.set_num_threads, (threads,)) as pool:
        futures = {pool.submit(attempt): name for name, attempt in attempts.items()}
        pending = set(futures)
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                try:
                    reason, out_of_time = future.result()
                except BrokenProcessPool as error:  # a process was killed; the others of the pool end with it
                    reason, out_of_time = f"its process ended: {error}", False
                yield futures[future], reason
                if out_of_time:  # what has not begun is not waited for: nobody would say that it was cancelled
                    pending = {each for each in pending if not each.cancel()}
