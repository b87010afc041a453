"""The paper's tables as jobs, one a cell, side by side on this machine or on Slurm (README, "Scale out").

    snakemake --cores 2 --config profile=smoke tables=arl_vs_nal,attention_types seed=1

Without `tables`, all those of the profile; what else is given is an option of every run, as in `ran run`.
"""

import shlex
import sys
from dataclasses import asdict
from pathlib import Path

from ran.choices import choose
from ran.study import PROFILES, configs, table
from ran.runs import Environment, is_recorded, parse

options = dict(config)
profile = choose("profile", options.pop("profile", "short"), PROFILES)
tables = options.pop("tables", ",".join(PROFILES[profile].tables)).split(",")
environment = parse({"results": PROFILES[profile].results} | options)[1]  # refuses a misspelt option
options = {name: value for name, value in options.items() if name not in Environment.__dataclass_fields__}
runs = {run.id: run for run in configs([cell for name in tables for cell in table(name)], profile, **options)}

# Snakemake deletes what a rule declares as output: before the job runs, and after it failed or was killed, even if the
# record was written by then. So it learns of no record and no checkpoint: which cells lack a record is asked here, when
# a call begins, and the output is an empty mark. A mark without a record is left from an earlier call and says nothing.
DONE = environment.results + "/{id}.done"
missing = [name for name, run in runs.items() if not is_recorded(environment.folder(run))]
for name in missing:
    Path(DONE.format(id=name)).unlink(missing_ok=True)


rule all:
    input:
        [DONE.format(id=name) for name in missing],


rule run:
    output:
        touch(DONE),
    log:
        environment.results + "/{id}.ipynb",  # a log, because the notebook of a failed run has to stay
    params:
        said=lambda wildcards: " ".join(
            f"-p {name} {shlex.quote(str(value))}"
            for name, value in (asdict(runs[wildcards.id]) | asdict(environment)).items()
            if value is not None
        ),
        python=sys.executable,  # on a node of a cluster, PATH may be another
    threads: 1  # more cells at once beat more threads for each
    # no `retries:` here, but --retries: a job on Slurm would take it for its own, too, and try within one memory limit
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
    shell:
        "OMP_NUM_THREADS={threads} {params.python:q} -m papermill --no-progress-bar"
        " notebooks/run.ipynb {log:q} {params.said}"
