"""The command line as a user types it: one line for what is wrong, an exit code, and nothing half done."""

import json
import os
import signal
import subprocess
import sys
from urllib.error import URLError

import pytest
from drawn import draw
from processes import SIGNALS, left_behind, marked

from ran.cli import main
from ran.files import ROOT
from ran.runs import Environment

PIPES = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


def said(capsys, *words):
    """Exit code and the one line of a call."""
    try:
        code = main(words)
    except SystemExit as stopped:
        code = stopped.code
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    return code, err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("run --see 5", "ran run: unknown option '--see'. Did you mean '--seed'?"),
        ("run --netwrok=attention-56", "Did you mean '--network'?"),
        ("run --data-rot /tmp", "Did you mean '--data-root'?"),
        ("run --seed", "ran run: argument --seed: expected one argument"),
        ("run --seed x", "ran run: argument --seed: invalid int value: 'x'"),
        ("run fast", "'fast' belongs to no option"),
        ("rnu", "ran: unknown command 'rnu'. Did you mean 'run'?"),
        ("", "ran: the following arguments are required: command"),
        ("tables runs", "'runs' belongs to no option"),
        ("tables --result x", "Did you mean '--results'?"),
        ("run --device gpu", "unknown device 'gpu'. Did you mean 'cpu'?"),
        ("run --results=", "results must be the name of a folder, not ''"),
        ("run --data-root=", "data_root must be the name of a folder, not ''"),
        ("run --results ~nobody_here/x", "results '~nobody_here/x'"),
        ("tables --results=", "must be the name of a folder, not ''"),
        ("run --table all cifar", "--table all stands for all of the paper's tables"),
        ("run --weights=", "weights must be a text of at least 1 character, not ''"),
        ("explain x.png --out=", "must be the name of a folder, not ''"),
        ("cells --results=", "must be the name of a folder, not ''"),
        ("bench --results=", "must be the name of a folder, not ''"),
        ("data cifar10 --data-root=", "must be the name of a folder, not ''"),
    ],
)
def test_what_is_mistyped_is_named_in_one_line(words, line, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, err = said(capsys, *words.split())
    assert code == 2 and line in err and list(tmp_path.iterdir()) == []


def test_a_tilde_is_the_users_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    environment = Environment(results="~/x", data_root="~/y")
    assert (environment.results, environment.data_root) == (str(tmp_path / "x"), str(tmp_path / "y"))


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (URLError("no route to host"), 2, "cannot be reached (no route to host)"),
        (ConnectionResetError(104, "Connection reset by peer"), 2, "cannot be reached (ConnectionResetError"),
        (TimeoutError("timed out"), 2, "cannot be reached"),
        (RuntimeError("File not found or corrupted."), 2, "is not cifar10 (File not found or corrupted.): delete"),
        (EOFError("Compressed file ended"), 2, "is not cifar10"),
        (KeyError("a slip\nof ours"), 3, "ran data: unexpected KeyError at ran/data/cifar.py:"),
    ],
)
def test_what_goes_wrong_in_a_library_is_one_line_and_stays_findable(error, code, line, capsys, monkeypatch, tmp_path):
    def fails(*_, **__):
        raise error

    fails.url, fails.filename, fails.base_folder = "https://there/cifar.tar.gz", "cifar.tar.gz", "batches"
    monkeypatch.setattr("ran.data.cifar._of_torchvision", lambda name: fails)
    found = said(capsys, "data", "cifar10", "--data-root", str(tmp_path))
    assert found[0] == code and line in found[1]
    monkeypatch.setenv("RAN_TRACEBACK", "1")
    with pytest.raises(Exception) as raised:
        main(["data", "cifar10", "--data-root", str(tmp_path)])
    assert raised.value is error or raised.value.__cause__ is error


def test_a_name_without_a_server_is_one_line(tmp_path, monkeypatch, capsys):
    """A real call, to a proxy that is not there."""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    code, err = said(capsys, "data", "cifar10", "--data-root", str(tmp_path))
    assert code == 2 and "cannot be reached" in err


SEVERAL = """
import json, sys
from ran.cli import main
for words in json.loads(sys.argv[1]):
    code = main(words)
    print(f"{words[0]} ended with {code}", file=sys.stderr)
"""


