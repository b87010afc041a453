"""Training: it learns, it continues where it stopped, and it follows its schedule."""

import itertools
import math
from dataclasses import asdict, replace

import pytest
import torch
from torch import nn

from ran.data import DataSet, ImageSet, Mixing, load
from ran.model import build
from ran.training import (
    PLAIN,
    RECIPE,
    SCHEDULES,
    Checkpoint,
    Engine,
    OutOfTime,
    Schedule,
    SingleDevice,
    Step,
    TrainingDiverged,
    choose_device,
    evaluate,
    fit,
)

CPU = torch.device("cpu")
BRIEF = Schedule("brief", "one-cycle", batch_size=32, learning_rate=0.05, warm_up=0.3, epochs=3)


@pytest.fixture(scope="module")
def data():
    whole = load("shapes")
    return DataSet("shapes", whole.classes, whole.train.head(96), whole.test.head(40))


def small_network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=4), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10))


def silent(_):
    pass


def test_a_few_steps_of_the_real_network_lower_the_loss(data):
    torch.manual_seed(0)
    network = build("attention-56", narrow=4)
    images, labels = data.normalise(data.train.images[:32]), data.train.labels[:32]
    optimiser = SCHEDULES["smoke"].optimiser(network)
    losses = []
    for _ in range(12):
        loss = nn.functional.cross_entropy(network(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.9 * losses[0], losses


@pytest.mark.parametrize("total", range(1, 31))
def test_a_one_cycle_schedule_may_be_of_any_length(total):
    network = small_network()
    schedule = replace(SCHEDULES["smoke"], iterations=total)
    optimiser = schedule.optimiser(network)
    rates = schedule.learning_rates(optimiser, total)
    seen = []
    for _ in range(total):
        seen.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        rates.step() if len(seen) < total else None
    assert all(0 < rate <= schedule.learning_rate for rate in seen)


def test_fit_learns_and_reports_each_epoch(data):
    lines = []
    fitted = fit(small_network(), data, BRIEF, device=CPU, report=lines.append)
    assert [epoch["epoch"] for epoch in fitted.epochs] == [1, 2, 3]
    assert fitted.epochs[-1]["train_loss"] < fitted.epochs[0]["train_loss"]
    assert fitted.epochs[-1]["test_error"] == fitted.final.error
    assert len(lines) == 3 and "epoch   3/3" in lines[2] and "images/s" in lines[2]
    assert f"test {fitted.final.loss:.3f}, {fitted.final.error:.2f}%;" in lines[2]


def test_evaluate_counts(data):
    class Fixed(nn.Module):
        """Answers class 0 with probability 1/2 and each other class with the same share of the rest."""

        def forward(self, x):
            return torch.tensor([0.5] + [0.5 / 9] * 9).log().expand(len(x), 10)

    result = evaluate(Fixed(), data, CPU)
    right = (data.test.labels == 0).sum().item()
    assert result.error == pytest.approx(100 * (40 - right) / 40)
    expected = -(right * math.log(0.5) + (40 - right) * math.log(0.5 / 9)) / 40
    assert result.loss == pytest.approx(expected, rel=1e-2)  # bf16, where the processor has it
    assert result.predictions.tolist() == [0] * 40


def test_an_answer_among_the_five_likeliest_is_right_by_the_top_5_error(data):
    """Of class n there are n + 1 images, so that every other number of answers, or other end of them, would show."""

    class Ranked(nn.Module):
        """The later the class, the likelier: the last five are the answers."""

        def forward(self, x):
            return torch.arange(10.0).expand(len(x), 10)

    labels = torch.arange(10).repeat_interleave(torch.arange(1, 11))
    result = evaluate(Ranked(), replace(data, test=ImageSet(torch.zeros(55, 32, 32, 3).byte(), labels)), CPU)
    assert result.top5_error == pytest.approx(100 * (1 + 2 + 3 + 4 + 5) / 55)
    assert result.error == pytest.approx(100 * 45 / 55)


def test_of_few_classes_every_answer_is_among_the_five_likeliest(data):
    few = replace(data, test=ImageSet(data.test.images[:3], torch.arange(3)))
    result = evaluate(nn.Sequential(nn.Flatten(), nn.Linear(3072, 3)), few, CPU)
    assert result.top5_error == 0


class Cut(Exception):
    """The end of a session."""


def stop_after(epoch):
    def stop(line):
        if line.startswith(f"epoch   {epoch}"):
            raise Cut

    return stop


def test_a_continued_run_equals_an_uninterrupted_one(data, tmp_path):
    checkpoint, whole, cut = tmp_path / "checkpoint.pt", small_network(), small_network()
    expected = fit(whole, data, BRIEF, seed=5, device=CPU, report=silent)
    with pytest.raises(Cut):
        fit(cut, data, BRIEF, seed=5, device=CPU, checkpoint=Checkpoint(checkpoint, "a"), report=stop_after(2))
    lines = []
    other = small_network(seed=9)  # all its weights must come from the checkpoint
    fitted = fit(other, data, BRIEF, seed=5, device=CPU, checkpoint=Checkpoint(checkpoint, "a"), report=lines.append)
    assert "continued after epoch 2" in lines[0] and len(lines) == 2
    for epoch, counterpart in zip(fitted.epochs, expected.epochs, strict=True):
        assert all(epoch[key] == counterpart[key] for key in ("learning_rate", "train_loss", "test_loss", "test_error"))
    for key, value in whole.state_dict().items():
        assert value.equal(other.state_dict()[key]), key


def test_a_continued_run_takes_its_own_devices_optimiser(data, tmp_path, monkeypatch):
    """A run begun on a CPU may go on on a GPU, whose graphs need the fused kernels."""
    made = []

    def optimiser(self, network, fused=False, make=Schedule.optimiser):
        made.append(make(self, network, fused))
        return made[-1]

    monkeypatch.setattr(Schedule, "optimiser", optimiser)
    options = {"device": CPU, "checkpoint": Checkpoint(tmp_path / "checkpoint.pt")}
    with pytest.raises(Cut):
        fit(small_network(), data, BRIEF, **options, report=stop_after(1))
    with pytest.raises(Cut):
        fit(small_network(), data, BRIEF, **options, report=stop_after(2), engine=Engine(fused=True))
    fit(small_network(), data, BRIEF, **options, report=silent)
    assert [each.param_groups[0]["fused"] for each in made] == [None, True, None]


def test_another_runs_checkpoint_is_refused(data, tmp_path):
    checkpoint = tmp_path / "checkpoint.pt"
    fit(small_network(), data, BRIEF, device=CPU, checkpoint=Checkpoint(checkpoint, "a"), report=silent)
    before = checkpoint.read_bytes()
    with pytest.raises(ValueError, match="belongs to the run 'a', not to 'b'"):
        fit(small_network(), data, BRIEF, device=CPU, checkpoint=Checkpoint(checkpoint, "b"), report=silent)
    assert checkpoint.read_bytes() == before


def batches_seen(data, seed):
    """The training images of every epoch, as the network gets them."""
    network, seen = small_network(), []
    network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]) if module.training else None)
    fit(network, data, BRIEF, seed=seed, device=CPU, report=silent)
    return [torch.cat(seen[start : start + 3]) for start in (0, 3, 6)]


