"""Runs: typed parameters, one record a config, and the two command lines that start them."""

import itertools
import json
import re
import subprocess
import sys
import threading
import time
from dataclasses import asdict, fields, replace
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ran.cli import main
from ran.data import DataSet, load, shortened, with_label_noise
from ran.files import ROOT, Damaged, only_one, write_whole
from ran.model import GATES, LEARNING, MASKS, build
from ran.runs import (
    Environment,
    RunConfig,
    git_state,
    hardware,
    misclassified,
    notebook_parameters,
    parse,
    read_gradients,
    read_probes,
    reproducible,
    run,
)
from ran.runs.measurements import write_measurements
from ran.runs.records import make_record, this_session
from ran.sealing import as_text
from ran.study import summary
from ran.training import SCHEDULES, Fitted, SingleDevice, TrainingDiverged, evaluate, native_bf16
from ran.training.epochs import Evaluation

IMAGENET = {"network": "attention-56-imagenet", "dataset": "folder"}
TINY = {"dataset": "shapes", "schedule": "smoke", "epochs": 1, "train_images": 64, "narrow": 4}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"depht": 92}, "unknown parameter 'depht'"),
        ({"netwrok": "attention-56"}, "Did you mean 'network'"),
        ({"network": "attention-57"}, "Did you mean 'attention-56'"),
        ({"network": 56}, "network must be one of attention-56, "),
        ({"attention": True}, "attention must be one of arl, nal, not True"),
        ({"schedule": "papier"}, "Did you mean 'paper'"),
        ({"epochs": 8.5}, "epochs must be a valid integer, not 8.5"),
        ({"epochs": "8"}, "epochs must be a valid integer, not '8'"),
        ({"epochs": 0}, "epochs must be greater than or equal to 1, not 0"),
        ({"seed": -1}, "seed must be greater than or equal to 0"),
        ({"seed": 2**62}, "seed must be less than or equal to 4294967295"),
        ({"epochs": 10**30}, "epochs must be less than or equal to 100000"),
        ({"train_images": 10**30}, "train_images must be less than or equal to"),
        (
            {"dataset": "folder", "network": "attention-56-imagenet", "size": 10**6},
            "size must be less than or equal to",
        ),
        ({"noise": 0.999999999}, "noise has at most four decimals"),
        ({"noise": float("nan")}, "noise must be a finite number, not nan"),
        ({"seed": True}, "seed must be a valid integer, not True"),
        ({"seed": None}, "seed must be a valid integer, not None"),
        ({"train_images": 0}, "train_images must be greater than or equal to 1"),
        ({"noise": 1.5}, "noise must be less than 1"),
        ({"noise": "0.3"}, "noise must be a valid number, not '0.3'"),
        ({"network": "resnet-164", "attention": "nal"}, "resnet-164 has no attention modules"),
        ({"narrow": 3}, "narrow must divide the stem's 16 channels"),
        ({"narrow": 0}, "narrow must be greater than or equal to 1, not 0"),
        ({"network": "attention-56-imagenet"}, "at least 64×64 pixels; those of shapes are 32×32"),
        ({"size": 64}, "size and test_size go with the data set folder; images of shapes have their own"),
        ({"dataset": "folder", "size": 16}, "at least 32×32 pixels; those of folder are 16×16"),
        ({"held_out": -1}, "held_out must be greater than or equal to 0, not -1"),
        (
            {**IMAGENET, "held_out": 10},
            "held_out goes with shapes, cifar10, cifar100: image",
        ),
        (
            {**IMAGENET, "schedule": "best"},
            "the schedule best, with its cutout or mixing, goes",
        ),
        (
            {**IMAGENET, "network": "attentionnext-56-imagenet", "mask": "local-convolutions"},
            "made of bottleneck units, not of resnext units",
        ),
        ({"accumulate": 0}, "accumulate must be greater than or equal to 1, not 0"),
        ({"recompute": 1}, "recompute must be a valid boolean, not 1"),
        ({"workers": -1}, "workers must be greater than or equal to 0, not -1"),
        ({"data_root": 5}, "data_root must be a valid string"),
    ],
)
def test_wrong_parameters_are_refused(parameters, message):
    with pytest.raises(ValueError) as caught:
        parse(parameters)
    assert message in str(caught.value)


