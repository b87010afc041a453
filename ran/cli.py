"""The command `ran`: info, data, predict, explain, export, publish, cells, run, ablate, tables, seal, bench."""

import io
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ran.bench import PARTS, bench
from ran.choices import choose
from ran.data import SOURCES, download, read_picture
from ran.data import load as load_data
from ran.inference import Trained, explain, export, load, predict
from ran.interruption import ends_in_one_line
from ran.model import PRESETS, build
from ran.options import parser
from ran.runs import Environment, ablate_run, all_records, measured, parse, publish, run, seal
from ran.sealing import one_line
from ran.study import (
    PROFILES,
    cell,
    configs,
    list_cells,
    parse_budget,
    table,
    work_through,
    write_tables,
)
from ran.training import TrainingDiverged, choose_device, is_first, several

HERE = Path(__file__).resolve().parent
FOR_TABLES = ("table", "cell", "profile", "budget", "jobs")  # options of `ran run` that concern whole tables


def complain(line: str) -> None:
    """Print a warning to stderr."""
    print(line, file=sys.stderr)


def get_data(name: str, path: Path | None, data_root: Path) -> None:
    """Download a CIFAR set, or say what an image folder holds."""
    choose("data set", name, SOURCES)
    if name == "shapes":
        raise ValueError("the data set 'shapes' is drawn by the code: it needs no files.")
    if (name == "folder") != (path is not None):
        raise ValueError("call `ran data folder PATH` to check a folder, `ran data cifar10` or cifar100 to download.")
    if path is None:
        return download(name, data_root)
    for line in load_data("folder", path).report:
        print(line)


def with_records(folder: Path) -> Path:
    """The folder itself. Raises FileNotFoundError if it contains neither runs/ nor smoke/."""
    if not any((folder / part).is_dir() for part in ("runs", "smoke")):
        raise FileNotFoundError(
            f"{str(folder)!r} holds neither runs/ nor smoke/ with records: call from the repository, or give --results "
            "the folder above them."
        )
    return folder


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code.

    That is 0 for success, 1 as `run_tables` does, 2 after one line for what is refused or cannot be read or written, 3
    after one line for any other error, 130 or 143 after an interruption. With the environment variable RAN_TRACEBACK,
    errors are raised instead.
    """
    # whoever closed them gets the work all the same
    sys.stdout, sys.stderr = (each or Path(os.devnull).open("w", encoding="utf-8") for each in (sys.stdout, sys.stderr))
    for stream in (sys.stdout, sys.stderr):  # of a locale that has no such letters
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    said = vars(parser().parse_args(words))
    command = f"ran {said.pop('command')}"
    try:
        code = ends_in_one_line(lambda: carry_out(command.removeprefix("ran "), said), command)
        sys.stdout.flush()  # a full disk shows here
        return code
    except BrokenPipeError:  # the reader, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:
        if os.environ.get("RAN_TRACEBACK"):
            raise
        expected = isinstance(error, (ValueError, OSError, ImportError, TrainingDiverged))
        complain(
            f"{command}: {'' if expected else f'unexpected {type(error).__name__}{place(error)}: '}{one_line(error)}"
        )
        return 2 if expected else 3


def place(error: Exception) -> str:
    """The last line of the package that an error went through, and how to see all of them."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(HERE)]
    last = f" at {Path(frames[-1].filename).relative_to(HERE.parent)}:{frames[-1].lineno}" if frames else ""
    return f"{last} (RAN_TRACEBACK=1 shows the way there)"


def carry_out(command: str, said: dict[str, Any]) -> int:
    """Do what a command with its options says; returns 0, or 1 as `run_tables` does."""
    if command == "info":
        for name in [said["network"]] if said["network"] else PRESETS:
            print(build(name))
    elif command == "data":
        get_data(said["name"], said["path"], said["data_root"])
    elif command == "tables":
        for path in write_tables(with_records(said["results"]), complain):
            print(path)
    elif command == "seal":
        for path in said["files"]:
            seal(path)
    elif command in ("predict", "explain"):
        return with_pictures(command, said)
    elif command == "export":
        trained = load(said["weights"])
        if trained.assumed:
            complain(trained.assumed)
        print(export(trained, said["to"], said["out"] or Path(f"{trained.name}.{said['to']}"), said["normalise"]))
    elif command == "publish":
        card = publish(said["run"], said["data_licence"])
        print(f"{card}\ngit leaves weights out unless they are added with: git add -f {card.parent}")
    elif command == "ablate":
        print(ablate_run(said["run"], Environment(data_root=said["data_root"], device=said["device"])))
    elif command == "bench":
        print(bench(choose_device(said["device"]), said["results"] / "bench", said["parts"] or PARTS))
    elif command == "cells":
        records = all_records(with_records(said["results"]), complain)
        print(list_cells(said["profile"], records).to_string(index=False))
    elif said["table"]:
        return run_tables(said)
    elif alone := [name for name in FOR_TABLES if said.pop(name) is not None]:
        raise ValueError(f"--{alone[0]} goes with --table.")
    else:
        finished = run(*parse(said))
        if is_first():
            record = finished.record
            print(f"{measured(record)} error {record['test_error']:.2f}%: {finished.folder / 'record.json'}")
    return 0


