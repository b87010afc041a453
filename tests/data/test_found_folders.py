"""Image folders as they are found: every file is read right, or said to be left out, or refused by its name."""

import errno
import json
import os
import shutil

import numpy as np
import pytest
import torch
from drawn import CLASSES, draw
from PIL import Image

from ran.cli import main
from ran.data import MEAN, load
from ran.data.folder_index import INDEX
from ran.runs import Environment, RunConfig, run
from ran.sealing import read_sealed

SMALL = {"network": "attention-56-imagenet", "dataset": "folder", "size": 64, "narrow": 8, "epochs": 1}


@pytest.fixture
def root(tmp_path):
    return draw(tmp_path / "images", 4)


def found(root):
    data = load("folder", root, size=64)
    first, second = data.report
    assert "\n" not in first + second and first.startswith(f"found in {root}: ") and second.startswith("left out: ")
    return data, first, second


def test_a_clean_folder_leaves_nothing_out(root):
    data, first, second = found(root)
    assert first.endswith("12 training and 12 test images of 3 classes (dark, light, striped)")
    assert second == "left out: nothing" and data.left_out == ()


def test_hidden_files_and_folders_are_no_images_and_no_classes(root):
    before = load("folder", root, size=64)
    for part in ("train", "val"):
        shutil.copytree(root / part / "dark", root / part / ".ipynb_checkpoints")
        shutil.copytree(root / part / "dark", root / part / "light" / ".ipynb_checkpoints")
        (root / part / "light" / "._00.jpg").write_bytes(b"\x00\x05\x16\x07" * 20)
        (root / part / ".DS_Store").write_bytes(b"x")
    data, _, second = found(root)
    assert data.classes == CLASSES and data.checksum == before.checksum and data.skipped == ()
    for name in ("train/.ipynb_checkpoints", "train/light/.ipynb_checkpoints", "train/.DS_Store"):
        assert name in second
    assert second.count("4 hidden: ") == 2


def test_files_that_are_not_read_are_counted_by_their_kind(root):
    for number in range(5):
        Image.new("RGB", (70, 70)).save(root / "train" / "dark" / f"{number}.gif")
    (root / "train" / "light" / "notes.TXT").write_text("notes")
    (root / "train" / "README").write_text("notes")
    data, _, second = found(root)
    assert len(data.train) == 12
    assert "5 not read (.gif): train/dark/0.gif, train/dark/1.gif, train/dark/2.gif, …" in second
    assert "1 not read (.txt): train/light/notes.TXT" in second and "1 in no class folder: train/README" in second


def ramp(values):
    return np.tile(np.linspace(0, 1, 96), (96, 1)) * values


PICTURES = {  # how it is saved, and the (3, 96, 96) that it must be read as, ± 1
    "16 bits": lambda path: Image.fromarray(ramp(65535).astype(np.uint16)).save(path.with_suffix(".png")),
    "8 bits": lambda path: Image.fromarray(ramp(255).astype(np.uint8)).save(path.with_suffix(".png")),
    "turned by EXIF": lambda path: turned(path.with_suffix(".png")),
    "16 bits in a TIFF": lambda path: Image.fromarray(ramp(65535).astype(np.uint16)).save(path.with_suffix(".tif")),
    "hidden colours": lambda path: hidden(path.with_suffix(".png")),
}


def turned(path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° to the right
    upright = Image.fromarray(ramp(255).astype(np.uint8))
    upright.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)


def hidden(path):
    """Opaque on the left, on the right transparent over colours that nobody sees."""
    values = np.zeros((96, 96, 4), np.uint8)
    values[..., :3] = ramp(255).astype(np.uint8)[..., None]
    values[:, 48:] = (255, 0, 0, 0)
    values[:, :48, 3] = 255
    Image.fromarray(values).save(path)