def test_parameters_go_where_they_belong():
    config, environment = parse({"network": "attention-92", "seed": 3, "data_root": "elsewhere"})
    assert config == RunConfig(network="attention-92", seed=3)
    assert environment == Environment(data_root="elsewhere")


def test_a_notebooks_parameters_are_its_plain_values():
    namespace = {
        "seed": 1,
        "epochs": None,
        "network": "x",
        **dict.fromkeys(("_oh", "_i1", "_12", "__", "__name__", "_exit_code"), ""),
        "_seed": 3,  # a slip, which `parse` refuses
        "In": [""],
        "Out": {},
        "torch": torch,
        "run": run,
    }
    assert notebook_parameters(namespace) == {"seed": 1, "epochs": None, "network": "x", "_seed": 3}


def test_the_notebooks_parameters_are_the_configs():
    cells = nbformat.read(ROOT / "notebooks" / "run.ipynb", as_version=4).cells
    (source,) = (cell.source for cell in cells if "parameters" in cell.metadata.get("tags", []))
    namespace = {}
    exec(source, namespace)
    assert parse(notebook_parameters(namespace)) == (RunConfig(), Environment())


def test_names_of_runs_stay_as_they_are():
    """Records are found by these names: a change here orphans every record that there is."""
    cell = RunConfig(dataset="cifar10", schedule="short", epochs=8)
    assert cell.id == "attention-56-arl-cifar10-short-8ep-seed0-643bf4fc"
    assert RunConfig(attention="nal", dataset="cifar10", schedule="short", epochs=8).id.endswith("8ec4d949")
    assert len({RunConfig(seed=seed, schedule=schedule).id for seed in (0, 1) for schedule in ("short", "paper")}) == 4
    assert RunConfig(network="resnet-164", noise=0.3).id.startswith("resnet-164-shapes-noise30-smoke-220it-seed0-")
    assert RunConfig(network="wrn-16-8", narrow=4).id.startswith("wrn-16-8-narrow4-shapes-smoke")
    large = RunConfig(network="attention-92-imagenet", dataset="folder", test_size=320, schedule="paper-imagenet")
    assert large.id.startswith("attention-92-imagenet-arl-folder-224to320-paper-imagenet-530000it-seed0-")
    assert RunConfig(gate="spatial").id.startswith("attention-56-arl-spatial-shapes-smoke")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    config, environment = parse({**TINY, "results": str(tmp_path_factory.mktemp("results"))})
    return config, environment, run(config, environment, report=lambda _: None)


def test_a_record_says_all_that_is_needed_to_repeat_it(finished):
    config, environment, done = finished
    record = json.loads((Path(environment.results) / config.id / "record.json").read_text())
    assert record == done.record
    assert record["config"] == {
        "network": "attention-56",
        "attention": "arl",
        "mask": "encoder-decoder",
        "gate": "mixed",
        "dataset": "shapes",
        "size": None,
        "test_size": None,
        "noise": 0.0,
        "schedule": "smoke",
        "epochs": 1,
        "accumulate": 1,
        "seed": 0,
        "train_images": 64,
        "held_out": 0,
        "narrow": 4,
        "weights": None,
    }
    assert record["measured_on"] == "the test set"
    assert record["schedule"]["epochs"] == 1 and record["schedule"]["learning_rate"] > 0
    assert record["dataset"]["train_images"] == 64 and record["dataset"]["sha256"] == done.data.checksum
    assert record["versions"]["torch"] == torch.__version__
    assert record["hardware"]["name"] and record["hardware"]["threads"] == torch.get_num_threads()
    assert record["precision"] == ("bf16 autocast" if native_bf16(torch.device("cpu")) else "float32")
    assert record["parameters"] == sum(each.numel() for each in done.network.parameters())
    assert "sessions" not in record  # there was one, and it stands above
    assert record["images_per_second"] > 0 and record["wall_seconds"] > 0
    assert set(record["git"]) == {"commit", "changed"}
    assert record["command"].startswith("papermill notebooks/run.ipynb OUT.ipynb -p network attention-56 ")
    words = record["command"].split()
    said = {words[i + 1]: words[i + 2] for i, word in enumerate(words) if word == "-p"}
    assert said == {key: str(value) for key, value in record["config"].items() if value is not None}


