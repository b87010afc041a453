"""Cutout, mixup and cutmix: exactly what is erased and mixed, and whose chance it is."""

from dataclasses import replace

import pytest
import torch

from ran.data import PLAIN, DataSet, ImageSet, Mixing, Shard, load
from ran.data.arrays import TrainingBatches
from ran.data.folders import FolderData
from ran.data.mixing import Mixture, _inside
from ran.data.shards import WHOLE
from ran.training import PLAIN as AS_WRITTEN
from ran.training import SCHEDULES, Schedule, SingleDevice, Step, fit

CPU = torch.device("cpu")
COUNT, SIDE = 48, 32
ALL = Mixing(cutout=8, mixup=0.5, cutmix=1.0)


@pytest.fixture(scope="module")
def data():
    whole = load("shapes")
    return DataSet("shapes", whole.classes, whole.train.head(COUNT), whole.test.head(20))


def epoch(data, mixing=PLAIN, shard=WHOLE, seed=3, size=16):
    return list(TrainingBatches(data, size, CPU, shard, mixing).epoch(torch.Generator().manual_seed(seed)))


def whole(batches):
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


def place(rectangles, number):
    """The pixels of rectangle `number`, in the way that NumPy cuts."""
    (top, bottom), (left, right) = rectangles[number].clamp(min=0).tolist()
    return slice(top, bottom), slice(left, right)


def drawn(mixing, seed=3):
    """What an epoch's generator gives after the shuffle, the crops and the flips."""
    generator = torch.Generator().manual_seed(seed)
    torch.randperm(COUNT, generator=generator)
    torch.randint(9, (2, COUNT, 1), generator=generator)
    torch.rand(COUNT, 1, generator=generator)
    return mixing.draw(COUNT, (SIDE, SIDE), generator, CPU)


def test_without_mixing_batches_are_those_of_the_records(data):
    """Shuffle, crops and flips, drawn in this order from the epoch's generator, and nothing else."""
    generator = torch.Generator().manual_seed(3)
    order = torch.randperm(COUNT, generator=generator)
    top, left = torch.randint(9, (2, COUNT, 1), generator=generator)[..., 0].tolist()
    flipped = torch.rand(COUNT, 1, generator=generator)[:, 0] < 0.5
    padded = TrainingBatches(data, 16, CPU).padded
    batches = epoch(data)
    assert len(batches) == 3
    for start, (images, labels) in zip((0, 16, 32), batches, strict=True):
        crops = [
            padded[order[each], top[each] : top[each] + SIDE, left[each] : left[each] + SIDE]
            for each in range(start, start + 16)
        ]
        turned = [crop.flip(1) if flipped[start + each] else crop for each, crop in enumerate(crops)]
        assert images.equal(data.normalise(torch.stack(turned)))
        assert labels.equal(data.train.labels[order[start : start + 16]])
    used = torch.Generator().manual_seed(3)
    list(TrainingBatches(data, 16, CPU).epoch(used))
    assert used.get_state().equal(generator.get_state())


@pytest.mark.parametrize("side", [7, 16])
def test_cutout_erases_exactly_a_square(data, side):
    plain, cut = whole(epoch(data)), whole(epoch(data, Mixing(cutout=side)))
    hole = drawn(Mixing(cutout=side)).hole
    assert cut[1].equal(plain[1])
    areas = set()
    for number, image in enumerate(cut[0]):
        rows, columns = place(hole, number)
        assert (rows.stop - hole[number, 0, 0], columns.stop - hole[number, 1, 0]) == (side, side)
        expected = plain[0][number].clone()
        expected[:, rows, columns] = 0  # the mean colour, as pixels are normalised
        assert image.equal(expected)
        areas.add((image == 0).all(0).sum().item())
    assert max(areas) >= side**2 and min(areas) < side**2  # some are clipped at the border


def test_the_erased_colour_is_the_mean(data):
    grey = data.mean.mul(255).round().byte().expand(1, SIDE, SIDE, 3)
    assert data.normalise(grey).abs().max() < 0.5 / 255 / data.std.min() + 1e-6  # a byte's rounding


