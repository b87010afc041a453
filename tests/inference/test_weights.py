"""Saved weights: what is read is what was trained, it needs nothing else, and a damaged file is never believed."""

import json
import random

import pytest
import torch
from safetensors.torch import load_file, save_file

from ran.data import load as load_data
from ran.files import ROOT
from ran.inference import FILE, fuse_batch_norms, load, save_weights
from ran.runs import Environment, RunConfig, run

SAVED = sorted((ROOT / "results" / "runs").glob(f"*/{FILE}"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    config = RunConfig(attention="nal", gate="channel", narrow=4, epochs=1, train_images=64)
    environment = Environment(results=str(tmp_path_factory.mktemp("results")))
    return config, environment, run(config, environment, report=lambda _: None)


def test_saved_weights_give_the_same_answers(finished):
    _, _, done = finished
    trained = load(done.folder / FILE)
    images = done.data.test.images[:8]
    with torch.no_grad():
        expected = done.network(done.data.normalise(images))
        torch.testing.assert_close(trained.network(trained.normalise(images)), expected)
    assert trained.classes == load_data("shapes").classes and not trained.network.training


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.parent.name)
def test_weights_belong_to_their_record(path):
    record = json.loads(path.with_name("record.json").read_text())
    trained = load(path)
    assert RunConfig(**trained.config).id == record["id"]
    assert trained.classes == tuple(record["dataset"]["classes"])
    assert sum(p.numel() for p in trained.network.parameters()) == record["parameters"]


def test_no_flipped_bit_is_believed(finished, tmp_path):
    """Half of them in the header, which is short and says what the rest means."""
    content, chance, changed = (finished[2].folder / FILE).read_bytes(), random.Random(0), 0
    state = load(finished[2].folder / FILE).network.state_dict()
    header = 8 + int.from_bytes(content[:8], "little")
    for number in range(60):
        place = chance.randrange(header) if number % 2 else chance.randrange(header, len(content))
        flipped = bytearray(content)
        flipped[place] ^= 1 << chance.randrange(8)
        (tmp_path / FILE).write_bytes(flipped)
        try:
            found = load(tmp_path / FILE).network.state_dict()
        except ValueError as error:
            assert "is damaged" in str(error) and "\n" not in str(error)
            changed += 1
        else:  # of what says nothing, such as a space
            assert all(value.equal(found[name]) for name, value in state.items()), place
    assert changed > 55


@pytest.mark.parametrize("content", [b"", b"text\n", None], ids=["empty", "text", "cut off"])
def test_damaged_weights_are_named(finished, tmp_path, content):
    whole = (finished[2].folder / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(ValueError, match=f"{FILE} is damaged .*delete it"):
        load(tmp_path / FILE)


def test_weights_without_a_digest_are_not_believed(finished, tmp_path):
    save_file(load_file(finished[2].folder / FILE), tmp_path / FILE)
    with pytest.raises(ValueError, match="is damaged"):
        load(tmp_path / FILE)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"network": lambda network: fuse_batch_norms(network)}, "could not be loaded as attention-56, channels / 4"),
        ({"config": lambda config: config | {"narrow": 8}}, "stem_channels is 4 and not 2"),
        ({"config": lambda config: config | {"gate": "mixed"}}, "gate is 'channel' and not 'mixed'"),
        ({"classes": lambda classes: classes[:3]}, "num_classes is 10 and not 3"),
        ({"mean": lambda mean: mean * float("nan")}, "mean [nan, nan, nan] and std"),
        ({"std": lambda std: std * 0}, "those of std above 0"),
    ],
)
def test_what_could_not_be_loaded_again_is_not_written(finished, tmp_path, changes, said):
    own = load(finished[2].folder)
    given = {name: getattr(own, name) for name in ("network", "config", "classes", "mean", "std")}
    save_weights(tmp_path, **given)
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(ValueError, match="is not written") as error:
        save_weights(tmp_path, **given | {name: change(given[name]) for name, change in changes.items()})
    assert said in str(error.value) and "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == [FILE] and (tmp_path / FILE).read_bytes() == before


def test_a_deviation_of_nothing_is_not_believed(finished, tmp_path, monkeypatch):
    """In a file whose digest is right, of an older version of `save_weights`."""
    own = load(finished[2].folder)
    with monkeypatch.context() as older:
        older.setattr("ran.inference.weights._unfit", lambda mean, std: "")
        save_weights(tmp_path, own.network, own.config, own.classes, own.mean * float("nan"), own.std)
    with pytest.raises(ValueError, match="cannot be used, since mean .* must be three finite numbers"):
        load(tmp_path)


def test_a_run_takes_no_other_runs_weights(finished):
    config, environment, done = finished
    whole = (done.folder / FILE).read_bytes()
    other = RunConfig(attention="nal", gate="channel", narrow=4, epochs=1, train_images=64, seed=1)
    (done.folder / FILE).write_bytes((run(other, environment, report=lambda _: None).folder / FILE).read_bytes())
    try:
        with pytest.raises(ValueError, match=f"holds the weights of {other.id}"):
            run(config, environment, report=lambda _: None)
    finally:
        (done.folder / FILE).write_bytes(whole)


def test_without_weights_there_is_a_record_and_no_network(finished):
    config, environment, done = finished
    whole = (done.folder / FILE).read_bytes()
    (done.folder / FILE).unlink()
    assert run(config, environment, report=lambda _: None).network is None
    (done.folder / FILE).write_bytes(whole)
