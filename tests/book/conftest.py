"""A browser for the pages that can be played with."""

import shutil

import pytest
from pdf import BROWSERS

from ran.files import ROOT

HTML = ROOT / "_build" / "html"


@pytest.fixture(scope="session")
def browser():
    """Chromium of this machine, without a window. Tests are skipped where there is none, or no playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser on this machine: looked for {', '.join(BROWSERS)}")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=path, args=["--no-sandbox"])  # root in a container
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser):
    """A function that opens a page of the built book from disk; a fault in a script fails the test."""
    pages, faults = [], []

    def open_(name, **options):
        path = HTML / f"{name}.html"
        assert path.exists(), "run `make book` first"
        page = browser.new_page(**{"viewport": {"width": 375, "height": 800}} | options)
        page.on("pageerror", lambda error: faults.append(error.message))
        pages.append(page)
        page.goto(path.as_uri())
        return page

    yield open_
    for page in pages:
        page.close()
    assert not faults
