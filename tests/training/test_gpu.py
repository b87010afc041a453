"""What only a GPU can show: compiled units, CUDA graphs, and a loop in which Python never waits."""

from dataclasses import replace
from itertools import islice

import pytest
import torch

from ran.data import DataSet, load
from ran.model import build
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

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    # PyTorch's own: torch.compile hides the first two, unless they are errors; the last is of set_sync_debug_mode
    pytest.mark.filterwarnings("ignore:.*torch.jit.script_method. is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),
    pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype:UserWarning"),
]
GPU = torch.device("cuda")
SCHEDULE = Schedule("brief", batch_size=16, learning_rate=0.05, epochs=2, drops=(0.25, 0.5))


@pytest.fixture(scope="module")
def data():
    whole = load("shapes")
    return DataSet("shapes", whole.classes, whole.train.head(160), whole.test.head(40))


def trained(data, engine):
    torch.manual_seed(0)
    network = build("attention-56", narrow=4)
    fitted = fit(network, data, SCHEDULE, device=GPU, report=lambda _: None, engine=engine)
    return torch.cat([each.reshape(-1) for each in network.parameters()]), fitted  # in whatever order of memory


@pytest.mark.parametrize("pieces", [{"fused": True}, {"compiled": True}, {"graphed": True, "fused": True}])
def test_no_piece_changes_what_is_learned(data, pieces):
    expected, plain = trained(data, PLAIN)
    found, fitted = trained(data, replace(PLAIN, **pieces))
    assert fitted.epochs[-1]["train_loss"] == pytest.approx(plain.epochs[-1]["train_loss"], rel=0.02)
    assert (found - expected).norm() < 0.05 * expected.norm()


def test_the_fastest_engine_learns(data):
    _, fitted = trained(data, None)
    assert fitted.epochs[-1]["train_loss"] < fitted.epochs[0]["train_loss"]


@pytest.mark.parametrize("engine", [Engine(channels_last=True, bf16=True), None])
def test_python_never_waits_within_an_epoch(data, engine):
    network = build("attention-56", narrow=4)
    engine = engine or fastest(GPU, network=network)
    called = engine.prepare(network, GPU)
    optimiser = SCHEDULE.optimiser(network, engine.fused)
    step = (GraphedStep if engine.graphed else Step)(called, optimiser, SCHEDULE, SingleDevice(GPU), engine)
    rates = SCHEDULE.learning_rates(optimiser, 100)
    batches = data.training_batches(16, GPU).epoch(torch.Generator().manual_seed(0))
    train_one_epoch(step, islice(batches, WARM_UP + 1), rates)
    called.train()
    try:
        torch.cuda.set_sync_debug_mode("error")
        for images, labels in batches:
            step(images, labels)
            rates.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
