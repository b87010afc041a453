"""The parts of `ran bench`, each one question about speed.

Engine options and baselines are timed in one process, in alternation, so that other load on the machine affects all
alike. Growth is timed case by case; starts and concurrent trainings run in processes of their own.
"""

import re
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ran.bench.baselines import PlainLoop, pytorchcv_attention_56
from ran.bench.loops import Loop, Rows, Turn, alternate, images_like_cifar, noise_images
from ran.bench.roofline import copy_rate, count, least_seconds, product_rate, wait
from ran.inference import fuse_batch_norms
from ran.model import STEMS, build
from ran.training import PLAIN, SCHEDULES, Engine, choose_device, evaluate, fastest

CIFAR_NETWORKS = ("attention-56", "attention-92", "attention-128", "attention-164", "attention-236", "attention-452")
BASELINES = ("resnet-164", "resnet-1001", "wrn-16-8", "wrn-28-10")


@dataclass(frozen=True)
class Size:
    """The amount of work to measure. `network` is compared with a plain loop at `batch`, over `images` an epoch."""

    network: str
    batch: int
    images: int
    test_images: int
    rounds: int
    batches: tuple[int, ...]
    networks: tuple[str, ...] = CIFAR_NETWORKS + BASELINES
    sides: tuple[int, ...] = (32, 48, 64, 96)
    imagenet_batch: int = 8
    steps: int = 3  # per turn, where steps and not epochs are timed
    jobs: tuple[int, ...] = (1, 2)
    narrow: int = 1
    limit_seconds: float = 1.0


SIZES: dict[str, Size] = {
    "cpu": Size("attention-56", 128, 1280, 1000, 5, (16, 32, 64, 128, 256)),
    "cuda": Size(
        "attention-92",
        512,
        50_000,
        10_000,
        3,
        (32, 64, 128, 256, 512, 1024, 2048),
        imagenet_batch=128,
        steps=20,
        jobs=(1, 2, 4),
    ),
}
PAPERS_BATCH = SCHEDULES["paper"].batch_size


def pieces(device: torch.device) -> dict[str, Engine]:
    """Engines from PyTorch's defaults to the fastest, each with one more option, by the name of that option."""
    best = fastest(device, network=build("attention-56", narrow=4))
    names = {
        "keeps_memory": "freed memory kept",
        "channels_last": "channels_last",
        "bf16": "bfloat16",
        "fused": "fused optimiser",
        "tuned": "tuned convolutions",
        "compiled": "compiled units",
        "graphed": "CUDA graph",
    }
    engine, engines = PLAIN, {"whole-batch augmentation": PLAIN}
    for field, name in names.items():
        if getattr(best, field):
            engine = replace(engine, **{field: True})
            engines[name] = engine
    return engines


def measure_ablation(size: Size, device: torch.device) -> Rows:
    """Images/s of training with data, from the plain loop to the fastest engine: each row adds one option."""
    data, turns = images_like_cifar(size.images, size.test_images), {}

    def new() -> nn.Module:
        return build(size.network, size.narrow)

    plain = PlainLoop(new(), data, size.batch, device)
    batch = next(iter(PlainLoop(nn.Linear(1, 1), data, size.batch, device, workers=0).training))

    def warm() -> None:
        PLAIN.settle(device)
        plain.network.train()
        plain.step(*(each.to(device) for each in batch))

    turns["plain loop"] = Turn(plain.train, warm)
    for name, engine in pieces(device).items():
        loop = Loop(new(), data, size.batch, device, engine)
        turns[f"+ {name}"] = Turn(loop.train, loop.warm)
    return alternate(turns, size.rounds, device)


def inference(network: nn.Module, images: Tensor, engine: Engine, times: int) -> Turn:
    """Forward passes of `network` in evaluation mode over one batch, `times` times, for timing."""
    network = network.eval()

    def work(times: int = times) -> int:
        with torch.inference_mode(), engine.autocast(images.device):
            for _ in range(times):
                network(images)
        return times * len(images)

    def warm() -> None:
        engine.settle(images.device)
        work(1)

    return Turn(work, warm)


