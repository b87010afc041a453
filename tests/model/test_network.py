"""The networks at the paper's size: parameters, depth, shapes, gradients, and the one door that builds them."""

import hashlib
from collections import Counter

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ran.model import MASKS, PRESETS, build, cost

# attention modules per stage, and parameters as the paper's structure gives them (paper: 1.9M, 5.1M, 8.6M)
BASELINES = {"resnet-164": 1.7e6, "resnet-1001": 10.3e6, "wrn-16-8": 11.0e6, "wrn-28-10": 36.5e6}  # as published
CONTROLS = {"resnet-56-wide": ("attention-56", 1_109_714)}  # this book's own, the network that each is for, parameters
SIZES = {
    "attention-56": (1, 1_030_362),
    "attention-92": (2, 1_841_242),
    "attention-128": (3, 2_652_122),
    "attention-164": (4, 3_463_002),
    "attention-236": (6, 5_084_762),
    "attention-452": (6, 8_745_818),
}
# parameters, and multiply-adds at 224×224, of the layer lists that the authors published
PUBLISHED = {
    "attention-56-imagenet": (31_810_728, 6.27e9),
    "attention-92-imagenet": (52_466_344, 10.53e9),
    "attentionnext-56-imagenet": (31_318_824, 6.42e9),
}
IMAGENET = [*PUBLISHED, "attentioninception-56-imagenet"]


def multiply_adds(network, x=None):
    device = next(network.parameters()).device
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.zeros(1, 3, 32, 32, device=device) if x is None else x)
    return counter.get_total_flops() / 2


def outline(name, **options):
    """A network without values: its layers can be counted and its shapes followed, and nothing is computed."""
    with torch.device("meta"):
        return build(name, **options)


def test_every_preset_is_measured():
    assert {*SIZES, *BASELINES, *CONTROLS, *IMAGENET} == set(PRESETS)


@pytest.mark.parametrize(("name", "digest"), [("attention-56", "310b7a75dfe33d59"), ("wrn-16-8", "14b9b7223a731a7d")])
def test_names_of_parameters_stay_as_they_are(name, digest):
    """Weights of recorded runs are found by these names: a change here makes their files unreadable."""
    names = "\n".join(outline(name).state_dict())
    assert hashlib.sha256(names.encode()).hexdigest().startswith(digest)


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_have_their_published_sizes(name):
    network = outline(name)
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(BASELINES[name], rel=0.015)
    assert "Attention" not in repr(network)
    if name.startswith("resnet"):
        assert network.depth == int(name.split("-")[1])


@pytest.mark.parametrize("name", CONTROLS)
@pytest.mark.parametrize("narrow", [1, 2])
def test_controls_have_depth_and_about_the_size_of_what_they_are_for(name, narrow):
    of, parameters = CONTROLS[name]
    network, its = outline(name, narrow=narrow), outline(of, narrow=narrow)
    counts = [sum(p.numel() for p in each.parameters()) for each in (network, its)]
    assert not network.config.has_modules and network.depth == its.depth == int(name.split("-")[1])
    assert counts[0] == pytest.approx(counts[1], rel=0.08)
    assert narrow > 1 or counts[0] == parameters


@pytest.mark.parametrize("name", SIZES)
def test_parameters_and_depth(name):
    network, (modules, parameters) = outline(name), SIZES[name]
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert network.depth == int(name.split("-")[1])
    if network.config.p == 1:
        assert network.depth == 36 * modules + 20


@pytest.mark.parametrize("name", [*SIZES, *CONTROLS, "resnet-164", "wrn-16-8"])
def test_every_parameter_receives_a_gradient(name):
    network = build(name, narrow=2 if name in CONTROLS else 4)
    torch.nn.functional.cross_entropy(network(torch.randn(4, 3, 32, 32)), torch.arange(4)).backward()
    silent = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent


