"""Tables: the paper's number beside the recorded one, from records alone."""

import json
import re
from dataclasses import replace

import pandas as pd
import pytest
from recorded import a_record
from recorded import put as put_records

from ran.cli import main
from ran.files import ROOT
from ran.runs import RunConfig, all_records, read_records
from ran.study import errors, planned, provenance, write_tables
from ran.study import table as cells
from ran.study.tables import STUDY

CONFIG = RunConfig(dataset="cifar10", schedule="short", epochs=2, seed=4)
STUDIED = RunConfig(narrow=2, schedule="short", epochs=12)
SHORT = "Recorded: short, 2 epochs"


def record(error=12.344, changed=None, **fields):
    """The record of a run at full size on CIFAR-10; `fields` are of its config, `changed` of its schedule."""
    return a_record(replace(CONFIG, **fields), error, changed)


@pytest.fixture
def results(tmp_path):
    """Put records into a folder and read one of the tables that are written from it."""

    def put(*records, table="arl_vs_nal", below="runs"):
        put_records(tmp_path / below, *records)
        write_tables(tmp_path, report=lambda _: None)
        return pd.read_csv(tmp_path / "tables" / f"{table}.csv", dtype=str, keep_default_na=False)

    return put


def test_a_record_stands_beside_the_papers_number(results):
    every = ["5.89", "5.52", "5.35", "4.99", "5.57", "4.44", "7.18", "4.31"]
    assert results()["Paper"].tolist() == every  # nothing is recorded
    table = results(record())
    assert table.to_dict("records") == [  # and no column of the study, of which there is no record
        {"Network": "Attention\u201156", "Learning": "ARL", "Paper": "5.52", SHORT: "12.34"}
    ]


def test_one_run_stands_in_all_its_tables(results):
    for name, column, label in (
        ("attention_types", "Attention", "f1, mixed"),
        ("mask_structures", "Mask", "encoder\u2011decoder"),
    ):
        table = results(table=name) if name == "mask_structures" else results(record(), table=name)
        assert table.set_index(column)[SHORT].to_dict()[label] == "12.34"
        assert len(table) == 1


def test_seeds_are_averaged_and_schedules_kept_apart(results):
    other_seed, longer = record(14.34, seed=5), record(9.0, epochs=30)
    other_rate = record(20.0, {"learning_rate": 9.0})
    paper = RunConfig(dataset="cifar10", schedule="paper", attention="nal")
    table = results(record(), other_seed, longer, other_rate, a_record(paper, 5.8), a_record(STUDIED, 50.0))
    lengths = ["Recorded: paper, 160,000 iterations", "Recorded: short, 30 epochs", SHORT, f"{SHORT} (2)", STUDY]
    assert list(table.columns) == ["Network", "Learning", "Paper", *lengths]  # the longest first, the study last
    arl = ["not run", "9.00", "13.34 ± 1.41 (2\u00a0seeds)", "20.00", "50.00"]
    assert table[lengths].to_numpy().tolist() == [["5.80", *["not run"] * 4], arl]


def test_the_study_has_a_column_of_its_own(results):
    table = results(record(), a_record(STUDIED, 50.0), a_record(replace(STUDIED, narrow=4), 9.0))
    assert table[["Network", "Learning", SHORT, STUDY]].to_numpy().tolist() == [
        ["Attention\u201156", "ARL", "12.34", "50.00"]
    ]


def test_a_run_of_the_study_stands_beside_one_cell_only(results):
    study = a_record(replace(STUDIED, network="attention-92"), 50.0)
    table = results(study, table="cifar")
    assert table[["Data", "Network", STUDY]].to_numpy().tolist() == [["CIFAR-10", "Attention\u201192", "50.00"]]


def test_what_is_planned_is_told_with_its_command(results, tmp_path):
    results(record(), a_record(replace(STUDIED, attention="nal"), 50.0))
    text = planned("arl_vs_nal", all_records(tmp_path))
    assert "Attention\u201156, NAL (5.89); Attention\u201192, NAL (5.35)" in text  # the study is not full size
    assert "Attention\u201156, ARL" not in text
    assert "ran run --table arl_vs_nal --profile short --epochs 2 --data-root PATH" in text
    assert "ran run --table cifar --profile short --data-root PATH" in planned("cifar", [])
    every = [a_record(replace(CONFIG, seed=0, **each.varied)) for each in cells("mask_structures")]
    assert planned("mask_structures", every) == ""


