"""Many runs side by side: what one costs the others, however it ends, and what is left when all are interrupted."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from processes import SIGNALS, children, left_behind, marked
from recorded import a_record, put

from ran.data import DataSet, load
from ran.files import ROOT, only_one
from ran.runs import Environment, RunConfig, run
from ran.study import parse_budget, work_through
from ran.study import worker as worker_module
from ran.study.queue import NOT_BEGUN


def test_budgets_are_times():
    assert [parse_budget(text) for text in ("90s", "25m", "1.5h")] == [90, 1500, 5400]


def tiny(seed, epochs=1):
    return RunConfig(epochs=epochs, train_images=32, seed=seed, narrow=4)


def test_processes_side_by_side_leave_the_same_records_and_one_that_fails_stops_no_other(tmp_path):
    alone, beside = (Environment(results=str(tmp_path / name), data_root=str(tmp_path)) for name in ("alone", "beside"))
    runs = [RunConfig(dataset="cifar10"), tiny(0), tiny(1)]  # the first fails: its data are not there
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))
    for config in runs[1:]:
        run(config, alone, report=lambda _: None)
    torch.set_num_threads(threads)
    reasons = work_through(runs, beside, jobs=2)
    assert [*reasons] == [runs[0].id] and "FileNotFoundError" in reasons[runs[0].id]
    for config in runs[1:]:
        records = [
            json.loads((environment.folder(config) / "record.json").read_text()) for environment in (alone, beside)
        ]
        assert records[0]["confusion"] == records[1]["confusion"]
        assert records[0]["epochs"][0]["train_loss"] == records[1]["epochs"][0]["train_loss"]
        assert records[0]["hardware"] == records[1]["hardware"]
    lines = []
    assert work_through(runs[1:], beside, None, lines.append) == {}
    assert lines == []  # nothing is loaded or said for what is recorded


def test_jobs_side_by_side_stop_in_time(tmp_path):
    """More of them than are handed out to processes at once."""
    runs = [tiny(seed) for seed in range(9)]
    lines = []
    unfinished = work_through(runs, Environment(results=str(tmp_path)), 0, lines.append, jobs=2)
    assert list(unfinished) == [run.id for run in runs] and set(unfinished.values()) == {NOT_BEGUN}
    assert not lines and not list(tmp_path.iterdir())


def test_waiting_for_another_process_ends_in_time(tmp_path):
    environment = Environment(results=str(tmp_path))
    folder = environment.folder(tiny(0))
    folder.mkdir()
    with only_one(folder):
        unfinished = work_through([tiny(0)], environment, 12, lambda _: None)
    assert "out of time while another process held" in unfinished[tiny(0).id]


def test_a_killed_process_costs_its_own_cell_alone(tmp_path):
    environment, killed = Environment(results=str(tmp_path)), []
    others = children()  # such as what decodes images for other tests

    def kill(line):
        if not killed:  # the first that is begun
            killed.extend(each for each in children() if each not in others)
            os.kill(killed[0], signal.SIGKILL)

    runs = [tiny(seed) for seed in range(2)]
    unfinished = work_through(runs, environment, None, kill, jobs=2)
    assert list(unfinished) == [runs[0].id] and "killed by SIGKILL" in unfinished[runs[0].id]
    assert all((environment.folder(each) / "record.json").is_file() for each in runs[1:])
    assert work_through(runs, environment, None, lambda _: None, jobs=2) == {}  # and the next call makes up for it


def test_a_cell_that_was_killed_before_it_was_measured_is_not_finished(tmp_path, monkeypatch):
    environment, config = Environment(results=str(tmp_path)), tiny(0)
    whole = load("shapes")
    few = DataSet(whole.name, whole.classes, whole.train.head(64), whole.test.head(40))
    monkeypatch.setattr(Environment, "load", lambda self, config: few)
    folder = run(config, environment, report=lambda _: None).folder

    def left():
        return list(work_through([config], environment, 0, lambda _: None))  # no time to begin one

    assert left() == []
    probes = folder / "probes.csv"
    whole_table = probes.read_text()
    probes.write_text(whole_table[:-9])
    assert left() == [config.id]
    probes.unlink()
    assert left() == [config.id]
    run(config, environment, report=lambda _: None)
    assert left() == [] and probes.read_text() == whole_table
    (folder / "weights.safetensors").unlink()  # as in a fresh clone: nothing to measure
    probes.unlink()
    assert left() == []


@pytest.mark.parametrize("number", SIGNALS)
def test_an_interrupted_queue_says_so_in_one_line_and_leaves_no_process(tmp_path, number):
    words = ["--table", "arl_vs_nal", "--profile", "smoke", "--jobs", "2", "--results", tmp_path]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with marked([sys.executable, "-m", "ran", "run", *words], cwd=ROOT, **pipes) as call:
        begun = [call.stdout.readline() for _ in range(3)]
        assert "[1/8]" in begun[0] and "[2/8]" in begun[1]
        call.send_signal(number)
        _, said = call.communicate(timeout=60)
    assert call.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    assert left_behind(call) == []
    lines = said.splitlines()
    if number != signal.SIGKILL:
        assert len(lines) == 1 and "interrupted; 0 of 8 cells are recorded" in lines[0] and "goes on" in lines[0]


def test_out_of_time_nothing_else_is_begun(tmp_path, monkeypatch):
    stops = "import sys; sys.stdin.readline(); print('out of time after epoch 1 of 2'); sys.exit(75)"
    monkeypatch.setattr("ran.study.queue.START", stops)
    unfinished = work_through([tiny(0), tiny(1)], Environment(results=str(tmp_path)), 600, lambda _: None)
    assert unfinished == {tiny(0).id: "out of time after epoch 1 of 2", tiny(1).id: NOT_BEGUN}


def test_a_budget_stops_at_a_checkpoint_and_the_next_call_goes_on(tmp_path, monkeypatch):
    environment, lines = Environment(results=str(tmp_path)), []
    config, recorded = tiny(0, epochs=2), tiny(2)
    put(tmp_path, a_record(recorded))
    clock = time.monotonic

    def slow(line):  # after its first epoch, it is an hour later
        if "epoch   1" in line:
            monkeypatch.setattr("time.monotonic", lambda: clock() + 3600)
        lines.append(line)

    monkeypatch.setattr(worker_module, "_say", slow)
    parameters = {**vars(config), "results": str(tmp_path)}
    asked = {"parameters": parameters, "seconds": 600, "threads": torch.get_num_threads()}
    assert worker_module.main(json.dumps(asked)) == worker_module.OUT_OF_TIME
    assert "out of time after epoch 1 of 2" in lines[-1] and not (environment.folder(config) / "record.json").exists()
    monkeypatch.undo()
    lines.clear()
    monkeypatch.setattr(worker_module, "_say", lines.append)
    assert worker_module.main(json.dumps(asked | {"seconds": None})) == 0
    assert any("continued after epoch 1" in line for line in lines)
    assert work_through([config, recorded], environment, None, lines.append) == {}
    record = json.loads((environment.folder(config) / "record.json").read_text(encoding="utf-8"))
    assert [epoch["epoch"] for epoch in record["epochs"]] == [1, 2]
