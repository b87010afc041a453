"""notebooks/explain.ipynb through papermill, as a reader calls it."""

import json

import papermill
import pytest
from PIL import Image

from ran.files import ROOT
from ran.runs import typed
from ran.study import ExplainConfig


def execute(out, **parameters):
    source = ROOT / "notebooks" / "explain.ipynb"
    papermill.execute_notebook(source, out, parameters, cwd=str(ROOT), kernel_name="python3", progress_bar=False)


def test_the_notebook_explains_a_picture_that_is_given(tmp_path):
    strip = Image.open(ROOT / "book" / "_static" / "cifar10_samples.png")
    strip.crop((224, 0, 256, 32)).resize((200, 200)).save(tmp_path / "horse.png")
    execute(tmp_path / "out.ipynb", image=str(tmp_path / "horse.png"))
    cells = json.loads((tmp_path / "out.ipynb").read_text())["cells"]
    outputs = [each for cell in cells for each in cell.get("outputs", [])]
    table, figure = (each["data"] for each in outputs if "data" in each)
    first = "".join(table["text/markdown"]).split("* - ")[2]
    assert first.startswith("horse") and "image/png" in figure


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"picture": "a.png"}, "unknown parameter 'picture'"),
        ({"image": 5}, "image must be a valid string, not 5"),
        ({"weights": None}, "weights must be a valid string, not None"),
    ],
)
def test_parameters_are_strict(parameters, said):
    with pytest.raises((ValueError, TypeError), match=said):
        typed(ExplainConfig, parameters)


def test_a_file_that_is_no_picture_fails_the_notebook(tmp_path):
    with pytest.raises(papermill.exceptions.PapermillExecutionError, match="README.md' cannot be read as a picture"):
        execute(tmp_path / "out.ipynb", image=str(ROOT / "README.md"))
