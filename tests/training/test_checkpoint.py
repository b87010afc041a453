"""Checkpoints are believed only whole: broken for real, each way of breaking is named, and the one before goes on."""

import os
import random

import pytest
import torch
from torch import nn

from ran.data import DataSet, load
from ran.training import Checkpoint, Schedule, TrainingDiverged, fit

CPU = torch.device("cpu")
SCHEDULE = Schedule("brief", batch_size=32, learning_rate=0.05, epochs=3)


class Cut(Exception):
    """The end of a session."""


@pytest.fixture(scope="module")
def data():
    whole = load("shapes")
    return DataSet("shapes", whole.classes, whole.train.head(64), whole.test.head(40))


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=8), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10))


def train(data, folder, stop=None):
    lines, trained = [], network()

    def report(line):
        lines.append(line)
        if stop and line.startswith(f"epoch   {stop}"):
            raise Cut

    try:
        fit(trained, data, SCHEDULE, device=CPU, checkpoint=Checkpoint(folder / "checkpoint.pt", "a"), report=report)
    except Cut:
        pass
    return trained.state_dict(), lines


def same(one, other):
    return all(value.equal(other[name]) for name, value in one.items())


BROKEN = {
    "cut off": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "text": lambda content: b"not a checkpoint\n",
    "one bit": lambda content: content[:3000] + bytes([content[3000] ^ 1]) + content[3001:],
    "the digest": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "something behind it": lambda content: content + b"\n",
}


@pytest.mark.parametrize("how", BROKEN)
def test_after_damage_training_goes_on_from_the_checkpoint_before(data, tmp_path, how):
    expected, _ = train(data, tmp_path / "elsewhere" if (tmp_path / "elsewhere").mkdir() else tmp_path / "elsewhere")
    train(data, tmp_path, stop=2)
    newest = tmp_path / "checkpoint.pt"
    newest.write_bytes(BROKEN[how](newest.read_bytes()))
    found, lines = train(data, tmp_path)
    assert f"{newest} is damaged" in lines[0] and "continued after epoch 1" in lines[1]
    assert same(found, expected)


@pytest.mark.parametrize("how", BROKEN)
def test_without_a_whole_checkpoint_it_says_what_to_do(data, tmp_path, how):
    train(data, tmp_path, stop=2)
    for path in tmp_path.iterdir():
        path.write_bytes(BROKEN[how](path.read_bytes()))
    with pytest.raises(ValueError, match="delete checkpoint.pt and checkpoint.pt.previous there to start anew"):
        train(data, tmp_path)


def test_no_flipped_bit_is_believed(data, tmp_path):
    train(data, tmp_path, stop=1)
    kept = Checkpoint(tmp_path / "checkpoint.pt", "a")
    content, chance = kept.path.read_bytes(), random.Random(0)
    for _ in range(100):
        place = chance.randrange(len(content))
        flipped = bytearray(content)
        flipped[place] ^= 1 << chance.randrange(8)
        kept.path.write_bytes(flipped)
        with pytest.raises(ValueError, match="no checkpoint .* is whole"):
            kept.read(lambda line: None)


def test_of_a_training_that_is_done_neither_file_stays(data, tmp_path):
    train(data, tmp_path, stop=2)
    names = ["checkpoint.pt", "checkpoint.pt.previous"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    Checkpoint(tmp_path / names[0], "a").delete()
    assert list(tmp_path.iterdir()) == []


def test_a_kill_between_two_files_loses_nothing(data, tmp_path):
    train(data, tmp_path, stop=2)
    (tmp_path / "checkpoint.pt").replace(tmp_path / "checkpoint.pt.previous")  # and the new one was not renamed yet
    _, lines = train(data, tmp_path)
    assert "continued after epoch 2" in lines[0]


def test_a_disk_that_holds_something_else_costs_nothing_that_was_kept(data, tmp_path, monkeypatch):
    train(data, tmp_path, stop=1)
    kept = Checkpoint(tmp_path / "checkpoint.pt", "a")
    before = kept.path.read_bytes()

    def keeps_something_else(descriptor):
        os.pwrite(descriptor, bytes(100), os.fstat(descriptor).st_size - 100)

    monkeypatch.setattr("ran.files.os.fsync", keeps_something_else)
    with pytest.raises(OSError, match="look at the disk"):
        kept.write({"network": network()}, [], [])
    assert kept.path.read_bytes() == before


def test_a_last_update_that_makes_the_network_nan_is_a_divergence(data, tmp_path):
    trained = network()

    class Poisoned(nn.Module):
        """Its weights become NaN after the last forward pass in training, which no training loss sees."""

        def __init__(self):
            super().__init__()
            self.inside, self.passes = trained, 0

        def forward(self, x):
            answer = self.inside(x)
            if self.training:
                self.passes += 1
                if self.passes == 2 * SCHEDULE.epochs:
                    answer.register_hook(lambda gradient: gradient * float("nan"))
            return answer

    with pytest.raises(TrainingDiverged, match="the test loss is nan in epoch 3"):
        fit(
            Poisoned(),
            data,
            SCHEDULE,
            device=CPU,
            checkpoint=Checkpoint(tmp_path / "checkpoint.pt"),
            report=lambda _: None,
        )
    assert len(Checkpoint(tmp_path / "checkpoint.pt").read()["epochs"]) == 2  # of before
