"""The networks at the paper's size: parameters, depth, shapes, gradients, and the one door that builds them."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ran import PRESETS, build
from ran.masks import MASKS

# attention modules per stage, and parameters as the paper's structure gives them (paper: 1.9M, 5.1M, 8.6M)
BASELINES = {"resnet-164": 1.7e6, "resnet-1001": 10.3e6, "wrn-16-8": 11.0e6, "wrn-28-10": 36.5e6}  # as published
SIZES = {
    "attention-56": (1, 1_030_362),
    "attention-92": (2, 1_841_242),
    "attention-128": (3, 2_652_122),
    "attention-164": (4, 3_463_002),
    "attention-236": (6, 5_084_762),
    "attention-452": (6, 8_745_818),
}


def multiply_adds(network, x=None):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.zeros(1, 3, 32, 32) if x is None else x)
    return counter.get_total_flops() / 2


def test_every_preset_is_measured():
    assert {*SIZES, *BASELINES} == set(PRESETS)


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_have_their_published_sizes(name):
    network = build(name)
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(BASELINES[name], rel=0.015)
    assert "Attention" not in repr(network)
    if name.startswith("resnet"):
        assert network.depth == int(name.split("-")[1])


@pytest.mark.parametrize("name", SIZES)
def test_parameters_and_depth(name):
    network, (modules, parameters) = build(name), SIZES[name]
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert network.depth == int(name.split("-")[1])
    if network.config.p == 1:
        assert network.depth == 36 * modules + 20


@pytest.mark.parametrize("name", [*SIZES, "resnet-164", "wrn-16-8"])
def test_every_parameter_receives_a_gradient(name):
    network = build(name)
    torch.nn.functional.cross_entropy(network(torch.randn(4, 3, 32, 32)), torch.arange(4)).backward()
    silent = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent


@pytest.mark.parametrize("attention", ["arl", "nal"])
@pytest.mark.parametrize("mask", ["encoder-decoder", "local-convolutions"])
@pytest.mark.parametrize("gate", ["mixed", "channel", "spatial"])
def test_every_variant_trains_all_its_parameters(attention, mask, gate):
    network = build("attention-56", attention=attention, mask=mask, gate=gate)
    torch.nn.functional.cross_entropy(network(torch.randn(2, 3, 32, 32)), torch.arange(2)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize(("height", "width"), [(32, 32), (37, 45), (64, 33)])
def test_shapes_per_stage(height, width):
    trace = {}
    logits = build("attention-92", num_classes=7)(torch.randn(2, 3, height, width), trace)
    assert logits.shape == (2, 7)
    assert trace["stem"].shape == (2, 16, height, width)
    for stage, channels in enumerate((64, 128, 256), 1):
        size = tuple(-(-side // 2 ** (stage - 1)) for side in (height, width))
        names = [f"stage{stage}_{block}" for block in ("unit", "module1", "module2", "tail1")]
        names += [f"stage{stage}_module{number}.{part}" for number in (1, 2) for part in ("trunk", "mask", "attended")]
        for name in names:
            assert trace[name].shape == (2, channels, *size), name
    assert len(trace) == 1 + 3 * (4 + 6)


def test_tracing_changes_nothing():
    network, images = build("attention-56").eval(), torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(network(images, {}), network(images), rtol=0, atol=0)


def test_multiply_adds():
    assert multiply_adds(build("attention-56")) == pytest.approx(0.12e9, rel=0.05)
    assert multiply_adds(build("attention-92")) == pytest.approx(0.21e9, rel=0.05)
    assert multiply_adds(build("attention-164")) == pytest.approx(0.39e9, rel=0.05)


@pytest.mark.parametrize(("channels", "poolings", "size"), [(64, 3, 32), (128, 2, 16), (256, 1, 8)])
def test_both_mask_structures_cost_the_same(channels, poolings, size):
    costs = [
        multiply_adds(structure(channels, poolings, 1), torch.zeros(1, channels, size, size))
        for structure in MASKS.values()
    ]
    assert len(costs) == 2
    assert costs[1] == pytest.approx(costs[0], rel=0.1)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("attention56", {}, "Did you mean 'attention-56'"),
        ("resnet", {}, "Known: attention-56"),
        ("attention-56", {"gate": "spacial"}, "Did you mean 'spatial'"),
        ("attention-56", {"attention": "ARL"}, "Did you mean 'arl'"),
        ("attention-56", {"mask": "encoder"}, "Did you mean 'encoder-decoder'"),
        ("attention-56", {"classes": 10}, "Did you mean 'num_classes'"),
        ("attention-56", {"num_classes": 1}, "num_classes must be a whole number of at least 2, not 1"),
        ("attention-56", {"r": 1.5}, "r must be a whole number"),
    ],
)
def test_wrong_names_and_values_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        build(name, **options)


@pytest.mark.parametrize("shape", [(2, 3, 31, 32), (2, 1, 32, 32), (3, 32, 32)])
def test_wrong_images_are_refused(shape):
    with pytest.raises(ValueError, match="at least 32"):
        build("attention-56")(torch.zeros(shape))


def test_repr_says_what_it_is():
    text = repr(build("attention-92", attention="nal"))
    assert "attention-92: NAL" in text and "1,841,242 parameters" in text and "trunk depth 92" in text
