"""Weights by name: the sets that travel with the repository, finished runs, and files."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ran.choices import choose
from ran.files import ROOT
from ran.inference.bare import read_bare
from ran.inference.weights import FILE, Trained, has_metadata, read_weights
from ran.model import PRESETS
from ran.sealing import read_sealed

RUNS = ROOT / "results" / "runs"
DEFAULT = "attention-56-cifar10"  # a published set, or several of different lengths
CARD = "README.md"  # the model card; a run with weights and a card is a published set
SUFFIXES = (".safetensors", ".pt", ".pth")


@dataclass(frozen=True)
class Published:
    """A published set: a run's folder with weights, record and model card. `epochs` is how long it was trained.

    Its names, from the longest to the shortest: the run's id; `name`, without seed and digest; `short`, without the
    schedule; `network`, the preset, for a network in the paper's own form. A run on a part of the images, or with its
    batches in parts, which no name says, is called by its id alone: that is its `name` and `short`, too.
    """

    folder: Path
    name: str
    short: str
    network: str | None
    dataset: str
    epochs: int
    seed: int

    @property
    def names(self) -> tuple[str | None, ...]:
        return self.folder.name, self.name, self.short, self.network


def name_of(run_id: str, config: Mapping[str, Any], runs: Path = RUNS) -> str:
    """The name by which this run, and never another, is loaded: for its model card.

    It is the name without seed and digest for a run of seed 0, as of several seeds the lowest is loaded, and where no
    other set in `runs` has that name; otherwise the id.
    """
    name = _name(run_id, config)
    others = [each for each in published(runs) if name in each.names and each.folder.name != run_id]
    return run_id if config.get("seed") or others else name


def _name(run_id: str, config: Mapping[str, Any]) -> str:
    """A run's id without seed and digest, and without `arl`, the default; the id where the name would hide a setting.

    A run on a few images is no shorter form of the run on all of them.
    """
    if config.get("train_images") or (config.get("accumulate") or 1) > 1:
        return run_id
    return re.sub(r"-seed\d+-[0-9a-f]{8}$", "", run_id).replace("-arl-", "-", 1)


def published(runs: Path = RUNS) -> list[Published]:
    """The published sets in `runs`, the one that was trained longest first; of equal ones, that of the lowest seed."""
    return sorted(_published(runs), key=lambda each: (-each.epochs, each.seed, each.folder.name))


def _published(runs: Path) -> Iterator[Published]:
    for card in runs.glob(f"*/{CARD}"):
        folder = card.parent
        if not (folder / FILE).is_file():
            continue
        try:
            record = read_sealed(folder / "record.json")
            config, epochs = record["config"], len(record["epochs"])
            network, dataset, schedule = (config[key] for key in ("network", "dataset", "schedule"))
            seed = int(config["seed"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # no whole record; `ran tables` says so
        name = _name(folder.name, config)
        short = name if name == folder.name else name.rpartition(f"-{schedule}-")[0]
        own = re.fullmatch(rf"{network}-{dataset}(-\d+(to\d+)?)?", short)  # image folders: with their size
        yield Published(folder, name, short, network if own else None, dataset, epochs, seed)


def load(name_or_path: str | Path, runs: Path = RUNS) -> Trained:
    """A trained network, in evaluation mode, with its classes and normalisation.

    `name_or_path` is the name of a published set ("attention-56-cifar10"), the id of a run in `runs`, the folder of a
    finished run, or a file: safetensors, or a plain state dict (.pt, .pth), of which see `read_bare`. Of several sets
    that a name fits, it is the one that was trained longest, and of these that of the lowest seed. A run on a part of
    the images, or with `accumulate`, has no name but its id. A path that exists and is written as one (`./NAME`, a
    Path) comes before the names. Raises ValueError for an unknown name, with the nearest right one, for one that
    several sets have equally, for a damaged file and for tensors that do not fit, and FileNotFoundError for a missing
    file, each in one line.
    """
    path = _path(name_or_path, runs)
    if path.is_dir():
        return read_weights(_of_run(path, runs))
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path} holds no weights: expected a run's folder or a file {', '.join(SUFFIXES)}.")
    # a file by the name that runs give theirs must hold what they write, so that a stripped one is not believed
    own = path.suffix == ".safetensors" and (path.name == FILE or has_metadata(path))
    return read_weights(path) if own else read_bare(path)


def _known(sets: list[Published]) -> str:
    """What can be loaded by a name without a schedule, for error messages."""
    return ", ".join(dict.fromkeys(each.short for each in sets))


def _path(name_or_path: str | Path, runs: Path) -> Path:
    """The file or folder that is meant."""
    sets, path = published(runs), Path(name_or_path).expanduser()
    if path.exists() and name_or_path != path.name:  # written as a path
        return path
    fitting = [each for each in sets if str(path) in each.names]
    if len({each.dataset for each in fitting}) > 1:
        shorts = ", ".join(dict.fromkeys(each.short for each in fitting))
        raise ValueError(f"{str(path)!r} is published for several data sets: say which of {shorts}.")
    equal = [each.folder for each in fitting if (each.epochs, each.seed) == (fitting[0].epochs, fitting[0].seed)]
    if len(equal) > 1:
        ids = ", ".join(folder.name for folder in equal)
        raise ValueError(f"{str(path)!r} is published for several runs of equal length: say which of {ids}.")
    if equal:
        return equal[0]
    if path.exists():
        return path
    if path.suffix in SUFFIXES or len(path.parts) != 1:
        raise FileNotFoundError(
            f"{str(path)!r} does not exist: expected a run's folder, a file of weights, or a published set "
            f"({_known(sets) or 'there is none yet'})."
        )
    if (runs / path).is_dir():
        return runs / path
    if str(path) in PRESETS:
        raise ValueError(f"no trained weights of {path} are published; published: {_known(sets) or 'nothing yet'}.")
    choose("published weights", str(path), dict.fromkeys(name for each in sets for name in (each.short, each.name)))
    raise AssertionError("every known name was found above")


def _of_run(folder: Path, runs: Path) -> Path:
    """The weights in the folder of a run."""
    if (folder / FILE).is_file():
        return folder / FILE
    names = _known(published(runs)) or "there is none yet"
    if (folder / "record.json").is_file():
        raise ValueError(
            f"{folder} holds a record and no weights, as in a fresh clone: train it again with another folder for "
            f"results, or take a published set ({names})."
        )
    raise ValueError(f"{folder} is not the folder of a finished run: expected {FILE} in it.")
