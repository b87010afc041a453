"""Image folders: what is read, what is skipped, and that chance does not depend on who decodes."""

import os

import pytest
import torch
from drawn import CLASSES, draw

from ran.cli import main
from ran.data import load
from ran.data.folder_index import INDEX
from ran.data.folders import FolderBatches, augmentation
from ran.runs import Environment, RunConfig, run
from ran.study import summary

CPU = torch.device("cpu")


@pytest.fixture
def root(tmp_path):
    return draw(tmp_path / "images")


def test_class_folders_are_read(root):
    data = load("folder", root, size=64, test_size=80)
    assert (data.classes, len(data.train), len(data.test)) == (CLASSES, 36, 12)
    assert data.train.labels.tolist() == [0] * 12 + [1] * 12 + [2] * 12 and data.skipped == ()
    head = data.test.head(5)
    assert head.labels.tolist() == [0, 0, 1, 1, 2]
    assert head.images.shape == (5, 80, 80, 3) and head.images.dtype == torch.uint8
    ((images, labels),) = data.test_batches(CPU)
    assert labels.equal(data.test.labels) and images.is_contiguous(memory_format=torch.channels_last)
    assert images.equal(data.normalise(data.test.images))
    (root / "val").rename(root / "test")
    assert load("folder", root, size=64).test.labels.equal(data.test.labels)


def batches(root, workers, epoch):
    data = load("folder", root, size=64, workers=workers)
    part = data.training_batches(8, CPU)
    next(part.epoch(torch.Generator().manual_seed(9)))  # broken off, of no consequence
    return list(part.epoch(torch.Generator().manual_seed(epoch)))


def test_the_chance_of_an_image_is_the_epochs(root):
    before = torch.random.get_rng_state()
    first = batches(root, 0, 1)
    assert torch.random.get_rng_state().equal(before)
    assert [images.shape for images, _ in first] == [(8, 3, 64, 64)] * 4  # four are left out of thirty-six
    for (images, labels), (others, their) in zip(first, batches(root, 1, 1), strict=True):
        assert images.equal(others) and labels.equal(their)
    assert not first[0][0].equal(batches(root, 0, 2)[0][0])


def test_augmentation_keeps_bytes_and_varies():
    image = torch.arange(3 * 90 * 70).view(3, 90, 70).remainder(256).byte()
    crops = [augmentation(64)(image) for _ in range(4)]
    assert all(crop.shape == (3, 64, 64) and crop.dtype == torch.uint8 for crop in crops)
    assert not any(crop.equal(crops[0]) for crop in crops[1:])


def test_a_corrupt_image_is_named_and_skipped_within_the_limit(root):
    whole = load("folder", root)
    victim = root / "train" / "light" / "03.png"
    victim.write_bytes(victim.read_bytes()[:200])
    data = load("folder", root)
    assert len(data.train) == 35 and len(data.skipped) == 1 and data.skipped[0].startswith("train/light/03.png (")
    assert data.checksum != whole.checksum and data.train.labels.tolist().count(1) == 11
    (root / "train" / "dark" / "02.jpg").write_text("no image")
    with pytest.raises(
        ValueError,
        match=r"2 of 36 images .* more than the 1 .*dark/02.jpg \(its format is unknown.*light/03.png \(.*truncated",
    ):
        load("folder", root)


def test_only_changed_files_are_decoded_again(root, monkeypatch):
    first = load("folder", root)
    inspected = []
    monkeypatch.setattr("ran.data.folder_index._inspect", lambda path: inspected.append(path) or {"digest": "new"})
    assert load("folder", root).checksum == first.checksum and not inspected
    changed = root / "val" / "dark" / "00.jpg"
    os.utime(changed, (1, 1))
    assert load("folder", root).checksum != first.checksum and inspected == [changed]
    assert (root / INDEX).is_file()


def test_an_image_that_goes_bad_later_stops_the_run(root):
    data = load("folder", root, size=64)
    (root / "train" / "dark" / "00.jpg").unlink()
    with pytest.raises(ValueError, match=r"dark/00.jpg could be read when .* was indexed and cannot be now"):
        list(FolderBatches(data, 36, CPU).epoch(torch.Generator()))


def test_folders_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected .*/train/<class>/ and .*/val/<class>/ \(or test/\)"):
        load("folder", tmp_path)
    root = draw(tmp_path / "images", 2)
    (root / "val" / "dark").rename(root / "val" / "dim")
    with pytest.raises(ValueError, match="the same class folders; differing: dark, dim"):
        load("folder", root)


WORDS = {"network": "attention-56-imagenet", "dataset": "folder", "size": 64, "narrow": 8, "epochs": 1}


def test_an_imagenet_network_trains_on_a_folder(root, tmp_path, capsys):
    victim = root / "train" / "light" / "03.png"
    victim.write_bytes(b"")
    results = tmp_path / "results"
    words = [f"--{name}={value}" for name, value in {**WORDS, "data-root": root, "workers": 0}.items()]
    assert main(["run", *words, f"--results={results}"]) == 0
    said = capsys.readouterr().out
    assert "left out: 1 that cannot be decoded: train/light/03.png (" in said
    config, environment = RunConfig(**WORDS), Environment(str(root), str(results), workers=0)
    assert config.id.startswith("attention-56-imagenet-narrow8-arl-folder-64-smoke-1ep-seed0-")
    done = run(config, environment, report=lambda _: None)
    assert done.record["dataset"]["train_images"] == 35 and len(done.record["dataset"]["skipped"]) == 1
    assert done.record["test_top5_error"] == done.record["epochs"][0]["test_top5_error"] == 0  # of three classes
    assert "35 training and 12 test images; left out: 1 that cannot be decoded" in summary(done.record).to_string()
    assert (done.folder / "probes.csv").is_file() and done.network is not None
    victim.unlink()
    (root / "train" / "light" / "04.jpg").unlink()
    with pytest.raises(ValueError, match="is of other images than those in"):
        run(config, environment, report=lambda _: None)


def test_a_file_whose_name_this_locale_cannot_read_is_named(root):
    (root / "train" / "dark" / "00.jpg").rename(root / "train" / "dark" / os.fsdecode(b"\xff.jpg"))
    with pytest.raises(ValueError, match="not in this locale: rename it, or call with LC_ALL=C.UTF-8"):
        load("folder", root)
