"""Target currents: what they are; the module `making` makes those of an experiment."""

from rlsbench.targets.kinds import MatrixTargets, ShiftedTargets, SinusoidTargets, Targets

__all__ = ["MatrixTargets", "ShiftedTargets", "SinusoidTargets", "Targets"]
