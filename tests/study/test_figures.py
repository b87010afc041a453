"""Figures show the numbers that they say: what is drawn is read back from the axes."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from recorded import a_record

from ran.data import DataSet, load
from ran.model import build
from ran.runs import RunConfig
from ran.study import figures


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def lines(axes):
    return {line.get_label(): list(map(float, line.get_ydata())) for line in axes.get_lines()}


@pytest.fixture(scope="module")
def record():
    """Of three epochs, with losses and errors that can be told apart."""
    whole = a_record(RunConfig(dataset="cifar10", schedule="short", epochs=3))
    for number, epoch in enumerate(whole["epochs"]):
        epoch |= {"train_loss": 1.0 - number / 10, "test_loss": 2.0 - number / 10}
        epoch |= {"train_error": 10.0 - number, "test_error": 20.0 - number}
    return whole


def test_learning_curves_are_those_of_their_part(record):
    loss, error = figures.learning_curves(record).axes
    assert lines(loss) == {"train": [1.0, 0.9, 0.8], "test": [2.0, 1.9, 1.8]}
    assert lines(error) == {"train": [10, 9, 8], "test": [20, 19, 18]}
    (axes,) = figures.test_curves({"one": record}).axes
    assert lines(axes) == {"one": [20, 19, 18]}


def test_a_whole_training_says_where_its_rate_drops(record):
    rates = {0: 0.1, 1: 0.1, 2: 0.01}
    epochs = [epoch | {"learning_rate": rates[number]} for number, epoch in enumerate(record["epochs"])]
    (axes,) = figures.whole_training(record | {"epochs": epochs}, 5.52).axes
    drawn = lines(axes)
    assert (drawn["train"], drawn["test"], drawn["test, paper: 5.52"]) == ([10, 9, 8], [20, 19, 18], [5.52, 5.52])
    assert [text.get_text() for text in axes.texts] == ["rate 0.01"]
    assert [list(line.get_xdata()) for line in axes.get_lines()][-1] == [2.5, 2.5]


def test_a_confusion_matrix_is_in_percent_of_the_true_class(record):
    """Of four of class a, one is called b; all six of class b are right."""
    axes = figures.confusion_matrix(record | {"confusion": [[3, 1], [0, 6]]}).axes[0]
    assert np.ravel(axes.collections[0].get_array()).tolist() == [75, 25, 0, 100]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("answer", "true class")


def test_responses_are_those_of_blocks():
    table = pd.DataFrame({"block": ["stem", "stage1_unit", "stage1_module1.mask", "stage1_module1"]})
    (axes,) = figures.mean_absolute_response({"ARL": table.assign(response=[1.0, 2.0, 3.0, 4.0])}).axes
    assert lines(axes)["ARL"] == [1, 2, 4]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["stem", "unit", "module1"]


def test_scores_stand_beside_their_control():
    inside = [f"stage1_module1.{name}" for name in ("trunk", "mask", "attended")]
    table = pd.DataFrame({"block": inside, "auc": [0.6, 0.1, 0.7], "auc_shuffled": [0.51, 0.52, 0.53]})
    axes = figures.object_scores({"ARL": table}).axes[0]
    ends = [(bar.get_y(), bar.get_y() + bar.get_height()) for bar in axes.patches]
    assert np.allclose(ends, [(0.5, 0.6), (0.5, 0.1), (0.5, 0.7)])  # from chance, up or down
    assert [float(marks.get_offsets()[0, 1]) for marks in axes.collections] == [0.51, 0.52, 0.53]


def test_gradients_are_relative_with_two_standard_errors():
    table = pd.DataFrame(
        {"module": ["m", "m"], "label": ["right", "wrong"], "ratio": [5.0, 6.0], "ratio_se": [0.5, 0.6]}
    ).assign(relative=[1.1, 0.8], relative_se=[0.1, 0.05])
    axes = figures.filtered_gradients({"noise": table}).axes[0]
    for bars, middle, error in zip(axes.containers, (1.1, 0.8), (0.1, 0.05), strict=True):
        assert bars[0].get_ydata().tolist() == [middle]
        (ends,) = bars[2][0].get_segments()
        assert ends[:, 1] == pytest.approx([middle - 2 * error, middle + 2 * error])


def test_masks_are_means_over_channels_and_lie_over_their_own_test_images():
    whole = load("shapes")
    data = DataSet("shapes", whole.classes, whole.train.head(3), whole.test.head(3))
    torch.manual_seed(0)
    network, trace = build("attention-56", narrow=4).eval(), {}
    with torch.no_grad():
        network(data.normalise(data.test.images), trace)
    masks = figures.soft_masks(network, data.normalise(data.test.images))
    assert [*masks] == [f"stage{number}_module1" for number in (1, 2, 3)]
    for name, mask in masks.items():
        torch.testing.assert_close(mask, trace[f"{name}.mask"].mean(1))
    grid = np.reshape(figures.masks_over_images(network, data, 3).axes, (4, 3))
    for column in range(3):
        assert np.array_equal(grid[0, column].images[0].get_array(), data.test.images[column].numpy())
        shown = np.asarray(grid[1, column].images[1].get_array())
        np.testing.assert_allclose(shown, masks["stage1_module1"][column].numpy(), rtol=1e-5)  # 32×32 as the image
        assert grid[0, column].get_title() == data.classes[data.test.labels[column]]
