"""The mask as a filter of gradients: what is measured, against equation (2) by hand and masks that are known."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from drawn import draw
from torch import nn

from ran.data import load, shortened, with_label_noise
from ran.model import build
from ran.runs.gradients import gradient_filter

WRONG = [1, 2, 5, 6, 8, 11]  # of twelve training images


@pytest.fixture(scope="module")
def sets():
    """Twelve training images, before and after half of their labels were changed."""
    clean = shortened(load("shapes"), 12)
    labels = clean.train.labels.clone()
    labels[WRONG] = (labels[WRONG] + 3) % 10
    return clean, replace(clean, train=replace(clean.train, labels=labels))


def small(attention="arl"):
    torch.manual_seed(0)
    return build("attention-56", narrow=4, attention=attention)


def by_hand(network, data, name, number):
    """Loss of one image, mask of one module, and the gradient at its attended output, from where the rest starts."""
    image, label = data.normalise(data.train.images[number, None]), data.train.labels[number, None]
    trace = {}
    with torch.no_grad():
        network(image, trace)
    attended = trace[f"{name}.attended"].requires_grad_()
    blocks = list(network.blocks)
    x = network.blocks[name].after(attended)
    for later in blocks[blocks.index(name) + 1 :]:
        x = network.blocks[later](x)
    loss = F.cross_entropy(network.head(x), label)
    return loss.detach(), trace[f"{name}.mask"], torch.autograd.grad(loss, attended)[0]


@pytest.mark.parametrize("attention", ["arl", "nal"])
def test_each_images_gradient_is_weighed_by_its_mask(sets, attention):
    clean, noisy = sets
    network = small(attention)
    table = gradient_filter(network, clean, noisy, count=3)
    assert not network.training and not any(p.grad is not None for p in network.parameters())
    assert table["count"].tolist() == [3] * 6
    # three of the six right ones (0, 3, 4, 7, 9, 10) and of the six wrong ones, at even distances
    for label, numbers in (("right", [0, 4, 9]), ("wrong", [1, 5, 8])):
        for module in ("stage1_module1", "stage2_module1", "stage3_module1"):
            (row,) = table[(table.module == module) & (table.label == label)].itertuples()
            measured = [by_hand(network, noisy, module, number) for number in numbers]
            factor = {"arl": lambda mask: 1 + mask, "nal": lambda mask: mask}[attention]
            loss = torch.stack([loss for loss, _, _ in measured])
            mask = torch.stack([mask.square().mean().sqrt() for _, mask, _ in measured])
            without_mask = torch.stack([gradient.norm() for _, _, gradient in measured])
            with_mask = torch.stack([(factor(mask) * gradient).norm() for _, mask, gradient in measured])
            passed = torch.stack([(mask * gradient).norm() / gradient.norm() for _, mask, gradient in measured])
            expected = {"loss": loss, "without_mask": without_mask, "with_mask": with_mask, "mask": mask}
            expected |= {"ratio": with_mask / without_mask, "filter": passed, "relative": passed / mask}
            for name, each in expected.items():
                assert getattr(row, name) == pytest.approx(each.mean().item(), rel=1e-3), name
            for name in ("ratio", "filter", "mask", "relative"):
                error = expected[name].std().item() / 3**0.5
                assert getattr(row, f"{name}_se") == pytest.approx(error, rel=0.02, abs=1e-6), name


@pytest.mark.parametrize(("attention", "added"), [("arl", 1), ("nal", 0)])
def test_a_mask_that_closes_on_wrong_labels_shows(sets, attention, added):
    network, opening = small(attention), iter([0.75, 0.25])  # the right ones come first
    network.blocks["stage2_module1"].mask.register_forward_hook(lambda _, __, out: torch.full_like(out, next(opening)))
    table = gradient_filter(network, *sets).set_index(["module", "label"])
    for label, value in (("right", 0.75), ("wrong", 0.25)):
        row = table.loc["stage2_module1", label]
        assert row["count"] == 6
        assert (row["mask"], row["filter"], row["ratio"]) == pytest.approx((value, value, value + added))
        assert row["relative"] == pytest.approx(1)  # it closes on the image, not where its gradient is
        assert row["filter_se"] == pytest.approx(0, abs=1e-6)


def test_a_mask_is_weighed_where_the_gradient_is(sets):
    """Open in one channel alone: the control says how much of the mask is open, the filter how much it lets through."""
    network = small("nal")
    module = network.blocks["stage3_module1"]
    only_first = torch.zeros(1, 64, 1, 1).index_fill_(1, torch.tensor(0), 1)
    module.mask.register_forward_hook(lambda _, __, mask: only_first.expand_as(mask))
    module.after = network.blocks["stage3_tail1"] = nn.Identity()
    with torch.no_grad():
        network.head[-1].weight[:, 1:] = 0  # the answer rests on the first channel too
    table = gradient_filter(network, *sets).set_index(["module", "label"])
    row = table.loc["stage3_module1", "wrong"]
    assert row["mask"] == pytest.approx(64**-0.5)  # one of 64 channels
    assert row["filter"] == pytest.approx(1)
    assert row["relative"] == pytest.approx(64**0.5)


def test_labels_that_are_all_right_leave_no_row_for_wrong_ones(sets):
    clean, _ = sets
    table = gradient_filter(small(), clean, clean, count=5)
    assert table.label.tolist() == ["right"] * 3 and table["count"].tolist() == [5] * 3


def test_an_image_without_a_gradient_has_no_filter(sets):
    """Of a label that is predicted with certainty, nothing comes back; the other images still count."""
    clean, noisy = sets
    network, sure = small(), noisy.train.labels[0]
    with torch.no_grad():
        network.head[-1].bias[sure] = 1e4
    table = gradient_filter(network, clean, noisy).set_index(["module", "label"])
    assert (noisy.train.labels == sure).any() and (clean.train.labels == noisy.train.labels)[0]
    assert table.without_mask.gt(0).all() and table["filter"].between(0.1, 1).all()


def test_a_gradient_that_is_nearly_gone_is_still_measured(sets):
    one = shortened(sets[0], 1)
    network = small("nal")
    with torch.no_grad():
        network.head[-1].bias[one.train.labels] = 70  # what is left is too small to be squared in float32
    table = gradient_filter(network, one, one)
    assert table.without_mask.between(0, 1e-23, inclusive="neither").all() and table["filter"].between(0.1, 1).all()


def test_images_that_stay_in_files_are_measured_too(tmp_path):
    clean = load("folder", draw(tmp_path / "images", 10), size=64)
    noisy = with_label_noise(clean, 0.3, seed=0)
    changed = int((clean.train.labels != noisy.train.labels).sum())
    some = noisy.train.take(torch.tensor([3, 17, 20]))
    assert some.names == tuple(noisy.train.names[number] for number in (3, 17, 20))
    assert some.labels.equal(noisy.train.labels[[3, 17, 20]]) and some.images.shape == (3, 64, 64, 3)
    network = build("attention-56-imagenet", narrow=8, num_classes=3)
    table = gradient_filter(network, clean, noisy, count=12)
    assert 0 < changed < 12 < len(clean.train) - changed
    assert table["count"].tolist() == [12, changed] * 3
