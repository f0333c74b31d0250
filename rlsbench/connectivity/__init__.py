"""Synapses by rule or from a file: what `[[connectivity]]` describes, as `Edges`.

Stable names, for rules in other distributions: `ConnectivityRule`, `Between`, `Edges`,
`check_rule`.
"""

from rlsbench.connectivity.projections import Projections, in_degrees, plastic_edges, projections_of, with_digests
from rlsbench.connectivity.rules import GROUP, Between, ConnectivityRule, check_rule, rule_names
from rlsbench.network.edges import Edges

__all__ = [
    "GROUP",
    "Between",
    "ConnectivityRule",
    "Edges",
    "Projections",
    "check_rule",
    "in_degrees",
    "plastic_edges",
    "projections_of",
    "rule_names",
    "with_digests",
]
