"""The paper's tables as data: every row of results/paper/*.csv is one cell, and every cell is one RunConfig.

A table's columns are fields of RunConfig, and `error`, the paper's number in %. What a table does not name is as in
RunConfig, on CIFAR-10. A cell that stands in two tables is one run. A profile says how all of them are run.

Beside them stands a table of our own, `recipe`: cells that name their schedules and have no number of the paper.
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
from ran.runs import Environment, RunConfig, run
from ran.training import RECIPE, OutOfTime

PAPER = ROOT / "results" / "paper"
# most valuable first: what the paper claims, then what it compares with
CLAIMS = ("arl_vs_nal", "attention_types", "mask_structures", "noisy_labels")
TABLES = (*CLAIMS, "cifar")
OWN = ("recipe",)


@dataclass(frozen=True)
class Profile:
    """How the cells of all tables are run: their schedule, and what a small trial changes beside it.

    `epochs` stands in for the schedule's own, `dataset` for the cells'; `narrow` divides the channels, by another
    number for the networks in `narrower`. `results` is the folder for the records. `tables` are those that "all" stands
    for, and `seeds` those of every cell, unless one is given.
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
        """The fields of RunConfig for a cell that varies `cell`."""
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
    """One number of a table: what it varies (fields of RunConfig), and the paper's test error in %, if it has one."""

    varied: dict[str, Any]
    error: float | None = None

    @property
    def name(self) -> str:
        """What it varies, in one word: attention-164-nal."""
        return "-".join(str(value) for value in self.varied.values())

    def config(self, profile: str = "short", **options: Any) -> RunConfig:
        """Its run at a profile; `options` are fields that neither the table nor the profile sets."""
        settled = PROFILES[choose("profile", profile, PROFILES)].options(self.varied)
        if clash := set(options) & set(settled):
            raise ValueError(
                f"{', '.join(sorted(clash))} cannot be given for a table: its cells or the profile set it."
            )
        return RunConfig(**settled, **options)

    def holds(self, config: Mapping[str, Any], profile: str = "short") -> bool:
        """Whether a record of `config`, all fields of a RunConfig, stands in this cell, whatever its seed.

        At a profile with a data set of its own (`smoke`, `study`) it is the cell's run at that profile. Else it may be
        of any length, and its schedule the cell's own or, where the cell names none, that of any profile: what was
        trained by a recipe of ours stands in no table of the paper. What was measured on held-out images stands in no
        table at all.
        """
        wanted = asdict(self.config(profile))
        free = {"seed"}
        if PROFILES[profile].dataset is None:
            free |= {"schedule", "epochs"}
            schedules = {wanted["schedule"]} if "schedule" in self.varied else PROFILE_SCHEDULES
            if config["schedule"] not in schedules:
                return False
        return all(config[name] == wanted[name] for name in wanted if name not in free)


# every step of the recipe in the smaller network of the goals, the whole recipe in the larger ones too
RECIPE_CELLS = tuple(
    Cell({"network": network, "schedule": schedule})
    for network, schedules in (("attention-92", [*RECIPE]), ("attention-236", ["best"]), ("attention-452", ["best"]))
    for schedule in schedules
)


@cache
def table(name: str) -> tuple[Cell, ...]:
    """The cells of one table, the paper's or ours. Raises ValueError for an unknown name, with the known ones."""
    if choose("table", name, (*TABLES, *OWN)) in OWN:
        return RECIPE_CELLS
    frame = pd.read_csv(PAPER / f"{name}.csv")
    rows = frame.drop(columns="error").to_dict("records")
    return tuple(
        Cell({str(key): value for key, value in row.items()}, error)
        for row, error in zip(rows, frame["error"].tolist(), strict=True)
    )


def cell(table_name: str, name: str) -> Cell:
    """One cell by its table's name and its own. Raises ValueError for an unknown one, with the known ones."""
    known = {each.name: each for each in table(table_name)}
    return known[choose(f"cell of {table_name}", name, known)]


def configs(cells: Iterable[Cell], profile: str = "short", **options: Any) -> list[RunConfig]:
    """The runs of `cells` at a profile, each once: all cells with its first seed, then with the next.

    `options` are as in Cell.config; a seed among them takes the place of the profile's seeds.
    """
    cells = list(cells)
    seeds = (options.pop("seed"),) if "seed" in options else PROFILES[choose("profile", profile, PROFILES)].seeds
    found = (each.config(profile, seed=seed, **options) for seed in seeds for each in cells)
    return list({config.id: config for config in found}.values())


def parse_budget(text: str) -> float:
    """Seconds of a time such as 90s, 25m or 2h. Raises ValueError for anything else."""
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
    """Run what has no record yet, in order, and return {run id: reason} of what failed or was cut off.

    A failed run does not stop the others. `budget` is in seconds: when an epoch would end beyond it, the run stops at
    its checkpoint, to be continued by the next call, and no other run begins. With several `jobs`, as many processes
    share the processor's cores and take the next run each.
    """
    deadline = None if budget is None else time.monotonic() + budget

    def recorded(config: RunConfig) -> bool:
        return (environment.folder(config) / "record.json").is_file()

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
    """Run one cell; why it has no record, where it has none, and whether the time is up."""

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
    """The same in `jobs` processes that share the cores: threads of one process would wait for the other's."""
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
