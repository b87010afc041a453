"""The command `ran`: info, data, predict, explain, export, publish, cells, run, tables, seal, bench."""

import argparse
import io
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn, get_type_hints

from ran.bench import PARTS, bench
from ran.choices import choose
from ran.data import DOWNLOADS, download, read_picture
from ran.files import a_folder
from ran.inference import DEFAULT, FORMATS, Trained, explain, export, load, predict
from ran.interruption import ends_in_one_line
from ran.model import PRESETS, build
from ran.runs import Environment, RunConfig, all_records, measured, parse, publish, run, seal
from ran.sealing import one_line
from ran.study import (
    OWN,
    PROFILES,
    TABLES,
    cell,
    configs,
    list_cells,
    parse_budget,
    picture_files,
    save_explanation,
    table,
    work_through,
    write_tables,
)
from ran.training import TrainingDiverged, choose_device, is_first, several

HERE = Path(__file__).resolve().parent
FOR_TABLES = ("table", "cell", "profile", "budget", "jobs")  # options of `ran run` that concern whole tables


class Parser(argparse.ArgumentParser):
    """An argument parser without abbreviations, whose errors are one line with the nearest right name."""

    def __init__(self, **options: Any):
        super().__init__(**options, allow_abbrev=False)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As in argparse; unknown options are refused here, where the known ones are."""
        found, rest = super().parse_known_args(args, namespace)
        for word in rest:
            if word.startswith("--"):
                known = [name for name in self._option_string_actions if name.startswith("--")]
                self.error(refusal("option", word.split("=")[0], known))
        if rest:
            self.error(f"{rest[0]!r} belongs to no option: `{self.prog} --help` lists them.")
        return found, rest

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            self.error(refusal("command", value, action.choices))

    def error(self, message: str) -> NoReturn:
        """Say in one line what is wrong, and exit with 2."""
        self.exit(2, f"{self.prog}: {message}\n")


def refusal(kind: str, name: object, known: Iterable[str]) -> str:
    """The line of `choose` for a name that is not known."""
    try:
        return choose(kind, name, known)
    except ValueError as error:
        return str(error)


def parser() -> argparse.ArgumentParser:
    """The argument parser; `ran run` has one option for every field of RunConfig and Environment."""
    top = Parser(prog="ran", description="Residual Attention Networks: look at one, train one, record it.")
    commands = top.add_subparsers(dest="command", required=True)

    info = commands.add_parser("info", help="print a network's structure and size")
    info.add_argument("network", nargs="?", help=f"one of {', '.join(PRESETS)}; all of them without it")

    fetch = commands.add_parser("data", help="download a CIFAR set through torchvision")
    fetch.add_argument("name", help=f"one of {', '.join(DOWNLOADS)}")
    fetch.add_argument(
        "--data-root", type=folder, default=Environment.data_root, help="folder to put it in (default: %(default)s)"
    )

    listing = commands.add_parser("cells", help="list the cells of all tables, and which have a record")
    listing.add_argument("--profile", default="short", help=f"one of {', '.join(PROFILES)} (default: %(default)s)")
    listing.add_argument(
        "--results", type=folder, default="results", help="folder with runs/ or smoke/ (default: %(default)s)"
    )

    tables = commands.add_parser("tables", help="write the tables from the records")
    tables.add_argument(
        "--results",
        type=folder,
        default="results",
        help="folder with runs/ or smoke/, which receives tables/ (default: %(default)s)",
    )

    timing = commands.add_parser("bench", help="measure how fast training and inference are, and leave a record")
    timing.add_argument("--parts", nargs="+", metavar="NAME", help=f"only these: {', '.join(PARTS)}")
    timing.add_argument("--device", default=Environment.device, help="auto, cpu or cuda (default: %(default)s)")
    timing.add_argument(
        "--results", type=folder, default="results", help="folder that receives bench/ (default: %(default)s)"
    )

    sealing = commands.add_parser("seal", help="add a checksum to records and measurements of older code")
    sealing.add_argument("files", nargs="+", type=Path, metavar="FILE", help="record.json or *.csv in a run's folder")

    _add_pictures(commands)
    _add_run(commands)
    return top


def _add_pictures(commands: Any) -> None:
    """The commands that put a trained network to work: predict, explain, export, publish."""
    works = {
        "predict": commands.add_parser("predict", help="name the five likeliest classes of pictures"),
        "explain": commands.add_parser("explain", help="draw what every attention module does to pictures"),
    }
    for work in works.values():
        work.add_argument("images", nargs="+", metavar="IMAGE", help="a file with a picture of any size and kind")
        work.add_argument(
            "--weights",
            default=DEFAULT,
            metavar="NAME",
            help="a published set, the folder of a run, or a file (default: %(default)s)",
        )
    works["predict"].add_argument("--json", action="store_true", help="print JSON in place of a table")
    works["explain"].add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for one PNG a picture")
    exporting = commands.add_parser("export", help="write a trained network as ONNX or pt2, compared with PyTorch")
    exporting.add_argument("weights", metavar="NAME", help="a published set, the folder of a run, or a file")
    exporting.add_argument("--to", required=True, metavar="FORMAT", help=f"one of {', '.join(FORMATS)}")
    exporting.add_argument(
        "--out", type=Path, metavar="FILE", help="the file (default: the network's name, in this folder)"
    )
    exporting.add_argument("--normalise", action="store_true", help="with the normalisation inside: images in [0, 1]")
    publishing = commands.add_parser("publish", help="put a finished run among the weights that are loaded by name")
    publishing.add_argument("run", metavar="RUN", help="the folder of the run, or its id in results/runs")
    publishing.add_argument(
        "--data-licence", metavar="TEXT", help="terms of the training images, where ran does not know them"
    )


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
    types = get_type_hints(RunConfig) | get_type_hints(Environment)
    for each in (*fields(RunConfig), *fields(Environment)):
        known, kind = each.metadata["known"], types[each.name]
        value: dict[str, Any] = {
            "type": kind if kind in (str, float) else int,
            "metavar": "NAME" if known else "PATH" if kind is str else "N",
        }
        train.add_argument(
            f"--{each.name.replace('_', '-')}",
            default=argparse.SUPPRESS,
            **({"action": "store_true"} if kind is bool else value),
            help=f"{each.metadata['help']}{': ' + ', '.join(known) if known else ''} (default: {each.default})",
        )


def complain(line: str) -> None:
    """Print a warning to stderr."""
    print(line, file=sys.stderr)


def folder(text: str) -> Path:
    """The folder that an option names."""
    try:
        return a_folder(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


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
        download(said["name"], said["data_root"])
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
    return json.dumps({"weights": str(trained.source), "pictures": pictures}, indent=1, ensure_ascii=False) + "\n"


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
