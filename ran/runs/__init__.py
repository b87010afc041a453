"""One run: its config, its record, and the measurements of the trained network."""

from ran.runs.ablation import ablate_run
from ran.runs.config import Environment, RunConfig, notebook_parameters, option, parse, typed
from ran.runs.finetuning import pinned
from ran.runs.probes import area_under_roc
from ran.runs.provenance import git_state, hardware
from ran.runs.publishing import publish
from ran.runs.reading import all_records, is_recorded, read_ablation, read_gradients, read_probes, read_records
from ran.runs.records import measured, misclassified, reproducible
from ran.runs.runner import is_finished, run
from ran.runs.schema import Date, Git, Hardware, Part, Record, seal

__all__ = [
    "Date",
    "Environment",
    "Git",
    "Hardware",
    "Part",
    "Record",
    "RunConfig",
    "ablate_run",
    "all_records",
    "area_under_roc",
    "git_state",
    "hardware",
    "is_finished",
    "is_recorded",
    "measured",
    "misclassified",
    "notebook_parameters",
    "option",
    "parse",
    "pinned",
    "publish",
    "read_ablation",
    "read_gradients",
    "read_probes",
    "read_records",
    "reproducible",
    "run",
    "seal",
    "typed",
]
