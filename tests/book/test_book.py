"""The gate before the book, the execution of notebooks, and the built HTML (`make book` first)."""

import functools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from everyone import keep_words
from execute import PARAMETERS, cell_text, execute, faults, fingerprint, in_contents, main, read_notebook, shown
from sphinx_external_toc.parsing import parse_toc_yaml

from ran.files import ROOT
from ran.study import TABLES

HTML = ROOT / "_build" / "html"
PAGES = [re.sub(r"\.(md|ipynb)$", "", entry) for entry in parse_toc_yaml(ROOT / "_toc.yml")]


def command(*arguments, cwd):
    return subprocess.run([str(part) for part in arguments], cwd=cwd, capture_output=True, text=True, timeout=120)


def write_notebook(path, *code):
    cells = [nbformat.v4.new_markdown_cell("# A page"), *(nbformat.v4.new_code_cell(text) for text in code)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


def edit(path, change):
    notebook = json.loads(path.read_text())
    change(notebook)
    path.write_text(json.dumps(notebook))


@pytest.fixture(scope="module")
def executed_once(tmp_path_factory):
    """A repository with one small notebook, which was really executed."""
    root = tmp_path_factory.mktemp("repository")
    for folder in ("notebooks", "ran", "book"):
        (root / folder).mkdir()
    for tool in ("execute.py", "gate.py"):
        shutil.copy(ROOT / "book" / tool, root / "book")
    (root / "ran" / "__init__.py").write_text("")
    write_notebook(root / "notebooks" / "page.ipynb", "1 + 1", "")
    done = command(sys.executable, "book/execute.py", "notebooks/page.ipynb", cwd=root)
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture
def repository(executed_once, tmp_path):
    """A copy of it to spoil: its root and its executed notebook."""
    root = tmp_path / "copy"
    shutil.copytree(executed_once, root)
    return root, root / "book" / "executed" / "page.ipynb"


def fail_a_cell(notebook):
    error = {"output_type": "error", "ename": "ValueError", "evalue": "no such mask", "traceback": []}
    notebook["cells"][1]["outputs"] = [error]


def skip_a_cell(notebook):
    notebook["cells"][1]["execution_count"] = None


def change_a_cell(notebook):
    notebook["cells"][1]["source"] = "1 + 2"


def drop_the_mark(notebook):
    del notebook["metadata"]["ran"]


def test_a_good_copy_has_no_faults(repository):
    root, executed = repository
    assert faults(executed, root) == []


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (fail_a_cell, "cell 2 ended in ValueError: no such mask"),
        (skip_a_cell, "cell 2 was not run"),
        (change_a_cell, "cells are not those of notebooks/page.ipynb"),
        (drop_the_mark, "older than"),
    ],
)
def test_a_spoilt_copy_is_refused(repository, spoil, message):
    root, executed = repository
    edit(executed, spoil)
    assert message in "; ".join(faults(executed, root))


def other_text(notebook):
    notebook["cells"][1]["outputs"][0]["data"]["text/plain"] = "3"


def another_output(notebook):
    notebook["cells"][1]["outputs"].append({"output_type": "stream", "name": "stdout", "text": "proof"})


def no_output(notebook):
    notebook["cells"][1]["outputs"] = []


def live_html(notebook):
    notebook["cells"][1]["outputs"][0]["data"]["text/html"] = "<script>alert(1)</script>"


def a_hidden_cell(notebook):
    notebook["cells"][1]["metadata"]["tags"] = ["remove-cell"]


def injected_parameters(notebook):
    cell = {"cell_type": "code", "id": "x", "metadata": {"tags": ["injected-parameters"]}, "source": "seed = 1"}
    notebook["cells"].insert(1, cell | {"execution_count": 1, "outputs": []})


def swapped_outputs(notebook):
    first, second = notebook["cells"][1:3]
    first["outputs"], second["outputs"] = second["outputs"], first["outputs"]


def another_count(notebook):
    notebook["cells"][1]["execution_count"] = 7


