"""Running one config: training (once, resumable), its record, and the measurements beside it."""

import errno
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ran.choices import message_alone
from ran.data import Data, with_label_noise
from ran.files import Damaged, cannot_write, check_room, only_one, write_whole
from ran.inference import FILE, load, save_weights
from ran.model import PRESETS, ResidualAttentionNetwork
from ran.runs.config import Environment, RunConfig
from ran.runs.finetuning import begin_from, pinned
from ran.runs.gradients import gradient_filter
from ran.runs.measurements import GRADIENTS, MEASUREMENTS, PROBES, read_measurements, write_measurements
from ran.runs.probes import probe
from ran.runs.reading import is_recorded
from ran.runs.records import make_record, this_session
from ran.runs.schema import check, read_record
from ran.sealing import as_text, sealed
from ran.training import Checkpoint, Devices, OutOfTime, TrainingDiverged, choose_device, fit, join

RECORD, CHECKPOINT, FAILURE = "record.json", "checkpoint.pt", "failure.json"
NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS)  # a folder that may be read and not written


@dataclass(frozen=True)
class Run:
    """A finished run: its record (see `make_record`), folder, data set, and trained network on the CPU.

    `network` is None if the folder has a record but no weights, as in a fresh clone.
    """

    record: dict[str, Any]
    folder: Path
    data: Data
    network: ResidualAttentionNetwork | None


def run(
    config: RunConfig,
    environment: Environment | None = None,
    report: Callable[[str], None] = print,
    deadline: float | None = None,
) -> Run:
    """Train `config`, unless it has a record already, and write the files of the run to <results>/<id>/.

    The files are record.json (see `make_record`), weights.safetensors, probes.csv (see `probe`) and, for attention
    modules trained with label noise, gradients.csv (see `gradient_filter`). A training that diverges leaves
    failure.json. A run that was cut off, for instance at `deadline` (see `fit`), continues after its last complete
    epoch. Two processes never train one config at the same time: the second waits, and then takes the record of the
    first. With `weights`, training begins from them (see `begin_from`), and the run is named by their digest (see
    `pinned`). The processes of torchrun (see ran.training.devices) train together: the first one writes, and the others
    return a Run without a network.

    Raises ValueError for a record or checkpoint of other images or of another run, OutOfTime at `deadline`, and
    TrainingDiverged if the loss is not finite.
    """
    environment = environment or Environment()
    devices = join(choose_device(environment.device))
    report = report if devices.rank == 0 else _say_nothing
    config, start = pinned(config)
    folder = environment.folder(config)
    record = devices.from_first(_recorded(folder) if devices.rank == 0 else None)
    if record is None and devices.rank == 0:
        _check_room(config, folder)  # before the data, which may take long to load
    clean = environment.load(config)
    data = with_label_noise(clean, config.noise, config.seed) if config.noise else clean  # type: ignore[type-var]
    for line in clean.report:
        report(line)
    torch.manual_seed(config.seed)
    trained = False
    if record is None:
        network = config.build(len(data.classes))
        if start is not None:
            begin_from(network, start, data.classes, report)
        network.recompute = environment.recompute
        with _alone(folder, report, deadline) if devices.rank == 0 else nullcontext():
            # another process may have finished it in the meantime
            record = devices.from_first(_recorded(folder) if devices.rank == 0 else None)
            if record is None:
                record, trained = _train(config, data, network, devices, folder, report, deadline), True
    if not trained:
        report(f"recorded already: {folder / RECORD}")
        if record["dataset"]["sha256"] != data.checksum:
            raise ValueError(
                f"{folder / RECORD} is of other images than those in {environment.data_root!r}; "
                "give another folder for results, or move it away."
            )
    devices.close()
    if devices.rank > 0 or not (folder / FILE).is_file():
        return Run(record, folder, data, None)
    network = _trained(folder / FILE, config).to(devices.device)
    _measure(network, config, clean, data, folder, report)
    return Run(record, folder, data, network.cpu().eval())


@message_alone()
def _check_room(config: RunConfig, folder: Path) -> None:
    """Raise OSError where there is no room for the checkpoints: the newest, the one before, and the next."""
    with torch.device("meta"):
        parameters = sum(each.numel() for each in config.build(2).parameters())
    # of each parameter, 4 bytes for itself, its momentum and, in some schedules, its average
    size = 4 * parameters * (3 if config.recipe.average else 2)
    kept = sum((folder / name).is_file() for name in (CHECKPOINT, f"{CHECKPOINT}.previous"))
    check_room(folder, size, 3 - kept)


