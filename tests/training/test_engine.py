"""The pieces that make training fast: none of them changes what is computed."""

import copy
import platform
import subprocess
import sys
import warnings
from contextlib import contextmanager
from dataclasses import fields, replace

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

from ran.data import DataSet, load
from ran.inference import fuse_batch_norms
from ran.model import ResidualUnit, build
from ran.training import (
    PLAIN,
    WARM_UP,
    Engine,
    GraphedStep,
    Schedule,
    SingleDevice,
    Step,
    fastest,
    fit,
    train_one_epoch,
)
from ran.training.engine import compiled_twin

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data():
    whole = load("shapes")
    return DataSet("shapes", whole.classes, whole.train.head(96), whole.test.head(40))


def new(name="attention-56", **options):
    torch.manual_seed(0)
    return build(name, narrow=4, **options)


def silent(_):
    pass


def test_a_compiled_twin_computes_the_same_and_its_units_of_one_kind_are_compiled_once():
    """Compilation is PyTorch's; "aot_eager" traces forward and backward pass as it does, and generates no code.

    The kinds are a stage's first unit, and the others at each size of its mask: 1 + 4, 1 + 3 and 1 + 2, at any depth.
    """
    for name in ("attention-56", "attention-92"):
        torch._dynamo.reset()
        network = new(name).double()
        alike = copy.deepcopy(network)
        counter = CompileCounterWithBackend("aot_eager")
        twin = compiled_twin(network, counter)
        for called in (alike, twin):
            images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the compiler looks at .grad of features, and is warned for it
                nn.functional.cross_entropy(called.train()(images), torch.arange(4)).backward()
        assert counter.frame_count == 12
        pairs = zip(network.named_parameters(), alike.parameters(), strict=True)
        for (name, mine), its in pairs:  # the twin's gradients are the network's: they are one memory
            torch.testing.assert_close(mine.grad, its.grad, msg=name)
        for (name, mine), its in zip(network.named_buffers(), alike.buffers(), strict=True):
            torch.testing.assert_close(mine, its, msg=name)
        assert all(module._compiled_call_impl is None for module in network.modules())  # it stays as written


@pytest.mark.parametrize("piece", [each.name for each in fields(Engine) if each.name not in ("graphed", "compiled")])
def test_no_piece_changes_what_is_learned(data, piece):
    schedule = Schedule("brief", batch_size=32, learning_rate=0.02, epochs=1)
    plain, other = new(), new()
    expected = fit(plain, data, schedule, device=CPU, report=silent, engine=PLAIN)
    found = fit(other, data, schedule, device=CPU, report=silent, engine=replace(PLAIN, **{piece: True}))
    near = 0.02 if piece == "bf16" else 1e-4
    assert found.epochs[0]["train_loss"] == pytest.approx(expected.epochs[0]["train_loss"], rel=near)
    change = [
        (mine - its).norm() / its.norm() for mine, its in zip(other.parameters(), plain.parameters(), strict=True)
    ]
    assert torch.stack(change).median() < near


def test_the_engine_of_a_cpu_and_of_a_gpu():
    cpu = fastest(CPU, network=new())
    assert cpu.channels_last and cpu.keeps_memory and not (cpu.compiled or cpu.graphed or cpu.fused)
    with pytest.raises(ValueError, match="CUDA graphs need a GPU"):
        Engine(graphed=True, fused=True)
    with pytest.raises(ValueError, match="needs the fused optimiser"):
        Engine(graphed=True)


@pytest.mark.parametrize("native", [False, True])
def test_a_cpu_computes_in_bfloat16_where_it_can(monkeypatch, native):
    monkeypatch.setattr("ran.training.engine.native_bf16", lambda _: native)
    assert fastest(CPU).bf16 is native


def test_without_a_compiler_nothing_is_compiled(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("ran.training.engine.native_bf16", lambda _: True)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("shutil.which", lambda _: None)
    gpu = fastest(torch.device("cuda"), network=new())
    assert gpu.fused and gpu.graphed and not gpu.compiled


def test_one_process_compiles_for_many_networks():
    """PyTorch counts kinds over all networks of a process, and goes on uncompiled beyond its limits, without a word."""
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("eager")
    with torch._dynamo.config.patch(recompile_limit=2, accumulated_recompile_limit=4):
        twin = compiled_twin(nn.Sequential(ResidualUnit(4, 4)).eval(), counter)
        for side in range(1, 9):
            twin(torch.zeros(1, 4, side, 1))
    torch._dynamo.reset()
    assert counter.frame_count == 8


def test_plain_features_are_not_in_channels_last_order():
    """Batches are gathered in that order: an engine without it must not gain from it."""
    for engine in (PLAIN, Engine(channels_last=True)):
        network, seen = new(), []
        network.stem.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0]))
        schedule = Schedule("brief", batch_size=4)
        step = Step(engine.prepare(network, CPU), schedule.optimiser(network), schedule, SingleDevice(CPU), engine)
        step(torch.randn(4, 3, 32, 32).to(memory_format=torch.channels_last), torch.arange(4))
        assert seen[0].is_contiguous(memory_format=engine.layout)
        assert network.blocks["stage1_unit"].residual[3].weight.is_contiguous(memory_format=engine.layout)