@pytest.mark.parametrize(
    "spoil",
    [
        other_text,
        another_output,
        no_output,
        live_html,
        a_hidden_cell,
        injected_parameters,
        swapped_outputs,
        another_count,
    ],
)
def test_outputs_that_were_changed_afterwards_are_refused(repository, spoil):
    root, executed = repository
    edit(executed, spoil)
    assert "its outputs are not those of the execution" in "; ".join(faults(executed, root))


def test_a_kernel_that_dies_leaves_no_copy(repository):
    root, _ = repository
    write_notebook(root / "notebooks" / "dying.ipynb", "1 + 1", "import os\nos._exit(1)", "2 + 2")
    done = command(sys.executable, "book/execute.py", "notebooks/dying.ipynb", cwd=root)
    assert done.returncode != 0
    assert not (root / "book" / "executed" / "dying.ipynb").exists()


def test_a_stale_copy_is_refused(repository):
    root, executed = repository
    (root / "ran" / "__init__.py").write_text("changed = True\n")
    assert "older than" in "; ".join(faults(executed, root))
    (root / "ran" / "__init__.py").write_text("")
    assert faults(executed, root) == []
    edit(root / "notebooks" / "page.ipynb", change_a_cell)
    assert "cells are not those of" in "; ".join(faults(executed, root))


@pytest.mark.parametrize(
    "name",
    [
        "results/runs/a-run/record.json",
        "results/runs/a-run/probes.csv",
        "results/runs/a-run/gradients.csv",
        "results/runs/a-run/weights.safetensors",
        "results/paper/noisy_labels.csv",
        "results/bench/cpu.json",
        "book/_static/cifar10_samples.png",
    ],
)
def test_a_chapter_that_shows_records_follows_them(repository, name):
    root, executed = repository
    chapter = root / "notebooks" / "06_page.ipynb"
    shutil.copy(root / "notebooks" / "page.ipynb", chapter)
    record = root / name
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text("{}")
    assert faults(executed, root) == []  # a chapter that shows none
    marks = [fingerprint(chapter, root)]
    record.write_text('{"test_error": 5}')
    marks.append(fingerprint(chapter, root))
    record.unlink()
    marks.append(fingerprint(chapter, root))
    assert len(set(marks)) == 3


def test_the_books_notebooks_are_executed_in_its_order():
    names = [path.stem for path in in_contents()]
    assert names == [page.removeprefix("book/executed/") for page in PAGES if page.startswith("book/executed/")]
    there = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert there == set(names), "notebooks/ and _toc.yml differ: list a new chapter there, keep others elsewhere"


def test_a_run_is_made_before_the_chapters_that_may_show_it(monkeypatch):
    """An exercise of chapter 11 takes the network of run.ipynb, which comes after it in the book."""
    called = []
    monkeypatch.setattr("execute._refresh", lambda source: called.append(source.stem) or 0)
    assert main([]) == 0
    assert called[0] == "run" and sorted(called) == sorted(path.stem for path in in_contents())


def test_a_page_follows_its_parameters(repository, monkeypatch):
    """run.ipynb is executed with parameters: with others, the page shows another run."""
    root, executed = repository
    monkeypatch.setitem(PARAMETERS, "page", {"network": "attention-92"})
    assert "it is older than" in "; ".join(faults(executed, root))
    one = fingerprint(root / "notebooks" / "page.ipynb", root)
    monkeypatch.setitem(PARAMETERS, "page", {"network": "attention-164"})
    assert one != fingerprint(root / "notebooks" / "page.ipynb", root)


def tag_a_cell(notebook):
    notebook["cells"][1]["metadata"]["tags"] = ["hide-input"]


def caption_a_cell(notebook):
    notebook["cells"][1]["metadata"]["mystnb"] = {"figure": {"caption": "Another."}}


@pytest.mark.parametrize("change", [tag_a_cell, caption_a_cell])
def test_a_page_follows_what_its_cells_are_shown_with(repository, change):
    root, executed = repository
    edit(root / "notebooks" / "page.ipynb", change)
    assert "it is older than" in "; ".join(faults(executed, root))