def measure_inference(size: Size, device: torch.device) -> Rows:
    """Images/s on the test set with its data: plain loop, and `evaluate` without and with batch-norm fusion."""
    data, engine = images_like_cifar(size.batch, size.test_images), fastest(device)
    network = build(size.network, size.narrow)
    plain = PlainLoop(build(size.network, size.narrow), data, size.batch, device)
    turns = {"plain loop": Turn(plain.test, lambda: PLAIN.settle(device))}
    variants = {"ran": network, "ran, batch norm folded": fuse_batch_norms(network)}
    for name, variant in variants.items():
        engine.prepare(variant, device)

        def work(variant: nn.Module = variant) -> int:
            return len(evaluate(variant, data, device).predictions)

        turns[name] = Turn(work, lambda: engine.settle(device))
    return alternate(turns, size.rounds, device)


def measure_imagenet(size: Size, device: torch.device) -> dict[str, Rows]:
    """Images/s of Attention-56 at 224×224 and of pytorchcv's, on batches on the device: training and inference."""
    side = STEMS["imagenet"].image_size
    ours, baseline = build("attention-56-imagenet"), pytorchcv_attention_56()
    engine = fastest(device, network=ours)
    found, turns = {}, {}
    for name, network, how in (("pytorchcv", baseline, PLAIN), ("ran", ours, engine)):
        loop = Loop(network, noise_images(size.imagenet_batch, side, 1000), size.imagenet_batch, device, how)
        turns[name] = Turn(partial(loop.steps, size.steps), loop.warm)
    found[f"training, batch {size.imagenet_batch}"] = alternate(turns, size.rounds, device)
    variants = {
        "pytorchcv": (baseline, PLAIN),
        "ran": (ours, engine),
        "ran, batch norm folded": (fuse_batch_norms(ours), engine),
    }
    for batch in (size.imagenet_batch, 4 * size.imagenet_batch):
        data = noise_images(batch, side, 1000)
        images = data.normalise(data.train.images.to(device))
        turns = {
            name: inference(network, images.contiguous(memory_format=how.layout), how, size.steps)
            for name, (network, how) in variants.items()
        }
        found[f"inference, batch {batch}"] = alternate(turns, size.rounds, device)
    return found


def measure_growth(size: Size, device: torch.device) -> dict[str, Rows]:
    """Images/s of training on one fixed batch: by network (at the paper's batch size), by batch and by image size."""

    def turn(name: str, batch: int, side: int) -> Turn:
        network = build(name, size.narrow)
        loop = Loop(network, noise_images(batch, side), batch, device, fastest(device, network=network))
        return Turn(partial(loop.steps, size.steps), loop.warm)

    networks = {name: (name, PAPERS_BATCH, 32) for name in size.networks}
    batches = {str(batch): (size.network, batch, 32) for batch in size.batches}
    sides = {str(side): (size.network, size.batches[1], side) for side in size.sides}
    found: dict[str, Rows] = {"networks": [], "batches": [], "sides": []}
    for what, cases in (("networks", networks), ("batches", batches), ("sides", sides)):
        for name, case in cases.items():  # not in alternation: the deepest networks do not fit in memory at once
            found[what] += alternate({name: turn(*case)}, size.rounds, device)
    return found