def test_every_epoch_of_every_seed_has_its_own_shuffle_and_crops(data):
    """And none the chance of another seed's: two runs of two seeds are independent."""
    seen = [epoch for seed in (0, 1, 2) for epoch in batches_seen(data, seed)]
    for one, other in itertools.combinations(seen, 2):
        same = (one == other).flatten(1).all(1)
        assert same.float().mean() < 0.1  # by chance an image may be at its place twice, in the same crop
    for one, again in zip(batches_seen(data, 1), seen[3:6], strict=True):
        assert one.equal(again)


def test_a_loss_that_is_no_number_stops_training(data):
    broken = small_network()
    nn.init.constant_(broken[0].weight, math.inf)
    with pytest.raises(TrainingDiverged, match="loss is nan in epoch 1.*another seed"):
        fit(broken, data, BRIEF, device=CPU, report=silent)


def learning_rates(schedule, batches):
    optimiser = schedule.optimiser(nn.Linear(1, 1))
    total = schedule.total(batches)
    rates, seen = schedule.learning_rates(optimiser, total), []
    for _ in range(total):
        seen.append(optimiser.param_groups[0]["lr"])
        assert optimiser.param_groups[0]["momentum"] == schedule.momentum  # only the rate has a schedule
        optimiser.step()
        rates.step()
    return seen


def test_a_misspelt_policy_is_refused_and_not_taken_for_another():
    with pytest.raises(ValueError, match="unknown policy 'onecycle'. Did you mean 'one-cycle'"):
        Schedule("mine", "onecycle")


def test_a_device_beside_devices_is_refused_and_not_ignored(data):
    with pytest.raises(ValueError, match="`device` or `devices`, not both"):
        fit(small_network(), data, BRIEF, device=CPU, devices=SingleDevice(CPU))


