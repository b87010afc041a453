"""What all tests share."""

from functools import cache

import pytest

from ran.data import shapes

# whose tests start processes, and wait for them
FIRST = ("test_devices", "test_queue", "test_command_line", "test_files", "test_snakefile", "test_export", "test_runs")


def pytest_collection_modifyitems(items):
    """The longest tests come first: where several processes share them, none is still at one when the others end."""
    items.sort(key=lambda item: item.path.stem not in FIRST)


@pytest.fixture(scope="session", autouse=True)
def shapes_are_drawn_once():
    """Drawing the embedded set takes a second, and most runs of the tests are on it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "draw", cache(shapes.draw))
        yield
