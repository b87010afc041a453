"""What all tests share."""

from functools import cache

import pytest

from ran.data import shapes


@pytest.fixture(scope="session", autouse=True)
def shapes_are_drawn_once():
    """Drawing the embedded set takes a second, and most runs of the tests are on it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "draw", cache(shapes.draw))
        yield
