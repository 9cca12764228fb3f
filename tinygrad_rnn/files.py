"""The one place where files are read and written: read whole if they have an end, written whole or not at all."""

import contextlib
import json
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

try:
    import fcntl
except ImportError:  # Windows, where folders are not locked
    fcntl = None  # type: ignore[assignment]


def write_file(path: str | os.PathLike, content: bytes) -> Path:
    """Write a file under a temporary name beside its place, then move it there: nobody ever sees half a file.

    What stands behind a symbolic link is written, and the link stays; a FIFO or a device is written to as it is. A file
    that is there keeps its permissions and, where that is allowed, its owner; if it may not be written, or its folder
    may not, it stays. A new file has the permissions that the umask leaves. Of a file with several names (hard links)
    the others keep what they had. A process that is killed while it writes leaves a hidden `.tinygrad_rnn-*`.

    Raises:
        OSError: the folder does not exist or cannot be written; names the file. ValueError: no file can have this name.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(content)
        else:
            _replace(Path(os.path.realpath(path)), content)
    except OSError as error:
        raise type(error)(error.errno, f"cannot write {path}: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"cannot write {str(path)!r}: {error}") from error
    return path


def write_json(path: str | os.PathLike, content: Any) -> Path:
    """Write what JSON can hold; raises as `write_file` does."""
    return write_file(path, (json.dumps(content, indent=2) + "\n").encode())


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".tinygrad_rnn-{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb") as file:
            if path.exists():
                with open(path, "r+b"):  # may it be written?
                    before = path.stat()
                with contextlib.suppress(OSError, AttributeError):
                    os.chown(temporary, before.st_uid, before.st_gid)
                os.chmod(temporary, stat.S_IMODE(before.st_mode))
            file.write(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)  # it has been moved, unless something went wrong


def open_file(path: str | os.PathLike) -> BinaryIO:
    """Open a regular file to be read.

    Raises:
        OSError: it cannot be read. ValueError: it is a folder, or a FIFO or a device, which may have no end.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError(f"{os.fspath(path)} is not a regular file")
    return open(path, "rb")


def read_file(path: str | os.PathLike) -> bytes:
    """The content of a regular file; raises as `open_file` does."""
    with open_file(path) as file:
        return file.read()


def is_marked(path: Path, marks: Iterable[str]) -> bool:
    """True if there is a file with one of the marks that are in those that are written here."""
    content = read_file(path) if path.is_file() else b""
    return any(mark.encode() in content for mark in marks)


def refuse_others(path: Path, marks: Iterable[str]) -> None:
    """Raise a ValueError if there is something without the marks that are in the files that are written here."""
    if os.path.lexists(path) and not is_marked(path, marks):
        raise ValueError(f"{path} is there, and of no such run; it would be replaced: give another folder")


def refuse_data(path: Path, data: str, wanted: str, option: str = "") -> None:
    """Raise a ValueError if a file that would be written is the data."""
    if os.path.exists(data) and path.exists() and path.samefile(data):
        raise ValueError(f"{option}{path} is the data, and would be replaced: give another {wanted}")


@contextlib.contextmanager
def claimed(folder: str | os.PathLike, files: Mapping[str, Iterable[str]] | None = None) -> Iterator[Path]:
    """Make a folder, and lock it for one run at a time; a process that has ended holds no lock.

    Args:
        files: the names of those that will be written, each with its marks.

    Where the file system cannot lock folders, as on Windows, it is not locked.

    Raises:
        FileExistsError: it is a file. ValueError: another run is going on in it, or it is ''; or as `refuse_others`.
    """
    if not os.fspath(folder):
        raise ValueError("out='': the name of a folder is needed")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        if fcntl is not None:
            handle = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, handle)
            with contextlib.suppress(OSError):  # of a file system without locks
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise ValueError(f"another run is going on in {folder}: wait, or give another folder") from None
        for name, marks in (files or {}).items():
            refuse_others(folder / name, marks)
        yield folder
