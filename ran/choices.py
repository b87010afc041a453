"""One way to refuse an unknown name: say which ones there are, and which is nearest."""

from collections.abc import Iterable
from difflib import get_close_matches


def choose(kind: str, name: object, known: Iterable[str]) -> str:
    """Return `name` where it is one of `known`; otherwise raise ValueError that names the nearest right one."""
    names = list(known)
    if isinstance(name, str) and name in names:
        return name
    near = get_close_matches(str(name).lower(), names, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown {kind} {name!r}.{hint} Known: {', '.join(names)}.")
