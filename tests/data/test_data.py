"""Data sets in every form they may lie in, and the augmentation of whole batches."""

import json
import pickle
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image

from ran.cli import main
from ran.data import PADDING, DataSet, ImageSet, Shard, cifar, load, normalise, shapes, shortened, with_label_noise
from ran.data.arrays import TrainingBatches, evaluation_batches
from ran.files import ROOT

CLASSES = sorted(("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"))


@pytest.fixture
def small(monkeypatch):
    """Fifty training and ten test images as if they were all of CIFAR-10: the embedded ones, under its class names."""
    monkeypatch.setattr("ran.data.cifar.SIZES", {"train": 50, "test": 10})
    parts = {"train": shapes.draw("train", count=50), "test": shapes.draw("test", count=10)}
    arrays = {}
    for part, drawn in parts.items():
        arrays |= cifar._canonical(part, drawn.images, drawn.labels)
    monkeypatch.setitem(cifar.CHECKSUMS, "cifar10", cifar.checksum(arrays))
    return parts


def write_folder(root, parts):
    for part, drawn in parts.items():
        for number, (image, label) in enumerate(zip(drawn.images, drawn.labels, strict=True)):
            folder = root / "cifar10" / part / CLASSES[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{number}.webp", lossless=True)


def write_torchvision(root, parts):
    folder = root / "cifar-10-batches-py"
    folder.mkdir()

    def write(name, drawn, where):
        rows = drawn.images[where].transpose(0, 3, 1, 2).reshape(-1, 3072)
        (folder / name).write_bytes(pickle.dumps({"data": rows, "labels": drawn.labels[where].tolist()}))

    for batch in range(5):
        write(f"data_batch_{batch + 1}", parts["train"], slice(batch * 10, batch * 10 + 10))
    write("test_batch", parts["test"], slice(None))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": CLASSES}))


def test_shapes_come_with_object_masks():
    data = load("shapes")
    assert (len(data.train), len(data.test), data.classes) == (4000, 1000, shapes.CLASSES)
    assert data.train.images.shape == (4000, 32, 32, 3) and data.train.images.dtype == torch.uint8
    assert data.test.masks.shape == (1000, 32, 32) and data.test.masks.dtype == torch.bool


def test_a_part_of_a_set_is_its_first_images_with_their_labels_and_masks():
    """So that more images are the same ones and others: runs on 64 and on 128 images share 64."""
    whole = load("shapes").train
    few = shortened(load("shapes"), 5).train
    assert (
        few.images.equal(whole.images[:5]) and few.labels.equal(whole.labels[:5]) and few.masks.equal(whole.masks[:5])
    )
    some = whole.take(torch.tensor([7, 3]))
    assert some.labels.equal(whole.labels[[7, 3]]) and some.masks.equal(whole.masks[[7, 3]])


def test_a_folder_is_decoded_once(tmp_path, small):
    write_folder(tmp_path, small)
    first = load("cifar10", tmp_path)
    assert first.classes == tuple(CLASSES)
    drawn = {image.tobytes(): label for image, label in zip(small["train"].images, small["train"].labels, strict=True)}
    read = {
        image.numpy().tobytes(): label.item()
        for image, label in zip(first.train.images, first.train.labels, strict=True)
    }
    assert read == drawn
    for image in (tmp_path / "cifar10").rglob("*.webp"):
        image.unlink()
    again = load("cifar10", tmp_path)
    assert again.checksum == first.checksum
    assert again.train.images.equal(first.train.images)


def test_torchvisions_format_holds_the_same_set(tmp_path, small, monkeypatch):
    monkeypatch.setattr(
        "torchvision.datasets.CIFAR10._check_integrity", lambda self: True
    )  # it knows only the real set's files
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    for name, write in (("folder", write_folder), ("batches", write_torchvision)):
        (tmp_path / name).mkdir()
        write(tmp_path / name, small)
    folder, batches = (load("cifar10", tmp_path / name) for name in ("folder", "batches"))
    assert folder.checksum == batches.checksum
    assert folder.train.images.equal(batches.train.images)
    assert folder.test.labels.equal(batches.test.labels)


def test_the_checksum_sees_one_label(small):
    def data(labels):
        part = ImageSet(torch.from_numpy(small["test"].images), torch.from_numpy(labels))
        return DataSet("x", tuple(CLASSES), part, part)

    changed = small["test"].labels.copy()
    changed[3] = (changed[3] + 1) % 10
    assert data(small["test"].labels).checksum != data(changed).checksum


def test_a_missing_set_says_where_it_looked_and_how_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        load("cifar100", tmp_path)
    for part in (f"{tmp_path}/cifar100/", "cifar-100-python", "ran data cifar100", "data_root"):
        assert part in str(caught.value)


def test_an_unknown_set_names_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'cifar10'"):
        load("cifar-10")


def test_broken_and_wrong_images_are_named(tmp_path, small):
    write_folder(tmp_path, small)
    victim = next((tmp_path / "cifar10" / "train" / "bird").iterdir())
    victim.write_bytes(b"RIFF")
    with pytest.raises(ValueError, match=victim.name):
        load("cifar10", tmp_path)
    Image.new("RGB", (16, 32)).save(victim)
    with pytest.raises(ValueError, match="is 16×32; CIFAR images are 32×32"):
        load("cifar10", tmp_path)
    assert not list(tmp_path.glob("*.npz*"))


def test_a_part_of_a_set_is_refused_and_not_cached(tmp_path, small):
    write_folder(tmp_path, small)
    victim = next((tmp_path / "cifar10" / "train" / "bird").iterdir())
    image = victim.read_bytes()
    victim.unlink()
    with pytest.raises(ValueError, match="cifar10 holds 49 training and 10 test images of 10 classes; cifar10 has 50 "):
        load("cifar10", tmp_path)
    victim.write_bytes(image)
    assert len(load("cifar10", tmp_path).train) == 50
    cache = tmp_path / "cifar10.npz"
    with np.load(cache) as arrays:
        np.savez(cache, **{**arrays, "test_labels": arrays["test_labels"][:9]})
    with pytest.raises(ValueError, match="npz holds 50 training and 9 test images of 10 classes.* Delete it"):
        load("cifar10", tmp_path)


def test_torchvisions_files_in_part_are_refused(tmp_path, small):
    write_torchvision(tmp_path, small)  # whose checksums are not those that torchvision knows
    with pytest.raises(ValueError, match=r"batches-py is not whole.*`ran data cifar10 --data-root"):
        load("cifar10", tmp_path)


def test_a_download_without_a_network_says_what_else_would_do(tmp_path, monkeypatch, capsys):
    def unreachable(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", unreachable)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["data", "cifar10", "--data-root", "~/sets"]) == 2
    said = capsys.readouterr().err
    assert "cannot be reached (no route to host)" in said and f"{tmp_path}/sets/cifar10/{{train,test}}" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("noise", [0.1, 0.7])
def test_label_noise_is_the_symmetric_transition_matrix(noise):
    data = load("shapes")
    noisy = with_label_noise(data, noise, seed=3)
    counts = torch.bincount(data.train.labels * 10 + noisy.train.labels, minlength=100).view(10, 10) / 400
    expected = torch.full((10, 10), noise / 9).fill_diagonal_(1 - noise)
    deviation = (expected * (1 - expected) / 400).sqrt()
    assert ((counts - expected).abs() < 4.5 * deviation).all()
    share = (data.train.labels != noisy.train.labels).float().mean().item()
    assert share == pytest.approx(noise, abs=4 * (noise * (1 - noise) / 4000) ** 0.5)  # a change is to another class
    assert noisy.test.labels.equal(data.test.labels) and noisy.train.images.equal(data.train.images)
    assert noisy.train.labels.equal(with_label_noise(data, noise, seed=3).train.labels)
    assert not noisy.train.labels.equal(with_label_noise(data, noise, seed=4).train.labels)
    assert noisy.checksum != data.checksum


def test_normalised_training_pixels_have_mean_0_and_deviation_1():
    data = load("shapes")
    images = data.normalise(data.train.images)
    assert images.shape == (4000, 3, 32, 32)
    assert images.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(images.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(images.std((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)


@pytest.fixture
def few(small):
    parts = [
        ImageSet(*(torch.from_numpy(array) for array in (drawn.images, drawn.labels, drawn.masks)))
        for drawn in (small["train"], small["test"])
    ]
    return DataSet("few", tuple(CLASSES), *parts)


def test_augmentation_is_a_crop_of_the_padded_image_and_half_the_time_a_flip(few):
    batches = TrainingBatches(few, 16, torch.device("cpu"))
    seen, flips, shifts = [], 0, set()
    padded = few.normalise(batches.padded).numpy()[:, 0]  # (N, 40, 40), one channel tells images apart
    for epoch in range(2):
        for images, labels in batches.epoch(torch.Generator().manual_seed(epoch)):
            assert images.shape == (16, 3, 32, 32) and images.is_contiguous(memory_format=torch.channels_last)
            for image, label in zip(images.numpy(), labels, strict=True):
                number, top, left, flipped = find(image, padded)
                assert few.train.labels[number] == label
                seen.append((epoch, number))
                flips += flipped
                shifts.add((top, left))
    assert len(seen) == len(set(seen)) == 2 * 48  # every image at most once an epoch, the incomplete batch left out
    assert 0.3 < flips / len(seen) < 0.7
    assert {top for top, _ in shifts} == {left for _, left in shifts} == set(range(2 * PADDING + 1))


def find(image, padded):
    """Which of the padded images, which corner and whether flipped: the only match of `image`."""
    matches = []
    for flipped in (False, True):
        looked = image[0, :, ::-1] if flipped else image[0]
        for top in range(9):
            for left in range(9):
                crop = padded[:, top : top + 32, left : left + 32]
                same = (np.abs(crop - looked) < 1e-5).all((1, 2))
                matches += [(int(number), top, left, flipped) for number in same.nonzero()[0]]
    assert len(matches) == 1
    return matches[0]


def test_crops_are_padded_by_the_training_mean(few):
    batches = TrainingBatches(few, 16, torch.device("cpu"))
    border = few.train.images.double().mean((0, 1, 2)).round().byte()
    assert (batches.padded[:, :PADDING] == border).all() and (batches.padded[:, :, -PADDING:] == border).all()
    assert few.normalise(batches.padded)[:, :, :PADDING].abs().max() < 0.5 / 255 / few.std.min() + 1e-6


def test_an_epochs_chance_is_its_generators(few):
    batches = TrainingBatches(few, 16, torch.device("cpu"))
    first, again, other = (next(batches.epoch(torch.Generator().manual_seed(seed)))[0] for seed in (1, 1, 2))
    assert first.equal(again) and not first.equal(other)


def test_test_batches_are_whole_and_in_order(few):
    parts = list(evaluation_batches(few, torch.device("cpu"), batch_size=4))
    assert [len(labels) for _, labels in parts] == [4, 4, 2]
    assert torch.cat([labels for _, labels in parts]).equal(few.test.labels)
    assert torch.cat([images for images, _ in parts]).equal(few.normalise(few.test.images))


def test_devices_share_the_test_set(few):
    parts = [evaluation_batches(few, torch.device("cpu"), shard=Shard(rank=rank, count=3)) for rank in range(3)]
    assert torch.cat([labels for part in parts for _, labels in part]).equal(few.test.labels)


def test_a_set_smaller_than_a_batch_is_one_batch(few):
    batches = TrainingBatches(few, 128, torch.device("cpu"))
    ((_, labels),) = batches.epoch(torch.Generator())
    assert len(batches) == 1 and labels.sort().values.equal(few.train.labels.sort().values)


def test_the_records_were_made_with_the_images_that_are_believed():
    """Whoever downloads CIFAR-10 today trains on what the committed records were trained on."""
    records = [json.loads(path.read_text()) for path in (ROOT / "results" / "runs").glob("*cifar10-short*/record.json")]
    assert records and {each["dataset"]["sha256"] for each in records} == {cifar.CHECKSUMS["cifar10"]}


def test_parts_of_different_classes_are_refused(tmp_path, small):
    write_folder(tmp_path, small)
    (tmp_path / "cifar10" / "test" / "bird").rename(tmp_path / "cifar10" / "test" / "budgie")
    with pytest.raises(ValueError, match="hold different class folders; they must be the same"):
        load("cifar10", tmp_path)


def test_other_images_are_not_called_cifar10(tmp_path, small):
    write_folder(tmp_path, small)
    victim = next((tmp_path / "cifar10" / "train" / "bird").iterdir())
    Image.fromarray(255 - np.asarray(Image.open(victim))).save(victim, lossless=True)
    with pytest.raises(ValueError, match="cifar10 holds other images or labels than cifar10.*Delete it"):
        load("cifar10", tmp_path)
    assert not list(tmp_path.glob("*.npz*"))


def test_the_checksum_is_that_of_the_data_set(tmp_path, small):
    write_folder(tmp_path, small)
    assert load("cifar10", tmp_path).checksum == cifar.CHECKSUMS["cifar10"]


def test_hidden_folders_are_no_classes_of_cifar(tmp_path, small):
    write_folder(tmp_path, small)
    (tmp_path / "cifar10" / "train" / ".ipynb_checkpoints").mkdir()
    assert load("cifar10", tmp_path).checksum == cifar.CHECKSUMS["cifar10"]


def test_normalisation_follows_a_mean_that_is_changed_in_place():
    images, mean, std = torch.full((1, 1, 1, 3), 51, dtype=torch.uint8), torch.full((3,), 0.2), torch.ones(3)
    assert normalise(images, mean, std).abs().max() < 1e-6
    mean.zero_()
    assert (normalise(images, mean, std) - 0.2).abs().max() < 1e-6


@pytest.mark.parametrize("how", ["cut off", "empty", "text", "other keys", "scalars", "one bit"])
def test_a_damaged_cache_is_named(tmp_path, small, how):
    write_folder(tmp_path, small)
    expected = load("cifar10", tmp_path).checksum
    cache = tmp_path / "cifar10.npz"
    content = cache.read_bytes()
    if how == "other keys":
        np.savez(cache, images=np.zeros(3))
    elif how == "scalars":
        with np.load(cache) as arrays:
            np.savez(cache, **{key: np.array(0) for key in arrays})
    else:
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        cache.write_bytes({"cut off": content[:middle], "empty": b"", "text": b"text", "one bit": flipped}[how])
    with pytest.raises(ValueError, match=r"cifar10.npz (is damaged|holds).*[Dd]elete it") as caught:
        load("cifar10", tmp_path)
    assert "\n" not in str(caught.value)
    cache.unlink()
    assert load("cifar10", tmp_path).checksum == expected
