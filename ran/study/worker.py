"""One cell in a process of its own, which ran.study.queue starts."""

import json
import os
import time

import torch

from ran.runs import parse, run
from ran.training import OutOfTime

FAILED, OUT_OF_TIME = 1, 75  # exit codes; the reason is then the last line
# follows the queue from the first moment on: the imports take seconds
START = "from ran.interruption import follow; asked = follow(); from ran.study.worker import main; exit(main(asked))"


def main(asked: str) -> int:
    """Run the cell that a line of JSON describes; returns an exit code."""
    wanted = json.loads(asked)
    torch.set_num_threads(wanted["threads"])
    deadline = None if wanted["seconds"] is None else time.monotonic() + wanted["seconds"]
    try:
        run(*parse(wanted["parameters"]), _say, deadline)
    except OutOfTime as stop:
        _say(str(stop))
        return OUT_OF_TIME
    except Exception as error:  # whatever it is, the other cells are worth their time
        if os.environ.get("RAN_TRACEBACK"):
            raise
        _say(f"{type(error).__name__}: {' '.join(str(error).split())}")
        return FAILED
    return 0


def _say(line: str) -> None:
    print(line, flush=True)
