"""Errors that a user can fix. Each message is one sentence with the value and what is accepted."""

from __future__ import annotations

from collections.abc import Sequence


class RlsbenchError(Exception):
    """Base class of the errors that this package raises deliberately.

    The command line prints `details` below the message, such as the lines of a table of sizes.
    """

    exit_code = 1
    """Exit status of the command line: 2 for an invalid request, 1 for a failure."""

    def __init__(self, message: str = "", *, details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.details = tuple(details)


class ConfigurationError(RlsbenchError):
    """An unknown key or an invalid value in the configuration of an experiment."""

    exit_code = 2


class ConnectivityError(RlsbenchError):
    """A file of synapses that cannot be read, or does not fit the network."""


class RecordingError(RlsbenchError):
    """A recording that cannot be read or does not contain the required data."""


class UnknownBackendError(RlsbenchError):
    """A backend name that no installed package registers."""

    exit_code = 2


class UnsupportedError(RlsbenchError):
    """A feature, precision, storage or device that a backend does not support."""

    exit_code = 2


class UnavailableBackendError(RlsbenchError):
    """A registered backend that cannot be used on this machine."""


class BackendError(RlsbenchError):
    """A backend or rule that failed, or returned what it must not; the message names it."""


class InsufficientMemoryError(RlsbenchError):
    """A run that would not fit in the memory of this machine."""


class InsufficientDiskError(RlsbenchError):
    """A run whose files would not fit on the disk."""


class ResultError(RlsbenchError):
    """A saved run that cannot be read."""


class OutputError(RlsbenchError):
    """A result that cannot be written to the requested place."""


class NumericsError(RlsbenchError):
    """A training with values that are not finite, or a P that is no longer positive definite."""


class InterruptedRunError(RlsbenchError):
    """A run that was ended by a signal; its exit status is 128 plus the number of the signal."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class TimeLimitError(RlsbenchError):
    """A run that stopped in time before its limit, and can be resumed."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h
