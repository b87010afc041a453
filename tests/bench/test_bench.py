"""What `ran bench` counts, how it takes turns, and that every part leaves a record."""

import itertools
import json

import pytest
import torch
from torch import nn

from ran.bench import PARTS, bench, loops, read_bench
from ran.bench import suite as bench_module
from ran.bench.baselines import Images, PlainLoop
from ran.bench.loops import Loop, Turn, alternate, images_like_cifar
from ran.bench.measures import CIFAR_NETWORKS, SIZES, Size, pieces
from ran.bench.operation_times import KINDS, OPTIMISER, by_clock, kind_of
from ran.bench.roofline import count, least_seconds
from ran.bench.suite import as_lines
from ran.cli import main
from ran.data import load
from ran.files import Damaged
from ran.model import build, cost
from ran.sealing import sealed
from ran.training import PLAIN, Engine

CPU = torch.device("cpu")
TINY = Size(
    "attention-56",
    8,
    16,
    16,
    rounds=1,
    batches=(4, 8),
    networks=("attention-56",),
    sides=(32,),
    steps=1,
    jobs=(1,),
    narrow=4,
    limit_seconds=0.01,
)


def test_operations_are_three_times_those_of_the_forward_pass():
    network = build("attention-56", narrow=4)
    forward = 2 * cost(network).multiply_adds.sum()
    images = torch.randn(2, 3, 32, 32)
    assert sum(operations for operations, _ in count(network, images, PLAIN, training=False)) == 2 * forward
    stem = 2 * 3 * 9 * 4 * 32**2  # images need no gradient
    trained = sum(operations for operations, _ in count(network, images, PLAIN))
    assert trained == 2 * (3 * forward - stem)


def test_bytes_are_those_of_inputs_and_outputs():
    network = nn.Sequential(nn.Conv2d(3, 5, 1, bias=False), nn.Flatten(), nn.ReLU())
    moved = [each for _, each in count(network, torch.randn(2, 3, 4, 4), PLAIN, training=False)]
    pixels = 2 * 4 * 4
    assert moved == [4 * (3 * pixels + 5 * pixels + 15), 2 * 4 * 5 * pixels]  # the convolution, ReLU; a view is free


def test_each_kernel_takes_as_long_as_what_binds_it():
    least = least_seconds([(100, 10), (10, 100)], operations_rate=10, bytes_rate=5)
    assert least == {"seconds": 10 + 20, "operations": 11, "bytes": 22}


def test_turns_are_taken_in_alternation_and_only_work_is_timed(monkeypatch):
    clock, order = itertools.count(), []
    monkeypatch.setattr(loops.time, "perf_counter", lambda: next(clock))

    def turn(name, images):
        def work():
            order.append(name)
            return images

        return Turn(work, lambda: next(clock))  # a second that must not count

    rows = alternate({"a": turn("a", 10), "b": turn("b", 30)}, 3, CPU)
    assert order == ["a", "b"] * 3
    assert [(row["name"], row["images_per_second"], row["all"]) for row in rows] == [
        ("a", 10, [10.0] * 3),
        ("b", 30, [30.0] * 3),
    ]


def test_a_row_is_median_and_spread():
    assert loops.summary([4.0, 1.0, 2.0]) == {"images_per_second": 2.0, "least": 1.0, "most": 4.0, "all": [4, 1, 2]}


def test_sets_of_any_length_repeat_the_embedded_one():
    length = len(load("shapes").train)
    data = images_like_cifar(length + 3, 7)
    assert (len(data.train), len(data.test)) == (length + 3, 7)
    assert data.train.images[length:].equal(data.train.images[:3])


def test_the_plain_loop_sees_the_same_images():
    """Without its crops and flips: what it compares with must not have an easier task."""
    data = images_like_cifar(8, 8)
    loop = PlainLoop(build("attention-56", narrow=4), data, 4, CPU, workers=0)
    images, labels = zip(*loop.testing, strict=True)
    torch.testing.assert_close(torch.cat(images), data.normalise(data.test.images))
    assert torch.cat(labels).equal(data.test.labels)
    assert isinstance(loop.training.dataset, Images) and len(loop.training) == 2
    before = [each.clone() for each in loop.network.parameters()]
    assert loop.train() == 8 and loop.test() == 8
    assert not all(mine.equal(its) for mine, its in zip(loop.network.parameters(), before, strict=True))


def test_a_loop_trains_as_often_as_it_says():
    network = build("attention-56", narrow=4)
    loop = Loop(network, images_like_cifar(10, 1), 4, CPU, PLAIN)
    tracked = next(module for module in network.modules() if isinstance(module, nn.BatchNorm2d)).num_batches_tracked
    loop.warm()
    assert (loop.train(), loop.steps(3)) == (8, 12)
    assert tracked == 1 + 2 + 3


def test_every_piece_adds_one_thing():
    engines = list(pieces(CPU).values())
    assert engines[0] == PLAIN and engines[-1].channels_last and engines[-1].keeps_memory
    for before, after in itertools.pairwise(engines):
        changed = [name for name in Engine.__dataclass_fields__ if getattr(before, name) != getattr(after, name)]
        assert len(changed) == 1


