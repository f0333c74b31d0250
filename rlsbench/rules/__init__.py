"""Learning rules: RLS, and rules written in NumPy, ours and others.

Stable names, for rules in other distributions: `Rule`, `NumpyRule`, `StateArray`, `LearningStep`.
"""

from rlsbench.rules.rls import Ridge, Rls, RlsWithoutP
from rlsbench.rules.rule import GROUP, PAST, LearningStep, NumpyRule, Rule, StateArray, make_rule, rule_names

__all__ = [
    "GROUP",
    "PAST",
    "LearningStep",
    "NumpyRule",
    "Ridge",
    "Rls",
    "RlsWithoutP",
    "Rule",
    "StateArray",
    "make_rule",
    "rule_names",
]
