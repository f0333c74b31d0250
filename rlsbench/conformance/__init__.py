"""The suite that every backend must pass, in this distribution or elsewhere.

`rlsbench verify BACKEND` runs it, and so does
`pytest --pyargs rlsbench.conformance --rlsbench-backend BACKEND`. It needs hypothesis, which the
extra `conformance` installs.
"""

from importlib.util import find_spec

from rlsbench.errors import RlsbenchError

if find_spec("hypothesis") is None:
    raise RlsbenchError("the conformance suite needs hypothesis: pip install 'rlsbench[conformance]'")

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
