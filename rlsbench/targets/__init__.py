"""Target currents: what they are; the module `making` makes those of an experiment."""

from rlsbench.targets.kinds import MatrixTargets, PartOfTargets, ShiftedTargets, SinusoidTargets, Targets

__all__ = ["MatrixTargets", "PartOfTargets", "ShiftedTargets", "SinusoidTargets", "Targets"]
