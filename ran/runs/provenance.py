"""Where a result comes from: the processor that computed it, and the state of the code."""

import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import torch

from ran.files import ROOT

COMMIT = "^([0-9a-f]{40}|[0-9a-f]{64})$"  # SHA-1 or SHA-256, as the repository has it


def hardware(device: torch.device) -> dict[str, Any]:
    """The processor of `device`: type and name, and for a CPU the number of threads used."""
    if device.type == "cuda":
        return {"device": "cuda", "name": torch.cuda.get_device_name(device)}
    name = platform.processor() or platform.machine()
    listing = Path("/proc/cpuinfo")  # Linux: the model's name, where platform gives only the architecture
    if listing.is_file():
        lines = listing.read_text(encoding="utf-8").splitlines()
        models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        name = models[0] if models else name
    return {"device": "cpu", "name": name, "threads": torch.get_num_threads()}


def git_state() -> dict[str, Any]:
    """`commit`, and `changed`: whether ran/ or notebooks/ differ from that commit.

    Without git, `commit` is the environment variable RAN_COMMIT, and `changed` is None. Raises ValueError where that
    variable holds anything but a whole commit.
    """

    def git(*words: str) -> str:
        # in another user's clone, too, and without writing there; whoever runs its code trusts it
        call = ["git", "--no-optional-locks", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), *words]
        return subprocess.run(call, capture_output=True, encoding="utf-8", check=True).stdout.strip()

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            "changed": bool(git("status", "--porcelain", "--", "ran", "notebooks")),
        }
    except (OSError, subprocess.CalledProcessError):
        commit = os.environ.get("RAN_COMMIT") or None
        if commit and not re.fullmatch(COMMIT, commit):
            raise ValueError(
                f"RAN_COMMIT must be the 40 (or 64) hexadecimal digits of a commit, as `git rev-parse HEAD` prints "
                f"them, not {commit!r}."
            ) from None
        return {"commit": commit, "changed": None}
