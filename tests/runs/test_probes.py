"""Probes: the area under the ROC curve against its definition, and what is measured of a network."""

import numpy as np
import pytest
import torch

from ran.data import DataSet, ImageSet, load
from ran.model import build
from ran.runs.probes import area_under_roc, probe


def by_definition(scores, inside):
    """Share of all pairs of a pixel inside and one outside in which the one inside scores higher; ties count half."""
    inner, outer = scores[inside][:, None], scores[~inside][None]
    return ((inner > outer).mean() + 0.5 * (inner == outer).mean()).item()


def test_area_under_roc_counts_pairs():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randint(0, 6, (5, 4, 7), generator=generator).float()  # few values: many ties
    objects = torch.rand(5, 4, 7, generator=generator) < 0.3
    pairs = zip(maps.numpy(), objects.numpy(), strict=True)
    assert area_under_roc(maps, objects) == pytest.approx(np.mean([by_definition(*pair) for pair in pairs]))


def test_area_under_roc_at_its_ends():
    objects = load("shapes").test.masks[:6]
    assert area_under_roc(objects.float(), objects) == 1
    assert area_under_roc(-objects.float(), objects) == 0
    assert area_under_roc(torch.zeros(objects.shape), objects) == 0.5
    empty = torch.cat([objects, torch.zeros_like(objects[:1])])  # an image without an object says nothing
    assert area_under_roc(empty.float(), empty) == 1


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build("attention-56", narrow=4)


def test_every_block_is_measured(network):
    data = load("shapes")
    table = probe(network, data, count=70).set_index("block")
    assert not network.training
    trace = {}
    with torch.no_grad():
        network(data.normalise(data.test.images[:70]), trace)
    assert list(table.index) == list(trace)
    for name, feature in trace.items():
        assert table.response[name] == pytest.approx(feature.abs().mean().item(), rel=1e-4)
    inside = [name for name in trace if "." in name]
    assert list(table.index[table.auc.notna()]) == inside == list(table.index[table.auc_shuffled.notna()])


def test_a_mask_that_knows_the_object_scores_one_and_its_control_does_not(network):
    whole = load("shapes")
    data = DataSet(whole.name, whole.classes, whole.train, whole.test.head(50))
    module = network.blocks["stage1_module1"]
    objects = data.test.masks[:, None].float()
    handle = module.mask.register_forward_hook(lambda *_: objects.expand(-1, 16, -1, -1))
    try:
        row = probe(network, data).set_index("block").loc["stage1_module1.mask"]
    finally:
        handle.remove()
    assert row.auc == 1 and 0.4 < row.auc_shuffled < 0.9
    assert row.response == pytest.approx(objects.mean().item(), rel=1e-4)


def test_features_are_scored_by_their_size_and_masks_by_their_value(network):
    """Features that are large on the object, of either sign, find it; a mask that is low there scores zero."""
    whole = load("shapes")
    data = DataSet(whole.name, whole.classes, whole.train, whole.test.head(50))
    module = network.blocks["stage1_module1"]
    objects = data.test.masks[:, None].float()
    signs = torch.tensor([1.0, -1.0]).repeat(8)[:, None, None]
    handles = [
        module.trunk.register_forward_hook(lambda *_: objects * signs),
        module.mask.register_forward_hook(lambda *_: -objects.expand(-1, 16, -1, -1)),
    ]
    try:
        table = probe(network, data).set_index("block")
    finally:
        for handle in handles:
            handle.remove()
    assert table.auc["stage1_module1.trunk"] == 1 and table.auc["stage1_module1.mask"] == 0
    assert table.response["stage1_module1.trunk"] == pytest.approx(objects.mean().item(), rel=1e-4)


def test_the_score_of_a_mask_is_that_of_its_mean_over_channels(network):
    """In one channel of sixteen it is high off the object: the others outweigh it in the mean, not in the maximum."""
    whole = load("shapes")
    data = DataSet(whole.name, whole.classes, whole.train, whole.test.head(50))
    objects = data.test.masks[:, None].float()
    masks = torch.cat([3 * (1 - objects), *[objects] * 15], 1)
    handle = network.blocks["stage1_module1"].mask.register_forward_hook(lambda *_: masks)
    try:
        assert probe(network, data).set_index("block").auc["stage1_module1.mask"] == 1
    finally:
        handle.remove()


def test_without_true_objects_there_is_no_score(network):
    whole = load("shapes")
    bare = DataSet("bare", whole.classes, whole.train, ImageSet(whole.test.images[:10], whole.test.labels[:10]))
    table = probe(network, bare)
    assert table.auc.isna().all() and table.response.gt(0).all()
