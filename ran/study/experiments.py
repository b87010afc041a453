"""The paper's tables as data: every row of results/paper/*.csv is one cell, and every cell is one RunConfig.

The columns of a table are fields of RunConfig, and `error`, the paper's test error in %. Other fields have their
defaults, on CIFAR-10. The same cell in two tables is one run. A profile sets schedule, data and size for all cells.

One table, `recipe`, is our own: its cells name their schedules and have no number of the paper.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

import pandas as pd

from ran.choices import choose
from ran.files import ROOT
from ran.runs import Environment, RunConfig
from ran.training import RECIPE

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