@pytest.mark.parametrize("kind", PICTURES)
def test_pictures_are_read_as_they_look(root, kind):
    PICTURES[kind](root / "train" / "dark" / "a")
    data = load("folder", root, size=96)
    (number,) = (n for n, name in enumerate(data.train.names) if name.startswith("train/dark/a."))
    wanted = torch.from_numpy(ramp(255)).expand(3, 96, 96).clone()
    if kind == "hidden colours":
        wanted[:, :, 48:] = 255 * torch.tensor(MEAN)[:, None, None]
    assert (data.train.read(number).float() - wanted).abs().max() <= 1


def refused(root, message):
    with pytest.raises(ValueError, match=message) as caught:
        load("folder", root, size=64)
    assert "\n" not in str(caught.value)


def test_a_name_that_no_record_can_hold_is_refused(root):
    bad = os.fsencode(root) + b"/train/dark/caf\xe9.png"
    shutil.copy(root / "train" / "dark" / "01.png", bad)
    refused(root, r"caf\\udce9.png.* is no UTF-8|no UTF-8")
    os.rename(bad, os.fsencode(root) + b"/train/dark/a\nb.png")
    refused(root, r"a\\nb.png.* control character")
    os.remove(os.fsencode(root) + b"/train/dark/a\nb.png")
    for part in (b"train", b"val"):
        os.rename(os.fsencode(root) + b"/" + part + b"/dark", os.fsencode(root) + b"/" + part + b"/caf\xe9")
    refused(root, r"caf\\udce9' in 'train' has a name that is no UTF-8, or not in this locale")


def test_one_class_and_an_empty_class_are_named(root):
    for each in (root / "val" / "light").iterdir():
        each.unlink()
    (root / "val" / "light" / "x.gif").write_bytes(b"GIF")
    refused(root, r"val/light holds no picture \(1 other files\): expected \.jpg")
    for part in ("train", "val"):
        for name in ("light", "striped"):
            shutil.rmtree(root / part / name)
    refused(root, "train holds only the class folder 'dark': a network learns to tell at least two")
    shutil.rmtree(root / "train" / "dark")
    refused(root, "train holds no class folder")


def test_a_class_none_of_whose_images_can_be_decoded_is_named(tmp_path):
    root = draw(tmp_path / "images", 4)
    for number in range(200):
        shutil.copy(root / "train" / "dark" / "00.jpg", root / "train" / "dark" / f"x{number}.jpg")
    for each in (root / "train" / "light").iterdir():
        each.unlink()
    (root / "train" / "light" / "a.png").write_bytes(b"no image")
    refused(root, "no image of the class light in .*train can be decoded: train/light/a.png")


@pytest.mark.parametrize("how", ["an entry away", "another digest", "no JSON", "another form"])
def test_an_edited_index_is_not_believed(root, how):
    before = load("folder", root, size=64)
    path = root / INDEX
    index = json.loads(path.read_text())
    if how == "an entry away":
        index["files"]["train/dark/00.jpg"] = {"state": index["files"]["train/dark/00.jpg"]["state"], "corrupt": "x"}
    elif how == "another digest":
        index["files"]["train/dark/00.jpg"]["digest"] = "0" * 32
    path.write_text({"no JSON": "{", "another form": "[]"}.get(how) or json.dumps(index))
    after = load("folder", root, size=64)
    assert after.checksum == before.checksum and len(after.train) == 12
    assert read_sealed(path)["files"].keys() == index["files"].keys()  # made anew


def test_suffixes_in_capitals_and_linked_folders_are_read(root, tmp_path):
    """Cameras write .JPG, and large sets lie on other disks: both are pictures like the others."""
    (root / "train" / "dark" / "00.jpg").rename(root / "train" / "dark" / "00.JPG")
    (root / "train" / "dark" / "02.jpg").rename(root / "train" / "dark" / "02.jpeg")
    elsewhere = tmp_path / "elsewhere"
    (root / "train" / "light").rename(elsewhere)
    (root / "train" / "light").symlink_to(elsewhere, target_is_directory=True)
    (root / "train" / "striped" / "deeper").symlink_to(elsewhere, target_is_directory=True)
    data = load("folder", root, size=64)
    assert data.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 8 and data.left_out == ()


