"""Records as a run leaves them, made without training."""

import json
from dataclasses import asdict, replace

from ran.runs import RunConfig
from ran.sealing import sealed

IMAGES = 125_000  # of the test set: errors of three decimals are whole images


def a_record(config: RunConfig, error: float = 12.344, schedule: dict | None = None, **changes) -> dict:
    """The record of `config` with that test error in %; `schedule` are settings that have changed since."""
    recipe = replace(config.recipe, **(schedule or {}))
    steps = 50_000 // recipe.batch_size
    count = recipe.epochs or -(-recipe.iterations // steps)
    epoch = {"learning_rate": 0.1, "train_loss": 1.0, "train_error": 50.0, "test_loss": 1.0, "test_error": error}
    hardware = {"device": "cpu", "name": "A processor", "threads": 2}
    rest = {
        "id": config.name_by(recipe),
        "date": "2026-01-02",
        "git": {"commit": "0" * 40, "changed": False},
        "devices": 1,
        "precision": "float32",
        "hardware": hardware,
        "versions": {"python": "3.12"},
        "command": config.command,
        "config": asdict(config),
        "schedule": json.loads(json.dumps(asdict(recipe))),
        "parameters": 1000,
        "test_error": error,
        "wall_seconds": 30.0 * count,
        "images_per_second": 100.0,
        "dataset": {
            "name": config.dataset,
            "classes": ["a", "b"],
            "train_images": 50_000,
            "test_images": IMAGES,
            "sha256": "0" * 64,
            "skipped": [],
        },
        "epochs": [{"epoch": n, **epoch, "seconds": 30.0, "images_per_second": 100.0} for n in range(1, count + 1)],
        "confusion": None,
    }
    return sealed(rest | changes)


def put(folder, *records) -> None:
    """Write records into the folders of their runs below `folder`."""
    for each in records:
        (folder / each["id"]).mkdir(parents=True, exist_ok=True)
        (folder / each["id"] / "record.json").write_text(json.dumps(each), encoding="utf-8")
