"""`ran bench`: runs the measurements on this machine, and writes and reads their records."""

import datetime
import platform
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from ran.bench import measures
from ran.bench.measures import SIZES, Size
from ran.bench.operation_times import measure_operation_times
from ran.bench.records import read_bench_record, write_bench
from ran.choices import choose
from ran.files import check_room
from ran.runs import git_state, hardware

PARTS: dict[str, Callable[[Size, torch.device], Any]] = {
    "training": measures.measure_ablation,
    "inference": measures.measure_inference,
    "imagenet": measures.measure_imagenet,
    "limit": measures.measure_limit,
    "kinds": measure_operation_times,
    "growth": measures.measure_growth,
    "starts": measures.measure_starts,
    "side_by_side": measures.measure_side_by_side,
}


def bench(
    device: torch.device,
    folder: Path,
    parts: Iterable[str] = PARTS,
    size: Size | None = None,
    report: Callable[[str], None] = print,
) -> Path:
    """Measure `parts` and write each to the record of this device below `folder`; returns the path of the record.

    The record is written after every part and keeps earlier parts. A part has date, commit, versions and duration.
    Raises, before anything is measured, ValueError for an unknown part and for `imagenet` without pytorchcv, and
    OSError for a folder that cannot be written.
    """
    parts = [choose("part", part, PARTS) for part in parts]
    if "imagenet" in parts and not find_spec("pytorchcv"):
        others = " ".join(part for part in PARTS if part != "imagenet")
        raise ValueError(
            "the part imagenet measures against pytorchcv, which is not installed: `pip install pytorchcv`, or leave "
            f"that part out: --parts {others}"
        )
    about = hardware(device)
    path = folder / ("-".join(re.sub(r"\W+", "-", str(value).lower()) for value in about.values()) + ".json")
    record = read_bench_record(path) if path.is_file() else {"hardware": about, "parts": {}}
    size = size or SIZES[device.type]
    check_room(folder)
    for part in parts:
        start = time.perf_counter()
        found = PARTS[part](size, device)
        record["parts"][part] = {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "git": git_state(),
            "versions": {"python": platform.python_version(), "torch": str(torch.__version__)},
            "size": asdict(size),
            "seconds": round(time.perf_counter() - start, 1),
            "found": found,
        }
        write_bench(path, record)
        for line in as_lines(part, found):
            report(line)
    return path


def as_lines(title: str, found: Any) -> list[str]:
    """The results of a part as text; rows with images/s also show the ratio to the first row."""
    if isinstance(found, dict) and not any(isinstance(value, list) for value in found.values()):
        return [title, *(f"  {name}: {value}" for name, value in found.items())]
    if isinstance(found, dict):
        return [line for name, rows in found.items() for line in as_lines(f"{title}, {name}", rows)]
    lines = [title]
    for row in found:
        said = ", ".join(f"{name} {value}" for name, value in row.items() if name not in ("name", "all"))
        times = row["images_per_second"] / found[0]["images_per_second"] if "images_per_second" in row else None
        lines.append(f"  {row['name']}: {said}" + (f" (× {times:.2f})" if times else ""))
    return lines
