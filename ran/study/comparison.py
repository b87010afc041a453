"""Comparison of two networks on the same test images, with a significance test."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from ran.runs import misclassified


class Paired(NamedTuple):
    """Numbers of test images that only the first, and only the second network got wrong; and the two-sided p-value.

    `p` is the probability of a split at least as uneven, if each of these images were equally likely on both sides.
    """

    only_first: int
    only_second: int
    p: float


def paired_test(first: dict[str, Any], second: dict[str, Any]) -> Paired | None:
    """McNemar's exact test on the records of two networks; None if a record has no field `misclassified`.

    Images that both networks get right, or both wrong, say nothing about which one is better, so they are left out. The
    test covers the chance in the test images only: with another seed, the other network may be the better one. Raises
    ValueError for records of different test images. Source: McNemar 1947.
    """
    same = all(first["dataset"][name] == second["dataset"][name] for name in ("sha256", "test_images"))
    if not same or first["config"].get("held_out", 0) != second["config"].get("held_out", 0):
        raise ValueError(
            f"{first['id']} and {second['id']} were measured on different images: their errors cannot be compared one "
            "by one. Take two runs on one data set with the same number of training images, noise and seed."
        )
    wrong, others = misclassified(first), misclassified(second)
    if wrong is None or others is None:
        return None
    only_first, only_second = int((wrong & ~others).sum()), int((others & ~wrong).sum())
    return Paired(only_first, only_second, _two_sided(only_first, only_second))


def pooled_test(pairs: Iterable[tuple[dict[str, Any], dict[str, Any]]]) -> Paired | None:
    """`paired_test` over several pairs of records, one for each seed; None if no pair says which images were wrong."""
    tests = [test for pair in pairs if (test := paired_test(*pair))]
    if not tests:
        return None
    only_first, only_second = sum(test.only_first for test in tests), sum(test.only_second for test in tests)
    return Paired(only_first, only_second, _two_sided(only_first, only_second))


def _two_sided(one: int, other: int) -> float:
    """The probability that `one + other` fair coins give a split at least as uneven as `one` to `other`."""
    count = one + other
    ways = tail = 1  # of `heads` heads, from the number before it; and of so many or fewer
    for heads in range(1, min(one, other) + 1):
        ways = ways * (count - heads + 1) // heads
        tail += ways
    return min(1.0, 2 * tail / 2**count)
