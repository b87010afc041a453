"""Write a trained network for the page that runs it in the browser: its structure and its weights, in one script.

    python book/explorer.py [--weights NAME]

writes book/_static/made/weights.js, which book/_static/network.js reads. It is a script that assigns one value, not
JSON, because a page that is opened from disk may load scripts and nothing else. `NAME` is whatever `ran.inference.load`
takes. `make book` calls this before the pages are built; the file is made in a second and stays out of git.
"""

import argparse
import base64
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from execute import ROOT
from torch import Tensor, nn

from ran.files import write_whole
from ran.inference import DEFAULT, Trained, fuse_batch_norms, load
from ran.model import AttentionModule, EncoderDecoder, ResidualUnit, cost

SCRIPT = ROOT / "book" / "_static" / "made" / "weights.js"
SAMPLES = ROOT / "book" / "_static" / "cifar10_samples.png"
STEPS = 32767  # of a weight, on each side of zero: 16 bits
Node = dict[str, Any]


class Packing:
    """Tensors one after the other as int16, each with a scale of its own: value ≈ scale · integer."""

    def __init__(self) -> None:
        self.integers: list[Any] = []
        self.length = 0

    def add(self, tensor: Tensor) -> Node:
        """Pack a tensor; returns where it is: `start`, `shape`, `scale`."""
        values = tensor.detach().double().flatten()
        scale = max(values.abs().max().item(), 1e-30) / STEPS
        self.integers.append((values / scale).round().to(torch.int16).numpy())
        start, self.length = self.length, self.length + len(values)
        return {"start": start, "shape": list(tensor.shape), "scale": scale}

    def base64(self) -> str:
        """All of them in order, little-endian."""
        return base64.b64encode(np.concatenate(self.integers).astype("<i2").tobytes()).decode()


def describe(layer: nn.Module, packing: Packing) -> list[Node]:
    """The steps that network.js takes for a layer whose batch norms are fused, their weights added to `packing`.

    Raises ValueError for a layer that network.js does not have.
    """

    def chain(part: nn.Module) -> list[Node]:
        return describe(part, packing)

    match layer:
        case AttentionModule(before=before, trunk=trunk, mask=mask, after=after):
            parts = {"before": chain(before), "trunk": chain(trunk), "after": chain(after)}
            whole = {"mask": chain(mask.structure) + chain(mask.output), "gate": mask.gate}
            return [{"op": "module", "learning": layer.attention} | parts | whole]
        case EncoderDecoder(down=down, inner=inner, skip=skip, up=up):
            parts = {"down": chain(down), "up": chain(up)}
            if inner is not None and skip is not None:
                parts |= {"inner": chain(inner), "skip": chain(skip)}
            return [{"op": "scale"} | parts]
        case ResidualUnit(preact=preact, residual=residual, projection=projection) if len(preact):
            parts = {"preact": chain(preact), "residual": chain(residual)}
            return [{"op": "unit", "projection": projection and chain(projection)} | parts]
        case nn.Sequential():
            return _chain([step for child in layer for step in chain(child)])
        case nn.Conv2d(groups=1, stride=(stride, _), padding=(padding, _)):
            weights = {
                "weight": packing.add(layer.weight),
                "bias": None if layer.bias is None else packing.add(layer.bias),
            }
            return [{"op": "conv", "stride": stride, "padding": padding} | weights]
        case nn.BatchNorm2d(running_mean=Tensor() as mean, running_var=Tensor() as variance):
            scale = layer.weight / torch.sqrt(variance + layer.eps)
            shift = layer.bias - mean * scale
            return [{"op": "norm", "scale": packing.add(scale), "shift": packing.add(shift)}]
        case nn.Linear():
            return [{"op": "linear", "weight": packing.add(layer.weight), "bias": packing.add(layer.bias)}]
        case nn.MaxPool2d(kernel_size=3, stride=2, padding=1):
            return [{"op": "maxpool"}]
        case nn.AdaptiveAvgPool2d(output_size=1):
            return [{"op": "average"}]
        case nn.ReLU():
            return [{"op": "relu"}]
        case nn.Identity() | nn.Flatten():
            return []
    raise ValueError(f"network.js has no {type(layer).__name__} as in this network: expected pre-activation units.")


def _chain(steps: list[Node]) -> list[Node]:
    """A ReLU is part of the step before it, which then needs no second walk over the values."""
    found: list[Node] = []
    for step in steps:
        if step["op"] == "relu" and found and found[-1]["op"] in ("conv", "norm"):
            found[-1]["relu"] = True
        else:
            found.append(step)
    return found


def table(trained: Trained) -> Node:
    """All that the page needs of a network: structure, weights, classes, normalisation, and the pictures to try.

    Raises ValueError for a network without attention modules, or with layers that network.js does not have.
    """
    if not trained.network.config.has_modules:
        raise ValueError(f"{trained.network.config.name} has no attention modules, and so no masks to show.")
    fused, packing = fuse_batch_norms(trained.network), Packing()
    stem = describe(nn.Sequential(fused.stem), packing)
    blocks = [{"name": name} | describe(block, packing)[0] for name, block in fused.blocks.items()]
    head = describe(fused.head, packing)
    multiply_adds = int(cost(trained.network, trained.size)["multiply_adds"].sum())
    return {
        "name": trained.name,
        "classes": trained.classes,
        "mean": trained.mean.tolist(),
        "std": trained.std.tolist(),
        "size": trained.size,
        "margin": trained.margin,
        "multiplyAdds": multiply_adds,
        "stem": stem,
        "blocks": blocks,
        "head": head,
        "weights": packing.base64(),
        "samples": "data:image/png;base64," + base64.b64encode(SAMPLES.read_bytes()).decode(),
    }


def write(trained: Trained, path: Path = SCRIPT) -> Path:
    """Write the script for `trained`; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, f"window.RAN = {json.dumps(table(trained), ensure_ascii=False)};\n")
    return path


def main(arguments: list[str] | None = None) -> int:
    """Command line: 0, or 1 where the network cannot be shown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default=DEFAULT, help="a published set, the folder of a run, or a file")
    try:
        write(load(parser.parse_args(arguments).weights))
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