def test_every_part_leaves_what_it_found(tmp_path):
    """All parts but the one that needs 224×224 images and the ones that start processes: seconds each."""
    lines = []
    path = bench(CPU, tmp_path, ["training", "inference", "limit", "kinds", "growth"], TINY, lines.append)
    parts = json.loads(path.read_text())["parts"]
    speeds = [row["images_per_second"] for row in parts["training"]["found"] + parts["inference"]["found"]]
    assert min(speeds) > 0 and len(speeds) >= 3 + 3
    assert 0 < parts["limit"]["found"]["share"] < 1
    assert sum(row["share"] for row in parts["kinds"]["found"]) == pytest.approx(100, abs=1)
    assert {row["name"] for row in parts["kinds"]["found"]} == {*KINDS, "all else"}
    assert [row["name"] for row in parts["growth"]["found"]["batches"]] == ["4", "8"]
    assert any("plain loop" in line and "× 1.00" in line for line in lines)


def test_the_clock_tells_the_optimiser_from_the_rest():
    layer = torch.nn.Linear(3, 2)
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.1)

    def work():
        layer(torch.ones(1, 3)).sum().backward()
        optimiser.step()

    seconds = by_clock(work, optimiser)
    assert min(seconds.values()) > 0
    assert {OPTIMISER, "aten::addmm", "aten::sum"} <= seconds.keys()
    assert "aten::add_.Tensor" not in seconds  # what SGD itself is made of


def test_operations_of_a_step_are_of_the_kinds_named():
    network = build("attention-56", narrow=4)

    def step():
        network(torch.zeros(2, 3, 32, 32)).sum().backward()

    kinds = {name: kind_of(name) for name in by_clock(step, torch.optim.SGD(network.parameters()))}
    assert kinds["aten::convolution"] == "convolutions, forward"
    assert kinds["aten::convolution_backward"] == "convolutions, backward"
    assert kinds["aten::native_batch_norm_backward"] == "batch norm"
    assert kinds["aten::relu_"] == kinds["aten::threshold_backward"] == "ReLU"
    assert kinds["aten::upsample_bilinear2d"] == "pooling, up-sampling"
    assert kinds["aten::sigmoid"] == "sums, masks"
    assert {*KINDS} - {*kinds.values()} == {"optimiser"} and kind_of(OPTIMISER) == "optimiser"


def test_parts_measured_earlier_stay(tmp_path, monkeypatch):
    monkeypatch.setitem(PARTS, "kinds", lambda size, device: [{"name": "first", "share": 1}])
    path = bench(CPU, tmp_path, ["kinds"], TINY, lambda _: None)
    monkeypatch.setitem(PARTS, "limit", lambda size, device: {"share": 2})
    assert bench(CPU, tmp_path, ["limit"], TINY, lambda _: None) == path
    parts = json.loads(path.read_text())["parts"]
    assert parts["kinds"]["found"] == [{"name": "first", "share": 1}] and parts["limit"]["found"] == {"share": 2}
    assert parts["kinds"]["size"]["narrow"] == 4 and parts["kinds"]["git"]["commit"]


def test_the_command_measures_the_parts_it_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(bench_module.SIZES, "cpu", TINY)
    monkeypatch.setitem(PARTS, "kinds", lambda size, device: [{"name": size.network, "share": 1}])
    assert main(["bench", "--parts", "kinds", "--device", "cpu", "--results", str(tmp_path)]) == 0
    assert "attention-56: share 1" in capsys.readouterr().out
    assert len(list((tmp_path / "bench").glob("cpu-*.json"))) == 1
    assert main(["bench", "--parts", "kind", "--results", str(tmp_path)]) == 2
    assert "Did you mean 'kinds'?" in capsys.readouterr().err


def test_what_was_found_is_said_in_lines():
    rows = [{"name": "a", "images_per_second": 2.0, "all": [2.0]}, {"name": "b", "images_per_second": 5.0, "all": [5]}]
    assert as_lines("speed", rows) == [
        "speed",
        "  a: images_per_second 2.0 (× 1.00)",
        "  b: images_per_second 5.0 (× 2.50)",
    ]
    assert as_lines("growth", {"sides": rows})[0] == "growth, sides"
    assert as_lines("limit", {"share": 0.5}) == ["limit", "  share: 0.5"]


def test_what_is_measured_on_each_device_is_whole():
    for size in SIZES.values():
        assert set(CIFAR_NETWORKS) <= set(size.networks) and size.rounds >= 3 and size.narrow == 1
        assert size.images >= 10 * size.batch


def test_without_pytorchcv_nothing_is_measured_in_vain(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ran.bench.suite.find_spec", lambda _: None)
    assert main(["bench", "--device", "cpu", "--results", str(tmp_path)]) == 2
    assert "--parts training inference limit" in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize("how", ["cut", "edited", "null", "unsealed", "markup"])
def test_a_damaged_record_is_named_and_kept(tmp_path, monkeypatch, how):
    monkeypatch.setitem(PARTS, "kinds", lambda size, device: [{"name": "first", "share": 1}])
    path = bench(CPU, tmp_path, ["kinds"], TINY, lambda _: None)
    text = path.read_text()
    record = json.loads(text)
    rest = {name: value for name, value in record.items() if name not in ("version", "sha256")}
    rest["parts"]["kinds"]["found"][0]["name"] = "<b>first</b>"
    path.write_text(
        {
            "cut": text[:-20],
            "edited": text.replace('"share": 1', '"share": 2'),
            "null": "null",
            "unsealed": json.dumps({"hardware": record["hardware"], "parts": record["parts"]}),
            "markup": json.dumps(sealed(rest)),
        }[how]
    )
    damaged = path.read_bytes()
    for read in (lambda: read_bench(tmp_path), lambda: bench(CPU, tmp_path, ["kinds"], TINY, lambda _: None)):
        with pytest.raises(Damaged, match="is not a whole record of measurements"):
            read()
    assert path.read_bytes() == damaged
