"""Many runs: each in a process of its own, so that one that fails, or is killed, costs no other."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from queue import SimpleQueue

import torch

from ran.files import ROOT
from ran.runs import Environment, RunConfig, is_finished
from ran.study.worker import OUT_OF_TIME, START

NOT_BEGUN = "out of time before it began"  # why a run has no record
PATIENCE = 5  # seconds that a process has to end, after SIGTERM
Events = SimpleQueue[tuple[str, str | None]]  # (run id, a line that it said, or None for its end)


@dataclass
class _Worker:
    """The process of one run, and the last line that it said."""

    process: "subprocess.Popen[str]"
    number: str
    said: str = ""

    def reason(self) -> str:
        """Why there may be no record: the last line, or the signal that killed the process."""
        with self.process:  # waits, and closes its pipes
            code = self.process.wait()
        if code >= 0:
            return self.said
        return f"its process was killed by {signal.Signals(-code).name}: out of memory, or by hand"


def parse_budget(text: str) -> float:
    """The seconds in a text such as 90s, 25m or 2h. Raises ValueError for any other form."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if match is None:
        raise ValueError(f"a budget is a number and a unit, such as 90s, 25m or 2h, not {text!r}.")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


def work_through(
    configs: list[RunConfig],
    environment: Environment,
    budget: float | None = None,
    report: Callable[[str], None] = print,
    jobs: int = 1,
) -> dict[str, str]:
    """Run the configs that are not finished, in order; returns {run id: reason} for those still without a record.

    A run that fails or is killed does not stop the others. `budget` is in seconds: if the next epoch would end after
    it, the run stops with a checkpoint, no other run begins, and the next call continues. `jobs` is the number of
    processes that work at the same time and share the CPU cores. When this process ends, by an exception, a signal or
    a kill, they end too.
    """
    deadline = None if budget is None else time.monotonic() + budget
    threads = max(1, (os.cpu_count() or 1) // jobs) if jobs > 1 else torch.get_num_threads()

    def recorded(config: RunConfig) -> bool:
        return is_finished(config, environment.folder(config))

    missing = [config for config in configs if not recorded(config)]
    reasons = {config.id: NOT_BEGUN for config in missing}
    waiting, working = list(enumerate(missing, 1)), dict[str, _Worker]()
    events: Events = SimpleQueue()
    try:
        while waiting or working:
            while waiting and len(working) < jobs:
                if deadline is not None and time.monotonic() > deadline:
                    waiting.clear()
                    break
                number, config = waiting.pop(0)
                worker = _start(config, environment, deadline, threads, f"[{number}/{len(missing)}]", events)
                working[config.id] = worker
                report(f"{worker.number} {config.id}")
            if not working:
                break
            name, line = events.get()
            worker = working[name]
            if line is not None:
                worker.said = line
                report(f"{worker.number} {line}")
                continue
            reasons[name] = worker.reason()
            del working[name]
            if worker.process.returncode == OUT_OF_TIME:
                waiting.clear()
    except KeyboardInterrupt as stop:
        done = len(configs) - sum(not recorded(config) for config in missing)
        stop.add_note(f"{done} of {len(configs)} cells are recorded, and begun ones keep their whole epochs")
        raise
    finally:
        _end(working)
    return {config.id: reasons[config.id] for config in missing if not recorded(config)}


def _start(
    config: RunConfig, environment: Environment, deadline: float | None, threads: int, number: str, events: Events
) -> _Worker:
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", START],
        stdin=subprocess.PIPE,  # kept open: that it closes tells the process that this one has ended
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        # the same package as here, whatever lies in the working folder
        env=os.environ | {"PYTHONPATH": _first(str(ROOT), os.environ.get("PYTHONPATH")), "PYTHONIOENCODING": "utf-8"},
        start_new_session=True,  # Ctrl-C reaches this process alone, which ends the others
    )
    assert process.stdin is not None
    seconds = None if deadline is None else deadline - time.monotonic()
    asked = {"parameters": asdict(config) | asdict(environment), "seconds": seconds, "threads": threads}
    try:
        os.write(process.stdin.fileno(), f"{json.dumps(asked)}\n".encode())
    except BrokenPipeError:  # it was killed already: its end will tell
        pass
    threading.Thread(target=_listen, args=(config.id, process, events), daemon=True).start()
    return _Worker(process, number)


def _first(path: str, others: str | None) -> str:
    return os.pathsep.join([path, others] if others else [path])


def _listen(name: str, process: "subprocess.Popen[str]", events: Events) -> None:
    """Hand on every line that a process says, and its end."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip():
            events.put((name, line.rstrip()))
    events.put((name, None))


def _end(working: dict[str, _Worker]) -> None:
    """End the processes that still work: at once, since their files are whole at any moment."""
    for worker in working.values():
        worker.process.terminate()
    for worker in working.values():
        with suppress(subprocess.TimeoutExpired):
            worker.process.wait(PATIENCE)
        with suppress(ProcessLookupError):  # those that it started, too
            os.killpg(worker.process.pid, signal.SIGKILL)
        worker.reason()
