"""One run, trained once: idempotent and resumable, it leaves one record and the measurements beside it."""

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from ran.data import Data, with_label_noise
from ran.files import write_whole
from ran.inference import save_weights
from ran.model import ResidualAttentionNetwork
from ran.runs.config import Environment, RunConfig
from ran.runs.gradients import gradient_filter
from ran.runs.probes import probe
from ran.runs.records import as_text, make_record, this_session
from ran.training import Devices, OutOfTime, choose_device, fit, join

RECORD, WEIGHTS, CHECKPOINT = "record.json", "weights.pt", "checkpoint.pt"
MEASUREMENTS = PROBES, GRADIENTS = "probes.csv", "gradients.csv"


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
    environment: Environment | None = None,
    report: Callable[[str], None] = print,
    deadline: float | None = None,
) -> Run:
    """Train `config` unless its record is there, and leave `<results>/<id>/record.json` and measurements beside it.

    These are probes.csv (see `probe`) and, where modules learned from noisy labels, gradients.csv (`gradient_filter`).
    A run that was cut off, by `deadline` for instance (see `fit`), continues at its last whole epoch. Two processes
    never train one config: the second waits and then takes the first one's record, or raises OutOfTime at `deadline`.
    The record is described at `make_record`. Where torchrun has started several processes (see ran.training.devices),
    they train together, and the first one writes; the others' Run has no network.

    Raises ValueError for a record or a checkpoint of other images or of another run, TrainingDiverged when the loss is
    not finite.
    """
    environment = environment or Environment()
    devices = join(choose_device(environment.device))
    report = report if devices.rank == 0 else _say_nothing
    folder = environment.folder(config)
    clean = environment.load(config)
    data = with_label_noise(clean, config.noise, config.seed) if config.noise else clean  # type: ignore[type-var]
    for name in data.skipped:
        report(f"skipped, for it cannot be decoded: {name}")
    torch.manual_seed(config.seed)
    network = config.build(len(data.classes))
    network.recompute = environment.recompute
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder.with_name(f"{folder.name}.lock")
    with _only_one(lock, report, deadline) if devices.rank == 0 else nullcontext():
        record = devices.from_first(_recorded(folder) if devices.rank == 0 else None)
        if record is not None:
            report(f"recorded already: {folder / RECORD}")
            if not record["dataset"]["sha256"].startswith(data.fingerprint):
                raise ValueError(
                    f"{folder / RECORD} is of other images than those in {environment.data_root!r}; "
                    "give another folder for results, or move it away."
                )
        else:
            record = _train(config, data, network, devices, folder, report, deadline)
        devices.close()
        if devices.rank > 0 or not (folder / WEIGHTS).is_file():
            return Run(record, folder, data, None)
        network.load_state_dict(torch.load(folder / WEIGHTS, weights_only=True))
        _measure(network.to(devices.device), config, clean, data, folder)
        return Run(record, folder, data, network.cpu().eval())


def _recorded(folder: Path) -> dict[str, Any] | None:
    """The record of a finished run; None where there is none."""
    path = folder / RECORD
    return json.loads(path.read_text()) if path.is_file() else None


def _train(
    config: RunConfig,
    data: Data,
    network: ResidualAttentionNetwork,
    devices: Devices,
    folder: Path,
    report: Callable[[str], None],
    deadline: float | None,
) -> dict[str, Any]:
    """Train `network` and write weights and record, from the first process; returns the record."""
    report(f"{config.id} on {devices.device.type}" + (f", {devices.count} devices" if devices.count > 1 else ""))
    if config.held_out:
        report(f"what is called test below is measured on {config.measured_on}")
    session = this_session(devices)
    fitted = fit(
        network,
        data,
        config.recipe,
        config.seed,
        checkpoint=folder / CHECKPOINT,
        identity=f"{config.id} {data.fingerprint}".rstrip(),
        report=report,
        deadline=deadline,
        devices=devices,
        session=session,
    )
    text = as_text(make_record(config, data, network, session, fitted))
    if devices.rank == 0:
        for name in MEASUREMENTS:
            (folder / name).unlink(missing_ok=True)  # of a training whose record was taken away
        torch.save(network.cpu().state_dict(), folder / WEIGHTS)
        write_whole(folder / RECORD, text)
        (folder / CHECKPOINT).unlink(missing_ok=True)
    record: dict[str, Any] = json.loads(text)
    return record


def _measure(network: ResidualAttentionNetwork, config: RunConfig, clean: Data, data: Data, folder: Path) -> None:
    """Write the measurements that are not there yet."""
    measures: dict[str, Callable[[], Any]] = {PROBES: lambda: probe(network, data)}
    if config.noise and network.config.has_modules:
        measures[GRADIENTS] = lambda: gradient_filter(network, clean, data)
    for name, measure in measures.items():
        if not (folder / name).is_file():
            write_whole(folder / name, measure().to_csv(index=False, float_format="%.6g"))


def publish(run: Run) -> Path:
    """Write the weights of a finished run beside its record, in float32: <folder>/weights.safetensors.

    Raises ValueError where the run has none, as in a fresh clone.
    """
    if run.network is None:
        raise ValueError(f"{run.folder} holds no weights; with another results folder the run is trained again.")
    return save_weights(run.folder, run.network, run.record["config"], run.data.classes, run.data.mean, run.data.std)


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
