"""Trained weights are loaded by name, by a run's folder or by file, and what does not fit is refused in one line."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from recorded import a_record
from safetensors.torch import save_file

from ran import build
from ran.cli import main
from ran.data import MEAN, STD
from ran.files import ROOT, Damaged
from ran.inference import CARD, FILE, RUNS, load, save_weights
from ran.runs import Environment, RunConfig, publish, run
from ran.runs.publishing import LICENCES, card
from ran.sealing import sealed

PUBLISHED = RUNS / "attention-56-arl-cifar10-paper-160000it-seed0-e3b720cf"
SHORT = RUNS / "attention-56-arl-cifar10-short-8ep-seed0-643bf4fc"
IMAGES = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def answers(trained):
    with torch.no_grad():
        return trained.network(trained.normalise(IMAGES))


def refusal(what, **options):
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        load(what, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    environment = Environment(results=str(tmp_path_factory.mktemp("results")))
    return run(RunConfig(narrow=4, epochs=1, train_images=64), environment, report=lambda _: None)


@pytest.fixture
def sets(tmp_path):
    """A folder of published sets, and a function that puts a small network of a config into it."""

    def put(**changes):
        config = RunConfig(**{"dataset": "cifar10"} | changes)
        folder = tmp_path / config.id
        folder.mkdir()
        network = config.build(10)
        save_weights(folder, network, asdict(config), [f"c{n}" for n in range(10)], torch.zeros(3), torch.ones(3))
        epochs = [{}] * (config.recipe.epochs or 205)
        (folder / "record.json").write_text(json.dumps(sealed({"config": asdict(config), "epochs": epochs})))
        (folder / CARD).write_text("# a card")
        return folder

    return tmp_path, put


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("attention-56", PUBLISHED),
        ("attention-56-cifar10", PUBLISHED),
        ("attention-56-cifar10/", PUBLISHED),
        ("./attention-56-cifar10", PUBLISHED),
        (Path("attention-56-cifar10"), PUBLISHED),
        ("attention-56-cifar10-paper-160000it", PUBLISHED),
        ("attention-56-cifar10-short-8ep", SHORT),
        (PUBLISHED.name, PUBLISHED),
        (str(SHORT), SHORT),
    ],
)
def test_the_published_networks_are_loaded_by_each_of_their_names(name, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trained = load(name)
    assert trained.source == folder / FILE and trained.size == 32 and not trained.network.training
    assert trained.classes[0] == "airplane" and not trained.assumed


def test_a_set_whose_record_was_edited_has_no_name(sets):
    runs, put = sets
    record = put(schedule="short", epochs=8) / "record.json"
    assert load("attention-56", runs).source.parent == record.parent
    record.write_text(record.read_text().replace("short", "paper"))
    with pytest.raises(ValueError, match="no trained weights of attention-56 are published"):
        load("attention-56", runs)


def test_it_names_most_of_the_photographs_that_travel_with_the_repository():
    """Sixteen test images of CIFAR-10; their error in the record is 5.4%."""

    strip = np.array(Image.open(ROOT / "book" / "_static" / "cifar10_samples.png"))
    images = torch.from_numpy(strip).unflatten(1, (16, 32)).permute(1, 0, 2, 3)
    trained = load("attention-56-cifar10")
    with torch.no_grad():
        sure = trained.network(trained.normalise(images)).softmax(1).max(1).values
    assert (sure > 0.5).sum() >= 15  # with wrong weights or normalisation, no answer is sure


def test_a_further_folder_is_a_further_set_and_the_longest_training_is_meant(sets):
    runs, put = sets
    short, long = put(schedule="short", epochs=8), put(schedule="paper")
    assert load("attention-56-cifar10", runs).source.parent == long
    assert load("attention-56-cifar10-short-8ep", runs).source.parent == short
    assert load("attention-56-cifar10-paper-160000it", runs).source.parent == long
    assert refusal("attention-92", runs=runs).endswith("are published; published: attention-56-cifar10.")  # named once


def test_variants_have_names_of_their_own(sets):
    runs, put = sets
    naive, halved = put(attention="nal"), put(narrow=2)
    assert load("attention-56-nal-cifar10", runs).source.parent == naive
    assert load("attention-56-narrow2-cifar10", runs).source.parent == halved
    assert "no trained weights of attention-56 are published" in refusal("attention-56", runs=runs)


@pytest.mark.parametrize(
    "shape", [{"gate": "channel"}, {"gate": "spatial"}, {"mask": "local-convolutions"}, {"attention": "nal"}]
)
def test_a_loaded_network_has_the_shape_that_was_trained(sets, shape):
    """Also where tensors of another shape would fit."""
    _, put = sets
    found = load(put(narrow=4, **shape)).network.config
    expected = RunConfig(narrow=4, **shape).build(10).config
    assert found == expected and all(getattr(found, field) == value for field, value in shape.items())


def test_a_network_of_an_image_folder_is_loaded_by_the_network_alone(sets):
    runs, put = sets
    larger = put(network="attention-56-imagenet", narrow=1, dataset="folder", test_size=320, schedule="modern-imagenet")
    for name in ("attention-56-imagenet", "attention-56-imagenet-folder-224to320"):
        assert load(name, runs).source.parent == larger and load(name, runs).size == 320


def test_a_network_that_is_published_for_several_data_sets_needs_one(sets):
    runs, put = sets
    put(), put(dataset="cifar100")
    assert "say which of attention-56-cifar10, attention-56-cifar100" in refusal("attention-56", runs=runs)
    assert len(load("attention-56-cifar100", runs).classes) == 10


def test_what_is_written_as_a_path_and_exists_is_no_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "attention-56").mkdir()
    for path in ("./attention-56", "attention-56/", Path("attention-56"), tmp_path / "attention-56"):
        assert "is not the folder of a finished run" in refusal(path)
    assert load("attention-56").source.parent == PUBLISHED


@pytest.mark.parametrize("hidden", [{"train_images": 64}, {"accumulate": 2}])
def test_a_run_on_a_part_of_the_images_takes_no_name_from_the_others(sets, hidden):
    """However long it was trained; nor do its batches in parts, which change what it is."""
    runs, put = sets
    whole, part = put(narrow=16, epochs=5), put(narrow=16, epochs=500, **hidden)
    for name in ("attention-56-narrow16-cifar10", "attention-56-narrow16-cifar10-smoke-5ep"):
        assert load(name, runs).source.parent == whole
    assert "unknown published weights" in refusal("attention-56-narrow16-cifar10-smoke-500ep", runs=runs)
    assert load(part.name, runs).source.parent == part
    config = RunConfig(narrow=16, epochs=500, dataset="cifar10", **hidden)
    assert f'load("{config.id}")' in card(a_record(config), "x", runs)


def test_of_equal_sets_the_lowest_seed_is_loaded_and_every_card_loads_its_own(sets):
    runs, put = sets
    configs = [RunConfig(dataset="cifar10", narrow=16, seed=seed) for seed in (10, 2, 0)]
    name, loaded = "attention-56-narrow16-cifar10", []
    for config in configs:
        alone = card(a_record(config), "x", runs)  # as it is written, whatever is published after it
        loaded.append(alone.split('load("')[1].split('"')[0])
        put(narrow=16, seed=config.seed)
        assert load(name, runs).source.parent.name == config.id
    assert loaded == [config.id for config in configs]
    assert [load(each, runs).source.parent.name for each in loaded] == loaded


def test_a_card_says_the_name_where_no_other_set_has_it(sets):
    runs, put = sets
    config = RunConfig(dataset="cifar10", schedule="short", narrow=16)
    alone = card(a_record(config), "x", runs)
    assert 'load("attention-56-narrow16-cifar10-short-30ep")' in alone
    put(schedule="short", epochs=30, narrow=16)
    beside = card(a_record(config), "x", runs)
    assert f'load("{config.id}")' in beside and f"--weights {config.id}`" in beside


@pytest.mark.parametrize("folder", [PUBLISHED, SHORT])
def test_the_cards_that_travel_with_the_repository_load_their_own(folder):
    record = json.loads((folder / "record.json").read_text())
    assert card(record, LICENCES["cifar10"]) == (folder / CARD).read_text()
    assert load((folder / CARD).read_text().split('load("')[1].split('"')[0]).source.parent == folder


def test_a_name_that_two_runs_have_equally_is_refused(sets):
    runs, put = sets
    both = sorted(put(schedule="short", narrow=16, **epochs).name for epochs in ({}, {"epochs": 30}))
    assert f"runs of equal length: say which of {', '.join(both)}." in refusal(
        "attention-56-narrow16-cifar10", runs=runs
    )
    assert load(both[1], runs).source.parent.name == both[1]


def test_weights_without_a_card_are_not_published(sets):
    runs, put = sets
    (put() / CARD).unlink()
    assert "unknown published weights" in refusal("attention-56-cifar10", runs=runs)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("attention-65-cifar10", "Did you mean 'attention-56-cifar10'?"),
        ("attention-92", "no trained weights of attention-92 are published; published: attention-56-cifar10."),
        ("no/such/weights.pt", "'no/such/weights.pt' does not exist: expected"),
        ("weights.safetensors", "'weights.safetensors' does not exist: expected"),
        ("attention-56-nal-cifar10-short-8ep-seed0-8ec4d949", "holds a record and no weights, as in a fresh clone"),
        (str(ROOT / "book"), "is not the folder of a finished run: expected weights.safetensors in it"),
        (str(ROOT / "README.md"), "holds no weights: expected a run's folder or a file .safetensors, .pt, .pth"),
    ],
)
def test_what_is_no_trained_network_is_named(name, said):
    assert said in refusal(name)


def test_a_finished_run_and_its_file_are_the_same_network(finished):
    for path in (finished.folder, str(finished.folder), finished.folder / FILE):
        assert answers(load(path)).equal(answers(load(finished.folder)))
    assert load(finished.folder).size == 32 and load(finished.folder).classes == finished.data.classes


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("name", ["mine.pt", "mine.pth", "mine.safetensors"])
def test_prefixes_are_taken_off(finished, tmp_path, prefix, name):
    state = {prefix + key: value for key, value in finished.network.state_dict().items()}
    save_file(state, tmp_path / name) if name.endswith("safetensors") else torch.save(state, tmp_path / name)
    loaded = load(tmp_path / name)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert loaded.network(images).equal(finished.network(images))
    assert "holds tensors only" in loaded.assumed and len(loaded.classes) == 10


def test_weights_that_were_saved_through_data_parallel_are_whole(finished, tmp_path):
    wrapped = torch.nn.DataParallel(finished.network)
    about = load(finished.folder)
    save_weights(tmp_path, wrapped, about.config, about.classes, about.mean, about.std)
    assert answers(load(tmp_path)).equal(answers(about))


def test_a_state_dict_names_its_own_network(tmp_path):
    network = build("attention-92", 4, num_classes=7, mask="local-convolutions").eval()
    torch.save({"epoch": 3, "state_dict": network.state_dict()}, tmp_path / "mine.pt")
    loaded, images = load(tmp_path / "mine.pt"), torch.randn(1, 3, 32, 32)
    assert len(loaded.classes) == 7 and loaded.network(images).equal(network(images))


def test_a_checkpoint_of_the_usual_kind_is_read(finished, tmp_path):
    """As in PyTorch's tutorial, and without the counters of batch norms, which decide nothing."""
    state = without(finished.network.state_dict(), "num_batches_tracked")
    torch.save({"epoch": 1, "model_state_dict": state, "loss": 0.1}, tmp_path / "mine.pt")
    assert answers(load(tmp_path / "mine.pt")).shape == (2, 10)
    save_file(state, tmp_path / "mine.safetensors")
    found = load(tmp_path / "mine.safetensors").network.state_dict()
    assert all(found[name].equal(value) for name, value in state.items())


