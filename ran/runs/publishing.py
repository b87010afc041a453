"""Publishing of a finished run: its weights and a model card, in the folder whose sets are loaded by name."""

from pathlib import Path
from typing import Any

from ran.files import write_whole
from ran.inference import CARD, FILE, RUNS, Trained, load, name_of
from ran.model import PRESETS
from ran.runs.config import RunConfig
from ran.runs.records import measured
from ran.runs.schema import read_record

# what is known of the terms of the images that the weights were made from
LICENCES = {
    "shapes": "drawn by this repository's code, MIT licence.",
    "cifar10": "CIFAR-10 is published without a licence; its author asks to cite Krizhevsky, *Learning multiple layers "
    "of features from tiny images*, 2009. Its photographs are from the web and belong to their makers.",
    "cifar100": "CIFAR-100 is published without a licence; its author asks to cite Krizhevsky, *Learning multiple "
    "layers of features from tiny images*, 2009. Its photographs are from the web and belong to their makers.",
}


def publish(run: str | Path, data_licence: str | None = None, runs: Path = RUNS) -> Path:
    """Put the record and weights of a finished run into `runs`, where they are not yet, and write its model card.

    `run` is the folder of the run, or its id in `runs`. `data_licence` says on what terms the training images are used;
    it is needed for image folders. Returns the card's path. Raises ValueError for a run that is not finished, whose
    weights are damaged or another run's, and where the licence is missing or another run of that name differs.
    """
    folder, record, _ = finished(run, runs)
    licence = data_licence or LICENCES.get(record["dataset"]["name"])
    if licence is None:
        raise ValueError(
            f"the licence of the images in the data set {record['dataset']['name']!r} is not known to ran: say it with "
            "--data-licence TEXT."
        )
    goal = runs / record["id"]
    if goal.resolve() != folder.resolve():
        _copy(folder, goal, record)
    write_whole(goal / CARD, card(record, licence, runs))
    return goal / CARD


def finished(run: str | Path, runs: Path = RUNS) -> tuple[Path, dict[str, Any], Trained]:
    """Folder, record and trained network of a finished run, which is given by its folder or by its id in `runs`.

    Raises ValueError for a run that is not finished, and for weights that are missing, damaged or another run's.
    """
    given = runs / run if not Path(run).is_dir() and (runs / run).is_dir() else Path(run)
    folder = given.resolve()  # its name is the run's id, also where it is given as "." or by a link
    if not (folder / "record.json").is_file():
        raise ValueError(f"{str(run)!r} is not the folder of a finished run: expected record.json and {FILE} in it.")
    record = read_record(folder / "record.json")
    trained = load(folder)
    if (its := RunConfig(**trained.config).id) != record["id"]:
        raise ValueError(f"{folder / FILE} holds the weights of {its}, not those of {record['id']}.")
    return folder, record, trained


def _copy(folder: Path, goal: Path, record: dict[str, Any]) -> None:
    """Copy the run to `goal`; the record goes last, as it says that the rest is whole."""
    there = goal / "record.json"
    if there.is_file() and read_record(there)["sha256"] != record["sha256"]:
        raise ValueError(
            f"{there} is the record of another training of this run: it is kept. Publish that one, or move it away."
        )
    goal.mkdir(parents=True, exist_ok=True)
    for source in (*sorted(folder.glob("*.csv")), folder / FILE, folder / "record.json"):
        write_whole(goal / source.name, source.read_bytes())


def card(record: dict[str, Any], licence: str, runs: Path = RUNS) -> str:
    """The model card of a record as Markdown: what was trained, how well, on what terms, how to load it from `runs`."""
    config, schedule, data = RunConfig(**record["config"]), record["schedule"], record["dataset"]
    name = name_of(config.id, record["config"], runs)
    epochs, images, last = len(record["epochs"]), measured(record), record["epochs"][-1]
    says_much = record.get("test_top5_error") is not None and len(data["classes"]) > 5  # of five, no answer is wrong
    top5 = f", top-5 error {record['test_top5_error']:.2f}%" if says_much else ""
    noise = f", {100 * config.noise:g}% of the training labels changed" if config.noise else ""
    length = f"{epochs} epoch{'s' if epochs > 1 else ''}"
    shaping = ("attention", "mask", "gate") if PRESETS[config.network].has_modules else ()
    shape = "".join(f", {name} {getattr(config, name)}" for name in shaping)
    shape += f", channels / {config.narrow}" if config.narrow > 1 else ""
    return f"""# {config.network} on {data["name"]}

A Residual Attention Network (Wang et al., CVPR 2017, arXiv 1704.06904), trained by this repository.

| | |
|---|---|
| network | {config.network}{shape}; {record["parameters"]:,} parameters |
| data | {data["name"]}: {data["train_images"]:,} training images of {len(data["classes"])} classes{noise} |
| schedule | {schedule["name"]}: {length}, batch {schedule.get("batch_size", 64)} |
| {images} error | {record["test_error"]:.2f}% after {length}{top5}; one run, seed {config.seed} |
| {images} images | {data["test_images"]:,}, {config.measured_on} |
| training | loss {last["train_loss"]:.3f}, error {last["train_error"]:.2f}% in the last epoch; {record["date"]} |
| checksum of the data | `{data["sha256"]}` |

The error is that of the last epoch, and nothing was chosen by the test set. `record.json` holds every epoch, the
hardware and the versions. To train it again:

    {record["command"]}

## Load it

```python
from ran.inference import load

trained = load("{name}")
trained.network, trained.classes, trained.mean, trained.std
```

`ran predict IMAGE --weights {name}` names the likeliest classes of a picture. Pictures are cut to
their middle square and scaled to {config.sides[1]}×{config.sides[1]} pixels.

## Terms

- Weights and code: MIT, as this repository.
- Training images: {" ".join(licence.split())}
- It knows its {len(data["classes"])} classes and nothing else: any other picture gets one of them too, often with
  confidence.
"""
