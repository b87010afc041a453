"""The command `ran`: info, data, run, tables."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from ran.data import DOWNLOADS, download
from ran.experiments import TABLES, cells, parse_budget, work_through
from ran.network import PRESETS, build
from ran.runs import Places, RunConfig, parse, run
from ran.tables import write_tables
from ran.training import TrainingDiverged


def parser() -> argparse.ArgumentParser:
    """The command line; the options of `ran run` are the fields of RunConfig and Places."""
    top = argparse.ArgumentParser(
        prog="ran", description="Residual Attention Networks: look at one, train one, record it."
    )
    commands = top.add_subparsers(dest="command", required=True)

    info = commands.add_parser("info", help="print a network's structure and size")
    info.add_argument("network", nargs="?", help=f"one of {', '.join(PRESETS)}; all of them without it")

    fetch = commands.add_parser("data", help="download a CIFAR set through torchvision")
    fetch.add_argument("name", help=f"one of {', '.join(DOWNLOADS)}")
    fetch.add_argument("--data-root", default=Places.data_root, help="folder to put it in (default: %(default)s)")

    tables = commands.add_parser("tables", help="write the tables from the records")
    tables.add_argument("--results", default="results", help="folder with paper/ and runs/ (default: %(default)s)")

    train = commands.add_parser("run", help="train one network, or all cells of a table, and leave records")
    train.add_argument(
        "--table", nargs="+", metavar="NAME", help=f"run what these tables lack: {', '.join(TABLES)}, or all"
    )
    train.add_argument("--budget", metavar="TIME", help="with --table: stop in time, say 25m; the next call goes on")
    for each in (*fields(RunConfig), *fields(Places)):
        known = each.metadata["known"]
        train.add_argument(
            f"--{each.name.replace('_', '-')}",
            default=argparse.SUPPRESS,
            type=each.type if each.type in (str, float) else int,
            metavar="NAME" if known else "PATH" if each.type is str else "N",
            help=f"{each.metadata['help']}{': ' + ', '.join(known) if known else ''} (default: {each.default})",
        )
    return top


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; 0 for success, 2 with a one-line message for bad input."""
    said = vars(parser().parse_args(words))
    command = said.pop("command")
    try:
        if command == "info":
            for name in [said["network"]] if said["network"] else PRESETS:
                print(build(name))
        elif command == "data":
            download(said["name"], said["data_root"])
        elif command == "tables":
            for path in write_tables(Path(said["results"]), report=lambda line: print(line, file=sys.stderr)):
                print(path)
        elif tables := said.pop("table"):
            return run_tables(TABLES if tables == ["all"] else tables, said)
        elif said.pop("budget") is not None:
            raise ValueError("--budget goes with --table.")
        else:
            finished = run(*parse(said))
            print(f"test error {finished.record['test_error']:.2f}%: {finished.folder / 'record.json'}")
    except (ValueError, TypeError, FileNotFoundError, TrainingDiverged) as error:
        print(f"ran {command}: {error}", file=sys.stderr)
        return 2
    return 0


def run_tables(tables: Sequence[str], said: dict[str, Any]) -> int:
    """Run the cells of `tables` that have no record; 0 when all have one, 1 when some were cut off or failed."""
    budget = said.pop("budget")
    parse(said)  # refuses what is wrong whatever the table
    options = {name: value for name, value in said.items() if name in RunConfig.__dataclass_fields__}
    places = Places(**{name: value for name, value in said.items() if name not in options})
    configs = cells(tables, **options)
    unfinished = work_through(configs, places, None if budget is None else parse_budget(budget))
    print(f"{len(configs) - len(unfinished)} of {len(configs)} cells are recorded")
    for name, reason in unfinished.items():
        print(f"not recorded: {name} ({reason})", file=sys.stderr)
    return 1 if unfinished else 0


if __name__ == "__main__":
    sys.exit(main())
