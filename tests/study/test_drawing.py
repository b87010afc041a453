"""The drawings of a module and of its mask branch: one box for each layer, none on another, arrows that meet boxes."""

import itertools
from collections import Counter

import matplotlib.pyplot as plt
import pytest
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from ran.study import attention_module, figures, soft_mask

SIZES = [(1, 2, 1, 3), (2, 4, 3, 3), (1, 2, 1, 1), (0, 1, 2, 2), (1, 2, 4, 1)]


@pytest.fixture(autouse=True)
def themed():
    figures.set_theme()
    yield
    plt.close("all")


def boxes(figure):
    """(left, low, right, high) of every box, with its label."""
    (axes,) = figure.axes
    places = [each for each in axes.patches if isinstance(each, FancyBboxPatch)]
    found = []
    for place in places:
        box = place.get_x(), place.get_y(), place.get_x() + place.get_width(), place.get_y() + place.get_height()
        middle = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        (text,) = [each.get_text() for each in axes.texts if each.get_position() == pytest.approx(middle, abs=1e-6)]
        found.append((box, text))
    return found


@pytest.mark.parametrize(("p", "t", "r", "poolings"), SIZES)
def test_a_module_has_its_layers(p, t, r, poolings):
    count = Counter(text for _, text in boxes(attention_module(p, t, r, poolings)))
    # of the mask: r after each pooling, one before each up-sampling, and a skip on all scales but the smallest
    assert count["unit"] == 2 * p + t + poolings * (r + 1) + poolings - 1
    assert (count["pool"], count["up"], count["+"]) == (poolings, poolings, poolings - 1)
    assert (count["1×1"], count["gate"], count["(1 + M) · T"]) == (2, 1, 1)
    count = Counter(text for _, text in boxes(soft_mask(r, poolings)))
    assert count["unit"] == poolings * (r + 1) + poolings - 1


@pytest.mark.parametrize(("p", "t", "r", "poolings"), SIZES)
def test_no_box_lies_on_another_and_arrows_end_at_boxes(p, t, r, poolings):
    for figure in (attention_module(p, t, r, poolings), soft_mask(r, poolings)):
        found = [box for box, _ in boxes(figure)]
        for one, other in itertools.combinations(found, 2):
            apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
            assert apart, (one, other)
        (axes,) = figure.axes
        for arrow in (each for each in axes.patches if isinstance(each, FancyArrowPatch)):
            (x, y), (end_x, end_y) = arrow._posA_posB
            assert x == pytest.approx(end_x) or y == pytest.approx(end_y)
            for left, low, right, high in found:  # an arrow leads to a box, never through one
                middle = (x + end_x) / 2, (y + end_y) / 2
                assert not (left < middle[0] < right and low < middle[1] < high)


def test_the_sizes_stand_beside_the_levels():
    texts = Counter(text.get_text() for text in soft_mask(1, 3, 37).axes[0].texts)
    assert (texts["19×19"], texts["10×10"], texts["5×5"]) == (2, 2, 2)
    assert texts["feature\n37×37"] == texts["mask\n37×37"] == 1
