"""Equations (1) to (6) of the paper against plain formulas, and the soft mask against one unrolled by hand."""

import math

import pytest
import torch
import torch.nn.functional as F

from ran.model import GATES, LEARNING, AttentionModule, EncoderDecoder, ResidualUnit, SoftMask
from ran.model.units import UNITS, BasicUnit, InceptionUnit, ResNeXtUnit

VALUES = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def each(values):
    """Every index (b, c, y, x) of a tensor."""
    return [index.tolist() for index in torch.ones_like(values).nonzero()]


def test_equation_1_naive_attention_learning():
    mask, trunk = VALUES.sigmoid(), VALUES.flip(0)
    joined = LEARNING["nal"](mask, trunk)
    for b, c, y, x in each(VALUES):
        assert joined[b, c, y, x].item() == mask[b, c, y, x].item() * trunk[b, c, y, x].item()


def test_equation_2_the_mask_filters_the_gradient_of_the_trunk():
    trunk = torch.nn.Conv2d(3, 3, 3, padding=1, bias=False).double()
    mask = VALUES.sigmoid()
    (weight,) = trunk.parameters()
    filtered = torch.autograd.grad(LEARNING["nal"](mask, trunk(VALUES)).sum(), weight)
    by_hand = torch.autograd.grad(trunk(VALUES), weight, grad_outputs=mask)  # M · ∂T/∂φ
    torch.testing.assert_close(filtered, by_hand)
    unfiltered = torch.autograd.grad(trunk(VALUES).sum(), weight)
    assert not torch.allclose(filtered[0], unfiltered[0])


def test_equation_3_attention_residual_learning():
    mask, trunk = VALUES.sigmoid(), VALUES.flip(0)
    joined = LEARNING["arl"](mask, trunk)
    for b, c, y, x in each(VALUES):
        assert joined[b, c, y, x].item() == (1 + mask[b, c, y, x].item()) * trunk[b, c, y, x].item()
    torch.testing.assert_close(LEARNING["arl"](torch.zeros_like(trunk), trunk), trunk)


def test_equation_4_mixed_attention():
    gated = GATES["mixed"](VALUES)
    for b, c, y, x in each(VALUES):
        assert gated[b, c, y, x].item() == pytest.approx(1 / (1 + math.exp(-VALUES[b, c, y, x].item())))


def test_equation_5_channel_attention():
    gated = GATES["channel"](VALUES)
    for b, c, y, x in each(VALUES):
        length = math.sqrt(sum(VALUES[b, k, y, x].item() ** 2 for k in range(3)))
        assert gated[b, c, y, x].item() == pytest.approx(VALUES[b, c, y, x].item() / length)


def test_equation_6_spatial_attention():
    gated = GATES["spatial"](VALUES)
    for b, c, y, x in each(VALUES):
        plane = VALUES[b, c].flatten().tolist()
        mean = sum(plane) / len(plane)
        std = math.sqrt(sum((value - mean) ** 2 for value in plane) / len(plane))
        expected = 1 / (1 + math.exp(-(VALUES[b, c, y, x].item() - mean) / std))
        assert gated[b, c, y, x].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("gate", GATES)
def test_gates_bear_constant_features_and_one_position(gate):
    for shape in ((2, 3, 4, 4), (2, 3, 1, 1)):
        features = torch.zeros(shape, requires_grad=True)
        GATES[gate](features).sum().backward()
        assert features.grad.isfinite().all()


def up(x, like):
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=True)


def unrolled_1(m, x):
    return up(m.up(m.down(m.pool(x))), x)


def unrolled_2(m, x):
    a = m.down(m.pool(x))
    b = m.inner.down(m.inner.pool(a))
    return up(m.up(m.skip(a) + up(m.inner.up(b), a)), x)


def unrolled_3(m, x):
    a = m.down(m.pool(x))
    b = m.inner.down(m.inner.pool(a))
    c = m.inner.inner.down(m.inner.inner.pool(b))
    b_up = m.inner.up(m.inner.skip(b) + up(m.inner.inner.up(c), b))
    return up(m.up(m.skip(a) + up(b_up, a)), x)


@pytest.mark.parametrize("size", [(32, 32), (19, 23)])
@pytest.mark.parametrize(("poolings", "unrolled"), [(1, unrolled_1), (2, unrolled_2), (3, unrolled_3)])
@pytest.mark.parametrize("r", [1, 3])
def test_the_recursive_soft_mask_equals_one_unrolled_by_hand(poolings, unrolled, r, size):
    structure = EncoderDecoder(8, poolings, r).eval()
    x = torch.randn(2, 8, *size)
    torch.testing.assert_close(structure(x), unrolled(structure, x), rtol=0, atol=0)


@pytest.mark.parametrize("poolings", [1, 2, 3])
@pytest.mark.parametrize("r", [1, 2])
def test_residual_units_of_a_soft_mask(poolings, r):
    units = sum(isinstance(module, ResidualUnit) for module in SoftMask(8, poolings, r).modules())
    assert units == poolings * (r + 1) + (poolings - 1)  # down and up on every scale, a skip on all but the smallest


def test_a_module_is_its_parts():
    module, x = AttentionModule(8, 2, p=2, t=3, attention="arl").eval(), torch.randn(2, 8, 16, 16)
    inside = {}
    out = module(x, inside)
    before = module.before(x)
    torch.testing.assert_close(inside["trunk"], module.trunk(before))
    torch.testing.assert_close(inside["mask"], module.mask(before))
    torch.testing.assert_close(out, module.after((1 + inside["mask"]) * inside["trunk"]))
    assert (len(module.before), len(module.trunk), len(module.after)) == (2, 3, 2)