def test_in_an_ascii_locale_files_are_utf8_and_every_line_can_be_printed(tmp_path):
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT)}
    (tmp_path / "runs").mkdir()
    calls = [["cells"], ["info", "attention-56"], ["tables", "--results", str(tmp_path)], ["run", "--network", "±"]]
    strict = ["-X", "warn_default_encoding", "-W", "error::EncodingWarning:ran"]
    done = subprocess.run(
        [sys.executable, *strict, "-c", SEVERAL, json.dumps(calls)], cwd=ROOT, capture_output=True, env=environment
    )
    ends = [line for line in done.stderr.decode().splitlines() if " ended with " in line]
    assert ends == [f"{words[0]} ended with {2 if words[0] == 'run' else 0}" for words in calls], done.stderr.decode()
    assert done.returncode == 0 and b"Traceback" not in done.stderr


@pytest.mark.parametrize("number", SIGNALS)
def test_an_interrupted_run_says_where_it_stands_and_the_same_command_goes_on(tmp_path, number):
    root = draw(tmp_path / "images")
    words = ["run", "--dataset", "folder", "--network", "attention-56-imagenet", "--size", "64", "--narrow", "8"]
    words += ["--epochs", "500", "--workers", "1", "--data-root", root, "--results", tmp_path / "runs"]
    with marked([sys.executable, "-u", "-m", "ran", *words], **PIPES) as call:
        while "epoch   1/" not in call.stdout.readline():
            assert call.poll() is None
        call.send_signal(number)
        _, err = call.communicate(timeout=60)
    assert call.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    assert left_behind(call) == []
    if number != signal.SIGKILL:
        assert err.count("\n") == 1 and "of 500 epochs are done and kept. The same command goes on" in err, err
    assert not list(tmp_path.rglob("*.lock"))


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_whoever_closes_a_stream_gets_the_work_all_the_same(tmp_path, monkeypatch, closed):
    (tmp_path / "runs").mkdir()
    monkeypatch.setattr(sys, closed, None)
    assert main(["tables", "--results", str(tmp_path)]) == 0
    assert list((tmp_path / "tables").glob("*.csv"))
    getattr(sys, closed).close()  # what took its place


def test_json_is_json_for_a_reader_without_letters(tmp_path, capsys):
    name = tmp_path / "ü 日.png"
    name.write_bytes((ROOT / "book/_static/cifar10_samples.png").read_bytes())
    assert main(["predict", str(name), "--json"]) == 0
    text = capsys.readouterr().out
    assert text.isascii() and json.loads(text)["pictures"][0]["image"] == str(name)


def test_part_of_what_torchrun_sets_is_refused_in_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, line = said(capsys, "run", "--results", str(tmp_path))
    assert code == 2 and "WORLD_SIZE is '2', but torchrun did not start this process" in line
    monkeypatch.setenv("WORLD_SIZE", "x")
    assert "WORLD_SIZE is 'x'" in said(capsys, "run", "--results", str(tmp_path))[1]
    assert not list(tmp_path.iterdir())


def test_an_interruption_while_it_starts_is_one_line():
    with marked([sys.executable, "-X", "importtime", "-m", "ran", "cells"], **PIPES) as call:
        for line in call.stderr:  # torch is being imported
            if "torch" in line:
                break
        call.send_signal(signal.SIGINT)
        _, err = call.communicate(timeout=60)
    assert call.returncode == 130
    assert [line for line in err.splitlines() if "import time" not in line] == [
        "ran: interrupted; what is written is whole. The same command goes on from there."
    ]


def test_a_script_without_a_main_guard_trains_with_workers(tmp_path):
    root = draw(tmp_path / "images")
    script = tmp_path / "script.py"
    script.write_text(
        "from ran.runs import parse, run\n"
        "parameters = dict(network='attention-56-imagenet', dataset='folder', size=64, narrow=8, epochs=1, workers=1)\n"
        f"print(run(*parse(dict(parameters, data_root={str(root)!r}, results={str(tmp_path / 'runs')!r}))).folder)\n",
        encoding="utf-8",
    )
    with marked([sys.executable, script], env={"PYTHONPATH": str(ROOT)}, **PIPES) as call:
        out, err = call.communicate(timeout=120)
    assert call.returncode == 0 and err == "" and out.count("epoch   1/1") == 1, err
    assert left_behind(call) == []
