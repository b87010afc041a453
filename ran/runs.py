"""One run: a typed config, and `run`, which trains it once and leaves one record. Idempotent and resumable."""

import hashlib
import json
import shlex
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import torch
from filelock import FileLock, Timeout

from ran.attention import LEARNING
from ran.choices import choose
from ran.data import FIXED, IMAGE_SIZE, SOURCES, Data, DataSet, load, shortened, with_label_noise
from ran.devices import choose_device, join
from ran.gradients import gradient_filter
from ran.holdout import hold_out
from ran.masks import GATES, MASKS
from ran.mixing import PLAIN
from ran.network import PRESETS, STEMS, ResidualAttentionNetwork, build, narrowed
from ran.probes import probe
from ran.provenance import write_whole
from ran.records import as_text, make_record, this_session
from ran.schedules import SCHEDULES, Schedule
from ran.training import OutOfTime, fit

NOTEBOOK = "notebooks/run.ipynb"
Typed = TypeVar("Typed")


def option(default: Any, help: str, known: Mapping[str, Any] | None = None) -> Any:
    """A field of a config, with the text that `ran run --help` shows and the names that it may take."""
    return field(default=default, metadata={"help": help, "known": known})


@dataclass(frozen=True)
class RunConfig:
    """What is trained and how: everything that decides the result, and nothing that does not."""

    network: str = option("attention-56", "network preset", PRESETS)
    attention: str = option("arl", "attention residual learning (arl) or naive attention learning (nal)", LEARNING)
    mask: str = option("encoder-decoder", "structure of the mask branch", MASKS)
    gate: str = option("mixed", "attention type: mixed (f1), channel (f2) or spatial (f3)", GATES)
    dataset: str = option("shapes", "data set", SOURCES)
    size: int | None = option(None, "side of training crops from image folders; the network's own without it")
    test_size: int | None = option(None, "side of their test crops; that of the training crops without it")
    noise: float = option(0.0, "share of training labels changed to another class")
    schedule: str = option("smoke", "training schedule", SCHEDULES)
    epochs: int | None = option(None, "number of epochs in place of the schedule's own")
    accumulate: int = option(1, "parts in which a step takes its batch, one after the other, to save memory")
    seed: int = option(0, "seed of initialisation, shuffling and augmentation")
    train_images: int | None = option(None, "train on this many images only, where given")
    held_out: int = option(0, "measure on that many training images, kept out of training, and not on the test set")
    narrow: int = option(1, "divide the network's channels by this; the paper's tables take 1")

    def __post_init__(self) -> None:
        _check_types(self)
        for least, name in (
            (1, "size"),
            (1, "test_size"),
            (1, "epochs"),
            (1, "accumulate"),
            (0, "seed"),
            (1, "train_images"),
            (0, "held_out"),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, not {value}.")
        if not 0 <= self.noise < 1:
            raise ValueError(f"noise must be at least 0 and less than 1, not {self.noise}.")
        if self.dataset in FIXED and (self.size or self.test_size):
            raise ValueError(
                f"size and test_size go with the data set folder; images of {self.dataset} have their own."
            )
        if self.dataset not in FIXED and (self.held_out or self.recipe.mixing != PLAIN):
            what = "held_out" if self.held_out else f"the schedule {self.schedule}, with its cutout or mixing,"
            raise ValueError(f"{what} goes with {', '.join(FIXED)}: image folders are not prepared for it.")
        smallest = STEMS[PRESETS[self.network].stem].smallest_input
        for side in self.sides:
            if side < smallest:
                given = f"those of {self.dataset} are {side}×{side}"
                raise ValueError(f"{self.network} needs images of at least {smallest}×{smallest} pixels; {given}.")
        shaping = ("attention", "mask", "gate")
        if not PRESETS[self.network].has_modules and any(name in _not_default(self) for name in shaping):
            raise ValueError(f"{self.network} has no attention modules: leave {', '.join(shaping)} at their defaults.")
        # refuses what does not divide, and a mask of other units than the network's
        replace(narrowed(PRESETS[self.network], self.narrow), **{name: getattr(self, name) for name in shaping})

    @property
    def sides(self) -> tuple[int, int]:
        """Sides of training and test images, in pixels."""
        own = IMAGE_SIZE if self.dataset in FIXED else STEMS[PRESETS[self.network].stem].image_size
        return self.size or own, self.test_size or self.size or own

    @property
    def measured_on(self) -> str:
        """The images of its errors."""
        if self.held_out:
            return f"{self.held_out:,} training images that were held out; no test image was used"
        return "the test set"

    @cached_property
    def recipe(self) -> Schedule:
        """The schedule with this run's number of epochs and parts of a step."""
        schedule = replace(SCHEDULES[self.schedule], accumulate=self.accumulate)
        return schedule if self.epochs is None else replace(schedule, epochs=self.epochs)

    @cached_property
    def id(self) -> str:
        """A readable name and a hash of what decides the result; fields at their defaults do not enter the hash.

        So a field or a schedule setting that is added later leaves the names of existing records as they are.
        """
        said = {"config": _not_default(self), "schedule": _not_default(self.recipe)}
        digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:8]
        length = f"{self.recipe.epochs}ep" if self.recipe.epochs else f"{self.recipe.iterations}it"
        attention = [self.attention] if PRESETS[self.network].has_modules else []
        sides = "to".join(str(side) for side in dict.fromkeys(self.sides))
        size = [] if self.dataset in FIXED else [sides]
        variant = [value for key, value in _not_default(self).items() if key in ("mask", "gate")]
        noise = [f"noise{100 * self.noise:g}"] if self.noise else []
        held_out = [f"heldout{self.held_out}"] if self.held_out else []
        narrow = [f"narrow{self.narrow}"] if self.narrow > 1 else []
        what = [self.network, *narrow, *attention, *variant, self.dataset, *size, *noise, *held_out]
        return "-".join([*what, self.schedule, length, f"seed{self.seed}", digest])

    def build(self, num_classes: int) -> ResidualAttentionNetwork:
        """Its network, with new weights."""
        shape = {"attention": self.attention, "mask": self.mask, "gate": self.gate}
        return build(self.network, self.narrow, num_classes=num_classes, **shape)

    @property
    def command(self) -> str:
        """The papermill command that repeats this run; a CIFAR set that lies elsewhere adds `-p data_root PATH`."""
        said = [f"-p {name} {shlex.quote(str(value))}" for name, value in asdict(self).items() if value is not None]
        return " ".join(["papermill", NOTEBOOK, "OUT.ipynb", *said])