def test_residual_unit_against_plain_functions():
    unit, x = ResidualUnit(8, 16, stride=2).eval(), torch.randn(2, 8, 9, 9)
    conv1, bn2, _, conv2, bn3, _, conv3 = unit.residual

    def bn_relu(bn, values):
        scaled = (values - bn.running_mean[:, None, None]) / (bn.running_var[:, None, None] + bn.eps).sqrt()
        return (scaled * bn.weight[:, None, None] + bn.bias[:, None, None]).clamp(min=0)

    active = bn_relu(unit.preact[0], x)
    y = F.conv2d(active, conv1.weight)
    y = F.conv2d(bn_relu(bn2, y), conv2.weight, stride=2, padding=1)
    y = F.conv2d(bn_relu(bn3, y), conv3.weight)
    torch.testing.assert_close(unit(x), y + F.conv2d(active, unit.projection.weight, stride=2))
    assert ResidualUnit(8).projection is None


def test_a_shortcut_is_the_input_itself():
    """Identity mappings (He et al. 2016): what was negative stays so; with a last convolution of zeros, x comes out."""
    for kind in (ResidualUnit, BasicUnit):
        unit, x = kind(8).eval(), torch.randn(2, 8, 5, 5)
        torch.nn.init.zeros_(unit.residual[-1].weight)
        assert unit(x).equal(x)


@pytest.mark.parametrize(("before", "stride"), [(8, 1), (4, 2), (8, 2)])
def test_basic_unit_against_plain_functions(before, stride):
    """Two 3×3 convolutions, of which the first has the stride; a stride alone needs a projection, too."""
    unit, x = randomised(BasicUnit(before, 8, stride)), torch.randn(2, before, 9, 9)

    def bn_relu(bn, values):
        scaled = (values - bn.running_mean[:, None, None]) / (bn.running_var[:, None, None] + bn.eps).sqrt()
        return (scaled * bn.weight[:, None, None] + bn.bias[:, None, None]).clamp(min=0)

    first, norm, _, second = unit.residual
    active = bn_relu(unit.preact[0], x)
    y = F.conv2d(bn_relu(norm, F.conv2d(active, first.weight, stride=stride, padding=1)), second.weight, padding=1)
    shortcut = x if unit.projection is None else F.conv2d(active, unit.projection.weight, stride=stride)
    assert (unit.projection is None) == (stride == 1 and before == 8)
    torch.testing.assert_close(unit(x), shortcut + y)


def test_layers_of_a_unit_are_the_convolutions_on_its_longest_path():
    assert [UNITS[name].layers for name in ("bottleneck", "basic", "resnext", "inception")] == [3, 2, 3, 4]


def plain_convolution(x, layers, stride=1):
    """Convolution and batch normalisation from the definitions, with the weights of two layers; no groups."""
    convolution, norm = layers
    size = convolution.kernel_size[0]
    y = F.conv2d(x, convolution.weight, stride=stride, padding=size // 2)
    scaled = (y - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + norm.eps).sqrt()
    return scaled * norm.weight[:, None, None] + norm.bias[:, None, None]


def randomised(unit):
    """Give batch normalisation values that are not those of a fresh unit."""
    for module in unit.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values in (module.weight.data, module.running_var):
                values.uniform_(0.5, 1.5)
            for values in (module.bias.data, module.running_mean):
                values.normal_()
    return unit.eval()


@pytest.mark.parametrize(("before", "stride"), [(128, 1), (64, 2)])
def test_resnext_unit_against_plain_functions(before, stride):
    unit, x = randomised(ResNeXtUnit(before, 128, stride)), torch.randn(2, before, 9, 9)
    conv1, bn1, _, conv2, bn2, _, conv3, bn3 = unit.residual
    y = plain_convolution(x, (conv1, bn1)).relu()
    grouped = torch.nn.Conv2d(64, 64, 3, bias=False)  # the same with all connections, zero between the 32 groups
    with torch.no_grad():
        grouped.weight.zero_()
        for group in range(32):
            rows = slice(2 * group, 2 * group + 2)
            grouped.weight[rows, rows] = conv2.weight[rows]
    y = plain_convolution(y, (grouped, bn2), stride).relu()
    shortcut = x if stride == 1 else plain_convolution(x, unit.projection, stride)
    torch.testing.assert_close(unit(x), (shortcut + plain_convolution(y, (conv3, bn3))).relu(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("before", "stride"), [(64, 1), (32, 2)])
def test_inception_unit_against_plain_functions(before, stride):
    unit, x = randomised(InceptionUnit(before, 64, stride)), torch.randn(2, before, 9, 9)
    (a1, a2, _), (b1, b2, _, b3, b4, _), (c1, c2, _, c3, c4, _, c5, c6, _) = unit.residual[0]
    a = plain_convolution(x, (a1, a2), stride).relu()
    b = plain_convolution(plain_convolution(x, (b1, b2)).relu(), (b3, b4), stride).relu()
    c = plain_convolution(plain_convolution(x, (c1, c2)).relu(), (c3, c4)).relu()
    c = plain_convolution(c, (c5, c6), stride).relu()
    y = plain_convolution(torch.cat([a, b, c], 1), unit.residual[1:])
    shortcut = x if stride == 1 else plain_convolution(x, unit.projection, stride)
    torch.testing.assert_close(unit(x), (shortcut + y).relu(), rtol=1e-4, atol=1e-4)


def test_post_activation_units_leave_the_mask_nothing_to_activate():
    assert len(SoftMask(64, 1, unit="resnext").output) == 4  # 1×1, BN, ReLU, 1×1
    assert len(SoftMask(64, 1).output) == 6
