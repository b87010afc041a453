"""The list of experiments: the paper's tables as runs, and one command that works through them."""

import json
import time
from types import SimpleNamespace

import pytest

from ran.cli import main
from ran.experiments import TABLES, cells, parse_budget, table, work_through
from ran.runs import Places, RunConfig

PAPER = {  # (table, cell) → error in %, as printed in the paper
    ("arl_vs_nal", ("attention-164", "nal")): 7.18,
    ("attention_types", ("attention-56", "spatial")): 6.33,
    ("mask_structures", ("attention-56", "local-convolutions")): 6.48,
    ("noisy_labels", (0.7, "resnet-164")): 17.21,
    ("cifar", ("cifar100", "attention-452")): 20.45,
}


def test_every_cell_is_a_run_and_none_is_run_twice():
    sizes = {name: len(table(name)) for name in TABLES}
    assert sizes == {"arl_vs_nal": 8, "attention_types": 3, "mask_structures": 2, "noisy_labels": 8, "cifar": 14}
    runs = cells(TABLES, schedule="paper")
    # Attention-56 stands in three tables, Attention-92 on CIFAR-10 in two
    assert len({config.id for config in runs}) == len(runs) == sum(sizes.values()) - 3
    assert {config.schedule for config in cells(["cifar"])} == {"short"}
    assert all(config.schedule == "paper" and config.dataset.startswith("cifar") for config in runs)


@pytest.mark.parametrize(("place", "error"), PAPER.items())
def test_the_papers_numbers(place, error):
    name, varied = place
    assert [cell.error for cell in table(name) if tuple(cell.varied.values()) == varied] == [error]


def test_wrong_tables_options_and_budgets_are_refused(capsys):
    assert main(["run", "--table", "arl_vs_nall"]) == 2
    assert "unknown table 'arl_vs_nall'. Did you mean 'arl_vs_nal'?" in capsys.readouterr().err
    assert main(["run", "--table", "arl_vs_nal", "--network", "attention-56"]) == 2
    assert "network cannot be given for a table" in capsys.readouterr().err
    assert main(["run", "--table", "cifar", "--dataset", "shapes"]) == 2
    assert "dataset cannot be given for a table" in capsys.readouterr().err
    assert main(["run", "--table", "cifar", "--budget", "25"]) == 2
    assert "25m" in capsys.readouterr().err
    assert main(["run", "--budget", "25m"]) == 2
    assert "--budget goes with --table" in capsys.readouterr().err
    assert [parse_budget(text) for text in ("90s", "25m", "1.5h")] == [90, 1500, 5400]


def tiny(seed, epochs=1):
    return RunConfig(epochs=epochs, train_images=32, seed=seed)


def test_a_failed_cell_does_not_stop_the_others(tmp_path):
    places, lines = Places(results=str(tmp_path)), []
    missing = RunConfig(dataset="cifar10")
    unfinished = work_through(
        [missing, tiny(0)], Places(data_root=str(tmp_path), results=str(tmp_path)), None, lines.append
    )
    assert list(unfinished) == [missing.id] and "FileNotFoundError" in unfinished[missing.id]
    assert (places.folder(tiny(0)) / "record.json").is_file()
    lines.clear()
    assert work_through([tiny(0)], places, None, lines.append) == {}
    assert lines == []  # nothing is loaded or said for what is recorded


def test_a_budget_stops_at_a_checkpoint_and_the_next_call_goes_on(tmp_path, monkeypatch):
    places, lines, now = Places(results=str(tmp_path)), [], [1000.0]
    first, second = tiny(0, epochs=2), tiny(1)
    clock = SimpleNamespace(monotonic=lambda: now[0], perf_counter=time.perf_counter)
    for module in ("ran.training", "ran.experiments"):
        monkeypatch.setattr(f"{module}.time", clock)

    def slow(line):  # by this clock, the first epoch takes nearly the whole budget of ten minutes
        lines.append(line)
        now[0] += 599.9 if line.startswith("epoch   1") else 0

    recorded = tiny(2)
    places.folder(recorded).mkdir()
    (places.folder(recorded) / "record.json").write_text("{}")
    unfinished = work_through([first, second, recorded], places, 600, slow)
    assert list(unfinished) == [first.id, second.id] and "out of time after epoch 1 of 2" in unfinished[first.id]
    assert not (places.folder(first) / "record.json").exists() and not places.folder(second).exists()
    lines.clear()
    assert work_through([first, second], places, None, lines.append) == {}
    assert any("continued after epoch 1" in line for line in lines)
    record = json.loads((places.folder(first) / "record.json").read_text())
    assert [epoch["epoch"] for epoch in record["epochs"]] == [1, 2]
