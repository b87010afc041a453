"""What saves memory changes nothing else: features computed again, and steps in parts."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from ran.data import DataSet, Shard, load
from ran.model import build
from ran.training import Checkpoint, Schedule, fit

CPU = torch.device("cpu")


def silent(_):
    pass


@pytest.mark.parametrize(("name", "side"), [("attention-56", 32), ("attentionnext-56-imagenet", 64)])
def test_features_computed_again_are_the_same(name, side):
    torch.manual_seed(0)
    kept = build(name, narrow=4, num_classes=10).double()
    again = copy.deepcopy(kept)
    again.recompute = True
    images, labels = torch.randn(4, 3, side, side).double(), torch.arange(4)
    held = {}
    for network in (kept, again):
        held[network.recompute] = 0

        def count(tensor, network=network):
            held[network.recompute] += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            loss = nn.functional.cross_entropy(network(images), labels)
        loss.backward()
    assert held[True] < held[False] / 4
    for one, other in zip(kept.parameters(), again.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
    for (name, one), other in zip(kept.state_dict().items(), again.state_dict().values(), strict=True):
        assert one.equal(other), name  # the running statistics among them: a batch counts once


@pytest.fixture(scope="module")
def data():
    whole = load("shapes")
    return DataSet("shapes", whole.classes, whole.train.head(96), whole.test.head(40))


def plain_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10))


def test_a_step_in_parts_is_the_same_step(data):
    options = {"batch_size": 32, "learning_rate": 0.05, "epochs": 2}
    whole, parts = plain_network(), plain_network()
    one = fit(whole, data, Schedule("whole", **options), device=CPU, report=silent)
    other = fit(parts, data, Schedule("parts", **options, accumulate=4), device=CPU, report=silent)
    for mine, its in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(mine, its, atol=2e-3, rtol=1e-3)  # bf16, where the processor has it
    assert [epoch["learning_rate"] for epoch in one.epochs] == [epoch["learning_rate"] for epoch in other.epochs]
    assert one.final.error == pytest.approx(other.final.error, abs=2.5)


def test_the_average_is_what_is_measured_kept_and_continued(data, tmp_path):
    class Cut(Exception):
        """The end of a session."""

    def cut(line):
        raise Cut

    schedule = Schedule("averaged", batch_size=32, learning_rate=0.05, epochs=2, average=0.3)
    whole, seen = plain_network(), []
    expected = plain_network()

    def follow(network, inputs):
        if network.training:
            seen.append([each.detach().clone() for each in network.parameters()])

    handle = whole.register_forward_pre_hook(follow)
    fitted = fit(whole, data, schedule, device=CPU, report=silent)
    handle.remove()
    last = plain_network()
    fit(last, data, replace(schedule, average=0.0), device=CPU, report=silent)
    average = seen[1]  # the weights after the first step
    for count, step in enumerate((*seen[2:], last.parameters()), 1):
        decay = min(0.3, (1 + count) / (10 + count))  # 2/11 and 3/12 at first: it forgets quickly while it is young
        average = [decay * old + (1 - decay) * new for old, new in zip(average, step, strict=True)]
    for mine, its in zip(whole.parameters(), average, strict=True):
        torch.testing.assert_close(mine, its)
    checkpoint = tmp_path / "checkpoint.pt"
    with pytest.raises(Cut):
        fit(expected, data, schedule, device=CPU, checkpoint=Checkpoint(checkpoint), report=cut)
    again = fit(expected, data, schedule, device=CPU, checkpoint=Checkpoint(checkpoint), report=silent)
    assert again.final.loss == fitted.final.loss
    for mine, its in zip(whole.parameters(), expected.parameters(), strict=True):
        assert mine.equal(its)


def test_shares_are_disjoint_and_whole():
    numbers = list(range(24))
    for count in (1, 2, 4):
        shards = [Shard(3, rank, count) for rank in range(count)]
        assert sum((numbers[shard.of_whole(24)] for shard in shards), []) == numbers
        portions = [[numbers[part] for part in shard.of_step(24)] for shard in shards]
        for part in range(3):  # the same images in a portion, whatever the number of devices
            assert sum((each[part] for each in portions), []) == numbers[part * 8 : part * 8 + 8]
    with pytest.raises(ValueError, match="24 images cannot be divided evenly into 5 parts on 1 devices"):
        Shard(5).of_step(24)
