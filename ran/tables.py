"""The paper's tables beside what was recorded here: results/paper/*.csv and results/runs → results/tables/*.csv."""

import json
import os
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean, mode, stdev
from typing import Any

import pandas as pd

from ran.experiments import OWN, TABLES, Cell, table
from ran.provenance import ROOT
from ran.records import measured
from ran.runs import RunConfig, parse
from ran.schedules import Schedule

HEADINGS = {
    "network": "Network",
    "attention": "Learning",
    "gate": "Attention",
    "mask": "Mask",
    "noise": "Noise",
    "dataset": "Data",
    "schedule": "Recipe",
}
LABELS = {
    "arl": "ARL",
    "nal": "NAL",
    "mixed": "f1, mixed",
    "channel": "f2, channel",
    "spatial": "f3, spatial",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "recipe-plain": "short for longer",
    "recipe-warm-up": "with brief warm-up",
    "recipe-bare": "with no decay of biases and norms",
    "recipe-smoothing": "with label smoothing",
    "recipe-average": "with averaged weights",
    "recipe-cutout": "with cutout",
    "best": "best (+ mixup)",
    "recipe-gentle": "best with mixup of alpha 0.2",
    "recipe-cutmix": "best with cutmix for cutout and mixup",
}
NOT_RUN = "not run"
Records = Sequence[dict[str, Any]]
NEEDED = ("id", "config", "schedule", "test_error", "hardware", "date", "epochs")


def read_records(*folders: Path, report: Callable[[str], None] = print) -> list[dict[str, Any]]:
    """All records below `folders`, by name, each with its own `folder`; of one run, the first that is found.

    A record that cannot be read or lacks a field is named and left out.
    """
    records: dict[str, dict[str, Any]] = {}
    for path in (path for folder in folders for path in sorted(folder.glob("*/record.json"))):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            lacking = [name for name in NEEDED if name not in record]
            if lacking:
                raise ValueError(f"it lacks {', '.join(lacking)}")
            parse(record["config"])
        except (ValueError, TypeError) as error:
            report(f"{path} is left out: it is not a whole record ({error})")
            continue
        records.setdefault(record["id"], record | {"folder": path.parent})
    return [records[name] for name in sorted(records)]


def all_records(results: Path = ROOT / "results", report: Callable[[str], None] = print) -> list[dict[str, Any]]:
    """The records below <results>/smoke, of this machine, and where there is none, those below <results>/runs."""
    return read_records(results / "smoke", results / "runs", report=report)