@pytest.mark.parametrize("name", ["new.py", "room/deep.py"])
def test_a_page_follows_the_whole_package(repository, name):
    root, executed = repository
    path = root / "ran" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("one = 1\n")
    assert "it is older than" in "; ".join(faults(executed, root))
    marks = [fingerprint(root / "notebooks" / "page.ipynb", root)]
    path.write_text("one = 2\n")
    marks.append(fingerprint(root / "notebooks" / "page.ipynb", root))
    path.rename(path.with_name("moved.py"))
    marks.append(fingerprint(root / "notebooks" / "page.ipynb", root))
    assert len(set(marks)) == 3


@pytest.mark.parametrize("name", ["06_arl_vs_nal", "11_recipe", "how_fast", "explain"])
def test_what_shows_records_and_weights_follows_them(repository, name):
    root, _ = repository
    chapter = root / "notebooks" / f"{name}.ipynb"
    shutil.copy(root / "notebooks" / "page.ipynb", chapter)
    before = fingerprint(chapter, root)
    weights = root / "results" / "runs" / "a-run" / "weights.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_text("weights")
    assert fingerprint(chapter, root) != before


def test_a_notebook_is_executed_with_its_parameters_and_from_the_start(repository, monkeypatch):
    """An earlier record is removed, or nothing would be trained; what is edited meanwhile makes the copy stale."""
    root, executed = repository
    monkeypatch.setitem(PARAMETERS, "page", {"results": "book/executed/runs", "network": "attention-92"})
    (root / "book" / "executed" / "runs" / "earlier").mkdir(parents=True)
    failed = executed.with_suffix(".failed.ipynb")
    failed.write_text("of an earlier call")
    asked = {}

    def instead(source, target, parameters, cwd, **_):
        asked.update(parameters, cwd=cwd)
        assert not (root / "book" / "executed" / "runs").exists()
        shutil.copy(root / "notebooks" / "page.ipynb", root / target)
        (root / "ran" / "__init__.py").write_text("edited = True\n")

    monkeypatch.chdir(root)
    monkeypatch.setattr("papermill.execute_notebook", instead)
    execute(root / "notebooks" / "page.ipynb", root)
    assert asked == {"results": "book/executed/runs", "network": "attention-92", "cwd": str(root)}
    assert not failed.exists()
    assert "it is older than" in "; ".join(faults(executed, root))


def too_wide(notebook):
    """Lines of code and of printed text that a page cuts: it shows 78 columns, and code has two to spare."""
    lines = []
    for cell in (cell for cell in notebook["cells"] if cell["cell_type"] == "code"):
        lines += [line for line in "".join(cell["source"]).splitlines() if len(line) > 76]
        for output in cell["outputs"]:
            kinds = output.get("data", {"text/plain": output.get("text", "")})
            if set(kinds) == {"text/plain"}:  # else a table or a figure is shown in its place
                lines += [line for line in "".join(kinds["text/plain"]).splitlines() if len(line) > 78]
    return lines


def test_a_line_that_is_too_wide_is_found(repository):
    root, executed = repository
    wide = f"'{'=' * 80}'"
    write_notebook(root / "notebooks" / "page.ipynb", "1 + 1", "print('=' * 79)", "'=' * 80", wide, "print('=' * 78)")
    done = command(sys.executable, "book/execute.py", "notebooks/page.ipynb", cwd=root)
    assert done.returncode == 0, done.stderr
    assert too_wide(json.loads(executed.read_text())) == ["=" * 79, wide, wide, wide]


@pytest.mark.parametrize("name", [path.stem for path in in_contents()])
def test_code_and_printed_text_fit_a_page(name):
    executed = ROOT / "book" / "executed" / f"{name}.ipynb"
    assert executed.exists(), "run `make book` first"
    assert too_wide(json.loads(executed.read_text(encoding="utf-8"))) == []


