"""Two networks on one test set: on which images they differ, and whether that can be chance."""

from math import comb
from typing import Any, NamedTuple

from ran.runs import misclassified


class Paired(NamedTuple):
    """Test images that only the first network got wrong, those that only the second did, and a probability.

    `p` is that of a split at least as uneven, if each of these images were as likely on either side.
    """

    only_first: int
    only_second: int
    p: float


def paired_test(first: dict[str, Any], second: dict[str, Any]) -> Paired | None:
    """McNemar's exact test on the records of two networks; None where one does not tell which images were wrong.

    Images that both networks get right, or both wrong, say nothing about which one is better, so they are left out. The
    test sees the chance in the test images only: another seed may still turn the order round. Raises ValueError for
    records of different test images. Source: McNemar 1947.
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


def _two_sided(one: int, other: int) -> float:
    """The probability of a split of `one + other` fair coins at least as uneven as this one."""
    count = one + other
    tail = sum(comb(count, heads) for heads in range(min(one, other) + 1))
    return min(1.0, 2 * tail / 2**count)
