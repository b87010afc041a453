"""The paper's tables as runs, and their records as tables and figures."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ran.study.comparison import paired_test
from ran.study.experiments import OWN, PROFILES, TABLES, cell, configs, table
from ran.study.labels import describe, label, length, list_table, summary
from ran.study.layers import layers
from ran.study.queue import parse_budget, work_through
from ran.study.tables import NOT_RUN, ablations, beside_paper, errors, list_cells, of_cell, planned, provenance
from ran.study.writing import write_tables

if TYPE_CHECKING:
    from ran.study import figures
    from ran.study.architecture import network_drawing
    from ran.study.drawing import attention_module, soft_mask
    from ran.study.explaining import ExplainConfig, explanation, picture_files, save_explanation

__all__ = [
    "ExplainConfig",
    "NOT_RUN",
    "OWN",
    "PROFILES",
    "TABLES",
    "ablations",
    "attention_module",
    "beside_paper",
    "cell",
    "configs",
    "describe",
    "errors",
    "explanation",
    "figures",
    "label",
    "layers",
    "length",
    "list_cells",
    "list_table",
    "network_drawing",
    "of_cell",
    "paired_test",
    "parse_budget",
    "picture_files",
    "planned",
    "provenance",
    "save_explanation",
    "soft_mask",
    "summary",
    "table",
    "work_through",
    "write_tables",
]


# what draws is imported when it is first asked for: tables and runs do not wait for matplotlib
DRAWN = {"attention_module": "drawing", "soft_mask": "drawing", "network_drawing": "architecture"} | dict.fromkeys(
    ("ExplainConfig", "explanation", "picture_files", "save_explanation"), "explaining"
)


def __getattr__(name: str) -> Any:
    """The module `figures`, and the names of DRAWN from their modules."""
    if name == "figures":
        return import_module("ran.study.figures")
    if name in DRAWN:
        return getattr(import_module(f"ran.study.{DRAWN[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
