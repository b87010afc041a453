"""The ground under every room: the repository's root, files written whole or not at all, one writer a folder."""

import errno
import glob
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

ROOT = Path(__file__).resolve().parents[1]  # the repository
POLL = 0.2  # seconds between two looks at a folder that another process holds


class Damaged(ValueError):
    """A file does not hold what was once written to it."""


def write_whole(path: Path, content: str | bytes, check: Callable[[Path], object] = bool) -> None:
    """Write a file whole or not at all: what was there stays until `check` has seen the new one, on the disk.

    Raises OSError, in one line with what to do, where it cannot be written; nothing is left of the attempt then. Two
    processes may write one file at a time: the later one stays.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")  # of its own: one of another user may be in the way
    try:
        for stale in path.parent.glob(f"{glob.escape(path.name)}.*.partial"):
            if not _runs(stale.name.split(".")[-2]):  # its process was killed in the middle
                stale.unlink(missing_ok=True)
        with partial.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())  # some file systems tell only now that they are full
        check(partial)
        partial.replace(path)
    except BaseException as error:
        with suppress(OSError):  # where nothing can be written, nothing is there
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise cannot_write(path, error) from error
        raise


def _runs(pid: str) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except OSError:  # another user's
        pass
    return True


def cannot_write(path: Path, error: OSError) -> OSError:
    """The error of a file or folder that cannot be written, in one line with what to do."""
    full = error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS)
    told = type(error)(
        f"{path} cannot be written ({error.strerror or error}): {'make room there, or ' * full}name another folder; "
        "what was kept before is whole, and the same command goes on from it."
    )
    told.errno = error.errno
    return told


def a_folder(name: str, what: str = "folder") -> Path:
    """The folder of this name, with `~` as the user's own. Raises ValueError for an empty name or an unknown user."""
    if not name.strip() or "\0" in name:
        raise ValueError(f"{what} must be the name of a folder, not {name!r}.")
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{what} {name!r}: {error} Write the whole path.") from error


def check_room(folder: Path, each: int = 0, files: int = 1) -> None:
    """Raise OSError, in one line, where `folder` cannot receive `files` files of `each` bytes; nothing is left there.

    `folder` need not exist yet. A file is reserved for real, since a quota or a limit shows in no number.
    """
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists() or path.is_symlink())
    if not place.is_dir():
        raise NotADirectoryError(f"{place} is a file, and should be a folder: name another one.")
    try:
        with tempfile.TemporaryFile(dir=place, buffering=0) as file:
            file.write(b" ")
            if (free := shutil.disk_usage(place).free) < each * files:
                raise OSError(f"{each * files / 1e6:,.0f} MB are needed, and {free / 1e6:,.0f} MB are free")
            if each and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, each)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # a file system that reserves nothing
            raise cannot_write(folder, error) from error


@contextmanager
def only_one(folder: Path, waits: Callable[[str], None] = lambda _: None, until: float | None = None) -> Iterator[None]:
    """Keep other processes out of `folder`, which must exist, while the body works in it.

    The kernel locks the folder itself. So there is no file that another user cannot open, that can be deleted while its
    owner works, or that is left behind; a process that is killed gives the folder back, and reading it is enough to
    lock it. Where folders cannot be locked (NFS, Windows), a file in it is.

    `waits` is told, once, that another process holds it. Raises TimeoutError at `until` (of time.monotonic).
    """
    told = False
    while True:
        with ExitStack() as held:
            if _taken(folder, held):
                yield
                return
        if not told:
            waits(f"another process holds {folder}: waiting for it to finish")
            told = True
        if until is not None and time.monotonic() > until:
            raise TimeoutError(f"out of time while another process held {folder}")
        time.sleep(POLL)


def _taken(folder: Path, held: ExitStack) -> bool:
    """Whether this process has the folder now, until `held` is closed."""
    if fcntl is not None:
        descriptor = os.open(folder, os.O_RDONLY)
        held.callback(os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.path.samestat(os.fstat(descriptor), os.stat(folder))  # else it was moved away, and made anew
        except BlockingIOError:
            return False
        except OSError:  # a file system that does not lock folders
            pass
    try:
        held.enter_context(FileLock(folder / "folder.lock", timeout=0))
    except Timeout:
        return False
    except OSError as error:
        if os.access(folder, os.W_OK):
            raise cannot_write(folder / "folder.lock", error) from error
    return True  # without write access there is nothing to keep apart