@dataclass(frozen=True)
class Places:
    """Where a run reads, writes and computes; none of it is part of what the run is."""

    data_root: str = option("data", "folder that holds the CIFAR sets, or train/ and val/ of an image folder")
    results: str = option("results/runs", "folder that receives one folder for every run")
    device: str = option("auto", "auto, cpu or cuda")
    recompute: bool = option(False, "compute features again in the backward pass: less memory, more time")
    workers: int = option(4, "processes that decode image folders, for each device")

    def __post_init__(self) -> None:
        _check_types(self)
        if self.workers < 0:
            raise ValueError(f"workers must be at least 0, not {self.workers}.")

    def load(self, config: RunConfig) -> Data:
        """The data of one run, before label noise; its test part is what is measured (see RunConfig.measured_on)."""
        size, test_size = config.sides
        reading = {} if config.dataset in FIXED else {"size": size, "test_size": test_size, "workers": self.workers}
        data = load(config.dataset, self.data_root, **reading)
        if config.held_out:
            assert isinstance(data, DataSet)  # RunConfig refuses image folders
            data = hold_out(data, config.held_out)
        return shortened(data, config.train_images)  # type: ignore[type-var]

    def folder(self, config: RunConfig) -> Path:
        """The folder of one run."""
        return Path(self.results) / config.id


def parse(parameters: Mapping[str, Any]) -> tuple[RunConfig, Places]:
    """Make a config and places from named values, such as a notebook's parameters.

    Raises ValueError for an unknown name (with the nearest right one) or an impossible value, TypeError for a wrong
    type.
    """
    for name in parameters:
        choose("parameter", name, (each.name for kind in (RunConfig, Places) for each in fields(kind)))
    return _take(RunConfig, parameters), _take(Places, parameters)


