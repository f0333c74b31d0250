"""The lock of a directory, which is taken before anything in it is read or written."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from rlsbench.errors import OutputError

LOCK_FILE = ".lock"
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)  # a link may lead out of the directory


class DirectoryLock:
    """Locks a directory until `release`; an `OutputError` if another process has locked it.

    The lock is that of the operating system on a file, and so ends with the process. A file rather
    than the directory, because NFS locks only what is open for writing.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK_FILE
        while True:
            try:
                self._file = os.open(self._path, _FLAGS, 0o666)
            except OSError as error:
                raise OutputError(f"cannot write {self._path}: {error.strerror}") from None
            try:
                _lock(self._file)
            except BlockingIOError:
                os.close(self._file)
                raise OutputError(f"another process is working in {folder}; wait until it has finished") from None
            if self.held():
                return
            os.close(self._file)  # the previous owner removed it between the two calls

    def held(self) -> bool:
        """Whether it is still the directory that was locked: not renamed, deleted or replaced."""
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._file))
        except OSError:
            return False

    def release(self) -> None:
        """Remove the file and the lock."""
        if self.held():
            with suppress(OSError):
                self._path.unlink()
        os.close(self._file)


def _lock(file: int) -> None:
    """Lock an open file, where that is supported; a `BlockingIOError` if it is locked already."""
    try:
        import fcntl  # not on Windows

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except (ImportError, OSError):
        pass
