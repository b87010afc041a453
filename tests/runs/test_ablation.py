"""Mask ablation: what is put in place of masks, and what is measured with it."""

import pytest
import torch

from ran.cli import main
from ran.data import DataSet, load
from ran.files import Damaged
from ran.model import SoftMask, build
from ran.runs import Environment, RunConfig, ablate_run, read_ablation, read_records, run
from ran.runs.ablation import REPLACEMENTS, ablate
from ran.training import evaluate

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data():
    whole = load("shapes")
    return DataSet(whole.name, whole.classes, whole.train.head(40), whole.test.head(60))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build("attention-56", narrow=4).eval()


def test_every_replacement_is_what_its_name_says():
    mask = torch.arange(24.0).reshape(2, 3, 2, 2)  # two images of three channels
    mean = mask.mean(0)
    put = {name: replacement(mask, mean) for name, replacement in REPLACEMENTS.items()}
    assert all(each.shape == mask.shape for each in put.values())
    assert put["own"].equal(mask)
    assert put["mean over positions"][1, 2].flatten().tolist() == [21.5] * 4
    assert put["mean over images"][0, 1].equal(put["mean over images"][1, 1])
    assert put["mean over images"][0, 1].flatten().tolist() == [10, 11, 12, 13]
    assert put["mean over both"][:, 1].flatten().tolist() == [11.5] * 8
    assert put["one number"].flatten().tolist() == [11.5] * 24
    assert put["another image's"][0].equal(mask[1]) and put["another image's"][1].equal(mask[0])
    assert not put["zero"].any()


def test_the_means_are_those_of_all_images_and_each_row_is_the_error_with_its_masks(network, data):
    found = ablate(network, data, CPU).set_index("replacement").test_error
    branches = [module for module in network.modules() if isinstance(module, SoftMask)]
    trace = {}
    with torch.inference_mode():
        network(data.normalise(data.test.images), trace)
    means = [mask.mean(0) for name, mask in trace.items() if name.endswith(".mask")]
    assert found["own"] == evaluate(network, data, CPU).error  # and no hook is left
    expected = {}
    for name in ("mean over images", "one number", "zero"):
        put = REPLACEMENTS[name]
        hooks = [
            branch.register_forward_hook(lambda _, __, mask, put=put, mean=mean: put(mask, mean))
            for branch, mean in zip(branches, means, strict=True)
        ]
        expected[name] = evaluate(network, data, CPU).error
        for hook in hooks:
            hook.remove()
    assert found[list(expected)].to_dict() == pytest.approx(expected)


def test_a_mask_that_is_one_number_everywhere_loses_nothing_by_its_mean(data):
    torch.manual_seed(1)
    network = build("attention-56", narrow=4).eval()
    for module in network.modules():
        if isinstance(module, SoftMask):
            torch.nn.init.zeros_(module.output[-1].weight)  # a sigmoid of nothing: one half
    found = ablate(network, data, CPU).set_index("replacement").test_error
    assert found.drop("zero").nunique() == 1


@pytest.fixture(scope="module")
def few(data):
    """All runs load few images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Environment, "load", lambda self, config: data)
        yield


@pytest.fixture(scope="module")
def finished(few, tmp_path_factory):
    results = tmp_path_factory.mktemp("results") / "runs"
    config = RunConfig(network="attention-56", narrow=4, epochs=1, noise=0.2)
    return run(config, Environment(results=str(results)), report=lambda line: None)


def test_the_command_leaves_a_sealed_table_beside_the_record(finished, capsys):
    assert main(["ablate", str(finished.folder), "--device", "cpu"]) == 0
    path = finished.folder / "ablation.csv"
    assert capsys.readouterr().out.strip() == str(path)
    (record,) = read_records(finished.folder.parent)
    table = read_ablation(record)
    assert list(table.replacement) == list(REPLACEMENTS)
    assert table.test_error[0] == pytest.approx(record["test_error"], abs=1e-6)
    path.write_text(path.read_text().replace("zero,", "zero,1"))
    with pytest.raises(Damaged):
        read_ablation(record)


def test_a_run_that_cannot_be_measured_is_refused_in_one_line(few, tmp_path, capsys):
    assert main(["ablate", str(tmp_path)]) == 2
    assert "is not the folder of a finished run" in capsys.readouterr().err
    plain = run(
        RunConfig(network="resnet-164", narrow=4, epochs=1),
        Environment(results=str(tmp_path / "runs")),
        report=lambda line: None,
    )
    with pytest.raises(ValueError, match="no attention modules, and so no masks to replace"):
        ablate_run(plain.folder, Environment())


def test_other_images_are_refused(finished, monkeypatch):
    whole = load("shapes")
    other = DataSet(whole.name, whole.classes, whole.train.head(64), whole.test.head(10))
    monkeypatch.setattr(Environment, "load", lambda self, config: other)
    with pytest.raises(ValueError, match="of other images than those in"):
        ablate_run(finished.folder, Environment())