FAULTS = """
import resource, torch
from ran.training import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.empty(40 << 18).fill_(1)  # 40 MiB, of which each page that is new is a fault
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

assert keep_freed_memory(False)
returned = faults()
assert keep_freed_memory(True)
faults()
print(returned, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep memory")
def test_freed_memory_is_kept():
    """In a process of its own: what other tests freed would be handed out again."""
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    returned, kept = map(int, done.stdout.split())
    assert kept < returned / 10


class Recording:
    """A stand-in for a CUDA graph: it computes when it is launched, with the memory and the rates of its recording."""

    def __init__(self, step):
        self.step = step

    def replay(self):
        numbers = [group["lr"] for group in self.step.optimiser.param_groups]
        for group, rate in zip(self.step.optimiser.param_groups, self.step.rates, strict=True):
            group["lr"] = rate
        self.step.compute(self.step.images, self.step.labels)
        for group, number in zip(self.step.optimiser.param_groups, numbers, strict=True):
            group["lr"] = number


@pytest.mark.parametrize("seed", range(4))
def test_a_recorded_step_takes_every_batch_and_every_learning_rate(data, monkeypatch, seed):
    """With a linear network, whose training is stable: rates of float32 change it by rounding only, for any seed."""

    class Stream:
        def __init__(self, device=None):
            pass

        def wait_stream(self, other):
            pass

    @contextmanager
    def beside(stream):
        yield

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", beside)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    recorded_at = []
    monkeypatch.setattr(GraphedStep, "recorded", lambda step: recorded_at.append(step.done) or Recording(step))
    schedule = Schedule("brief", batch_size=16, learning_rate=0.01, iterations=12, drops=(5 / 12, 9 / 12))
    weights: list = []
    results: list = []
    for kind in (Step, GraphedStep):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)).double()
        optimiser = schedule.optimiser(network)
        rates = schedule.learning_rates(optimiser, 12)
        step = kind(network, optimiser, schedule, SingleDevice(CPU), PLAIN)
        batches = data.training_batches(16, CPU)
        for epoch in range(2):
            results += train_one_epoch(step, batches.epoch(torch.Generator().manual_seed(10 * seed + epoch)), rates)
        weights.append([each.detach().clone() for each in network.parameters()])
        assert optimiser.param_groups[0]["lr"] == pytest.approx(0.0001)
    assert step.done == 12 and recorded_at == [WARM_UP]  # once, after steps in which kernels are chosen
    assert results[:4] == pytest.approx(results[4:], rel=1e-6)  # the rates of a graph are float32
    ours, expected = (nn.utils.parameters_to_vector(each) for each in weights)
    assert (ours - expected).norm() < 1e-6 * expected.norm()


def test_a_step_in_parts_is_not_recorded(monkeypatch):
    schedule = Schedule("brief", batch_size=16, accumulate=2)
    network = new()
    with pytest.raises(ValueError, match="set accumulate to 1"):
        GraphedStep(network, schedule.optimiser(network), schedule, SingleDevice(CPU), PLAIN)


@pytest.mark.parametrize(
    ("name", "narrow", "side", "left"),
    [
        # one in each unit, one at the start of each mask's output, one before the classifier
        ("attention-56", 4, 32, 33 + 3 + 1),
        ("attention-56-imagenet", 8, 64, 33 + 3 + 1),
        ("attentionnext-56-imagenet", 1, 64, 0),
        ("attentioninception-56-imagenet", 2, 64, 0),
        ("wrn-16-8", 4, 32, 6 + 1),
    ],
)
def test_folded_networks_give_the_same_answers(name, narrow, side, left):
    torch.manual_seed(0)
    network = build(name, narrow, num_classes=10).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # as if trained
            nn.init.uniform_(module.weight, 0.5, 1.5)
            for each in (module.bias, module.running_mean):
                nn.init.normal_(each, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    before = copy.deepcopy(network.state_dict())
    images = torch.randn(4, 3, side, side)
    with torch.inference_mode():
        expected, found = network(images), fuse_batch_norms(network)(images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())
    assert sum(isinstance(module, nn.BatchNorm2d) for module in fuse_batch_norms(network).modules()) == left
    assert all(value.equal(before[key]) for key, value in network.state_dict().items())
