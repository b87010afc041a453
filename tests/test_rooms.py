"""The house: a room is entered by its door, and the door names what others take, and nothing else."""

import ast
import importlib
import json
import subprocess
import sys

import pytest

from ran.files import ROOT

ROOMS = ("model", "data", "training", "inference", "runs", "bench", "study")


def python_of(path):
    """The Python of a module, or of a notebook's code cells and a Snakefile's import lines."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        text = "\n".join("".join(cell["source"]) for cell in cells)
    elif path.name == "Snakefile":
        text = "\n".join(line for line in text.splitlines() if line.startswith("from "))
    return ast.parse(text)


def imports(path):
    """(module, name) of everything that a file takes from the rooms."""
    for node in ast.walk(python_of(path)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ran."):
            yield from ((node.module, each.name) for each in node.names)


def outside(room):
    """The files that are not in this room: the package, notebooks, the book's tools, the Snakefile."""
    inside = ROOT / "ran" / room
    files = [*ROOT.glob("ran/**/*.py"), *ROOT.glob("book/*.py"), *ROOT.glob("notebooks/*.ipynb"), ROOT / "Snakefile"]
    return [path for path in files if inside not in path.parents]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_entered_by_its_door(room):
    deep = [
        f"{path.relative_to(ROOT)}: {module}"
        for path in outside(room)
        for module, _ in imports(path)
        if module.startswith(f"ran.{room}.")
    ]
    assert not deep


@pytest.mark.parametrize("room", ROOMS)
def test_the_door_names_what_others_take_and_nothing_else(room):
    door = importlib.import_module(f"ran.{room}")
    taken = {name for path in outside(room) for module, name in imports(path) if module == f"ran.{room}"}
    tested = {name for path in ROOT.glob("tests/**/*.py") for module, name in imports(path) if module == f"ran.{room}"}
    inside = {name for name in tested - taken if (ROOT / "ran" / room / f"{name}.py").is_file()}  # a test may go deeper
    assert set(door.__all__) == taken | (tested - inside)


def test_modules_and_functions_stay_short():
    for path in ROOT.glob("ran/**/*.py"):
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 300, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 60, f"{path}: {node.name}"


def test_the_command_line_imports_nothing_slow_that_most_commands_do_not_need():
    slow = ("matplotlib", "torchvision", "seaborn", "torch._dynamo")
    code = f"import sys, ran.cli; print([name for name in {slow} if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", cwd=ROOT, check=True)
    assert told.stdout.split() == ["[]"]
