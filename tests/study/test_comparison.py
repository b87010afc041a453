"""Paired tests: exact, and refused where two records are of different images."""

import pytest
import torch

from ran.runs.records import pack
from ran.study import paired_test
from ran.study.comparison import _two_sided


def record(wrong, **options):
    dataset = {"sha256": "a", "test_images": len(wrong)} | options.pop("dataset", {})
    return {"id": "run", "config": {}, "dataset": dataset, "misclassified": pack(wrong)} | options


def test_only_images_on_which_two_networks_differ_count():
    first, second = torch.zeros(2, 1003, dtype=torch.bool)
    first[:20] = True  # 20 wrong
    second[15:18] = True  # of which 3, and
    second[1000:1003] = True  # 3 others at the very end
    assert paired_test(record(first), record(second))[:2] == (17, 3)
    assert paired_test(record(second), record(first)) == (3, 17, paired_test(record(first), record(second)).p)


@pytest.mark.parametrize(
    ("one", "other", "p"), [(0, 0, 1), (5, 5, 1), (0, 5, 2 / 32), (1, 5, 14 / 64), (17, 3, 0.002577)]
)
def test_the_probability_is_that_of_the_binomial_distribution(one, other, p):
    assert _two_sided(one, other) == pytest.approx(p, rel=1e-3)
    assert _two_sided(other, one) == pytest.approx(p, rel=1e-3)


def test_thousands_of_differing_images_are_no_overflow():
    assert _two_sided(5000, 5100) == pytest.approx(0.3247, abs=0.01)


def test_different_images_are_refused_and_older_records_give_nothing():
    wrong = torch.ones(10, dtype=torch.bool)
    with pytest.raises(ValueError, match="different images"):
        paired_test(record(wrong), record(wrong, dataset={"sha256": "b"}))
    with pytest.raises(ValueError, match="different images"):
        paired_test(record(wrong), record(wrong, config={"held_out": 5000}))
    older = record(wrong)
    del older["misclassified"]
    assert paired_test(record(wrong), older) is None