@contextmanager
def _alone(folder: Path, report: Callable[[str], None], deadline: float | None) -> Iterator[None]:
    """Make the folder, and keep other processes from training in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        with only_one(folder, report, deadline):
            yield
    except TimeoutError as error:
        raise OutOfTime(str(error)) from error


def _recorded(folder: Path) -> dict[str, Any] | None:
    """The record in `folder`; None if there is none. Raises ValueError for one that is not whole."""
    path = folder / RECORD
    try:
        return read_record(path) if path.is_file() else None
    except Damaged as damage:
        raise ValueError(f"{damage}: move it away, and the run is trained anew.") from damage


def _train(
    config: RunConfig,
    data: Data,
    network: ResidualAttentionNetwork,
    devices: Devices,
    folder: Path,
    report: Callable[[str], None],
    deadline: float | None,
) -> dict[str, Any]:
    """Train `network`; returns the record. The first process writes weights and record."""
    report(f"{config.id} on {devices.device.type}" + (f", {devices.count} devices" if devices.count > 1 else ""))
    if config.held_out:
        report(f"what is called test below is measured on {config.measured_on}")
    session = this_session(devices)
    checkpoint = Checkpoint(folder / CHECKPOINT, f"{config.id} {data.checksum}")
    try:
        fitted = fit(
            network,
            data,
            config.recipe,
            config.seed,
            checkpoint=checkpoint,
            report=report,
            deadline=deadline,
            devices=devices,
            session=session,
        )
    except TrainingDiverged as failure:
        if devices.rank == 0:  # it is a result, too, and stays beside the run
            write_whole(folder / FAILURE, as_text({"id": config.id, "failure": str(failure), **session}))
        raise
    made = sealed(make_record(config, data, network, session, fitted))
    check(made)  # what could not be read again must not take the checkpoint's place
    text = as_text(made)
    if devices.rank == 0:
        for name in (*MEASUREMENTS, FAILURE):
            (folder / name).unlink(missing_ok=True)  # of an earlier training
        save_weights(folder, network, asdict(config), data.classes, data.mean, data.std)
        write_whole(folder / RECORD, text)
        checkpoint.delete()
    record: dict[str, Any] = json.loads(text)
    return record


def _measure(
    network: ResidualAttentionNetwork,
    config: RunConfig,
    clean: Data,
    data: Data,
    folder: Path,
    report: Callable[[str], None],
) -> None:
    """Write those of the measurements that are missing or damaged in `folder`, where it can be written."""
    measures: dict[str, Callable[[], Any]] = {
        PROBES: lambda: probe(network, data),
        GRADIENTS: lambda: gradient_filter(network, clean, data),
    }
    for name in _unmeasured(config, folder):
        try:
            write_measurements(folder / name, measures[name]())
        except OSError as error:
            if error.errno not in NOT_OURS:
                raise
            report(f"not stored: {error}")


def _unmeasured(config: RunConfig, folder: Path) -> list[str]:
    """The files of measurements that a finished run of `config` must have and that are missing or damaged."""

    def lacks(name: str) -> bool:
        try:
            read_measurements(folder / name)
        except (Damaged, OSError):
            return True
        return False

    filtered = config.noise and PRESETS[config.network].has_modules
    return [name for name in ((PROBES, GRADIENTS) if filtered else (PROBES,)) if lacks(name)]


def is_finished(config: RunConfig, folder: Path) -> bool:
    """Whether `folder` holds a whole record of `config` and, where it holds weights to measure, all measurements.

    A run that is killed between the two has its record, and `run` measures what is missing.
    """
    return is_recorded(folder) and not ((folder / FILE).is_file() and _unmeasured(config, folder))


def _trained(path: Path, config: RunConfig) -> ResidualAttentionNetwork:
    """The trained network of this run. Raises ValueError for weights that are damaged or another run's."""
    trained = load(path)
    if (its := RunConfig(**trained.config)) != config:
        raise ValueError(f"{path} holds the weights of {its.id}: delete it, or put it where it belongs.")
    return trained.network


def _say_nothing(_: str) -> None:
    pass
