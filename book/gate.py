"""Sphinx extension: refuse to build a page from a notebook that failed or is older than its source.

MyST-NB shows a failed notebook's traceback as if it were a result, without a warning. This check runs before any
page is read, also in a build started by hand.
"""

from pathlib import Path
from typing import Any

from execute import faults
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError


def check(app: Sphinx) -> None:
    """Check every notebook in the table of contents, and name all that is wrong in one error."""
    root = Path(app.srcdir)
    messages = []
    for entry in app.config.external_site_map:
        page = root / entry
        if page.suffix not in (".ipynb", ".md"):  # the suffix may be left out in _toc.yml
            page = page.with_name(page.name + ("" if page.with_name(page.name + ".md").exists() else ".ipynb"))
        if page.suffix == ".ipynb":
            messages += [f"{page.relative_to(root)}: {fault}" for fault in faults(page, root)]
    if messages:
        raise ExtensionError("the book is not built:\n  " + "\n  ".join(messages) + "\nRun `make book`.")


def setup(app: Sphinx) -> dict[str, Any]:
    """Entry point for Sphinx."""
    app.connect("builder-inited", check)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
