"""The backend `torch`: PyTorch on the CPU, CUDA and Apple devices.  Does not import PyTorch."""

from rlsbench_torch.backend import BACKEND, TorchBackend

__all__ = ["BACKEND", "TorchBackend"]
