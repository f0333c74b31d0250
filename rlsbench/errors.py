"""Errors that a user can mend: each is one sentence that names the value and what is accepted."""

from __future__ import annotations

from collections.abc import Sequence


class RlsbenchError(Exception):
    """Base of every error raised on purpose by this package.

    Attributes
    ----------
    exit_code : int
        Exit status of the command line: 2 for a request that cannot be right, 1 for one that failed.
    details : tuple of str
        Lines that the command line prints below the message, as a table of sizes; mostly none.
    """

    exit_code = 1

    def __init__(self, message: str = "", *, details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.details = tuple(details)


class ConfigurationError(RlsbenchError):
    """An unknown key or an impossible value in the configuration of an experiment."""

    exit_code = 2


class RecordingError(RlsbenchError):
    """A recording that cannot be read, or that does not hold what is needed."""


class UnknownBackendError(RlsbenchError):
    """A backend name that no installed distribution registers."""

    exit_code = 2


class UnsupportedError(RlsbenchError):
    """A feature, precision, storage or device that a backend says it lacks."""

    exit_code = 2


class UnavailableBackendError(RlsbenchError):
    """A registered backend that cannot be used on this machine."""


class InsufficientMemoryError(RlsbenchError):
    """A run that would not fit into the memory of this machine."""


class InsufficientDiskError(RlsbenchError):
    """A run whose files would not fit where they are to be."""


class ResultError(RlsbenchError):
    """A saved run that cannot be read."""


class OutputError(RlsbenchError):
    """A result that cannot be written where it was asked for."""


class NumericsError(RlsbenchError):
    """A training whose numbers went wrong: not finite, or a P that is no longer positive definite."""


class InterruptedRunError(RlsbenchError):
    """A run that a signal has ended: its exit status is 128 and the signal's number."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