def without(state, part):
    return {key: value for key, value in state.items() if part not in key}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: without(state, "head.3.weight"), "missing: head.3.weight"),
        (lambda state: without(state, "stage3_module1.mask"), "and 37 more"),
        (lambda state: state | {"fc.weight": torch.zeros(3)}, "not part of it: fc.weight"),
        (
            lambda state: state | {"head.3.weight": torch.zeros(10, 5)},
            "head.3.weight is (10, 5) and should be (10, 64)",
        ),
        (
            lambda state: {key: value * float("nan") for key, value in state.items()},
            "with NaN or infinite values: stem.weight, ",
        ),
        (lambda state: state | {"head.3.bias": torch.zeros(10).double() + 1e300}, "infinite values: head.3.bias."),
        (
            lambda state: {key: value.to(torch.int8) for key, value in state.items()},
            "not of floating-point numbers: stem.weight is torch.int8, ",
        ),
        (lambda state: state | {"head.3.bias": torch.zeros(10) * 1j}, "head.3.bias is torch.complex64"),
        (lambda state: state | {"stem.weight": torch.zeros(0, 3, 3, 3)}, "stem.weight is (0, 3, 3, 3) and should be"),
    ],
)
def test_tensors_that_do_not_fit_are_named(finished, tmp_path, change, said):
    torch.save(change(finished.network.state_dict()), tmp_path / "other.pt")
    message = refusal(tmp_path / "other.pt")
    assert said in message and "does not fit attention-56" in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (5, torch.zeros(3)),
        pytest.param(
            "head.3.bias", torch.zeros(10).to_sparse(), marks=pytest.mark.filterwarnings("ignore:Validating sparse")
        ),
        ("head.3.bias", torch.zeros(10, device="meta")),
    ],
)
def test_what_is_no_dense_tensor_by_name_is_named(finished, tmp_path, name, value):
    torch.save(finished.network.state_dict() | {name: value}, tmp_path / "odd.pt")
    assert f"expected dense tensors with their numbers, by names that are text, and {name!r}" in refusal(
        tmp_path / "odd.pt"
    )


