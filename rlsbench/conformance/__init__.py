"""The conformance suite, which every backend must pass, and every learning rule.

Run it with `rlsbench verify NAME` or, for a backend, with
`pytest --pyargs rlsbench.conformance --rlsbench-backend BACKEND`. It requires hypothesis, which
`rlsbench[conformance]` installs.

Raises
------
RlsbenchError
    On import, if hypothesis is not installed.
"""

from importlib.util import find_spec

from rlsbench.errors import RlsbenchError

if find_spec("hypothesis") is None:
    raise RlsbenchError("the conformance suite requires hypothesis: pip install 'rlsbench[conformance]'")

from rlsbench.conformance.checks import CHECKS, CheckFailed, NotChecked
from rlsbench.conformance.subjects import Subject
from rlsbench.conformance.suite import Outcome, Validity, run_check, subjects, verify_backend, verify_rule

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
    "verify_rule",
]
