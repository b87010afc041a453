"""Several devices: two processes on the CPU train as one would, and stop and resume together."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from drawn import draw
from one_of_several import SCHEDULE, train

from ran.files import ROOT
from ran.training import SingleDevice, join

HERE = Path(__file__).parent
pytest.importorskip("lightning_fabric", reason="several devices need residual-attention-network[distributed]")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return draw(tmp_path_factory.mktemp("data") / "images", per_class=8)  # 24 images: three steps an epoch


@pytest.fixture(scope="module")
def alone(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone")
    train(str(root), out, SingleDevice(torch.device("cpu")))
    return torch.load(out / "done.pt")


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def torchrun(*words, script=HERE / "one_of_several.py", **options):
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = [*start, *map(str, (script, *words))]
    return subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, **options)


def assert_same(found, expected):
    for (name, mine), its in zip(found["weights"].items(), expected["weights"].values(), strict=True):
        torch.testing.assert_close(mine, its, rtol=0, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")
    assert found["predictions"].equal(expected["predictions"])
    for mine, its in zip(found["epochs"], expected["epochs"], strict=True):
        for key in ("train_loss", "train_error", "test_loss", "test_error", "test_top5_error", "learning_rate"):
            assert mine[key] == pytest.approx(its[key], abs=1e-5), key


def test_two_processes_reach_the_weights_of_one_though_one_of_them_was_killed(root, alone, tmp_path):
    """First without torchrun to notice: the other must find out by itself, as processes on another machine have to."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    words = [sys.executable, HERE / "one_of_several.py", root, tmp_path, "2"]
    shared = {"GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "x"}  # by which Fabric knows torchrun
    shared |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    first, second = (
        subprocess.Popen(
            words,
            env={**ENVIRONMENT, **shared, "RANK": rank, "LOCAL_RANK": rank},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    )
    try:
        assert second.wait(120) == -9
        killed = time.monotonic()
        error = first.communicate(timeout=60)[1]
        assert first.returncode > 0 and "stopped at" in error and time.monotonic() - killed < 60
    finally:
        first.kill()
        second.communicate()
    assert (tmp_path / "checkpoint.pt").is_file() and not (tmp_path / "done.pt").exists()
    done = torchrun(root, tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    found = torch.load(tmp_path / "done.pt")
    assert found["lines"][0].startswith("continued after epoch 1") and len(found["lines"]) == SCHEDULE.epochs
    assert_same(found, alone)
    assert found["exchanges"] == 3  # once a step of its one epoch, though a step has two parts


def test_one_record_of_two_devices(root, tmp_path):
    words = ["run", "--dataset", "folder", "--network", "attention-56-imagenet", "--narrow", 16, "--size", 64]
    words += ["--epochs", 1, "--workers", 0, "--device", "cpu", "--data-root", root, "--results", tmp_path]
    done = torchrun("ran.cli", *words, script="-m", timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("test error") == 1 and "on cpu, 2 devices" in done.stdout
    (record,) = tmp_path.glob("*/record.json")
    text = record.read_text()
    assert '"devices": 2' in text and '"images_per_second_per_device"' in text
    assert {path.name for path in record.parent.iterdir()} == {"record.json", "weights.safetensors", "probes.csv"}


def test_without_fabric_the_error_names_the_extra(monkeypatch):
    for name, value in {"WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "RANK": 0, "LOCAL_RANK": 0}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(ValueError, match=r"pip install 'residual-attention-network\[distributed\]'"):
        join(torch.device("cpu"))
