"""What saves memory changes nothing else: features computed again, and steps in parts."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from ran.data import DataSet, Shard, load
from ran.model import build
from ran.training import Checkpoint, Schedule, evaluate, fit

CPU = torch.device("cpu")


def silent(_):
    pass


@pytest.mark.parametrize(("name", "narrow", "side"), [("attention-56", 8, 32), ("attentionnext-56-imagenet", 4, 64)])
def test_features_computed_again_are_the_same(name, narrow, side):
    torch.manual_seed(0)
    kept = build(name, narrow, num_classes=10).double()
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


def normed_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=4), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10))


def floats(network):
    """Weights and running statistics, by name."""
    return {name: each.clone() for name, each in network.state_dict().items() if each.is_floating_point()}


AVERAGED = Schedule("averaged", batch_size=32, learning_rate=0.2, epochs=2, average=0.3)


@pytest.mark.parametrize("parts", [1, 2])
def test_the_average_of_the_steps_is_what_is_measured_and_kept(data, parts):
    """Against an average by hand, of weights and running statistics after every step, and of none in between."""
    schedule, seen = replace(AVERAGED, accumulate=parts), []
    averaged, last = normed_network(), normed_network()

    def follow(network, inputs):
        if network.training:
            seen.append(floats(network))

    last.register_forward_pre_hook(follow)
    fit(last, data, replace(schedule, average=0.0), device=CPU, report=silent)
    fitted = fit(averaged, data, schedule, device=CPU, report=silent)
    steps = [*seen[parts::parts], floats(last)]  # the state after every step
    assert len(steps) == 6
    average = steps[0]
    for count, step in enumerate(steps[1:], 1):
        decay = min(0.3, (1 + count) / (10 + count))  # 2/11 and 3/12 at first: it forgets quickly while it is young
        average = {name: decay * old + (1 - decay) * step[name] for name, old in average.items()}
        if count == 2:
            first_epoch = average
    for name, value in floats(averaged).items():
        torch.testing.assert_close(value, average[name], msg=name)
    for state, epoch in ((first_epoch, fitted.epochs[0]), (average, fitted.epochs[1])):
        by_hand = normed_network()
        by_hand.load_state_dict(state, strict=False)
        expected = evaluate(by_hand, data, CPU)
        assert epoch["test_loss"] == pytest.approx(expected.loss, rel=1e-5)
        assert epoch["test_error"] == expected.error
    of_last = evaluate(last, data, CPU)
    assert fitted.final.loss == fitted.epochs[1]["test_loss"] != pytest.approx(of_last.loss, rel=1e-4)


def test_a_continued_average_is_that_of_an_uninterrupted_run(data, tmp_path):
    class Cut(Exception):
        """The end of a session."""

    def cut(line):
        raise Cut

    whole, continued, checkpoint = normed_network(), normed_network(), Checkpoint(tmp_path / "checkpoint.pt")
    fit(whole, data, AVERAGED, device=CPU, report=silent)
    with pytest.raises(Cut):
        fit(continued, data, AVERAGED, device=CPU, checkpoint=checkpoint, report=cut)
    fit(continued, data, AVERAGED, device=CPU, checkpoint=checkpoint, report=silent)
    for name, value in whole.state_dict().items():
        assert value.equal(continued.state_dict()[name]), name


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
