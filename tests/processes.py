"""Processes that tests start and kill: which there are, and which are left behind."""

import os
import signal
import subprocess
import time
import uuid
from contextlib import contextmanager
from pathlib import Path

MARK = "RAN_TEST_MARK"


@contextmanager
def marked(command, **options):
    """A process whose descendants can be found, wherever they hang: they inherit a mark in their environment."""
    mark = uuid.uuid4().hex
    environment = os.environ | {MARK: mark, "OMP_NUM_THREADS": "1"} | options.pop("env", {})
    words = [str(word) for word in command]
    call = subprocess.Popen(words, text=True, env=environment, preexec_fn=_as_in_a_terminal, **options)
    call.mark = mark
    try:
        yield call
    finally:
        if call.poll() is None:
            call.kill()
            call.wait()


def _as_in_a_terminal():
    """Ctrl-C reaches the process: a shell lets what it starts in the background ignore it, and that is inherited."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def left_behind(call, seconds=8):
    """The descendants that still live after some seconds: what decodes images notices late that it is alone."""
    end = time.monotonic() + seconds
    while (found := _with(call.mark)) and time.monotonic() < end:
        time.sleep(0.2)
    return found


def _with(mark):
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{MARK}={mark}".encode() in path.read_bytes():
                found.append((path.parent.name, path.with_name("cmdline").read_text(encoding="utf-8")))
        except OSError:  # it has ended
            continue
    return found


def children(parent=None):
    """The processes that this one has started and that still run, oldest first."""
    parent = parent or os.getpid()
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, above = path.read_text(encoding="utf-8").rpartition(")")[2].split()[:2]
        except OSError:
            continue
        found += [int(path.parent.name)] if int(above) == parent and state != "Z" else []
    return sorted(found)


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
