"""Run every check on every configuration that a backend declares.

In: a `Backend`.  Out: an `Outcome` for each check and configuration, as it comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from rlsbench.backend import PRECISION_BYTES, Backend, Options
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


def subjects(backend: Backend) -> list[Subject]:
    """Every combination of precisions, storage and algorithm that a backend can do, on two threads."""
    small = variant_problem("plain")
    asked = [
        Subject(backend, Options(precision, p_precision, storage, 2, backend.devices[0], algorithm))
        for precision in backend.precisions
        for p_precision in backend.p_precisions
        if PRECISION_BYTES[p_precision] >= 4 or precision == "float32"  # what is accepted at all
        for storage in backend.storages
        for algorithm in backend.algorithms
    ]
    # Where an algorithm does not apply, the trainer takes another one, which is among the rest.
    return [s for s in asked if s.trainer(small).options.algorithm == s.options.algorithm]


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


def verify_backend(backend: Backend) -> Iterator[Outcome]:
    """Run all checks on all configurations of a backend."""
    for subject in subjects(backend):
        for name in CHECKS:
            yield run_check(name, subject)
