"""Chapters of results when a reader has added records of his own: their text is of the runs that it names."""

import matplotlib.pyplot as plt
import pytest
from execute import read_notebook

import ran.runs
from ran.files import ROOT

pytestmark = pytest.mark.filterwarnings("ignore")  # a notebook shows its own
CHAPTERS = sorted(
    path.stem for path in (ROOT / "notebooks").glob("*.ipynb") if path.stem[:2] in ("06", "07", "08", "09")
)


@pytest.mark.parametrize("chapter", [*CHAPTERS, "10_state_of_the_art", "11_what_masks_see", "finetune"])
def test_another_seed_of_every_run_makes_no_chapter_fail(chapter, monkeypatch):
    recorded = ran.runs.all_records

    def with_another_seed(*arguments, **options):
        records = recorded(*arguments, **options)
        others = [
            record | {"config": record["config"] | {"seed": 7}, "test_error": record["test_error"] + 1}
            for record in records
            if record["config"]["seed"] == 0
        ]
        return records + [each | {"id": ran.runs.RunConfig(**each["config"]).id} for each in others]

    monkeypatch.setattr(ran.runs, "all_records", with_another_seed)
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    monkeypatch.chdir(ROOT / "notebooks")
    cells = read_notebook(ROOT / "notebooks" / f"{chapter}.ipynb")["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    # the exercise's solution, the last cell of chapter 11, trains
    namespace = {"display": lambda _: None}
    for cell in code[: -1 if chapter.startswith("11") else None]:
        exec(cell, namespace)


@pytest.mark.parametrize("name", ["explain"])
def test_a_notebook_with_parameters_runs_twice_in_one_kernel(name, monkeypatch):
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    monkeypatch.chdir(ROOT / "notebooks")
    cells = read_notebook(ROOT / "notebooks" / f"{name}.ipynb")["cells"]
    namespace = {}
    for _ in range(2):
        for cell in cells:
            if cell["cell_type"] == "code":
                exec("".join(cell["source"]), namespace)
