"""Mask ablation: how much a trained network loses when its masks are replaced by something that knows less."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from ran.data import Data, with_label_noise
from ran.inference import RUNS
from ran.model import ResidualAttentionNetwork, SoftMask
from ran.runs.config import Environment, RunConfig
from ran.runs.measurements import ABLATION, write_measurements
from ran.runs.publishing import finished
from ran.training import choose_device, evaluate

# What takes the place of a mask (B, C, H, W), given that and the mean of this branch's masks over all images, (C, H, W)
Replacement = Callable[[Tensor, Tensor], Tensor]
REPLACEMENTS: dict[str, Replacement] = {
    "own": lambda mask, mean: mask,
    "mean over positions": lambda mask, mean: mask.mean((2, 3), keepdim=True).expand_as(mask),
    "mean over images": lambda mask, mean: mean.expand_as(mask),
    "mean over both": lambda mask, mean: mean.mean((1, 2), keepdim=True).expand_as(mask),
    "one number": lambda mask, mean: mean.mean().expand_as(mask),
    "another image's": lambda mask, mean: mask.roll(1, 0),
    "zero": lambda mask, mean: torch.zeros_like(mask),
}


def ablate(network: ResidualAttentionNetwork, data: Data, device: torch.device) -> pd.DataFrame:
    """Test error with the masks of all modules replaced, on the whole test set: mean, resample and zero ablation.

    Returns one row per replacement, with its test error in %:

    - `own`: nothing is replaced;
    - `mean over positions`: of each channel, image by image: what the mask weighs, and no longer where;
    - `mean over images`: one map for each channel, the same for every image: where, and no longer in which image;
    - `mean over both`: one number for each channel; `one number`: one for each module;
    - `another image's`: the mask of the next image of the batch: a real mask that does not belong to the image;
    - `zero`: with attention residual learning, the trunk alone.

    Means over images are those of the unchanged network over all test images. The network is not trained for its
    replaced masks: the result says what this network makes of its masks, not how well one without them would do.
    """
    network = network.to(device)
    branches = [module for module in network.modules() if isinstance(module, SoftMask)]
    totals: dict[SoftMask, Tensor] = {}
    count = 0

    def add(branch: SoftMask, mask: Tensor) -> Tensor:
        nonlocal count
        count += len(mask) * (branch is branches[0])
        totals[branch] = totals.get(branch, 0.0) + mask.double().sum(0)
        return mask

    def instead(replacement: Replacement) -> Callable[[SoftMask, Tensor], Tensor]:
        return lambda branch, mask: replacement(mask, totals[branch].to(mask) / count)

    errors = {}
    with _replaced(branches, add):
        errors["own"] = evaluate(network, data, device).error
    for name, replacement in REPLACEMENTS.items():
        if name not in errors:
            with _replaced(branches, instead(replacement)):
                errors[name] = evaluate(network, data, device).error
    return pd.DataFrame({"replacement": REPLACEMENTS.keys(), "test_error": errors.values()})


@contextmanager
def _replaced(branches: list[SoftMask], put: Callable[[SoftMask, Tensor], Tensor]) -> Iterator[None]:
    """Inside, a mask branch gives what `put` makes of its mask."""

    def hook(branch: nn.Module, _: object, mask: Tensor) -> Tensor:
        assert isinstance(branch, SoftMask)
        return put(branch, mask)

    hooks = [branch.register_forward_hook(hook) for branch in branches]
    try:
        yield
    finally:
        for each in hooks:
            each.remove()


def ablate_run(run: str | Path, environment: Environment, runs: Path = RUNS) -> Path:
    """Write the table of `ablate` for a finished run into its folder; returns the file's path.

    `run` is the folder of the run, or its id in `runs`; `environment` says where its data set is and what computes.
    Raises ValueError for a run that is not finished, has no attention modules or was made from other images, and
    whatever loading the data raises.
    """
    folder, record, trained = finished(run, runs)
    if not trained.network.config.has_modules:
        raise ValueError(f"{trained.network.config.name} has no attention modules, and so no masks to replace.")
    config = RunConfig(**trained.config)
    data = environment.load(config)
    if config.noise:
        data = with_label_noise(data, config.noise, config.seed)  # type: ignore[type-var]
    if data.checksum != record["dataset"]["sha256"]:
        raise ValueError(
            f"{folder / 'record.json'} is of other images than those in {environment.data_root!r}: give the folder "
            "that it was trained from."
        )
    table = ablate(trained.network, data, choose_device(environment.device))
    write_measurements(folder / ABLATION, table)
    return folder / ABLATION
