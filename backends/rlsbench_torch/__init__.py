"""The backend `torch`: PyTorch on the processor, CUDA and Apple devices.  Importing this imports no PyTorch."""

from rlsbench_torch.backend import BACKEND, TorchBackend

__all__ = ["BACKEND", "TorchBackend"]
