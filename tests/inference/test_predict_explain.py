"""`ran predict` and `ran explain`: pictures of any kind in, classes and one figure a picture out."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from drawn import CLASSES, draw
from PIL import Image

from ran.cli import main
from ran.data import MEAN, STD, read_picture
from ran.data import load as load_data
from ran.files import ROOT
from ran.inference import explain, load, predict, save_weights
from ran.model import build
from ran.study import explanation

STRIP = Image.open(ROOT / "book" / "_static" / "cifar10_samples.png").convert("RGB")  # read, and closed
HORSE, DOG = 7, 5  # among the 16 test images of the strip


def photograph(number):
    return STRIP.crop((32 * number, 0, 32 * number + 32, 32))


@pytest.fixture
def pictures(tmp_path):
    photograph(HORSE).resize((320, 320), Image.Resampling.BICUBIC).save(tmp_path / "horse.png")
    tall = Image.new("RGB", (300, 700), (200, 210, 220))
    tall.paste(photograph(DOG).resize((300, 300), Image.Resampling.BICUBIC), (0, 200))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying, to be turned
    tall.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "dog.jpg", exif=exif, quality=95)
    (tmp_path / "text.png").write_text("no picture")
    return tmp_path


def test_predict_names_what_is_in_the_pictures(pictures, capsys):
    assert main(["predict", str(pictures / "horse.png"), str(pictures / "dog.jpg")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["horse", "dog"]
    assert all(line.count("%") == 5 for line in lines)


def test_predict_as_json(pictures, capsys):
    assert main(["predict", "--json", str(pictures / "horse.png")]) == 0
    said = json.loads(capsys.readouterr().out)
    (picture,) = said["pictures"]
    shares = [each["probability"] for each in picture["classes"]]
    assert picture["classes"][0]["class"] == "horse" and shares == sorted(shares, reverse=True) and len(shares) == 5
    assert 0.99 < sum(shares) <= 1.0001 and said["weights"].endswith("weights.safetensors")


def test_a_file_that_is_no_picture_is_named_and_does_not_stop_the_others(pictures, capsys):
    words = [str(pictures / name) for name in ("text.png", "horse.png", "none.png")]
    assert main(["predict", *words]) == 2
    said = capsys.readouterr()
    assert said.out.count("\n") == 1 and "horse" in said.out
    first, second = said.err.splitlines()
    assert "text.png' cannot be read as a picture" in first and "none.png' does not exist" in second
    assert main(["predict", "--json", words[0]]) == 2
    assert json.loads(capsys.readouterr().out)["pictures"] == []


@pytest.mark.parametrize("size", [(32, 32), (31, 5), (1, 1), (500, 20), (700, 900)])
def test_a_picture_may_have_any_size(size):
    answers = predict(load("attention-56"), Image.new("RGB", size, (120, 130, 140)), 3)
    assert len(answers) == 3


def test_a_test_image_is_seen_as_in_training():
    trained = load("attention-56")
    assert np.array_equal(trained.crop(photograph(0)).numpy(), np.asarray(photograph(0)))


def test_weights_of_an_image_folder_see_the_crop_of_its_test(tmp_path):
    """And keep their classes: `ran predict` with a network that was trained on one's own pictures."""
    data = load_data("folder", draw(tmp_path / "data", per_class=2), size=64)
    config = {"network": "attention-56-imagenet", "narrow": 16, "dataset": "folder", "size": 64, "test_size": None}
    network = build("attention-56-imagenet", 16, num_classes=3)
    save_weights(tmp_path, network, config, data.classes, data.mean, data.std)
    trained = load(tmp_path)
    picture = read_picture(data.test.root / data.test.names[0], data.mean)
    assert trained.size == 64 and trained.crop(picture).equal(data.test.head(1).images[0])
    assert {name for name, _ in predict(trained, picture)} == set(CLASSES)


