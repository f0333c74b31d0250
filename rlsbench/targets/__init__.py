"""Target currents. This package holds what a target is; `rlsbench.targets.making` makes those of an experiment."""

from rlsbench.targets.kinds import MatrixTargets, SinusoidTargets, Targets

__all__ = ["MatrixTargets", "SinusoidTargets", "Targets"]
