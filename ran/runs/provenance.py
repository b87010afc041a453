"""Where a result comes from: the processor that computed it, and the state of the code."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from ran.files import ROOT


def hardware(device: torch.device) -> dict[str, Any]:
    """The processor of `device`: type and name, and for a CPU the number of threads used."""
    if device.type == "cuda":
        return {"device": "cuda", "name": torch.cuda.get_device_name(device)}
    name = platform.processor() or platform.machine()
    listing = Path("/proc/cpuinfo")  # Linux: the model's name, where platform gives only the architecture
    if listing.is_file():
        models = [
            line.split(":", 1)[1].strip() for line in listing.read_text().splitlines() if line.startswith("model name")
        ]
        name = models[0] if models else name
    return {"device": "cpu", "name": name, "threads": torch.get_num_threads()}


def git_state() -> dict[str, Any]:
    """`commit`, and `changed`: whether ran/ or notebooks/ differ from that commit.

    Without git, `commit` is the environment variable RAN_COMMIT, and `changed` is None.
    """

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            "changed": bool(git("status", "--porcelain", "--", "ran", "notebooks")),
        }
    except (OSError, subprocess.CalledProcessError):
        return {"commit": os.environ.get("RAN_COMMIT"), "changed": None}
