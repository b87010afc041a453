"""One run: its config, its record, and what is measured of the trained network."""

from ran.runs.config import Environment, RunConfig, notebook_parameters, parse
from ran.runs.provenance import git_state, hardware
from ran.runs.reading import all_records, read_gradients, read_probes, read_records
from ran.runs.records import measured, misclassified, reproducible
from ran.runs.runner import publish, run

__all__ = [
    "Environment",
    "RunConfig",
    "all_records",
    "git_state",
    "hardware",
    "measured",
    "misclassified",
    "notebook_parameters",
    "parse",
    "publish",
    "read_gradients",
    "read_probes",
    "read_records",
    "reproducible",
    "run",
]
