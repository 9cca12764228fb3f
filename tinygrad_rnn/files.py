"""The one place where files are read and written: read whole if they have an end, written whole or not at all."""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows, where a file that is open cannot be deleted, and folders are not locked
    fcntl = None

LARGEST = 2**30  # bytes of a file that is read whole
TEMPORARY = ".tinygrad_rnn-"


def write_file(path: str | os.PathLike, content: bytes) -> Path:
    """Write a file under a temporary name beside its place, then move it there: nobody ever sees half a file.

    What stands behind a symbolic link is written, and the link stays; a FIFO or a device is written to as it is. A file
    that is there keeps its permissions and, where that is allowed, its owner; if it may not be written, or its folder
    may not, it stays. A new file has the permissions that the umask leaves. Of a file with several names (hard links)
    the others keep what they had. A temporary file that a killed process has left is deleted by the next save in its
    folder.

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
        raise type(error)(error.errno, f"cannot write {path}: {os.strerror(error.errno)}") from error
    except ValueError as error:
        raise ValueError(f"cannot write {str(path)!r}: {error}") from error
    return path


def _replace(path: Path, content: bytes) -> None:
    if path.is_symlink():
        raise OSError(errno.ELOOP, "a loop of symbolic links")
    for stale in filter(Path.is_file, path.parent.glob(TEMPORARY + 16 * "[0-9a-f]")):
        with contextlib.suppress(OSError), _locked(stale):  # a living process holds its lock
            stale.unlink()
    mode, temporary = 0o666, path.with_name(TEMPORARY + secrets.token_hex(8))
    if before := path.exists() and path.stat():
        mode = stat.S_IMODE(before.st_mode)
        with open(path, "r+b"):  # may it be written?
            pass
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
    try:
        with os.fdopen(handle, "wb") as file:
            if fcntl is not None:
                with contextlib.suppress(OSError):  # a file system may have no locks
                    fcntl.flock(file, fcntl.LOCK_EX)
            if before:
                with contextlib.suppress(OSError, AttributeError):
                    os.chown(temporary, before.st_uid, before.st_gid)
                os.chmod(temporary, mode)
            file.write(content)
        os.replace(temporary, path)
    except FileNotFoundError:  # another save has taken it for left behind, before its lock or after
        _replace(path, content)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):  # interrupted when it had been moved already
            os.unlink(temporary)
        raise


def open_file(path: str | os.PathLike) -> BinaryIO:
    """Open a regular file to be read.

    Raises:
        OSError: it cannot be read. ValueError: it is a folder, or a FIFO or a device, which may have no end.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError(f"{os.fspath(path)} is no regular file")
    return open(path, "rb")


def read_file(path: str | os.PathLike) -> bytes:
    """The content of a regular file.

    Raises:
        OSError, ValueError: as for `open_file`; or it is larger than 1 GiB.
    """
    with open_file(path) as file:
        if os.fstat(file.fileno()).st_size > LARGEST:
            raise ValueError(f"{os.fspath(path)} is larger than 1 GiB")
        return file.read()


def refuse_others(path: Path, mark: str) -> None:
    """Raise a ValueError if there is a file without the mark that is in those that are written here."""
    if path.exists() and mark.encode() not in read_file(path):
        raise ValueError(f"{path} is there, and of no such run; it would be replaced: give another folder")


@contextlib.contextmanager
def claimed(folder: str | os.PathLike) -> Iterator[Path]:
    """Make a folder, and lock it for one run at a time; a process that has ended holds no lock.

    Where the file system cannot lock folders, as on Windows, it is not locked.

    Raises:
        FileExistsError: it is a file. ValueError: another run is going on in it, or it is ''.
    """
    if not os.fspath(folder):
        raise ValueError("out='': the name of a folder is needed")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_locked(folder))
        except BlockingIOError:
            raise ValueError(f"another run is going on in {folder}: wait for its end, or give another folder") from None
        except OSError:
            pass
        yield folder


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    if fcntl is None:
        yield
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)