def test_numbers_for_plots_name_their_source(results, tmp_path):
    nal, alone = replace(STUDIED, attention="nal"), record(9.0, epochs=30)
    results(record(), record(14.0, attention="nal"), a_record(STUDIED, 50.0), a_record(nal, 60.0), alone)
    frame = errors("arl_vs_nal", all_records(tmp_path))
    sources = {"paper": 8, "recorded: short, 2 epochs": 2, STUDY.lower(): 2}  # one run alone compares nothing
    assert frame.source.value_counts().to_dict() == sources
    own = frame[frame.source != "paper"]
    assert own[["Network", "Learning", "error", "seed"]].to_numpy().tolist() == [
        ["Attention\u201156", "NAL", 14.0, 4],
        ["Attention\u201156", "NAL", 60.0, 0],
        ["Attention\u201156", "ARL", 12.344, 4],
        ["Attention\u201156", "ARL", 50.0, 0],
    ]


def test_only_runs_by_its_profile_belong_to_the_study(results, tmp_path):
    nal = replace(STUDIED, attention="nal")
    others = [replace(each, **change) for each in (STUDIED, nal) for change in ({"epochs": 13}, {"schedule": "smoke"})]
    results(*(a_record(other, 9.0) for other in others), a_record(STUDIED, 50.0), a_record(nal, 60.0))
    frame = errors("arl_vs_nal", all_records(tmp_path))
    assert frame[frame.source != "paper"].error.tolist() == [60.0, 50.0]


def test_sources_have_one_order_and_other_settings_another_name(results, tmp_path):
    study = [a_record(replace(STUDIED, attention=each), 50.0) for each in ("nal", "arl")]
    ours = [
        record(error, changed, network=name)
        for error, changed in ((12.0, None), (20.0, {"learning_rate": 9.0}))
        for name in ("attention-56", "attention-92")
    ]
    results(*ours, *study)
    frame = errors("arl_vs_nal", all_records(tmp_path))
    of_source = frame.groupby("source", observed=True).error.apply(list)
    assert of_source.index.tolist() == [
        "paper",
        "recorded: short, 2 epochs",
        "recorded: short, 2 epochs (2)",
        STUDY.lower(),
    ]
    assert of_source.iloc[1:].tolist() == [[12.0, 12.0], [20.0, 20.0], [50.0, 50.0]]


def test_every_number_comes_with_its_record_and_its_command(results, tmp_path):
    results(record(), table="arl_vs_nal")
    command = CONFIG.command
    text = provenance("arl_vs_nal", all_records(tmp_path), page=tmp_path / "book")
    assert (
        "**Attention\u201156, ARL**: 12.34%, short, 2 epochs, seed 4; A processor\\, 2 threads; 60 s; 2026\\-01\\-02;"
        in text
    )
    assert f"{{download}}`record <../runs/{CONFIG.id}/record.json>`" in text
    block = text.split("```bash\n")[1].split("```")[0]
    assert block.replace("\\\n", "").split() == command.split()  # a shell joins the lines to the same words
    assert "--profile study" not in text  # of which there is no record


def test_a_run_that_changed_machines_names_them_all(results, tmp_path):
    last = {key: record()[key] for key in ("date", "git", "devices", "precision", "hardware", "versions")}
    first = last | {"hardware": {"device": "cuda", "name": "A GPU"}, "from_epoch": 1}
    results(a_record(CONFIG, sessions=[first, last | {"from_epoch": 2}]))
    text = provenance("arl_vs_nal", all_records(tmp_path))
    assert "; A GPU\\; A processor\\, 2 threads; 60 s; 2026\\-01\\-02\\, the last of 2 sessions;" in text


def test_a_command_breaks_between_options_and_fits_a_page(results, tmp_path):
    results(record())
    block = provenance("arl_vs_nal", all_records(tmp_path)).split("```bash\n")[1].split("```")[0]
    lines = [line.strip().removesuffix(" \\") for line in block.splitlines() if line.strip()]
    assert len(lines) > 1 and max(map(len, lines)) <= 76
    assert all(line.startswith("-p ") and len(line.split()) % 3 == 0 for line in lines[1:])  # whole options


