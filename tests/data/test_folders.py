"""Image folders: what is read, what is skipped, and that chance does not depend on who decodes."""

import os
from itertools import combinations

import numpy as np
import pytest
import torch
from drawn import CLASSES, draw
from PIL import Image

from ran.cli import main
from ran.data import MEAN, STD, Shard, centre_crop, load
from ran.data.crops import augmentation
from ran.data.folder_index import INDEX
from ran.data.folders import FolderBatches
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


@pytest.fixture
def alike(tmp_path):
    """Twenty-four files of one picture, in two classes: what differs between two of them is chance."""
    values = np.random.default_rng(0).integers(0, 256, (72, 96, 3), dtype=np.uint8)
    for part in ("train", "val"):
        for name in ("one", "two"):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(12):
                Image.fromarray(values).save(tmp_path / part / name / f"{number}.png")
    return tmp_path


@pytest.mark.parametrize("workers", [0, 1])
def test_images_are_decoded_by_as_many_processes_as_are_asked_for(root, workers):
    config = RunConfig(network="attention-56-imagenet", dataset="folder", size=64)
    data = Environment(data_root=str(root), workers=workers).load(config)
    assert data.training_batches(12, CPU).loader.num_workers == workers


def test_the_parts_of_a_step_are_the_step(root):
    data = load("folder", root, size=64)
    whole, parts = (
        [torch.cat(each) for each in zip(*batches.epoch(torch.Generator().manual_seed(0)), strict=True)]
        for batches in (FolderBatches(data, 12, CPU), FolderBatches(data, 12, CPU, Shard(3)))
    )
    assert len(parts[1]) == 36 and all(mine.equal(its) for mine, its in zip(parts, whole, strict=True))


def test_every_image_has_a_chance_of_its_own_in_every_epoch(alike):
    """Its crop, flip and colours, whatever its place in the shuffle; and every epoch has another shuffle."""
    seen = [batches(alike, 0, epoch) for epoch in (1, 2)]
    images = [each for epoch in seen for part, _ in epoch for each in part]
    assert len(images) == 48
    assert not any(one.equal(other) for one, other in combinations(images, 2))
    first, second = ([label for _, labels in epoch for label in labels.tolist()] for epoch in seen)
    assert sorted(first) == sorted(second) == [0] * 12 + [1] * 12
    assert first != second and sorted(first) not in (first, second)


def augmented(picture, count=80):
    torch.manual_seed(0)
    change = augmentation(64)
    return torch.stack([change(picture) for _ in range(count)]).float()  # (N, 3, 64, 64)


def test_half_of_the_images_are_flipped():
    dark_left = torch.arange(90).expand(3, 90, 90).byte() * 2
    crops = augmented(dark_left).mean(1)
    flipped = crops[..., :32].mean((1, 2)) > crops[..., 32:].mean((1, 2))
    assert 0.3 < flipped.float().mean() < 0.7


@pytest.mark.parametrize("axis", [1, 2])
def test_crops_are_of_every_scale_and_aspect(axis):
    """From 8% to all of the area: of sixty stripes, some crops show a few and some nearly all, on either side."""
    stripes = (torch.arange(480) // 8 % 2 * 255).byte()
    picture = stripes[None, :, None].expand(3, 480, 480) if axis == 1 else stripes.expand(3, 480, 480)
    lines = augmented(picture).mean(1).mean(2 if axis == 1 else 1)  # (N, 64)
    middle = lines.mean(1, keepdim=True)
    edges = ((lines[:, 1:] > middle) != (lines[:, :-1] > middle)).sum(1)
    assert edges.min() < 24 and edges.max() > 40


def test_brightness_contrast_and_saturation_vary():
    half = torch.tensor([[200, 120, 60], [100, 60, 30]]).byte()  # two halves of one hue, above each other
    picture = half.T[:, :, None].repeat_interleave(45, 1).expand(3, 90, 90)
    crops = augmented(picture).flatten(2)
    saturation = 1 - crops.amin(1) / crops.amax(1).clamp(min=1)  # (N, pixels)
    for quantity in (crops.mean((1, 2)), saturation.mean(1), crops[:, 0].amax(1) / crops[:, 0].amin(1).clamp(min=1)):
        assert quantity.std() > 0.1 * quantity.mean()  # changes of up to 40%
    whole = crops.amax(2)
    assert (whole[:, 0] >= whole[:, 1]).all() and (whole[:, 1] >= whole[:, 2]).all()  # the hue stays


def test_a_test_crop_is_the_middle_seven_eighths_of_the_shorter_side():
    """224 of 256, as usual on ImageNet; a picture keeps its aspect."""
    picture = torch.arange(256 * 256 * 3).view(3, 256, 256).remainder(251).byte()
    wide = torch.nn.functional.pad(picture, (128, 128))
    for whole in (picture, wide, wide.transpose(1, 2)):
        expected = picture.transpose(1, 2) if whole.shape[1] > 256 else picture
        assert centre_crop(224)(whole).equal(expected[:, 16:240, 16:240])


@pytest.mark.parametrize("shape", [(1, 2_000_000), (2_000_000, 1)])
def test_a_strip_costs_no_more_memory_than_a_picture(shape):
    """Its shorter side would become 256 pixels, and the longer one 512 million."""
    strip = torch.zeros(3, *shape, dtype=torch.uint8)
    strip[:, *(slice(side // 2 - 16, side // 2 + 17) if side > 1 else slice(None) for side in shape)] = 200
    assert (centre_crop(224)(strip) == 200).all()


def test_a_picture_of_any_usual_aspect_is_cut_after_resizing():
    """At most 32 to 1 it is as without a limit, to the bit."""
    from torchvision.transforms.v2.functional import resize  # a second to import, in every process that tests

    picture = torch.randint(256, (3, 640, 20), generator=torch.Generator().manual_seed(0)).byte()
    assert centre_crop(32, 1.0)(picture).equal(resize(picture, 32)[:, 496:528])


def test_no_more_processes_decode_than_there_are_cores(root, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    data = load("folder", root, size=64, workers=4)
    assert data.training_batches(12, CPU).loader.num_workers == 2


def test_the_usual_mean_and_deviation_of_imagenet():
    from torchvision.models import ResNet50_Weights  # a second to import, in every process that tests

    usual = ResNet50_Weights.IMAGENET1K_V2.transforms()
    assert (list(MEAN), list(STD)) == (usual.mean, usual.std)


def test_a_folders_checksum_is_that_of_files_labels_and_both_parts(root):
    """A file in another class, at the same place in the order of all; a test image that is another one."""
    before = load("folder", root).checksum
    last = root / "train" / "dark" / "11.png"
    last.rename(root / "train" / "light" / "-.png")
    moved = load("folder", root)
    assert moved.train.labels.tolist() == [0] * 11 + [1] * 13 + [2] * 12
    (root / "train" / "light" / "-.png").rename(last)
    assert load("folder", root).checksum == before != moved.checksum
    (root / "train" / "dark" / "00.jpg").replace(root / "val" / "dark" / "00.jpg")
    (root / "train" / "dark" / "00.jpg").write_bytes((root / "train" / "dark" / "02.jpg").read_bytes())
    before = load("folder", root).checksum
    (root / "val" / "dark" / "00.jpg").write_bytes((root / "train" / "dark" / "02.jpg").read_bytes())
    assert load("folder", root).checksum != before


def test_of_val_and_test_val_is_measured(root):
    draw(root.parent / "other", 2, test="test")
    (root.parent / "other" / "test").rename(root / "test")
    (root / "test" / "dark" / "00.jpg").unlink()
    assert len(load("folder", root).test) == 12


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
