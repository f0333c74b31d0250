"""Run every check in every configuration that a backend supports, or every check of a rule.

In: a `Backend` or a `NumpyRule`.  Out: an iterator over the `Outcome` of each check in each
configuration.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path

from rlsbench.backend import Backend, Options, compatible_precisions, resolved_device
from rlsbench.conformance.checks import CHECKS, CheckFailed, NotChecked
from rlsbench.conformance.rule_checks import RULE_CHECKS, check_rule
from rlsbench.conformance.subjects import Subject, variant_problem
from rlsbench.plugins import blamed
from rlsbench.rules import NumpyRule


class Validity(Enum):
    """Result of a check."""

    PASSED = "passed"
    FAILED = "FAILED"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True)
class Outcome:
    """Result of one check in one configuration."""

    check: str
    configuration: str
    validity: Validity
    reason: str = ""  #: what differs, or why it was not checked; empty if it passed


def subjects(backend: Backend, device: str = "auto", *, compile: bool = False) -> list[Subject]:
    """All combinations of precisions, storage and algorithm that a backend supports on a device.

    Each runs in two threads.

    Raises
    ------
    UnsupportedError
        If the backend does not support that kind of device.
    """
    small = variant_problem("plain")
    with blamed(f"backend {backend.name}"):
        # If an algorithm does not apply, the trainer falls back to one that is checked anyway.
        found = declared_subjects(backend, device, compile=compile)
        return [s for s in found if s.trainer(small).options.algorithm == s.options.algorithm]


def declared_subjects(backend: Backend, device: str = "auto", *, compile: bool = False) -> list[Subject]:
    """`subjects`, and those in which another algorithm is taken: no trainer is made."""
    device, offered = resolved_device(backend, device), backend.capabilities
    declared = [
        Subject(backend, Options(precision, p_precision, storage, 2, device, algorithm, compile))
        for precision in offered.precisions
        for p_precision in offered.p_precisions
        if compatible_precisions(precision, p_precision)
        for storage in offered.storages
        for algorithm in offered.algorithms
    ]
    with blamed(f"backend {backend.name}"):
        return [s for s in declared if backend.unusable(s.options) is None]


def run_check(name: str, subject: Subject) -> Outcome:
    """Run one check; any exception raised by the backend is a failure."""
    return _outcome(name, str(subject), partial(CHECKS[name], subject))


def _outcome(name: str, configuration: str, check: Callable[[], None]) -> Outcome:
    validity, reason = Validity.PASSED, ""
    try:
        check()
    except NotChecked as why:
        validity, reason = Validity.NOT_CHECKED, str(why)
    except CheckFailed as difference:
        validity, reason = Validity.FAILED, str(difference)
    except Exception as error:  # the other checks must still run
        at = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(at.filename).name}:{at.lineno}, in {at.name}"
        validity = Validity.FAILED
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]} ({where})"
    return Outcome(name, configuration, validity, reason)


def verify_backend(backend: Backend, device: str = "auto", *, compile: bool = False) -> Iterator[Outcome]:
    """Run all checks in all configurations of a backend on a device."""
    for subject in subjects(backend, device, compile=compile):
        for name in CHECKS:
            yield run_check(name, subject)


def verify_rule(rule: NumpyRule) -> Iterator[Outcome]:
    """Run all checks of a rule that is written in NumPy, in both precisions of currents."""
    for precision in ("float64", "float32"):
        for name in RULE_CHECKS:
            yield _outcome(name, precision, partial(check_rule, name, rule, precision))
