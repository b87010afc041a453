"""Fine-tuning: a run that begins from trained weights, named by what it began from."""

import json
from dataclasses import replace

import pytest
import torch

from ran.cli import main
from ran.inference import FILE, load
from ran.runs import Environment, RunConfig, read_records, run
from ran.runs.finetuning import begin_from, digest, pinned
from ran.runs.schema import read_record
from ran.sealing import sealed

TINY = RunConfig(narrow=4, epochs=1, train_images=64)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A finished run to begin from."""
    return run(TINY, Environment(results=str(tmp_path_factory.mktemp("first"))), report=lambda _: None)


def test_training_begins_from_the_weights_and_not_from_chance(first, tmp_path):
    config = replace(TINY, weights=str(first.folder), seed=1)
    done = run(config, Environment(results=str(tmp_path)), report=lambda _: None)
    again = run(replace(config, weights=None), Environment(results=str(tmp_path)), report=lambda _: None)
    assert "-finetuned-" in done.record["id"] and "finetuned" not in again.record["id"]
    assert done.record["epochs"][0]["train_loss"] < again.record["epochs"][0]["train_loss"]
    assert read_record(done.folder / "record.json") == done.record


def test_the_classifier_is_kept_for_the_same_classes_and_new_for_others(first):
    trained = load(first.folder)
    same, others = TINY.build(10), TINY.build(10)
    fresh = others.state_dict()["head.3.weight"].clone()
    begin_from(same, trained, trained.classes)
    begin_from(others, trained, [f"class {number}" for number in range(10)])
    assert digest(same) == digest(trained.network)
    head, theirs = others.state_dict(), trained.network.state_dict()
    assert head["head.3.weight"].equal(fresh) and not head["head.3.weight"].equal(theirs["head.3.weight"])
    assert all(head[name].equal(theirs[name]) for name in theirs if not name.startswith("head.3."))
    three = TINY.build(3)
    begin_from(three, trained, ("a", "b", "c"))
    assert three(torch.zeros(1, 3, 32, 32)).shape == (1, 3)


def test_what_tensors_do_not_show_is_taken_from_the_run_and_said(first, tmp_path):
    torch.save(first.network.state_dict(), tmp_path / "mine.pt")
    trained, lines = load(tmp_path / "mine.pt"), []
    naive = replace(TINY, attention="nal").build(3)
    begin_from(naive, trained, ("a", "b", "c"), lines.append)
    (line,) = lines
    assert "mine.pt holds tensors only. Assumed: attention nal and gate mixed, as in this run" in line
    assert "the classifier is new" in line and naive.state_dict()["stem.weight"].equal(first.network.stem.weight)
    with pytest.raises(ValueError, match="of another network: name is .* and not 'attention-92"):
        begin_from(replace(TINY, network="attention-92").build(3), trained, ("a", "b", "c"))
    begin_from(TINY.build(10), load(first.folder), first.data.classes, lines.append)
    assert len(lines) == 1  # a run's own file holds everything


def test_the_run_is_named_by_the_weights_and_not_by_their_path(first, tmp_path):
    copy = tmp_path / "elsewhere $x.safetensors"
    copy.write_bytes((first.folder / FILE).read_bytes())
    there, _ = pinned(replace(TINY, weights=str(first.folder)))
    here, _ = pinned(replace(TINY, weights=str(copy)))
    assert there.weights.split("@")[1] == here.weights.split("@")[1] == digest(first.network)
    assert str(tmp_path) not in here.weights and here.weights.startswith("elsewhere-x.safetensors@")
    assert here.is_repeated_by(here.command)


def test_a_digest_that_is_given_must_be_found():
    config, _ = pinned(RunConfig(weights="attention-56"))
    assert pinned(config)[0] == config
    wrong = config.weights[:-1] + ("0" if config.weights[-1] != "0" else "1")
    with pytest.raises(ValueError, match="weights must have the digest .*, and .* has"):
        pinned(replace(config, weights=wrong))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--weights", "attention-57"], "Did you mean"),
        (["--weights", "attention-56", "--attention", "nal"], "of another network: attention is 'arl' and not 'nal'"),
        (["--weights", "attention-56", "--narrow", "2"], "of another network: "),
        (["--weights", "nowhere/weights.safetensors"], "does not exist"),
        (["--weights", ""], "weights"),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_a_line(tmp_path, capsys, words, message):
    assert main(["run", "--epochs", "1", "--train-images", "64", "--results", str(tmp_path), *words]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1 and not list(tmp_path.glob("*/record.json"))


def test_a_record_whose_weights_are_a_path_is_not_believed(first, tmp_path):
    config = replace(TINY, weights="some/path.safetensors")
    record = first.record | {"config": first.record["config"] | {"weights": config.weights}}
    record |= {"id": config.id, "command": config.command}
    (tmp_path / config.id).mkdir()
    (tmp_path / config.id / "record.json").write_text(json.dumps(sealed(record)))
    lines = []
    assert not read_records(tmp_path, report=lines.append) and "not named by their digest" in lines[0]


def test_a_fine_tuned_run_stands_in_no_table_of_the_paper(first):
    from ran.study.tables import of_cell, table

    config, _ = pinned(RunConfig(dataset="cifar10", schedule="short", epochs=8, weights="attention-56"))
    record = first.record | {"config": json.loads(json.dumps(config.__dict__ | {})), "id": config.id}
    record["config"] = {name: value for name, value in record["config"].items() if not name.startswith("_")}
    assert not any(of_cell(cell, [record]) for cell in table("arl_vs_nal"))
