"""Tables: the paper's number beside the recorded one, from records alone."""

import json
from pathlib import Path

import pandas as pd
import pytest

from ran.cli import main
from ran.tables import read_records, write_tables

ROOT = Path(__file__).resolve().parents[1]


def record(network="attention-56", attention="arl", dataset="cifar10", **changes):
    config = {"network": network, "attention": attention, "mask": "encoder-decoder", "gate": "mixed"}
    config |= {"dataset": dataset, "schedule": "short", "epochs": 2, "seed": 4, "train_images": None}
    return {
        "id": f"{network}-{attention}-{dataset}",
        "config": config,
        "schedule": {},
        "test_error": 12.345,
        "hardware": {"device": "cpu", "name": "A processor", "threads": 2},
        "date": "2026-01-02",
        "epochs": [{}, {}],
    } | changes


@pytest.fixture
def results(tmp_path):
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "arl_vs_nal.csv").write_text(
        "network,attention,error\nattention-56,nal,5.89\nattention-56,arl,5.52\n"
    )

    def put(*records):
        for each in records:
            folder = tmp_path / "runs" / each["id"]
            folder.mkdir(parents=True)
            (folder / "record.json").write_text(json.dumps(each))
        (written,) = write_tables(tmp_path, report=lambda _: None)
        return pd.read_csv(written, dtype=str, keep_default_na=False)

    return put


def test_a_record_stands_beside_the_papers_number(results):
    table = results(record())
    assert table["Paper, 205 epochs"].tolist() == ["5.89", "5.52"]
    assert table["Recorded"].tolist() == ["not run", "12.35"] or table["Recorded"].tolist() == ["not run", "12.34"]
    row = table.iloc[1].to_dict()
    assert row["Epochs"] == "2" and row["Schedule"] == "short" and row["Seed"] == "4" and row["Date"] == "2026-01-02"
    assert row["Hardware"] == "A processor, 2 threads" and row["Record"] == "attention-56-arl-cifar10"


def test_other_data_variants_and_subsets_do_not_count(results):
    other_mask, subset = record(), record()
    other_mask["config"] |= {"mask": "local-convolutions"}
    subset["config"] |= {"train_images": 500}
    table = results(record(dataset="shapes"), other_mask | {"id": "b"}, subset | {"id": "c"})
    assert table["Recorded"].tolist() == ["not run", "not run"]


def test_a_broken_record_is_named_and_the_others_appear(tmp_path):
    for each in (record(), record(attention="nal")):
        (tmp_path / each["id"]).mkdir()
        (tmp_path / each["id"] / "record.json").write_text(json.dumps(each))
    for name, text in (("torn", "{"), ("lacking", json.dumps({"id": "x", "config": {}}))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "record.json").write_text(text)
    lines = []
    records = read_records(tmp_path, lines.append)
    assert [each["id"] for each in records] == ["attention-56-arl-cifar10", "attention-56-nal-cifar10"]
    assert len(lines) == 2
    assert "lacking" in lines[0] and "it lacks schedule, test_error" in lines[0]
    assert "torn" in lines[1] and "not a record" in lines[1]


def test_an_unchanged_table_is_not_touched(results, tmp_path):
    results(record())
    file = tmp_path / "tables" / "arl_vs_nal.csv"
    before = file.stat().st_mtime_ns
    write_tables(tmp_path)
    assert file.stat().st_mtime_ns == before


def test_the_committed_tables_are_those_of_the_committed_records(tmp_path, capsys):
    for part in ("paper", "runs"):
        (tmp_path / part).symlink_to(ROOT / "results" / part)
    assert main(["tables", "--results", str(tmp_path)]) == 0
    assert not capsys.readouterr().err
    for table in (tmp_path / "tables").iterdir():
        assert table.read_text() == (ROOT / "results" / "tables" / table.name).read_text(), "run `ran tables`"
