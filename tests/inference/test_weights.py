"""Published weights: what is read is what was trained, and it needs nothing else."""

import json

import pytest
import torch

from ran.data import load as load_data
from ran.files import ROOT
from ran.inference import FILE, load
from ran.runs import Environment, RunConfig, publish, run

PUBLISHED = sorted((ROOT / "results" / "runs").glob(f"*/{FILE}"))


def test_published_weights_give_the_same_answers(tmp_path):
    config = RunConfig(attention="nal", gate="channel", narrow=4, epochs=1, train_images=64)
    environment = Environment(results=str(tmp_path))
    finished = run(config, environment, report=lambda _: None)
    trained = load(publish(finished))
    images = finished.data.test.images[:8]
    with torch.no_grad():
        expected = finished.network(finished.data.normalise(images))
        torch.testing.assert_close(trained.network(trained.normalise(images)), expected)
    assert trained.classes == load_data("shapes").classes and not trained.network.training
    (finished.folder / "weights.pt").unlink()
    with pytest.raises(ValueError, match="holds no weights"):
        publish(run(config, environment, report=lambda _: None))


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.parent.name)
def test_published_weights_belong_to_their_record(path):
    record = json.loads(path.with_name("record.json").read_text())
    trained = load(path)
    config = trained.network.config
    assert (config.name, config.attention) == (record["config"]["network"], record["config"]["attention"])
    assert trained.classes == tuple(record["dataset"]["classes"])
    assert sum(p.numel() for p in trained.network.parameters()) == record["parameters"]
