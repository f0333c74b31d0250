"""The suite that every backend must pass: in-tree, the reference and third parties alike.

`rlsbench verify BACKEND` runs it, and so does
`pytest --pyargs rlsbench.conformance --rlsbench-backend BACKEND`.
"""

from rlsbench.conformance.checks import CHECKS, CheckFailed, NotChecked
from rlsbench.conformance.subjects import Subject
from rlsbench.conformance.suite import Outcome, Validity, run_check, subjects, verify_backend

__all__ = [
    "CHECKS",
    "CheckFailed",
    "NotChecked",
    "Outcome",
    "Subject",
    "Validity",
    "run_check",
    "subjects",
    "verify_backend",
]