def of_cell(cell: Cell, records: Records, profile: str = "short") -> list[list[dict[str, Any]]]:
    """The records of a cell in groups of runs that differ in the seed alone, each sorted by seed.

    At `short` and `paper`, these are all runs at full width on the cell's own data, by the schedule of any profile; at
    `smoke`, the narrowed trials by its schedule, on its data set. See Cell.holds.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        config = asdict(RunConfig()) | record["config"]  # fields newer than the record are at their defaults
        if cell.holds(config, profile):
            groups.setdefault(schedule_settings(record), []).append(record)
    return [sorted(group, key=lambda record: record["config"]["seed"]) for group in groups.values()]


def schedule_settings(record: dict[str, Any]) -> str:
    """All settings of the schedule of a record, and its length, as one text: the same for runs that are comparable."""
    schedule = asdict(Schedule("")) | record["schedule"]  # fields newer than the record are at their defaults
    return json.dumps([record["config"]["schedule"], schedule, len(record["epochs"])], sort_keys=True)


def mean_error(group: Records) -> str:
    """Test error in % of runs that differ in the seed alone: mean, and ± standard deviation where there are several."""
    errors = [record["test_error"] for record in group]
    return f"{mean(errors):.2f}" + (f" ± {stdev(errors):.2f}" if len(errors) > 1 else "")


def length(record: dict[str, Any]) -> str:
    """The schedule of a record and how long it was: "short, 8 epochs"."""
    epochs, iterations = record["schedule"].get("epochs"), record["schedule"].get("iterations")
    count = len(record["epochs"]) if epochs else iterations
    unit = "epoch" if epochs else "iteration"
    return f"{record['config']['schedule']}, {count} {unit}{'s' if count != 1 else ''}"


def beside_paper(name: str, records: Records) -> pd.DataFrame:
    """The table `name`, test error in %: beside each cell of the paper, or of our own, what was recorded of it.

    One row for every schedule that was recorded: runs that differ in the seed alone share it, as mean ± standard
    deviation. The last column is the trial at `smoke`. A cell without a record says "not run".
    """
    rows = []
    for cell in table(name):
        trials = of_cell(cell, records, "smoke")
        trial = mean_error(trials[0]) if trials else NOT_RUN
        for group in of_cell(cell, records) or [[]]:
            rows.append(
                {HEADINGS[key]: label(value) for key, value in cell.varied.items()}
                | ({} if cell.error is None else {"Paper": f"{cell.error:.2f}"})
                | {
                    "Recorded": mean_error(group) if group else NOT_RUN,
                    "Schedule": length(group[0]) if group else "",
                    "Seeds": ", ".join(str(record["config"]["seed"]) for record in group),
                    "Smoke": trial,
                }
            )
    return pd.DataFrame(rows)


def errors(name: str, records: Records) -> pd.DataFrame:
    """The table `name` in long form, for plots: what each cell varies, `source` of the number, `error` in %, `seed`.

    The sources are the paper, where it has the number, every schedule that was recorded, and the trial at `smoke`, as
    a category in this order. Schedules that are called the same and differ in their settings are numbered.
    """
    rows: list[dict[str, Any]] = []
    called: dict[str, list[str]] = {}  # schedules by what they are called, each with all its settings
    for cell in table(name):
        varied: dict[str, Any] = {HEADINGS[key]: label(value) for key, value in cell.varied.items()}
        if cell.error is not None:
            rows.append(varied | {"source": "paper", "error": cell.error, "seed": None})
        for profile in ("short", "smoke"):
            for record in (record for group in of_cell(cell, records, profile) for record in group):
                source = "smoke, on shapes" if profile == "smoke" else f"recorded: {length(record)}"
                same = called.setdefault(source, [])
                if (settings := schedule_settings(record)) not in same:
                    same.append(settings)
                if number := same.index(settings):
                    source += f" ({number + 1})"
                rows.append(
                    varied | {"source": source, "error": record["test_error"], "seed": record["config"]["seed"]}
                )
    frame = pd.DataFrame(rows)
    order = sorted(frame.source.unique(), key=lambda source: (source != "paper", source.startswith("smoke")))
    return frame.assign(source=pd.Categorical(frame.source, order))


def provenance(name: str, records: Records, page: Path = ROOT / "book" / "executed") -> str:
    """Where the numbers of the table `name` come from, as MyST: every record, and the command that repeats it.

    Links are written for a notebook that is shown from the folder `page`.
    """

    def link(record: dict[str, Any], text: str) -> str:
        return f"{{download}}`{text} <{os.path.relpath(record['folder'] / 'record.json', page)}>`"

    lines, missing, trials = [], [], []
    for cell in table(name):
        what = ", ".join(label(value) for value in cell.varied.values())
        groups = of_cell(cell, records)
        for record in (record for group in groups for record in group):
            command = textwrap.wrap(record["command"], 100, break_long_words=False, break_on_hyphens=False)
            lines += [
                f"- **{what}**: {record['test_error']:.2f}%, {length(record)}, seed {record['config']['seed']}; "
                f"{describe(record['hardware'])}; {record['wall_seconds']:,.0f} s; {when(record)}; "
                f"{link(record, 'record')}\n",
                "  ```bash\n  " + " \\\n      ".join(command) + "\n  ```\n",
            ]
        if not groups:
            missing.append(what)
        trials += [(what, record) for group in of_cell(cell, records, "smoke") for record in group]
    if missing:
        # the recorded runs decide how long the others must be to stand beside them
        recorded = [record for cell in table(name) for group in of_cell(cell, records) for record in group]
        epochs = mode(record["config"].get("epochs") for record in recorded) if recorded else None
        option, as_long = (f" --epochs {epochs}", ", as long as the others") if epochs else ("", "")
        lines.append(f"- **Not run** at full size: {'; '.join(missing)}. The command runs what is missing{as_long}:\n")
        lines.append(f"  ```bash\n  ran run --table {name} --profile short{option} --data-root PATH\n  ```\n")
    if trials:
        made = dict.fromkeys(f"{record['date']}, {describe(record['hardware'])}" for _, record in trials)
        linked = "; ".join(link(record, f"{what}, channels / {record['config']['narrow']}") for what, record in trials)
        lengths = "; ".join(dict.fromkeys(length(record) for _, record in trials))
        lines.append(f"- **Smoke**: {lengths} on `shapes`; {'; '.join(made)}. Records: {linked}.\n")
    else:
        lines.append("- **Smoke**: not run.\n")
    lines.append(f"  ```bash\n  ran run --table {name} --profile smoke\n  ```\n")
    return "\n".join(lines)


def read_probes(record: dict[str, Any]) -> pd.DataFrame:
    """What `probe` measured of a recorded network. Raises FileNotFoundError where that was not kept."""
    return pd.read_csv(record["folder"] / "probes.csv")


def read_gradients(record: dict[str, Any]) -> pd.DataFrame:
    """What `gradient_filter` measured of a recorded network. Raises FileNotFoundError where that was not kept."""
    return pd.read_csv(record["folder"] / "gradients.csv")


def list_cells(profile: str, records: Records) -> pd.DataFrame:
    """Every cell of every table: its name, the paper's error, what is recorded of it, and its run at `profile`.

    As in the tables, what is recorded at full size may be of another length than the profile's, and says so.
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


