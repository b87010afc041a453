"""The ground under every room: interrupted calls say so in one line, processes end with the one they work for."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import parent_process
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)  # Ctrl-C; `kill`, a scheduler, a shutdown


def ends_in_one_line(work: Callable[[], int], command: str = "ran") -> int:
    """The exit code of `work`, or 130 after SIGINT and 143 after SIGTERM, with one line to stderr.

    The line holds the notes of the KeyboardInterrupt, which say where the work stands (see `add_note`).
    """
    try:
        with _raised():
            return work()
    except KeyboardInterrupt as stop:
        number = stop.args[0] if stop.args and isinstance(stop.args[0], int) else signal.SIGINT
        where = "; ".join(getattr(stop, "__notes__", ["what is written is whole"]))
        if int(os.environ.get("RANK", 0)) == 0:  # of torchrun's processes, one speaks
            print(f"{command}: interrupted; {where}. The same command goes on from there.", file=sys.stderr)
        return 128 + number


@contextmanager
def _raised() -> Iterator[None]:
    """Make a KeyboardInterrupt of the first signal; the second one ends the process at once, and costs nothing."""

    def stop(number: int, _: FrameType | None) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        raise KeyboardInterrupt(number)

    # a process that was started to ignore a signal, with nohup or behind `&`, goes on ignoring it
    ours = [each for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
    if threading.current_thread() is not threading.main_thread():  # it alone receives signals
        ours = []
    before = {each: signal.signal(each, stop) for each in ours}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def follow() -> str:
    """The first line of standard input. This process, and what it starts, ends when the other end of the pipe closes.

    That is when the process that holds it ends, in whatever way.
    """
    asked = b""
    # not by sys.stdin: a thread that waits in it holds its lock, and others wait for that
    while not asked.endswith(b"\n") and (more := os.read(0, 1)):
        asked += more
    threading.Thread(target=_end_at_the_end, daemon=True).start()
    return asked.decode()


def _end_at_the_end() -> None:
    while os.read(0, 1):
        pass
    if os.getpgrp() == os.getpid():  # with those that decode images
        os.killpg(os.getpid(), signal.SIGKILL)  # files are whole at any moment
    os._exit(128 + signal.SIGKILL)


def end_with_parent(_: int = 0) -> None:
    """Let this process, which multiprocessing has started, end with the one that asked for it, even by a kill.

    PyTorch's loaders watch the process that forked them. With forkserver that is a third one, which waits for them.
    """
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(128 + signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
