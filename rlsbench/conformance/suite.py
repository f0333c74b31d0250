"""Run every check on every configuration that a backend declares.

In: a `Backend`.  Out: an `Outcome` for each check and configuration, as it comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from rlsbench.backend import Backend, Options, compatible_precisions, resolved_device
from rlsbench.conformance.checks import CHECKS, CheckFailed, NotChecked
from rlsbench.conformance.subjects import Subject, variant_problem

__all__ = ["Outcome", "Validity", "run_check", "subjects", "verify_backend"]


class Validity(Enum):
    """What is known of a configuration; never assumed."""

    PASSED = "passed"
    FAILED = "FAILED"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True)
class Outcome:
    """The end of one check.

    Parameters
    ----------
    check, configuration : str
    validity : Validity
    reason : str
        What differs, or why it was not checked; empty where it passed.
    """

    check: str
    configuration: str
    validity: Validity
    reason: str = ""


def subjects(backend: Backend, device: str = "auto", *, compile: bool = False) -> list[Subject]:
    """Every combination of precisions, storage and algorithm that a backend can do on a device, on two threads.

    Raises
    ------
    UnsupportedError
        For a kind of device that the backend does not have.
    """
    small, device = variant_problem("plain"), resolved_device(backend, device)
    offered = backend.capabilities
    asked = [
        Subject(backend, Options(precision, p_precision, storage, 2, device, algorithm, compile))
        for precision in offered.precisions
        for p_precision in offered.p_precisions
        if compatible_precisions(precision, p_precision)
        for storage in offered.storages
        for algorithm in offered.algorithms
    ]
    # Where an algorithm does not apply, the trainer takes another one, which is among the rest.
    able = [s for s in asked if backend.unusable(s.options) is None]
    return [s for s in able if s.trainer(small).options.algorithm == s.options.algorithm]


def run_check(name: str, subject: Subject) -> Outcome:
    """Run one check; whatever a backend raises is a failure of that check."""
    try:
        CHECKS[name](subject)
    except NotChecked as why:
        return Outcome(name, str(subject), Validity.NOT_CHECKED, str(why))
    except CheckFailed as difference:
        return Outcome(name, str(subject), Validity.FAILED, str(difference))
    except Exception as error:  # a backend may fail in any way; the other checks still run
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return Outcome(name, str(subject), Validity.FAILED, reason)
    return Outcome(name, str(subject), Validity.PASSED)


def verify_backend(backend: Backend, device: str = "auto", *, compile: bool = False) -> Iterator[Outcome]:
    """Run all checks on all configurations of a backend on a device."""
    for subject in subjects(backend, device, compile=compile):
        for name in CHECKS:
            yield run_check(name, subject)