def label(value: Any) -> str:
    """How a value of RunConfig is called in a table."""
    if isinstance(value, float):
        return f"{100 * value:g}%"
    if value in LABELS:
        return LABELS[value]
    name = value.replace("resnet", "ResNet").replace("attention", "Attention").replace("wrn", "WRN")
    return name.replace("-", "\u2011")  # a hyphen at which no line breaks


def describe(hardware: dict[str, Any]) -> str:
    """One phrase for the processor of a record: its name, and for a CPU the number of threads."""
    if "threads" not in hardware:
        return str(hardware["name"])
    return f"{hardware['name']}, {hardware['threads']} thread{'s' if hardware['threads'] > 1 else ''}"


def summary(record: dict[str, Any]) -> pd.DataFrame:
    """What a reader asks of one record first, as two columns of text."""
    data, schedule = record["dataset"], record["schedule"]
    length = schedule["epochs"] or schedule["iterations"] * schedule["batch_size"] / data["train_images"]
    answers = {
        f"{measured(record)} error": f"{record['test_error']:.2f}% after {length:.3g} epochs"
        + (f"; top-5 {record['test_top5_error']:.2f}%" if "test_top5_error" in record else ""),
        "parameters": f"{record['parameters']:,}",
        "schedule": f"{schedule['name']}, batch {schedule['batch_size']}",
        "seed": record["config"]["seed"],
        "data set": f"{data['name']}, {data['train_images']:,} training and {data['test_images']:,} "
        + f"{measured(record)} images"
        + (f"; skipped {len(skipped)}" if (skipped := data.get("skipped")) else ""),
        "checksum of the data": f"{data['sha256'][:16]}…",
        "wall time": f"{record['wall_seconds']:.0f} s",
        "speed": f"{record['images_per_second']:.0f} images/s in training"
        + (f", on {devices} devices together" if (devices := record.get("devices", 1)) > 1 else ""),
        "hardware": f"{describe(record['hardware'])}; {record['precision']}",
        "versions": ", ".join(f"{name} {version}" for name, version in record["versions"].items()),
        "date": when(record),
        "commit": f"{record['git']['commit']}{' and later changes' if record['git']['changed'] else ''}",
        "command": f"`{record['command']}`",
    }
    return pd.DataFrame({"question": list(answers), "answer": [str(answer) for answer in answers.values()]})


def when(record: dict[str, Any]) -> str:
    """Its date and, where it was continued, in how many sessions it was made."""
    return record["date"] + (f", the last of {len(record['sessions'])} sessions" if "sessions" in record else "")


def list_table(frame: pd.DataFrame, name: str, caption: str) -> str:
    """`frame` as a numbered MyST table with its columns as headings, for a notebook cell to return as Markdown."""
    rows = [list(frame.columns), *frame.astype(str).to_numpy().tolist()]
    cells = ["* - " + "\n  - ".join(row) for row in rows]
    return "\n".join([f"```{{list-table}} {caption}", f":name: {name}", ":header-rows: 1", "", *cells, "```"])


def write_tables(results: Path, report: Callable[[str], None] = print) -> list[Path]:
    """Write every table, with the records of `all_records`, to <results>/tables/NAME.csv.

    A table that has not changed is not touched, so that the book is not built anew for it.
    """
    records = all_records(results, report)
    written = []
    for name in (*TABLES, *OWN):
        target = results / "tables" / f"{name}.csv"
        text = beside_paper(name, records).to_csv(index=False)
        if not target.is_file() or target.read_text(encoding="utf-8") != text:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        written.append(target)
    return written