@pytest.mark.parametrize("attention", ["arl", "nal"])
@pytest.mark.parametrize("mask", ["encoder-decoder", "local-convolutions"])
@pytest.mark.parametrize("gate", ["mixed", "channel", "spatial"])
def test_every_variant_trains_all_its_parameters(attention, mask, gate):
    torch.manual_seed(0)
    network = build("attention-56", narrow=4, attention=attention, mask=mask, gate=gate)
    torch.nn.functional.cross_entropy(network(torch.randn(4, 3, 32, 32)), torch.arange(4)).backward()
    still = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not still and all(p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize(
    "option", [{"gate": "channel"}, {"gate": "spatial"}, {"mask": "local-convolutions"}, {"attention": "nal"}]
)
def test_every_option_changes_what_the_network_computes(option):
    """With the same weights, where another gate or learning has the same: an option that is lost shows."""
    networks, images = [], torch.randn(2, 3, 32, 32)
    for options in ({}, option):
        torch.manual_seed(0)
        networks.append(build("attention-56", narrow=4, **options).eval())
    if "mask" not in option:
        networks[1].load_state_dict(networks[0].state_dict())
    traces = [{}, {}]
    for network, trace in zip(networks, traces, strict=True):
        network(images, trace)
    inside = "attended" if "attention" in option else "mask"
    one, other = (trace[f"stage1_module1.{inside}"] for trace in traces)
    assert not torch.allclose(one, other, atol=1e-3)
    names = [{*network.state_dict()} for network in networks]
    assert (names[0] == names[1]) == ("mask" not in option)


@pytest.mark.parametrize(("p", "t", "r"), [(1, 2, 1), (1, 1, 2), (2, 3, 1), (1, 4, 2), (0, 2, 1)])
def test_a_networks_modules_have_p_t_and_r_units(p, t, r):
    network = build("attention-56", narrow=16, p=p, t=t, r=r)
    module = network.blocks["stage1_module1"]
    assert (len(module.before), len(module.trunk), len(module.after)) == (p, t, p)
    scale = module.mask.structure
    for _ in range(3):
        assert len(scale.down) == r
        scale = scale.inner
    assert network.depth == 2 + 3 * (3 + 3 + 3 * (2 * p + t))
    assert f"p={p}, t={t}, r={r}" in repr(network)


def test_a_classifier_starts_without_preference():
    head = build("attention-56", narrow=4, num_classes=7).head[-1]
    assert not head.bias.any() and head.weight.std() > 0.01


def test_a_narrow_network_is_narrow_everywhere():
    """The stem too: a quarter of the channels is about a sixteenth of the parameters, and the name says so."""
    whole, narrow = build("attention-56"), build("attention-56", narrow=4)
    assert narrow.stem.out_channels == 4 and [stage.channels for stage in narrow.config.stages] == [16, 32, 64]
    assert sum(p.numel() for p in narrow.parameters()) < sum(p.numel() for p in whole.parameters()) / 12
    assert "channels / 4" in repr(narrow)


def test_cost_counts_every_part_once_and_changes_nothing():
    network = build("attention-56", narrow=4).eval()
    table = cost(network)
    assert not network.training and cost(network.train()).equals(table) and network.training
    assert table.parameters.sum() == sum(p.numel() for p in network.parameters())
    assert table.multiply_adds.sum() == multiply_adds(network)
    assert table.block.tolist()[0] == "stem" and table.block.tolist()[-1] == "head"


def test_the_branches_of_a_module_cost_their_share_of_it():
    network = outline("attention-92", p=2, t=3)
    table, whole = cost(network, branches=True).set_index("block"), cost(network)
    assert table[~table.index.str.contains(".", regex=False)].reset_index().equals(whole)
    for name, block in network.blocks.items():
        if "module" in name:
            trunk, mask = (table.loc[f"{name}.{branch}"] for branch in ("trunk", "mask"))
            assert trunk.parameters == sum(p.numel() for p in block.trunk.parameters())
            assert mask.parameters == sum(p.numel() for p in block.mask.parameters())
            # seven units alike: two before, three of the trunk, two after
            assert table.loc[name].multiply_adds == mask.multiply_adds + 7 * trunk.multiply_adds // 3


@pytest.mark.parametrize(("height", "width"), [(32, 32), (37, 45), (64, 33)])
def test_shapes_per_stage(height, width):
    trace = {}
    network = outline("attention-92", num_classes=7)
    logits = network(torch.zeros(2, 3, height, width, device="meta"), trace)
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
    network, images = build("attention-56", narrow=4).eval(), torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(network(images, {}), network(images), rtol=0, atol=0)


def test_multiply_adds():
    assert multiply_adds(outline("attention-56")) == pytest.approx(0.12e9, rel=0.05)
    assert multiply_adds(outline("attention-92")) == pytest.approx(0.21e9, rel=0.05)
    assert multiply_adds(outline("attention-164")) == pytest.approx(0.39e9, rel=0.05)


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
        ("attention-56", {"stem": "image"}, "Did you mean 'imagenet'"),
        ("attention-56", {"unit": "resnet"}, "Did you mean 'resnext'"),
        ("attentionnext-56-imagenet", {"narrow": 8}, "and 1/64 of the 256 in the narrowest stage"),
        ("attention-56", {"unit": "resnext", "mask": "local-convolutions"}, "made of bottleneck units, not of resnext"),
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
    assert text.startswith("attention-92: 1,841,242 parameters, trunk depth 92\n")
    assert "NAL, encoder-decoder mask, mixed attention" in text


@pytest.mark.parametrize("name", PRESETS)
def test_repr_fits_a_page_of_the_book(name):
    assert max(map(len, repr(outline(name)).splitlines())) <= 78


@pytest.mark.parametrize("name", IMAGENET)
def test_imagenet_networks_have_their_published_sizes(name):
    counted = cost(outline(name))[["parameters", "multiply_adds"]].sum()
    if name in PUBLISHED:
        assert counted.parameters == PUBLISHED[name][0]
        assert counted.multiply_adds == pytest.approx(PUBLISHED[name][1], rel=0.01)
    else:  # of AttentionInception there is no list, only the paper's numbers
        assert counted.parameters == pytest.approx(31.9e6, rel=0.03)
        assert counted.multiply_adds == pytest.approx(6.3e9, rel=0.03)


def test_a_network_has_modules_if_one_of_its_stages_has():
    assert all(PRESETS[name].has_modules for name in (*SIZES, *IMAGENET))
    assert not any(PRESETS[name].has_modules for name in (*BASELINES, *CONTROLS))


def test_depth_of_imagenet_networks():
    assert [outline(name).depth for name in PUBLISHED] == [56, 92, 56]


def layers(network):
    """Every layer of a network by kind, channels in and out, kernel, stride and groups, counted."""
    found = Counter()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            sizes = layer.kernel_size[0], layer.stride[0], layer.groups
            found["convolution", layer.in_channels, layer.out_channels, *sizes] += 1
        elif isinstance(layer, nn.BatchNorm2d):
            found["norm", layer.num_features] += 1
        elif isinstance(layer, nn.MaxPool2d):
            found["pool", layer.kernel_size, layer.stride] += 1
        elif isinstance(layer, nn.Linear):
            found["classifier", layer.in_features, layer.out_features] += 1
    return found


def published_layers(modules, next_unit=False):
    """The same count, from the structure of the authors' layer lists and by arithmetic alone; r = 1, p = 1, t = 2.

    A module has four residual units on its trunk's way, and in its mask, with k poolings: k on the way down, one that
    opens the top-down half, k - 1 on the way up, k - 1 skips; that is 8, 5 and 2 for the three stages.
    """
    found = Counter([("convolution", 3, 64, 7, 2, 1), ("norm", 64), ("pool", 3, 2), ("classifier", 2048, 1000)])

    def residual_units(count, before, after, stride=1):
        width, groups = (after // 2, 32) if next_unit else (after // 4, 1)
        found["convolution", before, width, 1, 1, 1] += count
        found["convolution", width, width, 3, stride, groups] += count
        found["convolution", width, after, 1, 1, 1] += count
        found["norm", width] += 2 * count
        found["norm", after if next_unit else before] += count  # behind the last convolution, or before the first
        if before != after:
            found["convolution", before, after, 1, stride, 1] += count
            found["norm", after] += count if next_unit else 0

    stages = ((64, 256, 1, 3, 8), (256, 512, 2, 2, 5), (512, 1024, 2, 1, 2))
    for count, (before, after, stride, poolings, mask_units) in zip(modules, stages, strict=True):
        residual_units(1, before, after, stride)
        residual_units(count * (4 + mask_units), after, after)
        found["pool", 3, 2] += count * poolings
        found["convolution", after, after, 1, 1, 1] += 2 * count  # the end of the mask branch
        found["norm", after] += count if next_unit else 2 * count
    residual_units(1, 1024, 2048, 2)
    residual_units(2, 2048, 2048)
    found["norm", 2048] += 0 if next_unit else 1  # before the average pool
    return found


def test_layers_are_those_that_the_authors_published():
    assert layers(outline("attention-56-imagenet")) == published_layers((1, 1, 1))
    assert layers(outline("attention-92-imagenet")) == published_layers((1, 2, 3))
    assert layers(outline("attentionnext-56-imagenet")) == published_layers((1, 1, 1), next_unit=True)


@pytest.mark.parametrize("name", IMAGENET)
@pytest.mark.parametrize(("height", "width"), [(224, 224), (299, 333)])
def test_shapes_per_stage_on_imagenet(name, height, width):
    network, trace = outline(name), {}
    assert network(torch.zeros(2, 3, height, width, device="meta"), trace).shape == (2, 1000)

    def shape(channels, reduction):
        return (2, channels, -(-height // reduction), -(-width // reduction))

    assert trace["stem"].shape == shape(64, 4)
    for stage, (channels, reduction) in enumerate(((256, 4), (512, 8), (1024, 16)), 1):
        for block in ("unit", "module1", "module1.trunk", "module1.mask"):
            assert trace[f"stage{stage}_{block}"].shape == shape(channels, reduction)
    assert [name for name in trace if name.startswith("stage4")] == ["stage4_unit", "stage4_tail1", "stage4_tail2"]
    assert all(trace[f"stage4_{block}"].shape == shape(2048, 32) for block in ("unit", "tail1", "tail2"))


@pytest.mark.parametrize("name", IMAGENET)
def test_every_parameter_of_an_imagenet_network_receives_a_gradient(name):
    network = build(name, narrow=4, num_classes=7)
    torch.nn.functional.cross_entropy(network(torch.randn(4, 3, 64, 79)), torch.arange(4)).backward()
    assert not [key for key, p in network.named_parameters() if p.grad is None or not p.grad.any()]


@pytest.mark.parametrize("name", IMAGENET)
def test_images_too_small_for_imagenet_networks_are_refused(name):
    with pytest.raises(ValueError, match="at least 64, got"):
        outline(name)(torch.zeros(2, 3, 64, 63))


def test_convolutions_start_by_he_et_al():
    """Deviation √(2 / fan out), the fan out being the kernel's positions times its channels (section 4.1)."""
    torch.manual_seed(0)
    convolutions = [each for each in build("attention-56").modules() if isinstance(each, nn.Conv2d)]
    for each in convolutions:
        fan_out = each.out_channels * each.kernel_size[0] * each.kernel_size[1]
        close = 5 / each.weight.numel() ** 0.5  # five times what chance leaves, or more
        assert each.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=close), each
        assert each.bias is None or not each.bias.any()