def test_the_record_and_the_confusion_matrix_agree(finished):
    _, _, done = finished
    confusion = torch.tensor(done.record["confusion"])
    assert confusion.sum().item() == 1000 and confusion.sum(1).tolist() == [100] * 10
    assert 100 - confusion.trace().item() / 10 == pytest.approx(done.record["test_error"])


def test_threads_are_those_that_compute():
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            assert hardware(torch.device("cpu"))["threads"] == threads
    finally:
        torch.set_num_threads(before)


def test_the_commit_and_whether_the_code_differs_from_it(tmp_path, monkeypatch):
    """In a clone of its own: package and notebooks count, a page does not."""

    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        call = ["git", "-C", tmp_path, *identity, *words]
        return subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip()

    for name in ("ran", "notebooks", "book"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("as committed")
    monkeypatch.setattr("ran.runs.provenance.ROOT", tmp_path)
    git("init", "-q"), git("add", "."), git("commit", "-qm", "all")
    for name, changed in (("book", False), ("notebooks", True), ("ran", True)):
        (tmp_path / name / "file").write_text("changed")
        assert git_state() == {"commit": git("rev-parse", "HEAD"), "changed": changed}
        git("checkout", "-q", ".")
    (tmp_path / "ran" / "new.py").write_text("")
    assert git_state()["changed"]
    monkeypatch.setenv("PATH", "")  # no git
    monkeypatch.setenv("RAN_COMMIT", "f" * 40)
    assert git_state() == {"commit": "f" * 40, "changed": None}
    monkeypatch.setenv("RAN_COMMIT", "")
    assert git_state() == {"commit": None, "changed": None}


def test_a_commit_that_no_record_may_hold_is_refused_before_training(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")  # no git
    monkeypatch.setenv("RAN_COMMIT", "v1.0")
    with pytest.raises(ValueError, match="RAN_COMMIT must be the 40 .* not 'v1.0'"):
        run(RunConfig(**TINY), Environment(results=str(tmp_path)), report=lambda line: None)


def test_a_record_that_could_not_be_read_again_costs_no_checkpoint(tmp_path, monkeypatch):
    whole = load("shapes")
    few = DataSet(whole.name, whole.classes, whole.train.head(64), whole.test.head(20))
    monkeypatch.setattr(Environment, "load", lambda self, config: few)
    monkeypatch.setattr("ran.runs.runner.make_record", lambda *_: make_record(*_) | {"git": {"commit": "main"}})
    environment = Environment(results=str(tmp_path))
    with pytest.raises(ValueError, match="commit"):
        run(RunConfig(**TINY), environment, report=lambda line: None)
    folder = environment.folder(RunConfig(**TINY))
    assert (folder / "checkpoint.pt").is_file() and not (folder / "record.json").exists()


def test_the_record_tells_which_images_were_wrong(finished):
    _, _, done = finished
    answers = evaluate(done.network, done.data, torch.device("cpu")).predictions
    assert torch.equal(misclassified(done.record), answers != done.data.test.labels)
    assert misclassified({name: value for name, value in done.record.items() if name != "misclassified"}) is None
    assert done.record["test_error"] == done.record["epochs"][-1]["test_error"]


def test_the_weights_are_those_that_were_measured(finished):
    _, _, done = finished
    found = evaluate(done.network, done.data, torch.device("cpu"))
    assert found.loss == pytest.approx(done.record["epochs"][-1]["test_loss"], rel=1e-3)
    assert found.error == done.record["test_error"]


@pytest.mark.parametrize(("attention", "mask", "gate"), [*itertools.product(LEARNING, MASKS, GATES)])
def test_a_run_builds_the_variant_that_it_is_named_after(attention, mask, gate):
    network = RunConfig(attention=attention, mask=mask, gate=gate, narrow=4).build(7)
    found = network.config
    assert (found.attention, found.mask, found.gate, found.num_classes) == (attention, mask, gate, 7)


def test_a_runs_seed_reaches_its_weights_and_its_batches(tmp_path, monkeypatch):
    seen = []

    def stop(network, data, schedule, seed, **_):
        seen.append((seed, next(network.parameters()).detach().clone(), data.train.labels))
        raise InterruptedError

    monkeypatch.setattr("ran.runs.runner.fit", stop)
    for seed in (3, 4, 3):
        with pytest.raises(InterruptedError):
            run(RunConfig(seed=seed, narrow=4, noise=0.5), Environment(results=str(tmp_path)), lambda _: None)
    (first, weights, labels), (second, others, its), again = seen
    assert (first, second) == (3, 4)
    assert not weights.equal(others) and not labels.equal(its)  # which labels are wrong is chance, too
    assert weights.equal(again[1]) and labels.equal(again[2])


def test_every_option_of_the_training_reaches_it(tmp_path, monkeypatch):
    seen = {}

    def stop(network, data, schedule, *_, **__):
        seen.update(recompute=network.recompute, images=len(data.train), schedule=schedule)
        raise InterruptedError

    monkeypatch.setattr("ran.runs.runner.fit", stop)
    config = RunConfig(narrow=4, train_images=96, epochs=7, accumulate=4, schedule="short")
    for recompute in (True, False):
        with pytest.raises(InterruptedError):
            run(config, Environment(results=str(tmp_path), recompute=recompute), lambda _: None)
        assert seen["recompute"] is recompute
    assert (seen["images"], seen["schedule"].name) == (96, "short")
    assert (seen["schedule"].epochs, seen["schedule"].accumulate) == (7, 4)


# of RunConfig(schedule=...), every other setting at its default: a schedule that is recorded is never edited
DIGESTS = {
    "paper": "67032f69",
    "short": "76949a35",
    "smoke": "4ebf0327",
    "paper-imagenet": "7a0cafcc",
    "modern-imagenet": "19a78bf0",
    "recipe-plain": "244279ff",
    "recipe-warm-up": "8f5d6559",
    "recipe-bare": "3224e15e",
    "recipe-smoothing": "7d2fed45",
    "recipe-average": "a5cb1dcb",
    "recipe-cutout": "3309e00a",
    "best": "d59f2a96",
    "recipe-gentle": "2bf325e9",
    "recipe-cutmix": "3eff9c79",
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_stays_as_it_is(name):
    """Its settings are in the names of its runs: an edited one would orphan them, so a change is a new schedule."""
    assert RunConfig(schedule=name).id.rpartition("-")[2] == DIGESTS[name]


def test_the_record_of_a_continued_run_tells_of_every_session(tmp_path, monkeypatch):
    config, environment = RunConfig(epochs=3, train_images=64, narrow=4), Environment(results=str(tmp_path))

    def session(commit):
        state = {"commit": commit, "changed": False}
        monkeypatch.setattr("ran.runs.records.git_state", lambda: state)
        return state

    def stop(line):
        if "epoch   1" in line:
            raise InterruptedError

    first = session("a" * 40)
    with pytest.raises(InterruptedError):
        run(config, environment, stop)
    last = session("b" * 40)
    record = run(config, environment, lambda _: None).record
    assert record["git"] == last
    assert [(each["from_epoch"], each["git"]) for each in record["sessions"]] == [(1, first), (2, last)]
    assert {"date", "hardware", "precision", "versions"} <= record["sessions"][0].keys()
    assert dict(summary(record).to_numpy())["date"] == f"{record['date']}, the last of 2 sessions"


def test_a_finished_run_is_not_trained_again(finished):
    config, environment, done = finished
    file = done.folder / "record.json"
    before, lines = (file.read_bytes(), file.stat().st_mtime_ns), []
    again = run(config, environment, report=lines.append)
    assert lines == [f"recorded already: {file}"]
    assert (file.read_bytes(), file.stat().st_mtime_ns) == before
    assert again.record == done.record
    for key, value in done.network.state_dict().items():
        assert value.equal(again.network.state_dict()[key])
    assert not (done.folder / "checkpoint.pt").exists()


def test_a_record_without_weights_is_still_shown(finished, tmp_path):
    config, _, done = finished
    (tmp_path / config.id).mkdir()
    (tmp_path / config.id / "record.json").write_text(json.dumps(done.record))
    found = run(config, Environment(results=str(tmp_path)), report=lambda _: None)
    assert found.network is None and found.record == done.record


def test_gradients_are_measured_where_a_mask_met_noisy_labels(finished, tmp_path):
    _, _, clean = finished
    assert {path.name for path in clean.folder.iterdir()} == {"record.json", "weights.safetensors", "probes.csv"}
    config, environment = parse({**TINY, "noise": 0.5, "results": str(tmp_path)})
    gradients = run(config, environment, report=lambda _: None).folder / "gradients.csv"
    first = gradients.read_bytes()
    table = read_gradients({"folder": gradients.parent})
    before = load("shapes").train.head(64).labels
    wrong = int((before != with_label_noise(shortened(load("shapes"), 64), 0.5, seed=0).train.labels).sum())
    assert table["count"].tolist() == [64 - wrong, wrong] * 3 and table.label.tolist() == ["right", "wrong"] * 3
    write_measurements(gradients, table.head(1))
    run(config, environment, report=lambda _: None)
    assert len(read_gradients({"folder": gradients.parent})) == 1  # what is there is not measured again
    gradients.unlink()
    run(config, environment, report=lambda _: None)
    assert gradients.read_bytes() == first  # by the weights that were kept
    gradients.write_text("of another training")
    (gradients.parent / "record.json").unlink()
    run(config, environment, report=lambda _: None)
    assert read_gradients({"folder": gradients.parent})["count"].tolist() == table["count"].tolist()


def test_a_network_without_masks_leaves_no_gradients(tmp_path):
    config, environment = parse(
        {**TINY, "network": "resnet-56-wide", "narrow": 2, "noise": 0.5, "results": str(tmp_path)}
    )
    done = run(config, environment, report=lambda _: None)
    assert {path.name for path in done.folder.iterdir()} == {"record.json", "weights.safetensors", "probes.csv"}


def test_two_processes_do_not_train_one_run(finished, tmp_path):
    config, _, done = finished
    environment = Environment(results=str(tmp_path))
    folder = environment.folder(config)
    folder.mkdir()
    lines, results = [], []
    waiting = threading.Event()

    def report(line):
        lines.append(line)
        waiting.set()

    with only_one(folder):
        second = threading.Thread(target=lambda: results.append(run(config, environment, report)))
        second.start()
        assert waiting.wait(30)
        for path in tmp_path.rglob("*.lock"):  # whoever tidies up lets no second one in
            path.unlink()
        time.sleep(1)
        assert "another process holds" in lines[0] and len(lines) == 1 and not results
        write_whole(folder / "record.json", as_text(done.record))
    second.join(30)
    assert results[0].record == done.record and "recorded already" in lines[1]
    assert {path.name for path in tmp_path.rglob("*")} == {config.id, "record.json"}  # no lock is left behind


def test_the_command_line_runs_and_refuses(finished, capsys):
    config, environment, done = finished
    words = ["--dataset", "shapes", "--schedule", "smoke", "--epochs", "1", "--train-images", "64", "--narrow", "4"]
    assert main(["run", *words, "--results", environment.results]) == 0
    assert f"test error {done.record['test_error']:.2f}%" in capsys.readouterr().out
    assert main(["run", "--network", "attention-57"]) == 2
    assert "ran run: unknown network 'attention-57'. Did you mean 'attention-56'?" in capsys.readouterr().err
    assert main(["run", "--dataset", "cifar10", "--data-root", "/nonexistent"]) == 2
    assert "ran data cifar10" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main(["run", "--epochs", "many"])
    assert stopped.value.code == 2
    with pytest.raises(SystemExit) as stopped:
        main(["run", "--depht", "92"])
    assert stopped.value.code == 2 and "--depht" in capsys.readouterr().err


def test_info_prints_sizes(capsys):
    assert main(["info", "attention-92"]) == 0
    assert capsys.readouterr().out.rstrip() == repr(build("attention-92"))


def papermill(tmp_path, *words):
    tool = Path(sys.executable).with_name("papermill")
    out, results = tmp_path / "out.ipynb", tmp_path / "results"
    done = subprocess.run(
        [tool, "notebooks/run.ipynb", out, "--no-progress-bar", "-p", "results", results, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done, results


def test_papermill_leaves_the_same_record(finished, tmp_path):
    config, _, done = finished
    words = [word for key, value in TINY.items() for word in ("-p", key, str(value))]
    result, results = papermill(tmp_path, *words, "-p", "network", "attention-56", "-p", "attention", "arl")
    assert result.returncode == 0, result.stderr
    record = json.loads((results / config.id / "record.json").read_text())
    assert reproducible(record) == reproducible(done.record)
    pictures = [
        output
        for cell in nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
        for output in cell.get("outputs", [])
        if {"image/png", "image/svg+xml"} & output.get("data", {}).keys()
    ]
    assert len(pictures) == 3  # learning curves, masks, confusion matrix


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-p", "depht", "92"), "unknown parameter 'depht'"),
        (("-p", "device", "gpu"), "unknown device 'gpu'. Did you mean 'cpu'?"),
        (("-p", "dataset", "cifar10", "-p", "data_root", "/nonexistent"), "'cifar10' is not in '/nonexistent'"),
    ],
)
def test_papermill_stops_before_training(tmp_path, words, message):
    result, results = papermill(tmp_path, *words)
    assert result.returncode != 0
    said = result.stderr.strip().splitlines()
    assert message in said[-1]
    assert "ran/runs" not in result.stderr and said[-2].startswith("Exception encountered at")  # no stack of ours above
    assert not results.exists()


def test_a_diverged_run_leaves_its_failure_and_no_record(tmp_path, monkeypatch):
    config, environment = parse({**TINY, "results": str(tmp_path)})
    folder = environment.folder(config)
    with monkeypatch.context() as patched:
        patched.setattr(
            "ran.training.trainer.evaluate", lambda *_: Evaluation(float("nan"), 90.0, torch.zeros(1), 50.0)
        )
        with pytest.raises(TrainingDiverged, match="test loss is nan"):
            run(config, environment, report=lambda _: None)
    assert {path.name for path in folder.iterdir()} == {"failure.json"}
    failure = json.loads((folder / "failure.json").read_text())
    assert failure["id"] == config.id and "test loss is nan in epoch 1" in failure["failure"] and failure["git"]
    run(config, environment, report=lambda _: None)
    assert (folder / "record.json").is_file() and not (folder / "failure.json").exists()


def test_a_checkpoint_of_other_images_is_refused(tmp_path, monkeypatch):
    config, environment = parse({**TINY, "results": str(tmp_path), "epochs": 2})

    def stop(line):
        if line.startswith("epoch   1"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, environment, report=stop)
    whole = load("shapes")
    other = replace(whole, test=whole.test.head(900))
    monkeypatch.setattr("ran.runs.config.load", lambda *_: other)
    with pytest.raises(ValueError, match="checkpoint.pt belongs to the run"):
        run(config, environment, report=lambda _: None)


def test_all_images_have_one_name_only(tmp_path):
    config, environment = parse({**TINY, "train_images": 4000, "results": str(tmp_path)})
    with pytest.raises(ValueError, match="less than the 4,000 training images of shapes.*leave it out"):
        run(config, environment, report=lambda _: None)


DAMAGE = {
    "empty": lambda text: "",
    "no row": lambda text: text.splitlines()[0] + "\n",
    "cut off": lambda text: text[: len(text) // 2],
    "no last line": lambda text: text[: text.rindex("#")],
    "an edited number": lambda text: text.replace("0.", "1.", 1),
    "another run's": lambda text: text.replace("seed0", "seed1"),
    "no text": lambda text: "\udcff" + text,
}


@pytest.mark.parametrize("how", DAMAGE)
def test_damaged_measurements_are_refused_and_made_again(finished, how):
    config, environment, done = finished
    probes = done.folder / "probes.csv"
    before = probes.read_text()
    probes.write_text(DAMAGE[how](before), errors="surrogateescape")
    with pytest.raises(Damaged, match="probes.csv is not a whole table of measurements"):
        read_probes({"folder": done.folder})
    run(config, environment, report=lambda _: None)
    assert probes.read_text() == before


def test_measurements_of_an_earlier_training_are_made_again(tmp_path):
    """The record was lost, and what stands beside it is whole, but of other weights."""
    config, environment = parse({**TINY, "results": str(tmp_path)})
    done = run(config, environment, report=lambda _: None)
    probes, right = done.folder / "probes.csv", read_probes({"folder": done.folder})
    write_measurements(probes, right.assign(response=right.response + 1))
    (done.folder / "record.json").unlink()
    run(config, environment, report=lambda _: None)
    pd.testing.assert_frame_equal(read_probes({"folder": done.folder}), right)


def test_a_hundred_classes_have_their_confusion_matrix():
    """Those of CIFAR-100, whose answers here are the next class each."""
    whole = load("shapes")
    test = replace(whole.test.head(200), labels=torch.arange(200) % 100)
    data = replace(whole, classes=tuple(map(str, range(100))), test=test)
    epoch = {"seconds": 1.0, "images_per_second": 1.0}
    fitted = Fitted([epoch], Evaluation(0.0, 100.0, (test.labels + 1) % 100, 0.0), [{}])
    session = this_session(SingleDevice(torch.device("cpu")))
    record = make_record(RunConfig(), data, build("attention-56", narrow=16), session, fitted)
    assert [row.index(2) for row in record["confusion"]] == [*range(1, 100), 0]


NAMES = {each.name: each.metadata["known"] for kind in (RunConfig, Environment) for each in fields(kind)}
STRANGE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
    st.lists(st.integers(), max_size=2),
    st.sampled_from([10**30, "attention-57", "arl ", "ARL", "0", 0.1 + 0.2]),
)


def value(name):
    """Right ones, most of the time, or they would never meet."""
    known = NAMES[name]
    return st.one_of(st.sampled_from(list(known)), STRANGE) if known else st.one_of(st.integers(0, 300), STRANGE)


@settings(max_examples=300, deadline=None)
@given(st.fixed_dictionaries({}, optional={name: value(name) for name in NAMES}))
def test_whatever_the_parameters_are_they_are_a_run_or_refused_in_a_line(parameters):
    try:
        config, environment = parse(parameters)
    except ValueError as error:
        assert "\n" not in str(error).replace(repr(parameters), "")
        return
    again, _ = parse(json.loads(json.dumps(asdict(config))))  # as a record keeps it
    assert again == config and again.id == config.id
    assert re.fullmatch(r"[a-z0-9.-]+", config.id) and config.is_repeated_by(config.command)
    assert all(type(getattr(environment, name)) is type(default) for name, default in asdict(Environment()).items())
    assert 1 <= config.recipe.total(100) <= 10_000_000
