"""The settings of a run: RunConfig, which decides the result, and Environment, which does not."""

import hashlib
import json
import re
import reprlib
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from ran.choices import choose, message_alone
from ran.data import FIXED, IMAGE_SIZE, PLAIN, SOURCES, Data, DataSet, hold_out, load, shortened
from ran.files import a_folder
from ran.model import GATES, LEARNING, MASKS, PRESETS, STEMS, ResidualAttentionNetwork, build, narrowed
from ran.training import DEVICES, SCHEDULES, Schedule

NOTEBOOK = "notebooks/run.ipynb"
IPYTHON = re.compile(r"__\w+__|_+|_(ih|oh|dh|exit_code|i+|i?\d+)|In|Out")  # names that a kernel has by itself
Typed = TypeVar("Typed")


def option(default: Any, help: str, known: Mapping[str, Any] | None = None) -> Any:
    """A dataclass field with the text for `ran run --help` and, in `known`, the allowed names."""
    return field(default=default, metadata={"help": help, "known": known})


# least and most of each number: what is less makes no sense, and more is a slip of the hand
Side = Annotated[int, Field(ge=1, le=4096)]
Parts = Annotated[int, Field(ge=1, le=4096)]
Length = Annotated[int, Field(ge=1, le=100_000)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Images = Annotated[int, Field(ge=1, le=100_000_000)]
Rest = Annotated[int, Field(ge=0, le=100_000_000)]
Share = Annotated[float, Field(ge=0, lt=1)]
Text = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f]*$")]
Processes = Annotated[int, Field(ge=0, le=4096)]


