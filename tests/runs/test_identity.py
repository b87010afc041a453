"""The names of all committed records: a change to them would orphan what was recorded."""

import json

import pytest

from ran.files import ROOT
from ran.runs import parse

RECORDS = sorted((ROOT / "results" / "runs").glob("*/record.json"))


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.parent.name)
def test_a_committed_record_is_found_by_its_config(path):
    record = json.loads(path.read_text(encoding="utf-8"))
    config, _ = parse(record["config"])
    assert config.id == record["id"] == path.parent.name
    assert config.command.split()[:2] == record["command"].split()[:2]
