"""Sphinx extension: downloaded files know what they are.

A notebook says in its first cell how to install what it needs, and a record is saved under the name of its run.
"""

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from bs4 import BeautifulSoup
from sphinx.application import Sphinx

from ran.files import write_whole

CELL = "how-to-run"  # the id of the cell
TEXT = """\
*From the book {title}. To run this notebook, install what the book is made with, once, in an environment of
Python 3.11 or newer. The notebook itself may lie anywhere:*

```bash
{commands}
```
"""


def instruction(repository: str, title: str, home: str) -> str:
    """How to install the package with its records and pictures, from the address of the repository if it is known."""
    if repository:
        fetch = f"git clone {repository} residual-attention-network"
    else:
        fetch = "# in a copy of the book's repository, named residual-attention-network:"
    commands = [fetch, 'pip install -e "./residual-attention-network[book,lab]"', "jupyter lab"]
    return TEXT.format(title=f"[{title}]({home})" if home else title, commands="\n".join(commands))


def introduce(path: Path, text: str) -> None:
    """Put the instruction before the first cell of a downloaded notebook, in place of the general one of its source.

    Outputs stay on the page: a notebook is taken to be run, and its figures would double the weight of the book.
    """
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell.get("id") != CELL]
    for cell in cells:
        cell["metadata"].pop("papermill", None)
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    first = {"cell_type": "markdown", "id": CELL, "metadata": {}, "source": text.splitlines(keepends=True)}
    write_whole(path, json.dumps(notebook | {"cells": [first, *cells]}, indent=1, ensure_ascii=False) + "\n")


def name_downloads(html: BeautifulSoup, page: Path) -> None:
    """Save a record as ID.json: they are all called record.json."""
    for link in html.select("a.download[href$='record.json']"):
        target = page.parent / unquote(str(link["href"]))
        link["download"] = f"{json.loads(target.read_text(encoding='utf-8'))['id']}.json"


def finish(app: Sphinx, fault: Exception | None) -> None:
    """Mend all downloads, once the pages are written."""
    if fault or app.builder.name != "html":
        return
    out = Path(app.outdir)
    repository = app.config.html_theme_options.get("repository_url") or ""
    home = app.config.html_baseurl or repository
    text = instruction(repository, app.config.html_title or app.config.project, home)
    for path in (out / "_sources").rglob("*.ipynb"):
        introduce(path, text)
    for path in out.rglob("*.html"):
        if "_static" in path.parts or "record.json" not in (page := path.read_text(encoding="utf-8")):
            continue
        html = BeautifulSoup(page, "html.parser")
        name_downloads(html, path)
        write_whole(path, str(html))


def setup(app: Sphinx) -> dict[str, Any]:
    """Entry point for Sphinx."""
    app.connect("build-finished", finish, priority=850)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
