"""The options of the command `ran`."""

import argparse
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn, get_args, get_type_hints

from ran.bench import PARTS
from ran.choices import choose
from ran.data import DOWNLOADS
from ran.files import a_folder
from ran.inference import DEFAULT, FORMATS
from ran.model import PRESETS
from ran.runs import Environment, RunConfig
from ran.study import OWN, PROFILES, TABLES


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

    fetch = commands.add_parser("data", help="download a CIFAR set through torchvision, or check an image folder")
    fetch.add_argument("name", help=f"one of {', '.join(DOWNLOADS)}, folder")
    fetch.add_argument(
        "path", nargs="?", type=folder, help="with folder: what holds train/ and val/, and receives .ran-index.json"
    )
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

    masking = commands.add_parser("ablate", help="measure the error of a finished run with its masks replaced")
    masking.add_argument("run", metavar="RUN", help="the folder of the run, or its id in results/runs")
    masking.add_argument(
        "--data-root", default=Environment.data_root, metavar="PATH", help="folder of its data (default: %(default)s)"
    )
    masking.add_argument("--device", default=Environment.device, help="auto, cpu or cuda (default: %(default)s)")

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
    works["explain"].add_argument(
        "--out", required=True, type=folder, metavar="DIR", help="folder for one PNG a picture"
    )
    exporting = commands.add_parser("export", help="write a trained network as ONNX or pt2, compared with PyTorch")
    exporting.add_argument("weights", metavar="NAME", help="a published set, the folder of a run, or a file")
    exporting.add_argument("--to", required=True, metavar="FORMAT", help=f"one of {', '.join(FORMATS)}")
    exporting.add_argument(
        "--out", type=folder, metavar="FILE", help="the file (default: the network's name, in this folder)"
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
        known = each.metadata["known"]
        kind = next(part for part in (*get_args(types[each.name]), types[each.name]) if part is not type(None))
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


def folder(text: str) -> Path:
    """The folder or file that an option names."""
    try:
        return a_folder(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