def test_the_papers_schedule():
    paper = SCHEDULES["paper"]
    assert (paper.batch_size, paper.momentum, paper.weight_decay, paper.total(781)) == (64, 0.9, 1e-4, 160_000)
    settings = paper.optimiser(nn.Linear(1, 1)).param_groups[0]
    assert (settings["momentum"], settings["weight_decay"]) == (0.9, 1e-4)
    assert sorted(paper.learning_rates(paper.optimiser(nn.Linear(1, 1)), 160_000).milestones) == [64_000, 96_000]
    seen = learning_rates(replace(paper, iterations=160), 781)  # a thousandth of it, step by step
    changes = [step for step in range(1, 160) if seen[step] != seen[step - 1]]
    assert changes == [64, 96]
    assert [seen[step] for step in (0, 64, 96)] == pytest.approx([0.1, 0.01, 0.001])


def test_the_papers_schedule_for_imagenet():
    paper = SCHEDULES["paper-imagenet"]
    assert (paper.batch_size, paper.momentum, paper.weight_decay, paper.total(20_018)) == (64, 0.9, 1e-4, 530_000)
    drops = paper.learning_rates(paper.optimiser(nn.Linear(1, 1)), 530_000).milestones
    assert sorted(drops) == [200_000, 400_000, 500_000]


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("momentum", [0.9, 0.5])
def test_every_schedule_is_nesterovs_sgd(name, momentum):
    """Two steps at a rate of 0.1, by the formula of Sutskever et al. 2013 in the form that PyTorch gives it."""
    assert SCHEDULES[name].momentum == 0.9
    schedule = replace(SCHEDULES[name], weight_decay=0.0, momentum=momentum)
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, 1.0)
    optimiser = schedule.optimiser(layer)
    for group in optimiser.param_groups:
        group["lr"] = 0.1
    for gradient in (1.0, 2.0):
        layer.weight.grad = torch.tensor([[gradient]])
        optimiser.step()
    velocity = momentum * 1 + 2
    assert layer.weight.item() == pytest.approx(1 - 0.1 * (1 + momentum * 1) - 0.1 * (2 + momentum * velocity))


def test_biases_and_batch_norms_may_go_without_decay():
    network = small_network()
    bare, shaped = SCHEDULES["modern-imagenet"].optimiser(network), SCHEDULES["paper"].optimiser(network)
    decays = {id(each): group["weight_decay"] for group in bare.param_groups for each in group["params"]}
    assert [decays[id(each)] > 0 for each in network.parameters()] == [e.ndim > 1 for e in network.parameters()]
    assert [group["weight_decay"] for group in shaped.param_groups] == [1e-4]


def test_the_recipe_has_one_part_more_in_each_step():
    settings = [asdict(schedule) for schedule in RECIPE.values()]
    changes = [
        {name for name in new if new[name] != old[name]} - {"name"}
        for old, new in itertools.pairwise([asdict(SCHEDULES["short"]), *settings])
    ]
    assert changes[: list(RECIPE).index("best") + 1] == [
        {"epochs"},
        {"warm_up"},
        {"decay_all"},
        {"label_smoothing"},
        {"average"},
        {"cutout"},
        {"mixup"},
    ]
    assert {each["epochs"] for each in settings} == {200} and {each["batch_size"] for each in settings} == {128}


def test_the_best_schedules_rate_is_a_brief_warm_up_and_a_cosine():
    best = SCHEDULES["best"]
    seen = learning_rates(best, 39)  # a tenth of CIFAR-10's steps an epoch
    peak = seen.index(max(seen))
    assert peak == pytest.approx(5 * 39, abs=1) and seen[peak] == pytest.approx(0.2)
    assert seen[0] == pytest.approx(0.2 / 25) and seen[-1] < 1e-5
    down = seen[peak:]
    for share in (0.25, 0.5, 0.75):
        expected = 0.1 * (1 + math.cos(math.pi * share))
        assert down[round(share * (len(down) - 1))] == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("name", ["short", "smoke", "modern-imagenet", "recipe-plain"])
def test_one_cycle_schedules_rise_and_fall(name):
    seen = learning_rates(SCHEDULES[name], 20)
    peak = seen.index(max(seen))
    assert max(seen) == pytest.approx(SCHEDULES[name].learning_rate, rel=1e-2)
    assert seen[:peak] == sorted(seen[:peak]) and seen[peak:] == sorted(seen[peak:], reverse=True)
    assert peak == pytest.approx(SCHEDULES[name].warm_up * len(seen), abs=1.5)
    assert seen[-1] < 1e-3 * max(seen)