def with_pictures(command: str, said: dict[str, Any]) -> int:
    """Run `predict` or `explain`; returns 0, or 2 where a picture could not be read, which does not stop the others."""
    from ran.study import picture_files, save_explanation  # draws: no other command waits for matplotlib

    trained, names, answers, status = load(said["weights"]), list(dict.fromkeys(said["images"])), [], 0
    if trained.assumed:
        complain(trained.assumed)
    targets = picture_files(names, said["out"]) if command == "explain" else {}
    for name in names:
        try:
            picture = read_picture(name, trained.mean)
        except (ValueError, OSError) as error:
            complain(f"ran {command}: {error}")
            status = 2
            continue
        if command == "explain":
            print(save_explanation(explain(trained, picture), targets[name], Path(name).name))
        else:
            answers.append({"image": name, "classes": predict(trained, picture)})
    if command == "predict":
        print(as_json(answers, trained) if said["json"] else as_table(answers), end="")
    return status


def as_json(answers: list[dict[str, Any]], trained: Trained) -> str:
    """The likeliest classes of every picture, and the weights that say so, as JSON."""
    pictures = [
        {"image": each["image"], "classes": [{"class": name, "probability": share} for name, share in each["classes"]]}
        for each in answers
    ]
    return json.dumps({"weights": str(trained.source), "pictures": pictures}, indent=1, allow_nan=False) + "\n"


def as_table(answers: list[dict[str, Any]]) -> str:
    """The likeliest classes, one picture a line; nothing for no picture."""
    rows = [[each["image"], *(f"{name} {share:.1%}" for name, share in each["classes"])] for each in answers]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "".join(f"{line}\n" for line in lines)


def run_tables(said: dict[str, Any]) -> int:
    """Run the cells of tables that have no record; returns 0 if all have one now, 1 if some were cut off or failed.

    Raises ValueError for options that do not go together, and for unknown names or impossible values.
    """
    tables, names, profile, budget, jobs = (said.pop(name) for name in FOR_TABLES)
    if several():
        raise ValueError("--table goes without torchrun, which trains one run on several devices.")
    profile = choose("profile", profile or "short", PROFILES)
    parse(said)  # refuses what is wrong whatever the table
    if jobs is not None and jobs < 1:
        raise ValueError(f"--jobs must be at least 1, not {jobs}.")
    if "all" in tables and len(tables) > 1:
        raise ValueError("--table all stands for all of the paper's tables: name no others beside it.")
    tables = PROFILES[profile].tables if tables == ["all"] else tables

    if names and len(tables) != 1:
        raise ValueError("--cell goes with one --table.")
    wanted = [cell(tables[0], name) for name in names] if names else [each for name in tables for each in table(name)]
    environment = Environment(
        **{"results": PROFILES[profile].results}
        | {name: said.pop(name) for name in Environment.__dataclass_fields__ if name in said}
    )
    choose_device(environment.device)  # likewise
    runs = configs(wanted, profile, **said)
    start = time.monotonic()
    unfinished = work_through(runs, environment, None if budget is None else parse_budget(budget), jobs=jobs or 1)
    print(f"{len(runs) - len(unfinished)} of {len(runs)} cells are recorded; {time.monotonic() - start:.0f} s")
    for reason in dict.fromkeys(unfinished.values()):  # many cells may fail for one
        names = [name for name, its in unfinished.items() if its == reason]
        print(f"not recorded: {', '.join(names)} ({reason})", file=sys.stderr)
    return 1 if unfinished else 0


if __name__ == "__main__":
    sys.exit(main())