def test_a_link_to_a_folder_above_ends(root):
    (root / "train" / "dark" / "again").symlink_to(root / "train" / "dark", target_is_directory=True)
    assert len(load("folder", root, size=64).train) == 12


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "Permission denied"), MemoryError()])
def test_a_file_that_cannot_be_read_now_is_read_later(root, monkeypatch, error):
    """It is no corrupt file: nothing is kept of it, and its image is there once it can be read."""
    victim = root / "train" / "dark" / "00.jpg"
    opened = Image.open

    def refusing(file, **options):
        if file.name == str(victim):
            raise error
        return opened(file, **options)

    with monkeypatch.context() as patch:
        patch.setattr("PIL.Image.open", refusing)
        with pytest.raises(OSError, match="train/dark/00.jpg' cannot be read"):
            load("folder", root, size=64)
        assert not (root / INDEX).exists()
    assert len(load("folder", root, size=64).train) == 12


def test_a_folder_that_cannot_be_read_is_named(root, monkeypatch):
    (root / "train" / "dark" / "deeper").mkdir()
    scan = os.scandir

    def refusing(path):
        if str(path).endswith("deeper"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr("os.scandir", refusing)
    with pytest.raises(PermissionError, match="train/dark/deeper' cannot be read .Permission denied.: see to that"):
        load("folder", root, size=64)


def test_links_that_lead_nowhere_and_pipes_are_left_out(root):
    dark = root / "train" / "dark"
    (dark / "gone.png").symlink_to(root / "nowhere.png")
    (dark / "itself.png").symlink_to(dark / "itself.png")
    (root / "train" / "itself").symlink_to(root / "train" / "itself")
    os.mkfifo(dark / "pipe.png")
    data, _, second = found(root)
    assert len(data.train) == 12 and data.skipped == ()
    assert "2 not read (broken link): train/dark/gone.png, train/dark/itself.png" in second
    assert (
        "1 not read (no regular file): train/dark/pipe.png" in second and "1 in no class folder: train/itself" in second
    )


def test_folders_beside_the_two_parts_are_said_to_be_unread(root):
    shutil.copytree(root / "val", root / "test")
    (root / ".git").mkdir()
    assert found(root)[2] == "left out: 1 beside train/ and val/, which is the test set: test"


def test_training_images_in_the_test_part_are_told(root):
    shutil.copy(root / "train" / "dark" / "00.jpg", root / "val" / "dark" / "copy.jpg")
    assert "1 of the test images are training images, too, byte for byte" in found(root)[1]


def test_a_run_says_what_it_found_and_its_record_keeps_it(root, tmp_path, capsys):
    (root / "train" / "dark" / "x.gif").write_bytes(b"GIF")
    for part in ("train", "val"):
        (root / part / "light").rename(root / part / "$大 <b>")
    words = [f"--{name}={value}" for name, value in {**SMALL, "data-root": root, "workers": 0}.items()]
    assert main(["run", *words, f"--results={tmp_path}/results"]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("found in ") and "$大 <b>" in first
    assert second == "left out: 1 not read (.gif): train/dark/x.gif"
    done = run(RunConfig(**SMALL), Environment(str(root), f"{tmp_path}/results", workers=0), report=lambda _: None)
    assert done.record["dataset"]["left_out"] == ["1 not read (.gif): train/dark/x.gif"]
    assert done.record["dataset"]["classes"] == ["$大 <b>", "dark", "striped"]


def test_a_folder_is_checked_without_training(root, capsys):
    (root / "train" / "dark" / "x.gif").write_bytes(b"GIF")
    assert main(["data", "folder", str(root)]) == 0
    assert capsys.readouterr().out.splitlines() == list(load("folder", root).report)
    for words in (
        ["folder"],
        ["cifar10", str(root)],
        ["shapes"],
        ["folders", str(root)],
        ["folder", str(root / "val")],
    ):
        assert main(["data", *words]) == 2
        assert capsys.readouterr().err.count("\n") == 1
