"""The ground under every room: where the repository is, and files that are written whole or not at all."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # the repository


class Damaged(ValueError):
    """A file does not hold what was once written to it."""


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