@dataclass(frozen=True)
class RunConfig:
    """What is trained and how: all settings that decide the result, and no others.

    Raises ValueError for a wrong type, an unknown name or an impossible value.
    """

    network: str = option("attention-56", "network preset", PRESETS)
    attention: str = option("arl", "attention residual learning (arl) or naive attention learning (nal)", LEARNING)
    mask: str = option("encoder-decoder", "structure of the mask branch", MASKS)
    gate: str = option("mixed", "attention type: mixed (f1), channel (f2) or spatial (f3)", GATES)
    dataset: str = option("shapes", "data set", SOURCES)
    size: Side | None = option(None, "side of training crops from image folders; the network's own without it")
    test_size: Side | None = option(None, "side of their test crops; that of the training crops without it")
    noise: Share = option(0.0, "share of training labels changed to another class")
    schedule: str = option("smoke", "training schedule", SCHEDULES)
    epochs: Length | None = option(None, "number of epochs in place of the schedule's own")
    accumulate: Parts = option(1, "parts in which a step takes its batch, one after the other, to save memory")
    seed: Seed = option(0, "seed of initialisation, shuffling and augmentation")
    train_images: Images | None = option(None, "train on this many images only, where given")
    held_out: Rest = option(0, "measure on that many training images, kept out of training, and not on the test set")
    narrow: Parts = option(1, "divide the network's channels by this; the paper's tables take 1")
    weights: Text | None = option(None, "begin from trained weights: a published set, a run's folder or a file")

    def __post_init__(self) -> None:
        _check(self)
        if round(self.noise, 4) != self.noise:
            raise ValueError(f"noise has at most four decimals, as in the run's name: {self.noise} is refused.")
        if self.dataset in FIXED and (self.size or self.test_size):
            raise ValueError(
                f"size and test_size go with the data set folder; images of {self.dataset} have their own."
            )
        if self.dataset not in FIXED and (self.held_out or self.recipe.mixing != PLAIN):
            what = "held_out" if self.held_out else f"the schedule {self.schedule}, with its cutout or mixing,"
            raise ValueError(f"{what} goes with {', '.join(FIXED)}: image folders are not prepared for it.")
        smallest = STEMS[PRESETS[self.network].stem].smallest_input
        for side in self.sides:
            if side < smallest:
                given = f"those of {self.dataset} are {side}×{side}"
                raise ValueError(f"{self.network} needs images of at least {smallest}×{smallest} pixels; {given}.")
        shaping = ("attention", "mask", "gate")
        if not PRESETS[self.network].has_modules and any(name in _not_default(self) for name in shaping):
            raise ValueError(f"{self.network} has no attention modules: leave {', '.join(shaping)} at their defaults.")
        # refuses what does not divide, and a mask of other units than the network's
        replace(narrowed(PRESETS[self.network], self.narrow), **{name: getattr(self, name) for name in shaping})

    @property
    def sides(self) -> tuple[int, int]:
        """Sides of training and test images, in pixels."""
        own = IMAGE_SIZE if self.dataset in FIXED else STEMS[PRESETS[self.network].stem].image_size
        return self.size or own, self.test_size or self.size or own

    @property
    def measured_on(self) -> str:
        """The images on which the errors are measured, as text: the test set or held-out images."""
        if self.held_out:
            return f"{self.held_out:,} training images that were held out; no test image was used"
        return "the test set"

    @cached_property
    def recipe(self) -> Schedule:
        """The schedule, with `epochs` and `accumulate` of this run."""
        schedule = replace(SCHEDULES[self.schedule], accumulate=self.accumulate)
        return schedule if self.epochs is None else replace(schedule, epochs=self.epochs)

    @cached_property
    def id(self) -> str:
        """The run's name: readable settings, and a hash of all settings that differ from their defaults.

        Since defaults are not hashed, a new field or schedule setting leaves the names of existing records unchanged.
        """
        return self.name_by(self.recipe)

    def name_by(self, schedule: Schedule) -> str:
        """The name of this run by the settings of `schedule`, which may have changed since it was recorded."""
        said = {"config": _not_default(self), "schedule": _not_default(schedule)}
        digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:8]
        length = f"{schedule.epochs}ep" if schedule.epochs else f"{schedule.iterations}it"
        attention = [self.attention] if PRESETS[self.network].has_modules else []
        sides = "to".join(str(side) for side in dict.fromkeys(self.sides))
        size = [] if self.dataset in FIXED else [sides]
        variant = [value for key, value in _not_default(self).items() if key in ("mask", "gate")]
        noise = [f"noise{100 * self.noise:g}"] if self.noise else []
        held_out = [f"heldout{self.held_out}"] if self.held_out else []
        narrow = [f"narrow{self.narrow}"] if self.narrow > 1 else []
        finetuned = ["finetuned"] if self.weights else []
        what = [self.network, *narrow, *attention, *variant, self.dataset, *size, *noise, *held_out, *finetuned]
        return "-".join([*what, self.schedule, length, f"seed{self.seed}", digest])

    def build(self, num_classes: int) -> ResidualAttentionNetwork:
        """The network of this config, with new weights, for `num_classes` classes."""
        shape = {"attention": self.attention, "mask": self.mask, "gate": self.gate}
        return build(self.network, self.narrow, num_classes=num_classes, **shape)

    @property
    def command(self) -> str:
        """The papermill command that repeats this run; for data outside data/, add `-p data_root PATH`."""
        return self._command(name for name, value in asdict(self).items() if value is not None)

    def is_repeated_by(self, command: str) -> bool:
        """Whether `command` repeats this run. Parameters at their defaults may be missing: older code had fewer."""
        names = command.split()[4::3]
        known = {each.name for each in fields(self)}
        return set(_not_default(self)) <= set(names) <= known and command == self._command(names)

    def _command(self, names: Iterable[str]) -> str:
        said = [f"-p {name} {shlex.quote(str(getattr(self, name)))}" for name in names]
        return " ".join(["papermill", NOTEBOOK, "OUT.ipynb", *said])


