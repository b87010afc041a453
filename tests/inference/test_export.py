"""`ran export`: the file gives PyTorch's answers in another program, for any batch and size, or it is not written."""

import json
import resource
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch.export import Dim

from ran.cli import main
from ran.inference import Trained, load
from ran.inference import export as export_network
from ran.inference.exporting import FORMATS, _program
from ran.model import NetworkConfig, ResidualAttentionNetwork
from ran.model.network import Stage

SHAPES = [(1, 32, 32), (4, 32, 32), (2, 45, 71), (1, 96, 40)]


def images(batch, height, width, seed=1):
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def tiny(stem="cifar", **shape):
    """A network of one stage, with new weights: a graph that is made and compared in a fifth of the time."""
    torch.manual_seed(0)
    stages = (Stage(16, 1, 1, 2),)
    config = NetworkConfig("tiny", stages, stem=stem, stem_channels=4, num_classes=5, **shape)
    network = ResidualAttentionNetwork(config).eval()
    of = {"dataset": "cifar10"} if stem == "cifar" else {"dataset": "folder", "size": 64}
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.25, 0.3])
    return Trained(network, tuple("abcde"), mean, std, of, Path("tiny.pt"))


class _Named(torch.nn.Module):
    """A layer whose input has the name that the network's has."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, images):
        return self.layer(images)


@pytest.fixture(scope="module")
def exports():
    """Skips what needs a file, with the reason that a user is told, where this torch cannot make one."""
    module, sides = torch.nn.MaxPool2d(3, 2, 1), {2: Dim("height", min=32), 3: Dim("width", min=32)}
    try:
        _program(_Named(module), torch.zeros(2, 3, 40, 48), sides)
    except ValueError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def published(exports, tmp_path_factory):
    """The published Attention-56 as ONNX, with the normalisation inside."""
    path = tmp_path_factory.mktemp("export") / "attention.onnx"
    assert main(["export", "attention-56-cifar10", "--to", "onnx", "--out", str(path), "--normalise"]) == 0
    return path


@pytest.mark.parametrize("shape", SHAPES)
def test_onnxruntime_gives_the_answers_of_pytorch(published, shape):
    trained, given = load("attention-56-cifar10"), images(*shape)
    (found,) = onnxruntime.InferenceSession(published).run(["logits"], {"images": given.numpy()})
    with torch.no_grad():
        expected = trained.network((given - trained.mean.view(3, 1, 1)) / trained.std.view(3, 1, 1))
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-4)


def test_one_file_says_what_it_needs(published):
    assert [path.name for path in published.parent.iterdir()] == ["attention.onnx"]
    about = onnxruntime.InferenceSession(published).get_modelmeta().custom_metadata_map
    trained = load("attention-56-cifar10")
    assert json.loads(about["classes"]) == list(trained.classes) and json.loads(about["size"]) == 32
    assert torch.tensor(json.loads(about["mean"])).equal(trained.mean) and "in [0, 1]" in about["input"]


def test_pt2_gives_the_answers_of_pytorch(exports, tmp_path, monkeypatch, capsys):
    trained = tiny()
    monkeypatch.setattr("ran.cli.load", lambda name: trained)
    monkeypatch.chdir(tmp_path)
    assert main(["export", "tiny.pt", "--to", "pt2"]) == 0
    assert capsys.readouterr().out == "tiny.pt2\n"
    extra = {"classes": "", "input": ""}
    module = torch.export.load("tiny.pt2", extra_files=extra).module()
    assert json.loads(extra["classes"]) == list("abcde")
    for shape in SHAPES:
        given = images(*shape)
        with torch.no_grad():
            torch.testing.assert_close(module(given), trained.network(given), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "shape",
    [
        {"gate": "spatial", "attention": "nal", "mask": "local-convolutions"},
        {"stem": "imagenet", "gate": "channel"},
    ],
    ids=lambda shape: "-".join(shape.values()),
)
def test_every_kind_of_network_can_be_exported(exports, tmp_path, shape):
    trained = tiny(**shape)
    path = export_network(trained, "onnx", tmp_path / "network.onnx")
    given = images(3, 70, 97)
    (found,) = onnxruntime.InferenceSession(path).run(None, {"images": given.numpy()})
    with torch.no_grad():
        expected = trained.network(given).numpy()
    assert np.abs(found - expected).max() <= 1e-4 * max(1, np.abs(expected).max())  # with new weights, logits are large


def test_a_file_with_other_answers_is_not_written(exports, tmp_path, monkeypatch):
    """A bias that is a hundredth too large."""
    to = "pt2"
    write, read = FORMATS[to]

    def spoiled(program, about):
        bias = program.state_dict["network.head.3.bias"]
        program.state_dict["network.head.3.bias"] = torch.nn.Parameter(bias + 0.01)
        return write(program, about)

    monkeypatch.setitem(FORMATS, to, (spoiled, read))
    target = tmp_path / f"network.{to}"
    target.write_text("an earlier one")
    with pytest.raises(
        ValueError, match=r"is not written: for images \(1, 3, 32, 32\) its logits differ from PyTorch's"
    ):
        export_network(tiny(), to, target)
    assert target.read_text() == "an earlier one"
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_a_full_disk_is_said_in_one_line(tmp_path, monkeypatch):
    """No writer but ours meets it: torch's own ends the process. Of a layer, since the graph does not matter."""
    program = torch.export.export(_Named(torch.nn.Linear(3, 3)), (torch.zeros(2, 3),))
    monkeypatch.setattr("ran.inference.exporting._program", lambda *_: program)
    target = tmp_path / "network.pt2"
    target.write_text("an earlier one")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # bytes in a file
    try:
        with pytest.raises(OSError, match=r"network.pt2 cannot be written \(.*\): make room there"):
            export_network(tiny(), "pt2", target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert target.read_text() == "an earlier one" and [path.name for path in tmp_path.iterdir()] == [target.name]


def test_a_torch_that_is_too_old_says_which_is_needed(tmp_path, monkeypatch, capsys):
    def fails(*_, **__):
        raise RuntimeError("Constraints violated\nin many lines")

    monkeypatch.setattr("torch.export.export", fails)
    monkeypatch.setattr("ran.inference.exporting.EXPORTS", "99.1")
    target = tmp_path / "network.pt2"
    assert main(["export", "attention-56", "--to", "pt2", "--out", str(target)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "install torch 99.1 or newer" in said and f"torch {torch.__version__}" in said
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("ran.inference.exporting.EXPORTS", "2.0")
    with pytest.raises(RuntimeError, match="Constraints violated"):  # of this torch, it is a slip of ours
        export_network(tiny(), "pt2", target)


def test_without_the_packages_the_command_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ran.inference.exporting.find_spec", lambda name: None)
    assert main(["export", "attention-56", "--to", "onnx", "--out", str(tmp_path / "a.onnx")]) == 2
    said = capsys.readouterr().err
    assert 'ONNX needs onnx, onnxscript, onnxruntime: pip install -e ".[export]"' in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["attention-56", "--to", "onx"], "unknown format 'onx'. Did you mean 'onnx'?"),
        (["attention-65", "--to", "pt2"], "unknown published weights 'attention-65'"),
        (["attention-56", "--to", "pt2", "--out", "README.md"], "expected one that ends in .pt2"),
        (["attention-56", "--to", "pt2", "--out", "folder.pt2"], "expected one that ends in .pt2"),
    ],
)
def test_what_cannot_be_exported_is_refused(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "folder.pt2").mkdir()
    assert main(["export", *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert (tmp_path / "README.md").read_text() == "mine"
