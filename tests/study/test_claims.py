"""The card of claims: a verdict follows from the records, and from nothing else."""

import pandas as pd
import pytest
import torch
from recorded import a_record

from ran.files import ROOT
from ran.runs import RunConfig, all_records
from ran.runs.records import pack
from ran.study.claims import CARD, card, lead, verdict
from ran.study.experiments import cell
from ran.study.writing import write_tables

IMAGES = 1000


def record(wrong, **fields):
    """A run of the small study that gets these test images wrong."""
    config = RunConfig(**{"dataset": "shapes", "schedule": "short", "epochs": 12, "narrow": 2} | fields)
    bits = torch.zeros(IMAGES, dtype=torch.bool)
    bits[list(wrong)] = True
    made = a_record(config, 100 * len(wrong) / IMAGES)
    return made | {
        "dataset": made["dataset"] | {"test_images": IMAGES},
        "misclassified": pack(bits),
    }


@pytest.mark.parametrize(
    ("worse", "better", "expected"),
    [
        (range(100), range(20), 1),
        (range(20), range(100), -1),
        (range(20), range(18), 0),  # two images are chance
        (range(50), range(500, 551), 0),
    ],
)
def test_a_lead_is_one_that_chance_does_not_explain(worse, better, expected):
    assert lead([record(worse, attention="nal")], [record(better)]) == expected


def test_seeds_are_compared_with_their_own():
    nal = [record(range(30), attention="nal", seed=seed) for seed in (0, 1)]
    assert lead(nal, [record(range(30, 55), seed=2)]) == 0  # no seed in common: nothing to compare
    # no seed alone is a lead; the three together are
    assert [lead([one], [record(range(26), seed=one["config"]["seed"])]) for one in nal] == [0, 0]
    more = [record(range(30), attention="nal", seed=seed) for seed in (0, 1, 2)]
    assert lead(more, [record(range(26), seed=seed) for seed in (0, 1, 2)]) == 1


@pytest.mark.parametrize(
    ("leads", "word"),
    [
        ([], "open"),
        ([0, 0], "unseen"),
        ([1, 0], "holds"),
        ([1, 1, 1], "holds"),
        ([0, 0, 1], "partly"),
        ([1, -1], "mixed"),
        ([-1, 0], "contradicted"),
    ],
)
def test_a_verdict_is_one_word(leads, word):
    assert verdict(leads) == word


def test_the_card_shows_papers_numbers_beside_recorded_ones():
    found = card(
        [record(range(100), network="attention-164", attention="nal"), record(range(9), network="attention-164")]
    )
    row = found.iloc[0]
    assert row["Paper"] == "7.18 → 4.31" and row["Small study"] == "10.00 → 0.90 (12 epochs, 1 seed)"
    assert row["Verdict"] == "[holds](executed/06_arl_against_nal): ahead in 1 of 1 pairs"
    assert set(found["Verdict"][1:].str.extract(r"\[(\w+)\]")[0]) == {"open"}


def test_every_claim_has_its_cells_and_its_chapter():
    for claim in CARD:
        assert all(cell(claim.table, name) for pair in claim.pairs for name in pair)
        assert (ROOT / "notebooks" / f"{claim.page}.ipynb").is_file()


def test_the_committed_card_is_that_of_the_records(tmp_path):
    committed = pd.read_csv(ROOT / "results" / "tables" / "claims.csv")
    pd.testing.assert_frame_equal(committed, card(all_records(ROOT / "results")))
    assert (tmp_path / "tables" / "claims.csv") in write_tables(tmp_path)


def test_the_readme_shows_the_same_card():
    shown = [line.strip("| ").split(" | ") for line in (ROOT / "README.md").read_text().splitlines() if line[:1] == "|"]
    committed = pd.read_csv(ROOT / "results" / "tables" / "claims.csv")
    committed["Verdict"] = committed["Verdict"].str.replace(r"\[(\w+)\]\([^)]*\)", r"\1", regex=True)
    assert shown[0] == list(committed.columns)
    assert shown[2 : 2 + len(committed)] == committed.to_numpy().tolist()
