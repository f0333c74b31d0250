"""The model in one page of NumPy; see `rlsbench_reference.model`."""

from rlsbench_reference.model import BACKEND, Reference, ReferenceTrainer, rls

__all__ = ["BACKEND", "Reference", "ReferenceTrainer", "rls"]