def notebook_parameters(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The plain values among a notebook's variables: its parameters, before anything else has been computed.

    papermill only warns of a parameter that the notebook does not have; handing all of them to `parse` refuses it.
    """
    plain = (str, int, float, bool, list, dict, type(None))
    return {
        name: value
        for name, value in namespace.items()
        if isinstance(value, plain) and not name.startswith("_") and name not in ("In", "Out")
    }


def _take(kind: type[Typed], parameters: Mapping[str, Any]) -> Typed:
    names = {each.name for each in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in parameters.items() if name in names})


def _check_types(config: Any) -> None:
    for name, kind in get_type_hints(type(config)).items():
        value, known = getattr(config, name), config.__dataclass_fields__[name].metadata["known"]
        if not isinstance(value, int | float if kind is float else kind) or (
            isinstance(value, bool) and kind is not bool
        ):
            wanted = {str: "a text", int: "a whole number", float: "a number", bool: "True or False"}.get(
                kind, "a whole number or None"
            )
            names = f" (one of {', '.join(known)})" if known else ""
            raise TypeError(f"{name} must be {wanted}{names}, not {value!r}.")
        if known is not None:
            choose(name, value, known)


def _not_default(config: Any) -> dict[str, Any]:
    return {
        each.name: getattr(config, each.name) for each in fields(config) if getattr(config, each.name) != each.default
    }


@dataclass(frozen=True)
class Run:
    """A finished run: its record (see `run`), its folder, its data set, and its trained network on the CPU.

    `network` is None where the record came without weights, as in a fresh clone.
    """

    record: dict[str, Any]
    folder: Path
    data: Data
    network: ResidualAttentionNetwork | None


def run(
    config: RunConfig,
    places: Places | None = None,
    report: Callable[[str], None] = print,
    deadline: float | None = None,
) -> Run:
    """Train `config` unless its record is there, and leave `<results>/<id>/record.json` and measurements beside it.

    These are probes.csv (see `probe`) and, where modules learned from noisy labels, gradients.csv (`gradient_filter`).
    A run that was cut off, by `deadline` for instance (see `fit`), continues at its last whole epoch. Two processes
    never train one config: the second waits and then takes the first one's record, or raises OutOfTime at `deadline`.
    The record holds config, schedule, metrics of every epoch, test and top-5 error (%), confusion matrix (rows: true
    class), data set with checksum and skipped files, seconds, images/s (of all devices together, and of each) and
    command; also date, git commit, devices, precision, hardware and versions, and where the run was continued these of
    every session, the last one's in front. Where torchrun has started several processes (see ran.devices), they train
    together, and the first one writes; the others' Run has no network.
    """
    places = places or Places()
    team = join(choose_device(places.device))
    report = report if team.rank == 0 else _say_nothing
    folder = places.folder(config)
    clean = places.load(config)
    data = with_label_noise(clean, config.noise, config.seed) if config.noise else clean  # type: ignore[type-var]
    for name in data.skipped:
        report(f"skipped, for it cannot be decoded: {name}")
    identity = f"{config.id} {data.fingerprint}".rstrip()
    torch.manual_seed(config.seed)
    network = config.build(len(data.classes))
    network.recompute = places.recompute
    measures: dict[str, Callable[[], Any]] = {"probes.csv": lambda: probe(network, data)}
    if config.noise and network.config.has_modules:
        measures["gradients.csv"] = lambda: gradient_filter(network, clean, data)
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder.with_name(f"{folder.name}.lock")
    with _only_one(lock, report, deadline) if team.rank == 0 else nullcontext():
        record_file, weights, checkpoint = (folder / name for name in ("record.json", "weights.pt", "checkpoint.pt"))
        found = json.loads(record_file.read_text()) if team.rank == 0 and record_file.is_file() else None
        if record := team.from_first(found):
            report(f"recorded already: {record_file}")
            if not record["dataset"]["sha256"].startswith(data.fingerprint):
                raise ValueError(
                    f"{record_file} is of other images than those in {places.data_root!r}; "
                    "give another folder for results, or move it away."
                )
        else:
            report(f"{config.id} on {team.device.type}" + (f", {team.count} devices" if team.count > 1 else ""))
            if config.held_out:
                report(f"what is called test below is measured on {config.measured_on}")
            session = this_session(team)
            fitted = fit(
                network,
                data,
                config.recipe,
                config.seed,
                checkpoint=checkpoint,
                identity=identity,
                report=report,
                deadline=deadline,
                team=team,
                session=session,
            )
            text = as_text(make_record(config, data, network, session, fitted))
            record = json.loads(text)
            if team.rank == 0:
                for name in measures:
                    (folder / name).unlink(missing_ok=True)  # of a training whose record was taken away
                torch.save(network.cpu().state_dict(), weights)
                write_whole(record_file, text)
                checkpoint.unlink(missing_ok=True)
        team.close()
        if team.rank > 0 or not weights.is_file():
            return Run(record, folder, data, None)
        network.load_state_dict(torch.load(weights, weights_only=True))
        network.to(team.device)
        for name, measure in measures.items():
            if not (folder / name).is_file():
                write_whole(folder / name, measure().to_csv(index=False, float_format="%.6g"))
        return Run(record, folder, data, network.cpu().eval())


def _say_nothing(_: str) -> None:
    pass


def _only_one(path: Path, report: Callable[[str], None], deadline: float | None) -> AbstractContextManager[Any]:
    lock = FileLock(path)
    try:
        return lock.acquire(blocking=False)
    except Timeout:
        report(f"another process holds {path}: waiting for it to finish this run")
    try:
        return lock.acquire(timeout=-1 if deadline is None else max(0, deadline - time.monotonic()))
    except Timeout as error:
        raise OutOfTime(f"out of time while another process held {path}") from error
