"""The ground: files that are whole or not there, on disks that are full, read-only or another user's; one writer."""

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
from drawn import draw
from recorded import a_record, put

from ran.cli import main
from ran.data import load
from ran.data.folder_index import INDEX
from ran.files import ROOT, only_one, write_whole
from ran.runs import RunConfig, parse, run

TINY = ["--epochs", "1", "--train-images", "32", "--narrow", "8"]
IMAGES = ["--dataset", "folder", "--network", "attention-56-imagenet", "--size", "64", "--narrow", "8"]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk, or act as another user")


def ran(*words, under=(), **options):
    """The command `ran` and what it says; as a process of its own below another command, or with other streams."""
    words = [str(word) for word in words]
    if not under and not options:
        out, err = io.StringIO(), io.StringIO()
        with chdir(ROOT), redirect_stdout(out), redirect_stderr(err):
            code = main(words)
        return SimpleNamespace(returncode=code, stdout=out.getvalue(), stderr=err.getvalue())
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | options.pop("env", {})
    call = [*map(str, under), sys.executable, "-m", "ran", *words]
    options = {"cwd": ROOT, "capture_output": True, "encoding": "utf-8", "timeout": 300} | options
    return subprocess.run(call, env=environment, **options)


def refused(done, *said):
    """One line and exit code 2, before anything was loaded."""
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1 and done.stdout == "", done.stderr + done.stdout
    assert all(each in done.stderr for each in said), done.stderr


@contextmanager
def disk(place, *options):
    """A file system of its own at a folder."""
    place.mkdir(exist_ok=True)
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", place], capture_output=True)
    if made.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {made.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


ANOTHER = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]  # who owns nothing


@cache
def reachable():
    """Whether another user can import the code."""
    call = [*ANOTHER, sys.executable, "-c", "import ran"]
    return bool(shutil.which(ANOTHER[0])) and subprocess.run(call, cwd=ROOT, capture_output=True).returncode == 0


def other_user(command, **options):
    """The same command as another user; skipped where he cannot reach the code."""
    if not reachable():
        pytest.skip("another user cannot read this clone, or there is no setpriv")
    with tempfile.TemporaryDirectory() as home:
        os.chmod(home, 0o777)
        return command(under=ANOTHER, env={"HOME": home}, **options)


def let_others_in(place):
    """Open the way to a folder of a test, which pytest keeps to its user."""
    for folder in (place, *place.parents):
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)


def fill(place):
    with pytest.raises(OSError), (place / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@as_root
def test_a_full_disk_is_found_before_the_data_is_loaded(tmp_path):
    with disk(tmp_path / "small", "size=2m") as small:
        words = ["run", "--results", small / "runs", "--dataset", "cifar10"]
        refused(ran(*words), "MB are needed", "MB are free", "make room")
        assert list(small.iterdir()) == []
        fill(small)
        refused(ran(*words), "No space left on device", "make room")


@as_root
def test_a_disk_that_fills_up_in_training_costs_nothing_that_was_kept(tmp_path):
    with disk(tmp_path / "small", "size=16m") as small:
        words = ["run", *TINY, "--epochs", "2", "--results", small / "runs"]
        lines = []

        def report(line):
            lines.append(line)
            if "epoch   1" in line:
                fill(small)

        with pytest.raises(OSError, match="No space left on device"):
            run(*parse({"epochs": 2, "train_images": 32, "narrow": 8, "results": str(small / "runs")}), report)
        assert "epoch   1" in lines[-1]
        assert sorted(path.name for path in (small / "runs").glob("*/*")) == ["checkpoint.pt"]  # no part of a file
        (small / "ballast").unlink()
        again = ran(*words)
        assert again.returncode == 0 and "continued after epoch 1" in again.stdout, again.stderr


@as_root
def test_no_table_is_left_empty_on_a_full_disk(tmp_path):
    with disk(tmp_path / "small", "size=1m") as small:
        put(small / "runs", a_record(RunConfig(dataset="cifar10", schedule="short", epochs=8)))
        assert ran("tables", "--results", small).returncode == 0
        tables = {path: path.read_bytes() for path in (small / "tables").iterdir()}
        put(small / "runs", a_record(RunConfig(dataset="cifar10", schedule="short", epochs=8, attention="nal")))
        fill(small)
        done = ran("tables", "--results", small)
        refused(done, "tables/", "No space left", "make room")
        assert {path: path.read_bytes() for path in (small / "tables").iterdir()} == tables


def test_a_limit_on_files_is_found_before_the_data_is_loaded(tmp_path):
    under = ["bash", "-c", 'ulimit -f 64; exec "$@"', "bash"]
    refused(ran("run", "--results", tmp_path, "--dataset", "cifar10", under=under), "File too large")
    assert list(tmp_path.iterdir()) == []


def test_a_stream_that_is_full_or_closed_is_no_traceback():
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = ran("info", "attention-56", stdout=full, stderr=subprocess.PIPE, capture_output=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "No space left" in done.stderr
    call = f"'{sys.executable}' -m ran cells | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", call], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode in (0, 141) and done.stderr == "", done.stderr


@as_root
def test_a_read_only_disk_is_found_before_the_data_is_loaded_and_what_it_holds_is_read(tmp_path):
    with disk(tmp_path / "disk", "size=16m") as place:
        config = RunConfig(epochs=1, train_images=32, narrow=8)
        assert ran("run", *TINY, "--results", place / "runs").returncode == 0
        draw(place / "images")
        load("folder", place / "images")
        for path in (place / "runs").glob("*/probes.csv"):
            path.unlink()
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        refused(ran("run", "--results", place / "runs", "--dataset", "cifar10"), "Read-only file system")
        refused(ran("bench", "--parts", "growth", "--results", place), "Read-only file system")
        refused(ran("data", "cifar10", "--data-root", place), "Read-only file system")
        done = ran("run", *TINY, "--results", place / "runs")  # what is recorded is shown
        assert done.returncode == 0 and f"recorded already: {place / 'runs' / config.id}" in done.stdout, done.stderr
        assert "not stored" in done.stdout and ran("cells", "--results", place).returncode == 0
        data = load("folder", place / "images")
        assert len(data.train) == 36


@pytest.mark.parametrize("below", ["", "runs"])
def test_results_that_are_a_file_are_found_before_the_data_is_loaded(tmp_path, below):
    (tmp_path / "file").write_text("kept")
    refused(ran("run", "--results", tmp_path / "file" / below, "--dataset", "cifar10"), "is a file", "folder")
    assert (tmp_path / "file").read_text() == "kept"


@as_root
def test_another_user_reads_what_is_recorded_and_indexed(tmp_path):
    let_others_in(tmp_path)
    assert ran("run", *TINY, "--results", tmp_path / "runs").returncode == 0
    root = draw(tmp_path / "images")
    load("folder", root)
    index = (root / INDEX).read_bytes()
    again = other_user(lambda **how: ran("run", *TINY, "--results", tmp_path / "runs", **how))
    assert again.returncode == 0 and "recorded already" in again.stdout, again.stderr
    words = ["run", *IMAGES, "--epochs", "1", "--workers", "0", "--data-root", root, "--results", tmp_path / "mine"]
    refused(other_user(lambda **how: ran(*words, **how)), "mine/attention", "cannot be written (Permission denied)")
    (tmp_path / "mine").mkdir(mode=0o777)
    (tmp_path / "mine").chmod(0o777)
    done = other_user(lambda **how: ran(*words, **how))
    assert done.returncode == 0 and "test error" in done.stdout, done.stderr
    assert (root / INDEX).read_bytes() == index
    assert [path.name for path in tmp_path.rglob("*.lock")] == []


@as_root
def test_two_users_of_a_group_go_on_with_each_others_runs(tmp_path):
    let_others_in(tmp_path)
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o2777)
    words = ["run", *TINY, "--epochs", "2", "--results", shared]
    before = os.umask(0)
    try:
        first = ran(*words)
    finally:
        os.umask(before)
    assert first.returncode == 0, first.stderr
    for path in shared.glob("*/record.json"):  # as if the first user had been cut off
        path.unlink()
    done = other_user(lambda **how: ran(*words, **how))
    assert done.returncode == 0 and "test error" in done.stdout, done.stderr