def test_a_missing_or_half_written_copy_is_refused(repository):
    root, executed = repository
    executed.write_text(executed.read_text()[:100])
    assert "not a notebook" in faults(executed, root)[0]
    executed.unlink()
    assert "does not exist" in faults(executed, root)[0]


def test_injected_parameters_are_no_difference(repository):
    root, executed = repository
    injected = nbformat.v4.new_code_cell("p = 1", execution_count=1, metadata={"tags": ["injected-parameters"]})

    def executed_with_parameters(notebook):
        notebook["cells"].insert(0, injected)
        notebook["metadata"]["ran"]["shown"] = shown(notebook)  # as after an execution with them

    edit(executed, executed_with_parameters)
    assert faults(executed, root) == []


def test_a_failing_notebook_leaves_the_earlier_copy_alone(repository):
    root, executed = repository
    before = executed.read_bytes()
    write_notebook(root / "notebooks" / "page.ipynb", "1 + 1", "raise ValueError('no such mask')")
    done = command(sys.executable, "book/execute.py", "notebooks/page.ipynb", cwd=root)
    assert done.returncode == 1
    assert "ValueError: no such mask" in done.stderr
    assert "Traceback" not in done.stderr
    assert executed.read_bytes() == before
    assert sorted(path.name for path in executed.parent.iterdir()) == ["page.failed.ipynb", "page.ipynb"]


def test_a_good_copy_is_not_run_again(repository):
    root, executed = repository
    before = executed.read_bytes()
    done = command(sys.executable, "book/execute.py", "notebooks/page.ipynb", cwd=root)
    assert (done.returncode, done.stdout) == (0, "")
    assert executed.read_bytes() == before


def test_jupyter_book_by_hand_is_gated(repository):
    root, executed = repository
    (root / "_toc.yml").write_text("format: jb-book\nroot: book/executed/page\n")
    (root / "_config.yml").write_text(
        'only_build_toc_files: true\nexecute: {execute_notebooks: "off"}\nsphinx: {local_extensions: {gate: book}}\n'
    )
    build = [Path(sys.executable).with_name("jupyter-book"), "build", ".", "-q"]
    done = command(*build, cwd=root)
    assert done.returncode == 0, done.stderr
    edit(executed, fail_a_cell)
    done = command(*build, cwd=root)
    assert done.returncode != 0
    assert "book/executed/page.ipynb: cell 2 ended in ValueError: no such mask" in done.stderr
    assert "make book" in done.stderr


