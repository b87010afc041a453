"""The index of an image folder: a digest of each file, or why the file cannot be decoded, stored in the folder."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ran.data.normalisation import MEAN
from ran.data.pictures import NotAPicture, read_picture
from ran.files import only_one, write_whole
from ran.sealing import as_text, read_sealed, sealed

INDEX = ".ran-index.json"


def index_files(root: Path, files: list[str]) -> dict[str, dict[str, Any]]:
    """Digest, or reason why the file is corrupt, of every file, with size and time, which reveal a change.

    The index is stored in `root` where that is writable, and only new or changed files are decoded. Processes that load
    the same folder wait for the first. Without write access, what is indexed is used, the rest decoded each time.
    Raises OSError, which names the file, for one that the machine cannot read: that says nothing of what it holds.
    """
    with only_one(root):
        known = _known(root / INDEX)
        states = {name: _state(root / name) for name in files}
        unknown = [name for name in files if known.get(name, {}).get("state") != states[name]]
        if not unknown:
            return known
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes outside Python's lock
            found = pool.map(lambda name: _inspect(root / name), unknown)
            bar = tqdm(found, f"indexing {root}", len(unknown), leave=False, disable=None)
            fresh = {name: {"state": states[name], **outcome} for name, outcome in zip(unknown, bar, strict=True)}
        index = {name: fresh.get(name) or known[name] for name in files}
        with suppress(OSError):  # a folder that is read-only, another user's or full is indexed anew next time
            write_whole(root / INDEX, as_text(sealed({"files": index})))
        return index


def _known(path: Path) -> dict[str, dict[str, Any]]:
    """The stored index; nothing where there is none, or it is not as it was written: then it is made anew."""
    try:
        files: dict[str, dict[str, Any]] = read_sealed(path)["files"]
        return files
    except (OSError, ValueError, KeyError):
        return {}


def _state(path: Path) -> list[int]:
    about = path.stat()
    return [about.st_size, about.st_mtime_ns]


def _inspect(path: Path) -> dict[str, str]:
    try:
        read_picture(path, MEAN)
        return {"digest": hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()}
    except NotAPicture as error:
        return {"corrupt": error.reason}