def test_half_precision_is_read(finished, tmp_path):
    torch.save({name: value.bfloat16() for name, value in finished.network.state_dict().items()}, tmp_path / "half.pt")
    assert answers(load(tmp_path / "half.pt")).dtype == torch.float32


def test_tensors_that_cannot_be_copied_are_named(finished, tmp_path):
    """A counter of bits that are no numbers: its shape is right."""
    name = next(name for name in finished.network.state_dict() if name.endswith("num_batches_tracked"))
    bits = torch.zeros((), dtype=torch.uint8).view(torch.bits8)
    torch.save(finished.network.state_dict() | {name: bits}, tmp_path / "bits.pt")
    message = refusal(tmp_path / "bits.pt")
    assert "bits.pt cannot be loaded into attention-56" in message and name in message


class Shell:
    """Unpickling it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_nothing_but_tensors_is_unpickled(tmp_path):
    torch.save({"stem.weight": Shell(tmp_path / "written")}, tmp_path / "evil.pt")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    (tmp_path / "text.pt").write_text("text")
    torch.save([1, 2], tmp_path / "list.pt")
    for name in ("evil.pt", "module.pt", "text.pt", "list.pt"):
        assert f"{name} holds no plain state dict" in refusal(tmp_path / name)
    assert not (tmp_path / "written").exists()


def test_damaged_weights_by_another_name_are_not_believed(finished, tmp_path):
    content = bytearray((finished.folder / FILE).read_bytes())
    content[-1] ^= 1
    (tmp_path / "mine.safetensors").write_bytes(content)
    assert "is damaged (its checksum is wrong)" in refusal(tmp_path / "mine.safetensors")


def test_a_published_run_is_loaded_by_its_name(finished, tmp_path):
    card = publish(finished.folder, runs=tmp_path)
    text = card.read_text()
    assert card == tmp_path / finished.record["id"] / CARD
    assert f"{finished.record['test_error']:.2f}% after 1 epoch" in text and "seed 0" in text and "MIT" in text
    name = text.split('load("')[1].split('"')[0]
    assert answers(load(name, tmp_path)).equal(answers(load(finished.folder)))
    assert publish(finished.folder, runs=tmp_path).read_text() == text  # again


def test_a_run_may_be_published_from_within_and_through_a_link(finished, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(finished.folder)
    monkeypatch.chdir(finished.folder)
    for number, run_folder in enumerate((".", tmp_path / "link")):
        card = publish(run_folder, runs=tmp_path / str(number))
        assert card == tmp_path / str(number) / finished.record["id"] / CARD and card.with_name(FILE).is_file()


def test_ran_publish_says_what_it_wrote(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ran.cli.publish", lambda run, licence: publish(run, licence, tmp_path))
    assert main(["publish", str(finished.folder), "--data-licence", "drawn by\nme"]) == 0
    card = tmp_path / finished.record["id"] / CARD
    assert (
        capsys.readouterr().out.splitlines()[0] == str(card) and "- Training images: drawn by me\n" in card.read_text()
    )
    assert main(["publish", str(tmp_path)]) == 2
    assert "is not the folder of a finished run" in capsys.readouterr().err


def test_another_training_of_a_run_is_not_published_over_the_first(finished, tmp_path):

    publish(finished.folder, runs=tmp_path)
    again = tmp_path / "again" / finished.record["id"]
    shutil.copytree(finished.folder, again)
    record = json.loads((again / "record.json").read_text()) | {"date": "2001-01-01"}
    (again / "record.json").write_text(json.dumps(sealed(record)))
    before = {path.name: path.read_bytes() for path in (tmp_path / finished.record["id"]).iterdir()}
    with pytest.raises(ValueError, match="is the record of another training of this run: it is kept"):
        publish(again, runs=tmp_path)
    assert before == {path.name: path.read_bytes() for path in (tmp_path / finished.record["id"]).iterdir()}


def test_what_is_no_finished_run_is_not_published(finished, tmp_path):
    with pytest.raises(ValueError, match="is not the folder of a finished run: expected record.json"):
        publish(tmp_path, runs=tmp_path)
    damaged = tmp_path / "run" / finished.record["id"]
    shutil.copytree(finished.folder, damaged)
    (damaged / FILE).write_bytes((damaged / FILE).read_bytes()[:-1])
    with pytest.raises(Damaged):
        publish(damaged, runs=tmp_path)
    assert not (tmp_path / finished.record["id"]).exists()


def test_a_card_says_what_was_trained_and_on_what(tmp_path):
    """Of a noisy run on image folders of two sizes, whose last epoch was not its best."""
    config = RunConfig(
        network="attention-56-imagenet", dataset="folder", size=64, test_size=96, noise=0.25, schedule="short", epochs=2
    )
    record = a_record(config, 40.0, test_top5_error=3.0)
    record["epochs"][0]["test_error"] = 30.0
    record["dataset"]["classes"] = list("abcdef")
    text = card(record, "drawn by me")
    for said in ("25% of the training labels changed", "40.00% after 2 epochs, top-5 error 3.00%", "96×96 pixels"):
        assert said in text
    assert "30.00" not in text and "64×64" not in text
    assert "labels changed" not in card(a_record(RunConfig(dataset="cifar10", schedule="short", epochs=2)), "x")
    record["dataset"]["classes"] = record["dataset"]["classes"][:5]  # of which five answers are always all
    assert "40.00% after 2 epochs; one run" in card(record, "drawn by me")


def test_weights_of_another_run_are_not_published(finished, tmp_path):
    """A record beside weights that it does not belong to: the card would promise what they do not hold."""
    folder = tmp_path / finished.record["id"]
    shutil.copytree(finished.folder, folder)
    config = RunConfig(narrow=4, epochs=1, train_images=64, seed=1)
    save_weights(folder, finished.network, asdict(config), finished.data.classes, torch.zeros(3), torch.ones(3))
    with pytest.raises(ValueError, match=f"holds the weights of {config.id}, not those of {finished.record['id']}"):
        publish(folder, runs=tmp_path / "published")
    assert not (tmp_path / "published").exists()


def test_what_a_state_dict_does_not_say_is_assumed_rightly(tmp_path):
    """Mean and deviation of CIFAR-10's pixels for CIFAR networks, those of ImageNet for the others."""
    torch.save(build("attention-56", 8).state_dict(), tmp_path / "cifar.pt")
    torch.save(build("attention-56-imagenet", 16, num_classes=5).state_dict(), tmp_path / "imagenet.pt")
    cifar, imagenet, published = load(tmp_path / "cifar.pt"), load(tmp_path / "imagenet.pt"), load(PUBLISHED)
    torch.testing.assert_close(cifar.mean, published.mean, atol=2e-4, rtol=0)
    torch.testing.assert_close(cifar.std, published.std, atol=2e-4, rtol=0)
    assert (imagenet.mean.tolist(), imagenet.std.tolist()) == (torch.tensor(MEAN).tolist(), torch.tensor(STD).tolist())
    assert (cifar.size, imagenet.size) == (32, 224) and "ImageNet's mean" in imagenet.assumed


def hub(entry, **options):
    return torch.hub.load(str(ROOT), entry, source="local", **options)


def test_torch_hub_gives_networks_with_and_without_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = torch.randn(1, 3, 32, 32)
    trained = hub("attention_56", pretrained=True)
    assert not trained.training and trained(images).equal(load("attention-56-cifar10").network(images))
    assert hub("attention_92", num_classes=7, narrow=4).config.num_classes == 7
    assert hub("resnet_164", pretrained=False, narrow=4).training


def test_torch_hub_refuses_what_is_not_published():
    with pytest.raises(ValueError, match="no trained weights of attention-92 are published"):
        hub("attention_92", pretrained=True)
    with pytest.raises(ValueError, match="num_classes: options go with pretrained=False"):
        hub("attention_56", pretrained=True, num_classes=7)
    with pytest.raises(ValueError, match="holds weights of attention-56, not of attention-92"):
        hub("attention_92", pretrained="attention-56-cifar10")