@functools.cache
def read_page(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@pytest.fixture(params=PAGES)
def page(request):
    """Each page of the table of contents: its path and its parsed HTML."""
    path = HTML / f"{request.param}.html"
    assert path.exists(), "run `make book` first"
    return path, read_page(path)


def test_no_page_shows_a_traceback(page):
    _, html = page
    assert "Traceback (most recent call last)" not in html.get_text()
    assert not html.select(".traceback")


def test_no_page_shows_an_object_in_place_of_what_it_holds(page):
    _, html = page
    shown = [output.get_text().strip() for output in html.select(".cell_output pre")]
    assert not [text for text in shown if re.fullmatch(r"<[\w.]+ (object|Figure).*>", text)]


def test_pictures_have_alternative_texts(page):
    _, html = page
    for picture in html.select("article img"):
        text = picture.get("alt", "").strip()
        assert text, picture
        assert "/" not in text.split()[0] and not re.search(r"\.(png|svg|jpe?g|gif)$", text), picture


def test_equations_figures_and_tables_are_numbered(page):
    _, html = page
    for equation in html.select('article div.math[id^="equation-"]'):
        assert re.match(r"\(\d+(\.\d+)*\)", equation.select_one(".eqno").get_text()), equation
    for caption in html.select("article figcaption, article caption"):
        assert re.match(r"(Fig\.|Table) \d+(\.\d+)* ", caption.get_text().strip()), caption


def test_internal_links_resolve(page):
    path, html = page
    for link in html.select("a[href]"):
        target = urlsplit(link["href"])
        if target.scheme or target.netloc or link["href"] == "#":
            continue
        file = (path.parent / unquote(target.path)).resolve() if target.path else path
        assert file.exists(), link
        if target.fragment and file.suffix == ".html":
            assert read_page(file).find(id=unquote(target.fragment)), link


def test_pages_need_no_network(page):
    path, html = page
    for element in html.select("script[src], img[src], iframe[src], link[rel=stylesheet], link[rel=preload]"):
        address = urlsplit(element.get("src") or element.get("href"))
        assert not address.netloc, element
        assert address.scheme == "data" or (path.parent / address.path).resolve().exists(), element


def test_the_book_opens_on_its_landing_page():
    assert f"url={PAGES[0]}.html" in (HTML / "index.html").read_text()


def test_the_book_has_numbered_equations_figures_and_tables():
    everything = " ".join(read_page(HTML / f"{name}.html").get_text() for name in PAGES)
    for pattern in (r"\(1\.1\)", r"Fig\. 1\.1 ", r"Table \d+\.1 "):
        assert re.search(pattern, everything), pattern


@pytest.mark.parametrize("name", TABLES)
def test_every_number_of_the_papers_tables_stands_in_a_chapter(name):
    """Beside a recorded one, or, in brackets, among what is planned."""
    numbers = [f"{number:.2f}" for number in pd.read_csv(ROOT / "results" / "paper" / f"{name}.csv")["error"]]
    shown = []
    for article in (read_page(HTML / f"{page}.html").select_one("article") for page in PAGES):
        beside = []
        for table in article.select("table"):
            headings = [cell.get_text(strip=True) for cell in table.select("thead th")]
            if "Paper" in headings and any(each.startswith("Recorded") for each in headings):
                place = headings.index("Paper")
                cells = [row.select("td") for row in table.select("tbody tr")]
                rows = dict.fromkeys(tuple(c.get_text(strip=True) for c in row[: place + 1]) for row in cells)
                beside += [row[-1] for row in rows]
        told = " ".join(each.get_text() for each in article.select("p") if each.get_text().startswith("Planned"))
        planned = re.findall(r"\((\d+\.\d\d)\)", told)
        shown.append(beside + [number for number in planned if number not in beside])
    assert any(sorted(set(numbers)) == sorted(set(found)) for found in shown)


def test_the_run_in_the_book_really_learned():
    (record,) = (json.loads(path.read_text()) for path in (ROOT / "book/executed/runs").glob("*/record.json"))
    assert record["config"]["schedule"] == "smoke" and record["config"]["network"] == "attention-56"
    assert record["test_error"] <= 40  # chance is 90%


EXERCISES = [path.stem for path in in_contents() if "**Try.**" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("name", EXERCISES)
def test_every_exercise_has_a_folded_solution_that_shows_something(name):
    html = read_page(HTML / "book" / "executed" / f"{name}.html")
    exercises = [each.parent for each in html.select("article p > strong") if each.get_text() == "Try."]
    source = "".join(cell_text(cell)[1] for cell in read_notebook(ROOT / "notebooks" / f"{name}.ipynb")["cells"])
    assert len(exercises) == source.count("**Try.**")
    for exercise in exercises:
        solution = exercise.find_next_sibling()
        fold = solution.select_one("details")
        assert fold and not fold.has_attr("open") and "Show the solution" in fold.summary.get_text(), exercise
        assert fold.select_one(".cell_input") and fold.select_one(".cell_output").get_text(strip=True), exercise


def test_a_command_stays_what_it_is_though_its_words_are_kept_whole():
    command = "ran run --data-root x-y \\\n  z"
    html = BeautifulSoup(f'<div class="highlight-bash"><pre>{command}</pre></div>', "html.parser")
    for _ in range(2):  # a page that is mended already stays as it is
        keep_words(html)
        assert html.pre.get_text() == command
        assert [word.get_text() for word in html.select(".word")] == ["--data-root", "x-y"]