def partners(images):
    return images.roll(-(COUNT // 2), 0)


def test_mixup_is_a_convex_combination_of_an_image_and_its_partner(data):
    (plain, truth), (mixed, labels) = whole(epoch(data)), whole(epoch(data, Mixing(mixup=1.0)))
    assert mixed.is_contiguous(memory_format=torch.channels_last)
    own = drawn(Mixing(mixup=1.0)).own
    assert 0 < own.min() < 0.2 and 0.8 < own.max() < 1
    share = own[:, None, None, None]
    torch.testing.assert_close(mixed, share * plain + (1 - share) * partners(plain))
    certain = torch.eye(10)[truth]
    torch.testing.assert_close(labels, own[:, None] * certain + (1 - own)[:, None] * partners(certain))
    torch.testing.assert_close(labels.sum(1), torch.ones(COUNT))


def test_cutmix_pastes_a_rectangle_and_its_label_has_exactly_that_share(data):
    (plain, truth), (mixed, labels) = whole(epoch(data)), whole(epoch(data, Mixing(cutmix=1.0)))
    patch, certain = drawn(Mixing(cutmix=1.0)).patch, torch.eye(10)[truth]
    areas = []
    for number, image in enumerate(mixed):
        rows, columns = place(patch, number)
        expected = plain[number].clone()
        expected[:, rows, columns] = partners(plain)[number][:, rows, columns]
        assert image.equal(expected)
        areas.append(expected[0, rows, columns].numel() / SIDE**2)
        assert labels[number].equal((1 - areas[-1]) * certain[number] + areas[-1] * partners(certain)[number])
    assert 0.3 < sum(area == 0 for area in areas) / COUNT < 0.7  # half of the images stay whole
    assert len(set(areas)) > 10


def test_partners_are_cut_out_too(data):
    """Of both images the hole is erased, before they are mixed."""
    cut = whole(epoch(data, Mixing(cutout=16)))[0]
    mixing = Mixing(cutout=16, mixup=1.0)
    share = drawn(mixing).own[:, None, None, None]
    torch.testing.assert_close(whole(epoch(data, mixing))[0], share * cut + (1 - share) * partners(cut))


def test_cutout_reaches_all_borders_alike():
    hole = Mixing(cutout=16).draw(4000, (SIDE, SIDE), torch.Generator().manual_seed(0), CPU).hole
    erased = torch.stack(
        [_inside(hole, torch.zeros(1, 1, SIDE, SIDE))[:, 0].any(axis).float().mean(0) for axis in (1, 2)]
    )
    assert (erased - erased.flip(1)).abs().max() < 0.08 and erased.max() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_a_patch_has_the_share_of_the_area_that_is_drawn(alpha):
    """λ is from Beta(alpha, alpha), of mean 1/2 and variance 1 / (4 (2 alpha + 1)), in half of the images."""
    patch = Mixing(cutmix=alpha).draw(20_000, (256, 256), torch.Generator().manual_seed(0), CPU).patch
    sides = patch[:, :, 1] - patch[:, :, 0]
    area = sides.prod(1)[sides.sum(1) > 0] / 256**2
    assert (sides[:, 0] == sides[:, 1]).all()  # of the image's own aspect
    assert area.mean().item() == pytest.approx(0.5, abs=0.01)
    assert area.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.04)


def test_mixup_takes_the_images_that_cutmix_leaves(data):
    mixture = drawn(ALL)
    pasted = (mixture.own == 1).logical_and((mixture.patch[:, :, 1] > mixture.patch[:, :, 0]).all(1))
    empty = (mixture.patch[:, :, 1] == mixture.patch[:, :, 0]).all(1)
    assert (pasted ^ empty).all() and 0.3 < pasted.float().mean() < 0.7
    assert (mixture.own[empty] < 1).all()


@pytest.mark.parametrize(("alpha", "variance"), [(0.2, 1 / (4 * 1.4)), (1.0, 1 / 12), (4.0, 1 / (4 * 9))])
def test_shares_are_of_the_beta_distribution(alpha, variance):
    own = Mixing(mixup=alpha).draw(20_000, (1, 1), torch.Generator().manual_seed(0), CPU).own
    assert own.mean().item() == pytest.approx(0.5, abs=0.01)
    assert own.var().item() == pytest.approx(variance, rel=0.03)


def test_chance_is_the_generators_alone(data):
    before = torch.random.get_rng_state()
    first, again, other = (whole(epoch(data, ALL, seed=seed)) for seed in (1, 1, 2))
    assert torch.random.get_rng_state().equal(before)
    assert first[0].equal(again[0]) and first[1].equal(again[1])
    assert not first[0].equal(other[0])


@pytest.mark.parametrize("count", [1, 2])
def test_mixing_is_the_same_in_parts_and_on_several_devices(data, count):
    images, labels = whole(epoch(data, ALL))
    pieces = [epoch(data, ALL, Shard(2, rank, count)) for rank in range(count)]
    in_order = [each for step in zip(*pieces, strict=True) for each in step]
    assert len(in_order) == 3 * 2 * count
    assert torch.cat([part for part, _ in in_order]).equal(images)
    assert torch.cat([part for _, part in in_order]).equal(labels)


def test_every_image_is_once_itself_and_once_a_partner():
    count = 7
    labels = torch.arange(count)
    images = labels.float()[:, None, None, None].expand(-1, 3, 1, 1)
    nothing = Mixture(None, torch.zeros(count, 2, 2), torch.full((count,), 0.25))
    _, mixed = nothing.batch(slice(0, count), lambda places: images[places], labels, count)
    expected = 0.25 * torch.eye(count) + 0.75 * torch.eye(count)[[3, 4, 5, 6, 0, 1, 2]]
    assert mixed.equal(expected)


def test_a_step_takes_probabilities(data):
    """The loss is the expectation over both labels; an answer is right where it is the likelier one."""
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 4))
    images, logits = torch.randn(3, 3, 2, 2), None
    labels = torch.tensor([[1, 0, 0, 0], [0, 0.75, 0.25, 0], [0, 0, 0.4, 0.6]])
    schedule = Schedule("one", learning_rate=0.0)
    logits = network(images).detach()
    expected = -(labels * logits.log_softmax(1)).sum(1).mean().item()
    step = Step(network, schedule.optimiser(network), schedule, SingleDevice(CPU), AS_WRITTEN)
    step(images, labels)
    loss, error = step.results()
    assert loss == pytest.approx(expected, rel=1e-5)
    assert error == pytest.approx(100 * (logits.argmax(1) != torch.tensor([0, 1, 3])).float().mean().item())


def test_the_whole_recipe_lowers_the_loss(data):
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, stride=4), torch.nn.BatchNorm2d(16), torch.nn.ReLU(), torch.nn.Flatten(),
        torch.nn.Linear(1024, 10),
    )  # fmt: skip
    schedule = replace(SCHEDULES["best"], batch_size=16, learning_rate=0.02, epochs=15)
    fitted = fit(network, data, schedule, device=CPU, report=lambda _: None)
    losses = [each["train_loss"] for each in fitted.epochs]
    assert sum(losses[-3:]) < sum(losses[:3]) - 0.4
    assert fitted.epochs[-1]["train_error"] < 80  # chance is 90%


def test_image_folders_refuse_it():
    part = ImageSet(torch.zeros(4, 8, 8, 3, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"not trained with Mixing\(cutout=4.*without cutout and mixing"):
        FolderData("folder", ("a",), part, part).training_batches(2, CPU, mixing=Mixing(cutout=4))


def test_a_schedule_hands_each_of_its_settings_on():
    assert Schedule("mixed", cutout=4, mixup=0.25, cutmix=0.75).mixing == Mixing(cutout=4, mixup=0.25, cutmix=0.75)
