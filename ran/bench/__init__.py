"""The clock: how fast training and inference are, against what, and how near the limit of the machine."""

from ran.bench.suite import PARTS, bench, read_bench

__all__ = ["PARTS", "bench", "read_bench"]
