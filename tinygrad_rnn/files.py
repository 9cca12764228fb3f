"""The one place where files are written: whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

__all__ = ["write_file"]


def write_file(path: str | os.PathLike, content: bytes) -> Path:
    """Write a file under a temporary name beside its place, then move it there: nobody ever sees half a file.

    Raises:
        OSError: the folder does not exist or cannot be written; names the file. ValueError: no file can have this name.
    """
    path = Path(path)
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise type(error)(error.errno, f"cannot write {path}: {os.strerror(error.errno)}") from error
    except ValueError as error:
        raise ValueError(f"cannot write {str(path)!r}: {error}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):  # interrupted when it had been moved already
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise type(error)(error.errno, f"cannot write {path}: {os.strerror(error.errno)}") from error
        raise
    return path
