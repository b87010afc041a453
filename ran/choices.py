"""One way to refuse: which names there are and which is nearest, and in a notebook the message alone."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches


def choose(kind: str, name: object, known: Iterable[str]) -> str:
    """Return `name` where it is one of `known`; otherwise raise ValueError that names the nearest right one."""
    names = list(known)
    if isinstance(name, str) and name in names:
        return name
    near = get_close_matches(str(name).lower(), names, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown {kind} {name!r}.{hint} Known: {', '.join(names)}.")


@contextmanager
def message_alone() -> Iterator[None]:
    """Let IPython, and so papermill, show the message of what is refused inside, and no stack above it.

    The environment variable RAN_TRACEBACK brings the stack back.
    """
    try:
        yield
    except (ValueError, TypeError, OSError) as error:
        if not os.environ.get("RAN_TRACEBACK"):
            shown = [f"{type(error).__name__}: {error}"]
            error._render_traceback_ = lambda: shown  # type: ignore[union-attr]  # IPython asks for it
        raise
