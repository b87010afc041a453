"""The list of experiments: the paper's tables as runs, and one command that works through them."""

import pytest
from recorded import a_record, put

from ran.cli import main
from ran.study import OWN, PROFILES, TABLES, cell, configs, table
from ran.training import RECIPE

PAPER = {  # (table, cell) → error in %, as printed in the paper
    ("arl_vs_nal", ("attention-164", "nal")): 7.18,
    ("attention_types", ("attention-56", "spatial")): 6.33,
    ("mask_structures", ("attention-56", "local-convolutions")): 6.48,
    ("noisy_labels", (0.7, "resnet-164")): 17.21,
    ("cifar", ("cifar100", "attention-452")): 20.45,
}


def all_configs(*tables, **options):
    return configs((cell for name in tables or TABLES for cell in table(name)), **options)


def test_every_cell_is_a_run_and_none_is_run_twice():
    sizes = {name: len(table(name)) for name in TABLES}
    assert sizes == {"arl_vs_nal": 8, "attention_types": 3, "mask_structures": 2, "noisy_labels": 8, "cifar": 14}
    runs = all_configs(profile="paper")
    # Attention-56 stands in three tables, Attention-92 on CIFAR-10 in two
    assert len({config.id for config in runs}) == len(runs) == sum(sizes.values()) - 3
    assert {config.schedule for config in all_configs("cifar")} == {"short"}
    assert all(config.schedule == "paper" and config.dataset.startswith("cifar") for config in runs)
    assert all(config.narrow == 1 for config in runs)


def test_the_trial_has_every_cell_on_the_embedded_data():
    runs = all_configs(profile="smoke")
    assert len(runs) == 25  # the cells of CIFAR-100 are those of CIFAR-10 here
    assert {(config.dataset, config.schedule) for config in runs} == {("shapes", "smoke")}
    assert all(config.narrow > 1 and "narrow" in config.id for config in runs)
    assert {config.noise for config in runs} == {0, 0.1, 0.3, 0.5, 0.7}


def test_the_recipes_cells_are_the_same_runs_at_both_full_profiles():
    cells = table("recipe")
    assert {each.varied["schedule"] for each in cells} == set(RECIPE) and {each.error for each in cells} == {None}
    runs = configs(cells, "short")
    assert runs == configs(cells, "paper") and len(runs) == len(RECIPE) + 2
    assert {(config.dataset, config.narrow, config.held_out) for config in runs} == {("cifar10", 1, 0)}
    assert {config.network for config in runs if config.schedule == "best"} == {
        "attention-92",
        "attention-236",
        "attention-452",
    }


@pytest.mark.parametrize("profile", PROFILES)
def test_a_cell_has_a_name_of_its_own(profile):
    for name in (*TABLES, *OWN):
        names = [each.name for each in table(name)]
        assert len(set(names)) == len(names)
        assert cell(name, names[-1]).config(profile).id == table(name)[-1].config(profile).id
    with pytest.raises(ValueError, match=r"unknown cell of arl_vs_nal 'attention-164'. Did you mean 'attention-164-"):
        cell("arl_vs_nal", "attention-164")


@pytest.mark.parametrize(("place", "error"), PAPER.items())
def test_the_papers_numbers(place, error):
    name, varied = place
    assert [cell.error for cell in table(name) if tuple(cell.varied.values()) == varied] == [error]


def test_the_study_takes_every_cell_with_every_seed():
    runs = all_configs(profile="study")
    assert {(run.dataset, run.schedule, run.epochs, run.narrow) for run in runs} == {("shapes", "short", 12, 2)}
    arl = configs(table("arl_vs_nal"), "study")
    assert [run.seed for run in arl] == [0] * 8 + [1] * 8 + [2] * 8
    assert [run.seed for run in configs(table("arl_vs_nal"), "study", seed=5)] == [5] * 8
    assert not any(run.network.startswith("wrn") for name in PROFILES["study"].tables for run in configs(table(name)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--table arl_vs_nall", "unknown table 'arl_vs_nall'. Did you mean 'arl_vs_nal'?"),
        ("--table arl_vs_nal --cell attention-57-arl", "Did you mean 'attention-56-arl'?"),
        ("--table arl_vs_nal cifar --cell attention-56-arl", "--cell goes with one --table"),
        (
            "--table arl_vs_nal --profile smok",
            "unknown profile 'smok'. Did you mean 'smoke'? Known: smoke, study, short, paper",
        ),
        ("--table arl_vs_nal --network attention-56", "network cannot be given for a table"),
        ("--table arl_vs_nal --schedule paper", "schedule cannot be given for a table"),
        ("--table cifar --dataset shapes", "dataset cannot be given for a table"),
        ("--table cifar --budget 25", "25m"),
        ("--table cifar --jobs 0", "--jobs must be at least 1"),
        ("--budget 25m", "--budget goes with --table"),
        ("--cell attention-56-arl", "--cell goes with --table"),
    ],
)
def test_wrong_tables_options_and_budgets_are_refused(words, message, capsys):
    assert main(["run", *words.split()]) == 2
    assert message in capsys.readouterr().err


def test_the_list_of_cells_says_what_is_recorded(tmp_path, capsys):
    config = cell("arl_vs_nal", "attention-164-nal").config("smoke")
    put(tmp_path / "smoke", a_record(config, 12.5))
    assert main(["cells", "--profile", "smoke", "--results", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 35 + len(table("recipe"))
    assert [line.split()[1:-1] for line in lines if "not run" not in line][1:] == [
        ["attention-164-nal", "7.18", "12.50", "(smoke,", "1", "epoch)"]
    ]


def test_tables_are_made_only_where_records_are(tmp_path, capsys):
    for command in ("tables", "cells"):
        assert main([command, "--results", str(tmp_path / "typo")]) == 2
        assert "neither runs/ nor smoke/" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_cells_that_fail_alike_are_named_together(tmp_path, capsys, monkeypatch):
    """The processes of the cells end as those without their data do, which test_queue.py shows."""
    fails = "import sys; sys.stdin.readline(); print(\"FileNotFoundError: 'cifar10' is not in 'data'\"); sys.exit(1)"
    monkeypatch.setattr("ran.study.queue.START", fails)
    environment = ["--data-root", str(tmp_path), "--results", str(tmp_path / "runs")]
    assert main(["run", "--table", "mask_structures", *environment]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and said[0].count("attention-56-arl-") == 2 and "'cifar10' is not in" in said[0]
    assert main(["run", "--table", "mask_structures", "--device", "gpu", *environment]) == 2
