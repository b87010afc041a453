"""The Snakefile's jobs are the cells that have no record, whatever else lies there; nothing is trained here."""

import re
import subprocess
import sys

import pytest
from recorded import a_record, put

from ran.files import ROOT
from ran.runs import Environment
from ran.study import configs, table

pytest.importorskip("snakemake", reason="snakemake is not installed: pip install -e '.[slurm]'")


def test_the_jobs_are_exactly_the_cells_without_a_record(tmp_path):
    environment = Environment(results=str(tmp_path))
    cells = [cell for name in ("attention_types", "mask_structures") for cell in table(name)]
    finished, stale, *others = configs(cells, "smoke", train_images=64)
    for run in (finished, stale):
        environment.folder(run).mkdir()
        (tmp_path / f"{run.id}.done").touch()  # the mark of an earlier call: it counts for nothing
    put(tmp_path, a_record(finished))
    (environment.folder(stale) / "record.json").write_text("{}")  # damaged: it is no record

    said = ["profile=smoke", "tables=attention_types,mask_structures", "train_images=64", f"results={tmp_path}"]
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--config", *said]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    assert sorted(re.findall(r"wildcards: id=(\S+)", done.stdout)) == sorted(run.id for run in (stale, *others))
    assert (environment.folder(finished) / "record.json").is_file()
