"""Export of a trained network for other programs: ONNX, or PyTorch's own pt2 archive, compared before it is kept."""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from ran.choices import choose
from ran.data import as_tensor
from ran.files import ROOT, write_whole
from ran.inference.prediction import evaluating
from ran.inference.weights import Trained
from ran.model import STEMS

TOLERANCE = 1e-4  # of logits; relative to the largest one where that is above 1, as rounding is
NEEDED = ("onnx", "onnxscript", "onnxruntime")
EXPORTS = "2.14"  # the torch that is known to export max-pooling of any size; 2.11 takes even sides for a rule
PHOTOGRAPHS = ROOT / "book" / "_static" / "cifar10_samples.png"  # 16 test images side by side
Answer = Callable[[Tensor], Tensor]


class _WithNormalisation(nn.Module):
    """The network behind its normalisation: images (B, 3, H, W) in [0, 1] → logits (B, classes)."""

    mean: Tensor
    std: Tensor

    def __init__(self, trained: Trained):
        super().__init__()
        self.network = trained.network
        self.register_buffer("mean", trained.mean.view(3, 1, 1))
        self.register_buffer("std", trained.std.view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.network((images - self.mean) / self.std)


class _Bare(nn.Module):
    """The network alone: normalised images (B, 3, H, W) → logits (B, classes)."""

    def __init__(self, trained: Trained):
        super().__init__()
        self.network = trained.network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)


def export(trained: Trained, to: str, path: Path, normalise: bool = False) -> Path:
    """Write the network to `path` as `to`, a key of FORMATS, for any batch and any size that the network takes.

    Its input is `images`, (B, 3, H, W) float32: normalised, or with `normalise` in [0, 1]; its output is `logits`, (B,
    classes). Classes, mean, deviation and size travel in the file's metadata. The file is read back and its logits are
    compared with PyTorch's on random images and photographs, at two sizes and batches; it is written whole or not at
    all. Raises ValueError where they differ by more than TOLERANCE, for a torch that is too old, and where `path` does
    not end in the format's name, ImportError for a package that is missing, and OSError where it cannot be written.
    """
    write, read = FORMATS[choose("format", to, FORMATS)]
    if path.suffix != f".{to}" or path.is_dir():
        raise ValueError(f"{str(path)!r} is no name for an exported network: expected one that ends in .{to}.")
    if to == "onnx" and (missing := [name for name in NEEDED if find_spec(name) is None]):
        raise ImportError(f'ONNX needs {", ".join(missing)}: pip install -e ".[export]" in the repository installs it.')
    module = (_WithNormalisation if normalise else _Bare)(trained)
    side, least = trained.size, STEMS[trained.network.config.stem].smallest_input
    sizes = {0: Dim("batch"), 2: Dim("height", min=least), 3: Dim("width", min=least)}
    about = {
        "classes": list(trained.classes),
        "mean": trained.mean.tolist(),
        "std": trained.std.tolist(),
        "size": side,
        "input": "images (B, 3, H, W) float32, " + ("in [0, 1]" if normalise else "normalised by mean and std"),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with torch.no_grad(), evaluating(module):
        example = torch.rand(2, 3, side + 8, side + 16)  # square or of one image, it would be taken as a rule
        program = _program(module, example, sizes)
        content = write(program, {name: json.dumps(value, ensure_ascii=False) for name, value in about.items()})
        write_whole(path, content, lambda file: _compare(module, read(file.read_bytes()), trained, normalise, path))
    return path


def _program(module: nn.Module, example: Tensor, sizes: dict[int, Any]) -> ExportedProgram:
    """The graph of `module` for images of any of `sizes`. Raises ValueError where torch is too old to make one."""
    try:
        return torch.export.export(module, (example,), dynamic_shapes={"images": sizes})
    except RuntimeError as error:
        if torch.__version__ >= EXPORTS:
            raise
        raise ValueError(
            f"torch {torch.__version__} cannot export the network for images of any size: install torch {EXPORTS} or "
            "newer, with the torchvision that belongs to it."
        ) from error


def _compare(module: nn.Module, exported: Answer, trained: Trained, normalised_inside: bool, path: Path) -> None:
    """Raise ValueError where the logits differ, on any of several batches of other sizes than the example's."""
    for images in _images(trained.size):
        given = images if normalised_inside else (images - trained.mean.view(3, 1, 1)) / trained.std.view(3, 1, 1)
        expected, found = module(given), exported(given)
        far = (found - expected).abs().max().item() if expected.shape == found.shape else float("inf")
        if not far <= TOLERANCE * max(1.0, expected.abs().max().item()):  # NaN is refused, too
            raise ValueError(
                f"{path} is not written: for images {tuple(given.shape)} its logits differ from PyTorch's by "
                f"{far:.2g}, more than {TOLERANCE:g}."
            )


def _images(side: int) -> Iterator[Tensor]:
    """Batches (B, 3, H, W) in [0, 1]: photographs and random pixels, at the network's own size and at another."""
    with Image.open(PHOTOGRAPHS) as file:
        strip = file.convert("RGB")
    generator = torch.Generator().manual_seed(0)
    for batch, height, width in ((1, side, side), (5, side + side // 2 + 1, 2 * side)):
        tiles = [strip.crop((32 * n, 0, 32 * n + 32, 32)).resize((width, height)) for n in range(batch)]
        yield torch.stack([as_tensor(tile) for tile in tiles]).float() / 255
        yield torch.rand(batch, 3, height, width, generator=generator)


def _write_onnx(program: ExportedProgram, about: dict[str, str]) -> bytes:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own insides
        converted = torch.onnx.export(
            program, input_names=["images"], output_names=["logits"], dynamo=True, verbose=False
        )
        assert converted is not None
        converted.model.metadata_props.update(about)
        content: bytes = converted.model_proto.SerializeToString()
    return content


def _read_onnx(content: bytes) -> Answer:
    import onnxruntime  # an optional package

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def answer(images: Tensor) -> Tensor:
        return torch.from_numpy(np.asarray(session.run(["logits"], {"images": images.numpy()})[0]))

    return answer


def _write_pt2(program: ExportedProgram, about: dict[str, str]) -> bytes:
    content = io.BytesIO()  # on a full disk, torch's own writer ends the process
    torch.export.save(program, content, extra_files=about)
    return content.getvalue()


def _read_pt2(content: bytes) -> Answer:
    return torch.export.load(io.BytesIO(content)).module()


FORMATS: dict[str, tuple[Callable[[ExportedProgram, dict[str, str]], bytes], Callable[[bytes], Answer]]] = {
    "onnx": (_write_onnx, _read_onnx),
    "pt2": (_write_pt2, _read_pt2),
}