def test_a_damaged_index_is_made_anew(tmp_path):
    root = draw(tmp_path / "images")
    whole = load("folder", root).checksum
    for content in (b"", b"{", b"[]", b'{"train/dark/00.jpg": 1}', b"\xff\xfe"):
        (root / INDEX).write_bytes(content)
        assert load("folder", root).checksum == whole
        assert json.loads((root / INDEX).read_text(encoding="utf-8"))


HOLD = "import sys, time; from pathlib import Path; from ran.files import only_one\n"
HOLD += "with only_one(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"


def test_a_folder_is_held_by_one_process_and_given_back_by_a_kill(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, env=environment) as holder:
        holder.stdout.readline()
        with pytest.raises(TimeoutError, match="another process held"), only_one(tmp_path, until=time.monotonic() + 1):
            pass
        holder.kill()
        with only_one(tmp_path, until=time.monotonic() + 10):
            assert list(tmp_path.iterdir()) == []


def test_where_folders_cannot_be_locked_a_file_is(tmp_path, monkeypatch):
    def refuses(*_):
        raise OSError(9, "Bad file descriptor")  # as NFS does

    monkeypatch.setattr("ran.files.fcntl", SimpleNamespace(flock=refuses, LOCK_EX=2, LOCK_NB=4))
    with only_one(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == ["folder.lock"]
        with pytest.raises(TimeoutError), only_one(tmp_path, until=time.monotonic()):
            pass
    with only_one(tmp_path, until=time.monotonic()):
        pass


def test_what_was_there_stays_where_a_check_fails(tmp_path):
    path = tmp_path / "file"
    write_whole(path, "before")

    def fails(_):
        raise OSError("it is not what was written")

    with pytest.raises(OSError, match="it is not what was written.*make room"):
        write_whole(path, "after", fails)
    assert [each.name for each in tmp_path.iterdir()] == ["file"] and path.read_text() == "before"


def test_a_kill_in_the_middle_of_a_file_leaves_nothing_for_long(tmp_path):
    path = tmp_path / "file"
    script = "import os, sys; from pathlib import Path; from ran.files import write_whole\n"
    script += "write_whole(Path(sys.argv[1]), 'after', lambda _: os.kill(os.getpid(), 9))"
    write_whole(path, "before")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", script, path], env=environment).returncode == -9
    assert path.read_text() == "before" and len(list(tmp_path.iterdir())) == 2
    write_whole(path, "again")
    assert [each.name for each in tmp_path.iterdir()] == ["file"] and path.read_text() == "again"
