"""Images held out of the training set: disjoint, balanced, the same for all, and never taken for the test set."""

import json
from dataclasses import asdict

import pytest
import torch

from ran.cli import main
from ran.data import DataSet, ImageSet, hold_out, load
from ran.runs import Environment, RunConfig, run
from ran.study import OWN, TABLES, configs, of_cell, summary, table

TINY = RunConfig(schedule="best", epochs=1, train_images=64, held_out=200, narrow=4)


def pixels(part):
    return {image.numpy().tobytes() for image in part.images}


def test_held_out_images_are_balanced_disjoint_and_not_of_the_test_set():
    whole = load("shapes")
    data = hold_out(whole, 500)
    assert len(data.train) == 3500 and len(data.test) == 500
    assert torch.bincount(data.test.labels).tolist() == [50] * 10
    train, test = pixels(data.train), pixels(data.test)
    assert not train & test and train | test == pixels(whole.train)
    assert not test & pixels(whole.test)
    assert data.test.masks.shape == (500, 32, 32) and data.checksum != whole.checksum
    numbers = {
        image.numpy().tobytes(): (label, mask) for image, label, mask in zip(*vars(whole.train).values(), strict=True)
    }
    for part in (data.train, data.test):
        for image, label, mask in zip(part.images[::50], part.labels[::50], part.masks[::50], strict=True):
            own = numbers[image.numpy().tobytes()]
            assert own[0] == label and own[1].equal(mask)


def test_they_are_a_mixture_and_the_same_each_time():
    whole = load("shapes")
    torch.manual_seed(5)
    first = hold_out(whole, 500).test.images
    torch.manual_seed(6)
    assert first.equal(hold_out(whole, 500).test.images)
    assert not first.equal(whole.train.images[:500]) and not first.equal(whole.train.images[-500:])


@pytest.mark.parametrize("count", [15, 40, 60])
def test_numbers_that_do_not_divide_or_leave_nothing_are_refused(count):
    labels = torch.arange(40) % 10  # four a class
    part = ImageSet(torch.zeros(40, 2, 2, 3, dtype=torch.uint8), labels)
    data = DataSet("x", tuple("abcdefghij"), part, part)
    assert len(hold_out(data, 30).train) == 10
    with pytest.raises(ValueError, match=f"a multiple of the 10 classes of x and less than 40, .* not {count}"):
        hold_out(data, count)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    lines = []
    environment = Environment(results=str(tmp_path_factory.mktemp("results")))
    return run(TINY, environment, report=lines.append), lines


def test_a_run_is_measured_on_them_and_says_so(finished, capsys):
    done, lines = finished
    said = "200 training images that were held out; no test image was used"
    assert done.record["measured_on"] == said and any(said in line for line in lines)
    assert done.record["dataset"]["train_images"] == 64 and done.record["dataset"]["test_images"] == 200
    confusion = torch.tensor(done.record["confusion"])
    assert confusion.sum(1).tolist() == [20] * 10
    assert "heldout200" in done.folder.name and "-p held_out 200" in done.record["command"]
    answers = dict(summary(done.record).to_numpy().tolist())
    assert "held-out error" in answers and "test error" not in answers
    assert answers["data set"] == "shapes, 64 training and 200 held-out images"
    words = {**asdict(TINY), "results": done.folder.parent}
    words = [f"--{name.replace('_', '-')}={value}" for name, value in words.items() if value is not None]
    assert main(["run", *words]) == 0
    assert f"held-out error {done.record['test_error']:.2f}%" in capsys.readouterr().out


@pytest.mark.parametrize("name", [*TABLES, *OWN])
@pytest.mark.parametrize("profile", ["short", "smoke"])
def test_they_stand_in_no_table(name, profile):
    """A record of the very cell but for the images it was measured on."""

    def record(**options):
        (config,) = configs([cell], profile, **options)
        return {"id": config.id, "config": asdict(config), "schedule": asdict(config.recipe), "epochs": [{}]}

    for cell in table(name):
        taken = record()
        (group,) = of_cell(cell, [taken, record(held_out=500)], profile)
        assert group == [taken]


def test_a_table_can_be_tuned_without_the_test_set(tmp_path, monkeypatch, capsys):
    """Every cell of the recipe, with images held out: one command, and that is what each process is asked for."""
    monkeypatch.setattr("ran.study.queue.START", "import sys; print(sys.stdin.readline()); sys.exit(1)")
    assert main(["run", "--table", "recipe", "--held-out", "5000", "--results", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    asked = [json.loads(line.split(" ", 1)[1]) for line in said.splitlines() if "held_out" in line]
    assert {each["parameters"]["held_out"] for each in asked} == {5000} and len(asked) == len(table("recipe"))
    assert "0 of 11 cells are recorded" in said


def test_label_noise_spares_them(monkeypatch, tmp_path):
    environment, config = Environment(results=str(tmp_path)), RunConfig(held_out=500, noise=0.5, epochs=1, narrow=4)
    seen = {}

    def stop(network, data, *_, **__):
        seen["data"] = data
        raise InterruptedError

    monkeypatch.setattr("ran.runs.runner.fit", stop)
    with pytest.raises(InterruptedError):
        run(config, environment, report=lambda _: None)
    clean = environment.load(config)
    assert seen["data"].test.labels.equal(clean.test.labels)
    assert 0.4 < (seen["data"].train.labels != clean.train.labels).float().mean() < 0.6