def measure_limit(size: Size, device: torch.device) -> dict[str, Any]:
    """Images/s of training steps and the machine's roofline (see ran.bench.roofline)."""
    network = build(size.network, size.narrow)
    engine = fastest(device, network=network)
    seconds = size.limit_seconds
    products = {
        name: product_rate(device, dtype, seconds=seconds)
        for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16))
    }
    copies = copy_rate(device, seconds=seconds)
    loop = Loop(network, noise_images(size.batch, 32), size.batch, device, engine)
    (speed,) = alternate({"training": Turn(partial(loop.steps, size.steps), loop.warm)}, size.rounds, device)
    images = loop.data.normalise(loop.data.train.images.to(device))
    kernels = count(network, images, replace(engine, compiled=False, graphed=False))
    least = least_seconds(kernels, products["bfloat16" if engine.bf16 else "float32"], copies)
    return {
        "operations_per_second": {name: round(value) for name, value in products.items()},
        "bytes_per_second": round(copies),
        "network": size.network,
        "batch": size.batch,
        "operations_per_image": round(sum(operations for operations, _ in kernels) / size.batch),
        "bytes_per_image": round(sum(moved for _, moved in kernels) / size.batch),
        "images_per_second": speed["images_per_second"],
        "most_images_per_second": {name: round(size.batch / value, 1) for name, value in least.items()},
        "share": round(speed["images_per_second"] * least["seconds"] / size.batch, 3),
    }


def _train_briefly(name: str, batch: int, plain: bool, narrow: int, device: str, threads: int) -> dict[str, Any]:
    """In a separate process: the time when the first step was done, and the peak memory of three steps, in MB."""
    torch.set_num_threads(threads)
    where, network = choose_device(device), build(name, narrow)
    engine = PLAIN if plain else fastest(where, network=network)
    loop = Loop(network, images_like_cifar(batch, 1), batch, where, engine)
    loop.steps(1)
    wait(where)
    first = time.time()
    loop.steps(3)
    wait(where)
    if where.type == "cuda":
        return {"first": first, "peak": torch.cuda.max_memory_allocated(where) / 1e6}
    # not resource.getrusage, whose peak includes that of the parent process
    about = Path("/proc/self/status")
    said = re.search(r"VmHWM:\s+(\d+) kB", about.read_text(encoding="utf-8")) if about.is_file() else None
    return {"first": first, "peak": int(said[1]) / 1e3 if said else None}


def measure_starts(size: Size, device: torch.device) -> Rows:
    """Seconds from process start to the first step, and peak memory of three steps (on a CPU: of the process)."""
    rows = []
    for name in (size.network, "attention-164"):
        for plain in (True, False):
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                start = time.time()
                options = (PAPERS_BATCH, plain, size.narrow, device.type, torch.get_num_threads())
                told = pool.submit(_train_briefly, name, *options).result()
            rows.append(
                {
                    "name": name,
                    "engine": "plain" if plain else "fastest",
                    "batch": PAPERS_BATCH,
                    "first_step_seconds": round(told["first"] - start, 1),
                    "peak_megabytes": told["peak"] and round(told["peak"]),
                }
            )
    return rows


def _train_beside(name: str, narrow: int, device: str, threads: int, barrier: Any, seconds: float) -> float:
    torch.set_num_threads(threads)
    where, network = choose_device(device), build(name, narrow)
    engine = fastest(where, network=network)
    loop = Loop(network, images_like_cifar(PAPERS_BATCH, 1), PAPERS_BATCH, where, engine)
    loop.warm()
    wait(where)
    barrier.wait()
    start, images = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        images += loop.steps(4)
        wait(where)
    return images / (time.perf_counter() - start)


def measure_side_by_side(size: Size, device: torch.device) -> Rows:
    """Total images/s of concurrent trainings at the paper's batch size, one process each, on the same device."""
    rows = []
    context = get_context("spawn")
    for jobs in size.jobs:
        threads = max(1, torch.get_num_threads() // jobs)
        with context.Manager() as manager, ProcessPoolExecutor(jobs, context) as pool:
            barrier = manager.Barrier(jobs)
            options = (size.network, size.narrow, device.type, threads, barrier, 10 * size.limit_seconds)
            speeds = [each.result() for each in [pool.submit(_train_beside, *options) for _ in range(jobs)]]
        rows.append({"name": str(jobs), "images_per_second": round(sum(speeds), 2)})
    return rows