@dataclass(frozen=True)
class Environment:
    """Where a run reads, writes and computes: settings that do not enter its name or its config.

    Raises ValueError for a wrong type or an impossible value.
    """

    data_root: str = option("data", "folder that holds the CIFAR sets, or train/ and val/ of an image folder")
    results: str = option("results/runs", "folder that receives one folder for every run")
    device: str = option("auto", "device", dict.fromkeys(DEVICES))
    recompute: bool = option(False, "compute features again in the backward pass: less memory, more time")
    workers: Processes = option(4, "processes that decode image folders, for each device")

    def __post_init__(self) -> None:
        _check(self)
        for name in ("data_root", "results"):
            object.__setattr__(self, name, str(a_folder(getattr(self, name), name)))

    @message_alone()
    def load(self, config: RunConfig) -> Data:
        """The data of `config`, before label noise; its `test` part holds the images of RunConfig.measured_on.

        Raises ValueError and FileNotFoundError as `ran.data.load` and `ran.data.hold_out` do.
        """
        size, test_size = config.sides
        reading = {} if config.dataset in FIXED else {"size": size, "test_size": test_size, "workers": self.workers}
        data = load(config.dataset, self.data_root, **reading)
        if config.held_out:
            assert isinstance(data, DataSet)  # RunConfig refuses image folders
            data = hold_out(data, config.held_out)
        return shortened(data, config.train_images)  # type: ignore[type-var]

    def folder(self, config: RunConfig) -> Path:
        """The folder for the record and weights of `config`."""
        return Path(self.results) / config.id


@message_alone()
def parse(parameters: Mapping[str, Any]) -> tuple[RunConfig, Environment]:
    """The config and environment of named values, such as a notebook's parameters.

    Raises ValueError for a wrong type, an impossible value or an unknown name (with the nearest known one).
    """
    for name in parameters:
        choose("parameter", name, (each.name for kind in (RunConfig, Environment) for each in fields(kind)))
    return _take(RunConfig, parameters), _take(Environment, parameters)


def typed(kind: type[Typed], parameters: Mapping[str, Any]) -> Typed:
    """A dataclass of options (see `option`) from named values, such as a notebook's parameters; raises as `parse`."""
    for name in parameters:
        choose("parameter", name, (each.name for each in fields(kind)))  # type: ignore[arg-type]
    config = _take(kind, parameters)
    _check(config)
    return config


def notebook_parameters(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a notebook: all plain values in `namespace`, before the notebook computes anything else.

    papermill only warns about unknown parameters; `parse` raises ValueError for them. Call it before the notebook
    imports more: an import hides a parameter of its name.
    """
    plain = (str, int, float, bool, list, dict, type(None))
    return {
        name: value for name, value in namespace.items() if isinstance(value, plain) and not IPYTHON.fullmatch(name)
    }


def _take(kind: type[Typed], parameters: Mapping[str, Any]) -> Typed:
    names = {each.name for each in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in parameters.items() if name in names})


@cache
def schema(kind: type) -> type[BaseModel]:
    """The types, bounds, names and defaults of a dataclass's fields as a pydantic model, which knows no other field."""
    told: dict[str, Any] = {}
    hints = get_type_hints(kind, include_extras=True)
    for each in fields(kind):
        known = each.metadata.get("known")
        default = ... if each.default is MISSING else each.default
        told[each.name] = (Literal[tuple(known)] if known else hints[each.name], default)
    strict = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    return create_model(kind.__name__, __config__=strict, __doc__=kind.__doc__, **told)


def _check(config: Any) -> None:
    """Raise ValueError, in one line, for the first field of `config` that is not what `schema` says."""
    try:
        schema(type(config)).model_validate(vars(config))  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name, wrong = first["loc"][0], first["input"]
        known = config.__dataclass_fields__[name].metadata["known"]
        if isinstance(wrong, str) and known:
            choose(str(name), wrong, known)
        told = first["msg"].removeprefix("Input should be ").replace("String should have", "a text of")
        told = "a text without control characters" if first["type"] == "string_pattern_mismatch" else told
        wanted = f"one of {', '.join(known)}" if known else told
        raise ValueError(f"{name} must be {wanted}, not {reprlib.repr(wrong)}.") from None


def _not_default(config: Any) -> dict[str, Any]:
    return {
        each.name: getattr(config, each.name) for each in fields(config) if getattr(config, each.name) != each.default
    }
