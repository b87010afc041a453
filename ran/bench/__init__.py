"""Benchmarks: the speed of training and inference, against baselines and the machine's roofline."""

from ran.bench.records import read_bench
from ran.bench.suite import PARTS, bench

__all__ = ["PARTS", "bench", "read_bench"]
