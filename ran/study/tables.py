"""The paper's numbers beside recorded ones: results/paper/*.csv and results/runs → results/tables/*.csv."""

import json
import os
import re
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean, mode, stdev
from typing import Any

import pandas as pd

from ran.files import ROOT
from ran.runs import RunConfig, read_ablation
from ran.study.experiments import OWN, PROFILES, TABLES, Cell, table
from ran.study.labels import HEADINGS, escaped, label, length, machines, when
from ran.training import Schedule

NOT_RUN = "not run"
STUDY = f"Study: {PROFILES['study'].dataset}, {PROFILES['study'].epochs} epochs"
Records = Sequence[dict[str, Any]]


def of_cell(cell: Cell, records: Records, profile: str = "short") -> list[list[dict[str, Any]]]:
    """The records of a cell, in groups of runs that differ only in the seed; each group is sorted by seed.

    At `short` and `paper`, these are all runs at full width on the cell's data set, with the schedule of any profile.
    At `smoke` and `study`, they are the runs of that profile. See Cell.members.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    belongs, defaults = cell.members(profile), asdict(RunConfig())
    for record in records:
        if belongs(defaults | record["config"]):  # fields newer than the record are at their defaults
            groups.setdefault(schedule_settings(record), []).append(record)
    return [sorted(group, key=lambda record: record["config"]["seed"]) for group in groups.values()]


def schedule_settings(record: dict[str, Any]) -> str:
    """The schedule of a record as one text: name, all settings and length. Equal for comparable runs."""
    schedule = asdict(Schedule("")) | record["schedule"]  # fields newer than the record are at their defaults
    return json.dumps([record["config"]["schedule"], schedule, len(record["epochs"])], sort_keys=True)


def _varied(cell: Cell) -> dict[str, str]:
    return {HEADINGS[key]: label(value) for key, value in cell.varied.items()}


def mean_error(group: Records) -> str:
    """Mean test error in % of runs that differ only in the seed, with ± standard deviation if there are several."""
    errors = [record["test_error"] for record in group]
    return f"{mean(errors):.2f}" + (f" ± {stdev(errors):.2f}" if len(errors) > 1 else "")


def _by_source(cells: Sequence[Cell], records: Records) -> Iterator[tuple[Cell, str, Records]]:
    """The recorded groups of the cells (see `of_cell`), each with its source: a schedule and its length, or the study.

    Schedules with the same name and length and different settings are numbered. Where the cells vary the schedule, a
    source is the length alone.
    """
    called: dict[tuple[str, str], list[str]] = {}  # schedules by what they are called, each with all its settings
    for cell in cells:
        for profile in ("short", "study"):
            for group in of_cell(cell, records, profile):
                name, _, long = length(group[0]).partition(", ")
                varied = name if "schedule" in cell.varied else ""
                source = STUDY if profile == "study" else f"Recorded: {long if varied else f'{name}, {long}'}"
                same = called.setdefault((source, varied), [])
                if (settings := schedule_settings(group[0])) not in same:
                    same.append(settings)
                number = same.index(settings)
                yield cell, f"{source} ({number + 1})" if number else source, group


def beside_paper(name: str, records: Records) -> pd.DataFrame:
    """The table `name` with the paper's and the recorded test errors in %: a row for each cell that has a record.

    Runs of different length never share a column: each recorded schedule has its own, the longest first, and the last
    is the small study. Runs that differ only in the seed are one number, as mean ± standard deviation. A run of the
    study that belongs to several cells, which differ in the data set, stands in the first. Cells without a record are
    left out (see `planned`), unless no cell has one.
    """
    cells = table(name)
    found: dict[int, dict[str, str]] = {}
    epochs: dict[str, int] = {}
    studied = set()
    for cell, source, group in _by_source(cells, records):
        if source.startswith(STUDY) and group[0]["id"] in studied:
            continue
        studied.add(group[0]["id"])
        seeds = f" ({len(group)}\u00a0seeds)" if len(group) > 1 else ""
        found.setdefault(cells.index(cell), {})[source] = mean_error(group) + seeds
        epochs[source] = len(group[0]["epochs"])
    columns = sorted(epochs, key=lambda source: (source.startswith(STUDY), -epochs[source]))
    rows = [
        _varied(cell)
        | ({} if cell.error is None else {"Paper": f"{cell.error:.2f}"})
        | {source: found.get(number, {}).get(source, NOT_RUN) for source in columns or ["Recorded"]}
        for number, cell in enumerate(cells)
        if number in found or not found
    ]
    return pd.DataFrame(rows)


def planned(name: str, records: Records) -> str:
    """The cells of the table `name` without a record at full size, and the command that runs them, as MyST text.

    The paper's test errors in % stand in brackets. Without such a cell the text is empty.
    """
    missing = [cell for cell in table(name) if not of_cell(cell, records)]
    if not missing:
        return ""
    cells = [
        ", ".join(label(value) for value in cell.varied.values())
        + ("" if cell.error is None else f" ({cell.error:.2f})")
        for cell in missing
    ]
    # the recorded runs decide how long the others must be to stand beside them
    recorded = [record for cell in table(name) for group in of_cell(cell, records) for record in group]
    epochs = mode(record["config"].get("epochs") for record in recorded) if recorded else None
    option, as_long = (f" --epochs {epochs}", ", as long as the others") if epochs else ("", "")
    paper = "" if missing[0].error is None else " (in brackets the paper's error in %)"
    return (
        f"**Planned**, not run at full size yet{paper}: {'; '.join(cells)}. This runs what is missing{as_long}:\n\n"
        f"```bash\nran run --table {name} --profile short{option} --data-root PATH\n```\n"
    )


def errors(name: str, records: Records) -> pd.DataFrame:
    """The table `name` in long form, for plots: the cell's fields, `source`, `error` in %, and `seed`.

    `source` is a category in this order: the paper, if it has a number; every recorded schedule; the small study. A
    schedule that only one cell was run with is left out: it compares nothing.
    """
    rows: list[dict[str, Any]] = []
    cells, compared = table(name), Counter[str]()
    for cell in cells:
        if cell.error is not None:
            rows.append(_varied(cell) | {"source": "paper", "error": cell.error, "seed": None})
    for cell, named, group in _by_source(cells, records):
        source = named[0].lower() + named[1:]
        compared[source] += 1
        for record in group:
            rows.append(
                _varied(cell) | {"source": source, "error": record["test_error"], "seed": record["config"]["seed"]}
            )
    kept = [row for row in rows if compared[row["source"]] != 1]
    frame = pd.DataFrame(kept, columns=[*_varied(cells[0]), "source", "error", "seed"])
    order = sorted(frame.source.unique(), key=lambda source: (source != "paper", source.startswith(STUDY.lower())))
    return frame.assign(source=pd.Categorical(frame.source, order))


def provenance(name: str, records: Records, page: Path = ROOT / "book" / "executed") -> str:
    """The sources of the table `name` as MyST text: all its records, and the commands that repeat them.

    Links to the records are relative to the folder `page`, which holds the executed notebook.
    """

    def link(record: dict[str, Any], text: str) -> str:
        return f"{{download}}`{text} <{os.path.relpath(record['folder'] / 'record.json', page)}>`"

    lines: list[str] = []
    study: dict[str, tuple[str, dict[str, Any]]] = {}  # by id: cells that differ in the data share a run
    for cell in table(name):
        what = ", ".join(label(value) for value in cell.varied.values())
        for record in (record for group in of_cell(cell, records) for record in group):
            options = re.sub(r"-p (\S+) ", "-p\0\\1\0", record["command"])  # no line ends within one
            command = textwrap.wrap(options, 72, break_long_words=False, break_on_hyphens=False)
            lines += [
                f"- **{what}**: {record['test_error']:.2f}%, {length(record)}, seed {record['config']['seed']}; "
                f"{escaped(machines(record))}; {record['wall_seconds']:,.0f} s; {escaped(when(record))}; "
                f"{link(record, 'record')}\n",
                "  ```bash\n  " + " \\\n      ".join(command).replace("\0", " ") + "\n  ```\n",
            ]
        varied = ", ".join(label(value) for field, value in cell.varied.items() if field != "dataset")  # it is `shapes`
        study |= {record["id"]: (varied, record) for group in of_cell(cell, records, "study") for record in group}
    if study:
        made = dict.fromkeys(escaped(f"{when(record)}, {machines(record)}") for _, record in study.values())
        linked = "; ".join(link(record, f"{what}, seed {record['config']['seed']}") for what, record in study.values())
        narrow, (_, first) = PROFILES["study"].narrow, next(iter(study.values()))
        lines.append(
            f"- **{STUDY}**, channels / {narrow}, schedule {length(first)}; {'; '.join(made)}. "
            f"Records: {linked}. The command runs what is missing:\n"
        )
        lines.append(f"  ```bash\n  ran run --table {name} --profile study\n  ```\n")
    return "\n".join(lines)


def ablations(groups: Mapping[str, Records]) -> pd.DataFrame:
    """Test error in % with the masks replaced, as a mean over the records of each group.

    A row for each replacement (see `ran.runs.ablation.ablate`), a column for each group. Raises FileNotFoundError for a
    run that was not measured.
    """
    tables = {
        name: [read_ablation(record).set_index("replacement").test_error for record in records]
        for name, records in groups.items()
    }
    return pd.DataFrame({name: pd.concat(found, axis=1).mean(axis=1) for name, found in tables.items()})


def list_cells(profile: str, records: Records) -> pd.DataFrame:
    """All cells of all tables: name, the paper's error, recorded errors (both in %), and the run id at `profile`.

    Runs at full size may be shorter or longer than the profile's; their length is shown.
    """
    rows = [
        {
            "table": name,
            "cell": cell.name,
            "paper": "–" if cell.error is None else cell.error,
            "recorded": "; ".join(
                f"{mean_error(group)} ({length(group[0])})" for group in of_cell(cell, records, profile)
            ),
            "run": cell.config(profile).id,
        }
        for name in (*TABLES, *OWN)
        for cell in table(name)
    ]
    return pd.DataFrame(rows).replace({"recorded": ""}, NOT_RUN)
