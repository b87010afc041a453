"""Records are believed only whole: what is damaged, edited, contradictory or another run's is named in one line."""

import json
import random
from pathlib import Path

import pytest
from recorded import a_record, put

from ran.cli import main
from ran.files import ROOT, Damaged
from ran.runs import Environment, Record, RunConfig, read_records, run
from ran.runs.measurements import read_measurements
from ran.runs.schema import read_record
from ran.sealing import sealed

COMMITTED = sorted((ROOT / "results" / "runs").glob("*/record.json"))
CONFIG = RunConfig(dataset="cifar10", schedule="short", epochs=3)


def refused(folder, record, name=CONFIG.id):
    """Why a file in the run's folder is not believed."""
    path = folder / name / "record.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(record if isinstance(record, str) else json.dumps(record))
    with pytest.raises(Damaged) as caught:
        read_record(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    return str(caught.value)


def test_every_committed_record_is_whole():
    lines = []
    assert len(read_records(ROOT / "results" / "runs", report=lines.append)) == len(COMMITTED) > 50 and not lines


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "{}", "5", "[" * 100_000, '"text"', "\ufeff{}"])
def test_what_is_no_record_is_refused(tmp_path, text):
    assert "not a whole record" in refused(tmp_path, text)


WRONG = {
    "an epoch too many": {"epochs": a_record(RunConfig(epochs=4))["epochs"], "wall_seconds": 120.0},
    "an epoch too few": {"epochs": a_record(RunConfig(epochs=2))["epochs"], "wall_seconds": 60.0},
    "an error below 0": {"test_error": -5.0},
    "an error that is not the last epoch's": {"test_error": 5.0},
    "a text for a number": {"test_error": "12.344"},
    "another schedule": {"schedule": a_record(CONFIG)["schedule"] | {"learning_rate": 9.0}},
    "another seed": {"config": a_record(CONFIG)["config"] | {"seed": 1}},
    "an unknown network": {"config": a_record(CONFIG)["config"] | {"network": "attention-57"}},
    "an unknown field": {"not_a_field": 1},
    "no finite time": {"wall_seconds": float("inf")},
    "a time that is not its epochs'": {"wall_seconds": 80.0},
    "a speed that is not its epochs'": {"images_per_second": 200.0},
    "a speed for each of other devices": {"images_per_second_per_device": 50.0},
    "another run's command": {"command": RunConfig(dataset="cifar10", schedule="short", epochs=4).command},
    "epochs in another order": {"epochs": [a_record(CONFIG)["epochs"][place] for place in (1, 0, 2)]},
    "a class twice": {"dataset": a_record(CONFIG)["dataset"] | {"classes": ["a", "a"]}},
    "images of another set": {"dataset": a_record(CONFIG)["dataset"] | {"name": "cifar100"}},
    "threads of a GPU": {"hardware": {"device": "cuda", "name": "A processor", "threads": 2}},
    "a CPU without threads": {"hardware": {"device": "cpu", "name": "A processor"}},
    "changes of no commit": {"git": {"commit": None, "changed": True}},
    "a matrix of other images": {"confusion": [[1, 2], [3, 4]]},
    "a matrix of another error": {"confusion": [[100_000, 0], [0, 25_000]]},
    "no checksum of images": {"dataset": a_record(CONFIG)["dataset"] | {"sha256": "x"}},
    "images that are wrong, of another number": {"misclassified": "AAAA"},
    "a markup for a date": {"date": "<script>"},
}


@pytest.mark.parametrize("how", WRONG)
def test_a_record_that_contradicts_itself_is_refused_though_its_digest_is_right(tmp_path, how):
    refused(tmp_path, sealed(a_record(CONFIG) | WRONG[how]))


HOSTILE = ["<script>alert(1)</script>", "`{download}`x <../../../etc/passwd>`", "a\n# b", "$x$", "[a](javascript:b)"]
PLACES = [
    lambda text: {"hardware": {"device": "cpu", "name": text}},
    lambda text: {"versions": {"python": text}},
    lambda text: {"versions": {text: "3.12"}},
    lambda text: {"command": text},
    lambda text: {"precision": text},
    lambda text: {"measured_on": text},
    lambda text: {"date": text},
    lambda text: {"git": {"commit": text, "changed": False}},
    lambda text: {"dataset": a_record(CONFIG)["dataset"] | {"name": text}},
]


@pytest.mark.parametrize("place", range(len(PLACES)))
@pytest.mark.parametrize("text", HOSTILE)
def test_a_record_brings_no_markup_to_a_page(tmp_path, place, text):
    refused(tmp_path, sealed(a_record(CONFIG) | PLACES[place](text)))


@pytest.mark.parametrize("field", [name for name in a_record(CONFIG) if name not in ("devices", "confusion")])
def test_a_record_that_lacks_a_field_is_refused(tmp_path, field):
    record = a_record(CONFIG)
    del record[field]
    refused(tmp_path, record if field in ("version", "sha256") else sealed(record))


