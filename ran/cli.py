"""The command `ran`: info, data, cells, run, tables, seal, bench."""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from ran.bench import PARTS, bench
from ran.choices import choose
from ran.data import DOWNLOADS, download
from ran.model import PRESETS, build
from ran.runs import Environment, RunConfig, all_records, measured, parse, run, seal
from ran.study import OWN, PROFILES, TABLES, cell, configs, list_cells, parse_budget, table, work_through, write_tables
from ran.training import TrainingDiverged, choose_device, is_first, several

FOR_TABLES = ("table", "cell", "profile", "budget", "jobs")  # options of `ran run` that concern whole tables


def parser() -> argparse.ArgumentParser:
    """The argument parser; `ran run` has one option for every field of RunConfig and Environment."""
    top = argparse.ArgumentParser(
        prog="ran", description="Residual Attention Networks: look at one, train one, record it."
    )
    commands = top.add_subparsers(dest="command", required=True)

    info = commands.add_parser("info", help="print a network's structure and size")
    info.add_argument("network", nargs="?", help=f"one of {', '.join(PRESETS)}; all of them without it")

    fetch = commands.add_parser("data", help="download a CIFAR set through torchvision")
    fetch.add_argument("name", help=f"one of {', '.join(DOWNLOADS)}")
    fetch.add_argument("--data-root", default=Environment.data_root, help="folder to put it in (default: %(default)s)")

    listing = commands.add_parser("cells", help="list the cells of all tables, and which have a record")
    listing.add_argument("--profile", default="short", help=f"one of {', '.join(PROFILES)} (default: %(default)s)")
    listing.add_argument("--results", default="results", help="folder with runs/ or smoke/ (default: %(default)s)")

    tables = commands.add_parser("tables", help="write the tables from the records")
    tables.add_argument(
        "--results",
        default="results",
        help="folder with runs/ or smoke/, which receives tables/ (default: %(default)s)",
    )

    timing = commands.add_parser("bench", help="measure how fast training and inference are, and leave a record")
    timing.add_argument("--parts", nargs="+", metavar="NAME", help=f"only these: {', '.join(PARTS)}")
    timing.add_argument("--device", default=Environment.device, help="auto, cpu or cuda (default: %(default)s)")
    timing.add_argument("--results", default="results", help="folder that receives bench/ (default: %(default)s)")

    sealing = commands.add_parser("seal", help="add version and checksum to records of older code, after a check")
    sealing.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a record.json in the folder of its run")

    _add_run(commands)
    return top


def _add_run(commands: Any) -> None:
    """The command `ran run`, with the fields of RunConfig and Environment as options."""
    train = commands.add_parser("run", help="train one network, or all cells of a table, and leave records")
    train.add_argument(
        "--table",
        nargs="+",
        metavar="NAME",
        help=f"run what these lack: {', '.join((*TABLES, *OWN))}, or all (the paper's)",
    )
    train.add_argument(
        "--cell", nargs="+", metavar="NAME", help="with one --table: these cells of it (see `ran cells`)"
    )
    train.add_argument(
        "--profile", metavar="NAME", help=f"with --table: how, one of {', '.join(PROFILES)} (default: short)"
    )
    train.add_argument("--budget", metavar="TIME", help="with --table: stop in time, say 25m; the next call goes on")
    train.add_argument(
        "--jobs", type=int, metavar="N", help="with --table: that many processes side by side (default: 1)"
    )
    for each in (*fields(RunConfig), *fields(Environment)):
        known = each.metadata["known"]
        value: dict[str, Any] = {
            "type": each.type if each.type in (str, float) else int,
            "metavar": "NAME" if known else "PATH" if each.type is str else "N",
        }
        train.add_argument(
            f"--{each.name.replace('_', '-')}",
            default=argparse.SUPPRESS,
            **({"action": "store_true"} if each.type is bool else value),
            help=f"{each.metadata['help']}{': ' + ', '.join(known) if known else ''} (default: {each.default})",
        )


def complain(line: str) -> None:
    """Print a warning to stderr."""
    print(line, file=sys.stderr)


def with_records(name: str) -> Path:
    """The path of the folder `name`. Raises FileNotFoundError if it contains neither runs/ nor smoke/."""
    folder = Path(name)
    if not any((folder / part).is_dir() for part in ("runs", "smoke")):
        raise FileNotFoundError(
            f"{name!r} holds neither runs/ nor smoke/ with records: call from the repository, or give --results the "
            "folder above them."
        )
    return folder


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; returns 0 for success, 1 as `run_tables` does, 2 after a one-line message for an error."""
    said = vars(parser().parse_args(words))
    command = said.pop("command")
    try:
        if command == "info":
            for name in [said["network"]] if said["network"] else PRESETS:
                print(build(name))
        elif command == "data":
            download(said["name"], said["data_root"])
        elif command == "tables":
            for path in write_tables(with_records(said["results"]), complain):
                print(path)
        elif command == "seal":
            for path in said["files"]:
                seal(path)
        elif command == "bench":
            print(bench(choose_device(said["device"]), Path(said["results"]) / "bench", said["parts"] or PARTS))
        elif command == "cells":
            records = all_records(with_records(said["results"]), complain)
            print(list_cells(said["profile"], records).to_string(index=False))
        elif said["table"]:
            return run_tables(said)
        elif alone := [name for name in FOR_TABLES if said.pop(name) is not None]:
            raise ValueError(f"--{alone[0]} goes with --table.")
        else:
            finished = run(*parse(said))
            if not is_first():
                return 0
            record = finished.record
            print(f"{measured(record)} error {record['test_error']:.2f}%: {finished.folder / 'record.json'}")
    except (ValueError, TypeError, OSError, TrainingDiverged) as error:
        print(f"ran {command}: {error}", file=sys.stderr)
        return 2
    return 0


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