def test_a_schedules_augmentation_is_what_its_fields_say():
    schedule = Schedule("mixed", cutout=8, mixup=0.5, cutmix=1.0)
    assert schedule.mixing == Mixing(cutout=8, mixup=0.5, cutmix=1.0)
    assert Schedule("plain").mixing == Mixing()


def test_labels_are_smoothed_as_the_schedule_says(data):
    """With a label smoothing of 0.1, a tenth of the cross-entropy is that of all classes alike."""
    torch.manual_seed(0)
    images, labels = torch.randn(8, 3, 32, 32), torch.arange(8)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    logs = network(images).detach().log_softmax(1)
    expected = -(0.9 * logs[range(8), labels] + 0.1 * logs.mean(1)).mean().item()
    schedule = replace(BRIEF, label_smoothing=0.1)
    step = Step(network, schedule.optimiser(network), schedule, SingleDevice(CPU), PLAIN)
    step(images, labels)
    loss, _ = step.results()
    assert loss == pytest.approx(expected, rel=1e-5)


def test_an_unfinished_last_epoch_ends_at_the_last_iteration(data):
    network, modes = small_network(), []
    network.register_forward_pre_hook(lambda module, inputs: modes.append(module.training))
    fitted = fit(network, data, Schedule("brief", batch_size=32, iterations=7), device=CPU, report=silent)
    assert len(fitted.epochs) == 3
    # three batches an epoch, then the test set in evaluation mode
    assert modes == [True] * 3 + [False] + [True] * 3 + [False] + [True, False]


def test_the_rate_of_an_epoch_is_the_one_that_it_began_with(data):
    schedule = Schedule("brief", batch_size=32, learning_rate=0.1, epochs=3, drops=(1 / 3, 2 / 3))
    fitted = fit(small_network(), data, schedule, device=CPU, report=silent)
    assert [epoch["learning_rate"] for epoch in fitted.epochs] == pytest.approx([0.1, 0.01, 0.001])


class Certain(nn.Module):
    """Answers class 0, and learns nothing."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.scale.detach() * torch.eye(10)[0].expand(len(x), 10) + 0 * self.scale


def test_errors_and_losses_are_those_of_their_own_part_and_epoch(data):
    """All training images are of class 0, none of the test images: nothing is wrong, and all."""
    sets = {"train": torch.zeros(96, dtype=torch.int64), "test": torch.ones(40, dtype=torch.int64)}
    sure = replace(data, **{name: replace(getattr(data, name), labels=labels) for name, labels in sets.items()})
    right, wrong = math.log(math.e + 9) - 1, math.log(math.e + 9)
    for epoch in fit(Certain(), sure, BRIEF, device=CPU, report=silent).epochs:
        assert (epoch["train_error"], epoch["test_error"]) == (0, 100)
        assert (epoch["train_loss"], epoch["test_loss"]) == pytest.approx((right, wrong), rel=1e-2)
    swapped = replace(sure, train=replace(sure.train, labels=sets["train"] + 1))
    for epoch in fit(Certain(), swapped, BRIEF, device=CPU, report=silent).epochs:
        assert epoch["train_error"] == 100 and epoch["train_loss"] == pytest.approx(wrong, rel=1e-2)


@pytest.mark.parametrize("parts", [1, 4])
def test_speed_is_in_images_a_second(data, monkeypatch, parts):
    """By a clock on which the training of an epoch takes two seconds, and the whole epoch three."""
    clock = itertools.cycle([10.0, 12.0, 13.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    schedule = replace(BRIEF, accumulate=parts, epochs=1)
    (epoch,) = fit(small_network(), data, schedule, device=CPU, report=silent).epochs
    assert (epoch["images_per_second"], epoch["seconds"]) == (48, 3)


def test_no_epoch_begins_that_would_end_after_the_deadline(data, tmp_path, monkeypatch):
    clock = itertools.count(step=10.0)
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))  # an epoch takes twenty seconds
    monkeypatch.setattr("time.monotonic", lambda: 100.0)
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt")
    for deadline, done in ((119.0, 1), (121.0, 3)):
        network = small_network()
        try:
            fit(network, data, BRIEF, device=CPU, report=silent, checkpoint=checkpoint, deadline=deadline)
        except OutOfTime as stop:
            assert f"after epoch {done} of 3" in str(stop)
        assert len(checkpoint.read()["epochs"]) == done


def test_unknown_devices_are_refused():
    assert choose_device("cpu") == CPU
    with pytest.raises(ValueError, match="unknown device 'tpu'.*Known: auto, cpu, cuda"):
        choose_device("tpu")