def test_explain_draws_one_figure_a_picture(pictures, capsys):
    out = pictures / "out"
    assert main(["explain", *(str(pictures / name) for name in ("horse.png", "dog.jpg")), "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["dog-attention.png", "horse-attention.png"]
    assert capsys.readouterr().out.splitlines() == [str(out / "horse-attention.png"), str(out / "dog-attention.png")]
    for path in out.iterdir():
        figure = np.asarray(Image.open(path).convert("RGB"))
        assert min(figure.shape[:2]) > 900 and figure.std() > 40


def test_explain_beside_its_pictures_overwrites_none(pictures):
    (pictures / "other").mkdir()
    photograph(3).save(pictures / "other" / "horse.png")
    before = (pictures / "horse.png").read_bytes()
    words = [str(pictures / "horse.png"), str(pictures / "other" / "horse.png"), str(pictures / "text.png")]
    assert main(["explain", *words, "--out", str(pictures)]) == 2
    assert (pictures / "horse.png").read_bytes() == before
    assert {path.name for path in pictures.glob("*attention*")} == {"horse-attention.png", "horse-attention-2.png"}


def test_an_explanation_is_the_branches_of_every_module():
    trained = load("attention-56")
    found = explain(trained, photograph(HORSE))
    assert [module.name for module in found.modules] == [f"stage{n}_module1" for n in (1, 2, 3)]
    for module in found.modules:
        torch.testing.assert_close(module.attended, (1 + module.mask) * module.trunk)
        deviation = module.mask.flatten(1).std(1)
        assert module.varying(3) == deviation.argsort(descending=True)[:3].tolist()
    assert found.likeliest == predict(trained, photograph(HORSE))
    assert explain(trained, Image.new("RGB", (90, 200))).seen == (0, 55, 90, 145)


def test_a_network_in_training_is_not_moved():
    """It answers as in evaluation, and keeps its statistics and the mode of every module."""
    trained = load("attention-56")
    expected = predict(trained, photograph(HORSE))
    trained.network.train()
    trained.network.head.eval()  # as fine-tuning with frozen statistics
    before = {name: value.clone() for name, value in trained.network.state_dict().items()}
    modes = [module.training for module in trained.network.modules()]
    assert predict(trained, photograph(HORSE)) == expected == explain(trained, photograph(HORSE)).likeliest
    assert [module.training for module in trained.network.modules()] == modes
    assert all(value.equal(before[name]) for name, value in trained.network.state_dict().items())


def test_a_figure_shows_the_channels_that_it_names():
    """A row: a channel before, its mask, after, on one scale; the mean mask; the masks of the next channels."""
    found = explain(load("attention-56"), photograph(HORSE))
    grid = np.reshape(explanation(found).axes[-18:], (3, 6))
    for row, module in zip(grid, found.modules, strict=True):
        first, second, third = module.varying(3)
        top = max(abs(branch[first]).max() for branch in (module.trunk, module.attended))
        fine = torch.nn.functional.interpolate
        wanted = [module.trunk[first] / top, module.mask[first], module.attended[first] / top, module.mask.mean(0)]
        wanted += [module.mask[second], module.mask[third]]
        for axes, each in zip(row, wanted, strict=True):
            shown = np.asarray(axes.images[1].get_array())
            expected = fine(each[None, None], size=shown.shape, mode="bilinear", align_corners=False)[0, 0]
            np.testing.assert_allclose(shown, expected, atol=1e-5)
    plt.close("all")


def test_the_part_that_a_network_of_an_image_folder_sees(tmp_path):
    """Its margin is left out on every side: of a square of 256 pixels, the middle 224."""
    config = {"network": "attention-56-imagenet", "narrow": 16, "dataset": "folder", "size": 64, "test_size": 96}
    save_weights(
        tmp_path,
        build("attention-56-imagenet", 16, num_classes=3),
        config,
        "abc",
        torch.tensor(MEAN),
        torch.tensor(STD),
    )
    trained = load(tmp_path)
    assert trained.size == 96
    found = explain(trained, Image.new("RGB", (256, 256)))
    assert found.seen == pytest.approx((16, 16, 240, 240)) and found.pixels.shape == (96, 96, 3)
    for module in found.modules:
        torch.testing.assert_close(module.mean_mask, module.mask.mean(0))


def test_a_network_without_masks_is_not_explained(tmp_path, pictures, capsys):
    torch.save(build("resnet-164", 4).state_dict(), tmp_path / "plain.pt")
    words = ["explain", str(pictures / "horse.png"), "--weights", str(tmp_path / "plain.pt"), "--out", str(tmp_path)]
    assert main(words) == 2
    assert "resnet-164, channels / 4 has no attention modules" in capsys.readouterr().err
    assert not list(tmp_path.glob("*attention*"))


def test_figures_are_not_written_into_a_file(pictures, capsys):
    before = (pictures / "dog.jpg").read_bytes()
    assert main(["explain", str(pictures / "horse.png"), "--out", str(pictures / "dog.jpg")]) == 2
    assert "dog.jpg' is a file: expected a folder for the figures" in capsys.readouterr().err
    assert (pictures / "dog.jpg").read_bytes() == before


@pytest.mark.parametrize("gate", ["channel", "spatial"])
def test_every_gate_and_a_narrow_network_can_be_drawn(tmp_path, pictures, gate):
    network = build("attention-92", 16, gate=gate)
    config = {"network": "attention-92", "narrow": 16, "gate": gate, "dataset": "cifar10"}
    save_weights(tmp_path, network, config, [str(n) for n in range(10)], torch.zeros(3), torch.ones(3))
    assert main(["explain", str(pictures / "horse.png"), "--weights", str(tmp_path), "--out", str(tmp_path)]) == 0


@pytest.mark.parametrize("command", ["predict", "explain"])
def test_unknown_weights_are_named(command, pictures, capsys):
    out = ["--out", str(pictures)] if command == "explain" else []
    assert main([command, str(pictures / "horse.png"), "--weights", "attention-56-cifar", *out]) == 2
    assert "Did you mean 'attention-56-cifar10'?" in capsys.readouterr().err