def test_an_edited_number_is_refused(tmp_path):
    record = a_record(CONFIG)
    record["epochs"][0]["train_loss"] = 0.5
    assert "its checksum is wrong" in refused(tmp_path, record)


def test_a_record_of_two_devices_is_believed(tmp_path):
    """What the wrong ones above are changed from, with all that may be there besides."""
    two = {"devices": 2, "images_per_second_per_device": 50.0, "git": {"commit": None, "changed": None}}
    put(tmp_path, record := a_record(CONFIG, **two))
    assert read_record(tmp_path / CONFIG.id / "record.json") == record


def test_a_copy_under_another_id_is_no_second_seed(tmp_path):
    assert f"it is of the run {CONFIG.id}" in refused(tmp_path, a_record(CONFIG), RunConfig(seed=5).id)


def test_no_flipped_bit_is_believed_as_other_content(tmp_path):
    path, chance = COMMITTED[0], random.Random(0)
    content, before = path.read_bytes(), read_record(COMMITTED[0])
    copy = tmp_path / path.parent.name / "record.json"
    copy.parent.mkdir()
    for _ in range(200):
        flipped = bytearray(content)
        flipped[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        copy.write_bytes(flipped)
        try:
            assert read_record(copy) == before
        except Damaged:
            pass


def mutated(chance, value):
    """The record with something in it replaced by something else."""
    strange = [None, -1, 1e308, "", "x", [], {}, True, 10**30, [[]], "<b>", "\x00"]
    if isinstance(value, dict) and value and chance.random() < 0.9:
        name = chance.choice(list(value))
        return value | {name: mutated(chance, value[name])}
    if isinstance(value, list) and value and chance.random() < 0.7:
        place = chance.randrange(len(value))
        return [*value[:place], mutated(chance, value[place]), *value[place + 1 :]]
    return chance.choice(strange)


def test_fuzzed_records_raise_nothing_else(tmp_path):
    chance = random.Random(0)
    copy = tmp_path / CONFIG.id / "record.json"
    copy.parent.mkdir()
    for _ in range(300):
        record = mutated(chance, a_record(CONFIG))
        copy.write_text(json.dumps(sealed(record) if isinstance(record, dict) else record))
        try:
            read_record(copy)
        except Damaged as error:
            assert "\n" not in str(error)


def test_a_damaged_record_is_not_trained_over(tmp_path, capsys):
    config = RunConfig(epochs=1, train_images=32, narrow=4)
    path = Environment(results=str(tmp_path)).folder(config) / "record.json"
    path.parent.mkdir()
    path.write_text("{}")
    words = ["--epochs", "1", "--train-images", "32", "--narrow", "4", "--results", str(tmp_path)]
    assert main(["run", *words]) == 2
    message = capsys.readouterr().err
    assert str(path) in message and "move it away" in message and message.count("\n") == 1
    assert path.read_text() == "{}"


def test_records_of_older_code_are_sealed_once(tmp_path, capsys):
    record = a_record(CONFIG)
    path = tmp_path / CONFIG.id / "record.json"
    put(tmp_path, {name: value for name, value in record.items() if name not in ("version", "sha256")})
    assert "`ran seal FILE`" in refused(tmp_path, path.read_text())
    assert main(["seal", str(path)]) == 0
    assert read_record(path) == record
    (tmp_path / "latest").symlink_to(path.parent)
    assert read_record(tmp_path / "latest" / "record.json") == record  # the folder of the run all the same
    before = path.read_bytes()
    assert main(["seal", str(path)]) == 2 and "has a checksum already" in capsys.readouterr().err
    assert path.read_bytes() == before
    path.write_text(json.dumps({"id": CONFIG.id}))
    assert main(["seal", str(path)]) == 2 and path.read_text() == json.dumps({"id": CONFIG.id})


def test_a_table_is_sealed_from_within_its_folder(tmp_path, monkeypatch):
    folder = tmp_path / "a-run"
    folder.mkdir()
    (folder / "probes.csv").write_text("block,response\nstem,1\n")
    monkeypatch.chdir(folder)
    assert main(["seal", "probes.csv"]) == 0
    assert read_measurements(folder / "probes.csv").response.tolist() == [1]


def test_the_published_schema_is_that_of_the_code():
    schema = json.loads((ROOT / "results" / "record.schema.json").read_text(encoding="utf-8"))
    assert schema == Record.model_json_schema(), "write it again: see CONTRIBUTING.md"


def test_a_run_that_was_just_made_is_believed(tmp_path):
    config = RunConfig(epochs=1, train_images=32, narrow=4, noise=0.1)
    done = run(config, Environment(results=str(tmp_path)), report=lambda _: None)
    assert read_record(Path(done.folder) / "record.json") == done.record