def test_a_run_of_the_study_is_listed_once_and_without_a_set_that_it_is_not_of(results, tmp_path):
    results(a_record(replace(STUDIED, network="attention-92"), 50.0))
    text = provenance("cifar", all_records(tmp_path))  # its cells are on CIFAR-10 and CIFAR-100
    assert text.count("/record.json") == 1
    assert "{download}`Attention\u201192, seed 0 <" in text


def test_other_data_variants_and_subsets_do_not_count(results):
    others = (record(mask="local-convolutions"), record(train_images=500), record(noise=0.1))
    table = results(record(dataset="shapes"), *others)
    assert set(table["Recorded"]) == {"not run"}


def test_a_recipe_of_ours_stands_in_its_own_table_only(results, tmp_path):
    best = record(network="attention-92", schedule="best", epochs=None)
    smoothed = record(20.0, network="attention-92", schedule="recipe-smoothing", epochs=None)
    table = results(best, smoothed, record(network="attention-92"), table="recipe")
    assert table.to_dict("list") == {  # no paper's number
        "Network": ["Attention\u201192"] * 2,
        "Recipe": ["with label smoothing", "best (+ mixup)"],
        "Recorded: 200 epochs": ["20.00", "12.34"],
    }
    for name in ("arl_vs_nal", "cifar"):
        others = pd.read_csv(tmp_path / "tables" / f"{name}.csv", dtype=str)
        assert [column for column in others.columns if column.startswith("Recorded")] == [SHORT]
    assert set(errors("recipe", all_records(tmp_path)).source) == {"recorded: 200 epochs"}
    text = provenance("recipe", all_records(tmp_path))
    assert "**Attention\u201192, best (+ mixup)**: 12.34%" in text


def test_a_broken_record_is_named_and_the_others_appear(tmp_path):
    put_records(tmp_path, record(), record(attention="nal"))
    for name, text in (("torn", "{"), ("nothing", "null"), ("copied", json.dumps(record(seed=5)))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "record.json").write_text(text)
    lines = []
    records = read_records(tmp_path, report=lines.append)
    assert [each["config"]["attention"] for each in records] == ["arl", "nal"]
    assert len(lines) == 3 and all("not a whole record" in line and "left out" in line for line in lines)
    assert "copied" in lines[0] and "it is of the run" in lines[0]
    assert "nothing" in lines[1] and "it is no record" in lines[1]
    assert "torn" in lines[2]


def test_of_two_records_of_a_run_the_one_of_this_machine_is_taken(results, tmp_path):
    put_records(tmp_path / "smoke", record(20.0))
    results(record(30.0))
    (taken,) = all_records(tmp_path)
    assert taken["test_error"] == 20.0 and taken["folder"].parent == tmp_path / "smoke"
    (taken,) = read_records(tmp_path / "runs", tmp_path / "smoke")
    assert taken["test_error"] == 30.0


def test_seeds_are_in_the_order_of_numbers(results, tmp_path):
    results(*(record(float(seed), seed=seed) for seed in (10, 9, 100)))
    text = provenance("arl_vs_nal", all_records(tmp_path))
    assert re.findall(r"epochs, seed (\d+);", text) == ["9", "10", "100"]


def test_an_unchanged_table_is_not_touched(results, tmp_path):
    results(record())
    file = tmp_path / "tables" / "arl_vs_nal.csv"
    before = file.stat().st_mtime_ns
    write_tables(tmp_path)
    assert file.stat().st_mtime_ns == before


def test_the_committed_tables_are_those_of_the_committed_records(tmp_path, capsys):
    for folder in ("runs", "smoke"):
        (tmp_path / folder).symlink_to(ROOT / "results" / folder)
    assert main(["tables", "--results", str(tmp_path)]) == 0
    assert not capsys.readouterr().err
    for table in (tmp_path / "tables").iterdir():
        assert table.read_text() == (ROOT / "results" / "tables" / table.name).read_text(), "run `ran tables`"
