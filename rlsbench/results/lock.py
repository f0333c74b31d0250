"""Locks of files, and of a directory: taken before anything in it is read or written."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from rlsbench.errors import OutputError

LOCK_FILE = ".lock"
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)  # a link may lead out of the directory


class FileLock:
    """Makes and locks a file until `release`; a `BlockingIOError` if another process has locked it.

    The lock is that of the operating system, and so ends with the process. What a process that was
    killed left is taken over. An `OSError` if the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        while True:
            self._file = os.open(path, _FLAGS, 0o666)
            try:
                _lock(self._file)
            except BlockingIOError:
                os.close(self._file)
                raise
            if self.held():
                return
            os.close(self._file)  # the previous owner removed it between the two calls

    def held(self) -> bool:
        """Whether the file that was locked is still there: not renamed, deleted or replaced."""
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


class DirectoryLock(FileLock):
    """Locks a directory until `release`; an `OutputError` if another process has locked it.

    A file in it rather than the directory, because NFS locks only what is open for writing.
    """

    def __init__(self, folder: Path) -> None:
        try:
            super().__init__(folder / LOCK_FILE)
        except BlockingIOError:
            raise OutputError(f"another process is working in {folder}; wait until it has finished") from None
        except OSError as error:
            raise OutputError(f"cannot write {folder / LOCK_FILE}: {error.strerror}") from None


def _lock(file: int) -> None:
    """Lock an open file, where that is supported; a `BlockingIOError` if it is locked already."""
    try:
        import fcntl  # not on Windows

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except (ImportError, OSError):
        pass
