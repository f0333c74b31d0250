"""Delivery of spikes: docs/model.md section 2, step 7.

In: `Synapses`, weights w, and the neurons that spiked.  Out: sums by post-synaptic neuron.

A static synapse adds 1, or its own weight: the weight of the others depends only on the two
populations, and the simulation multiplies by it later.
"""

from __future__ import annotations

import torch

from rlsbench_torch.synapses import Synapses

__all__ = ["deliver"]


def deliver(synapses: Synapses, w: torch.Tensor, arriving: torch.Tensor, spiked: torch.Tensor) -> None:
    """Add what spikes send to their targets.

    Parameters
    ----------
    synapses : Synapses
    w : Tensor, shape (N n + 1,)
        Plastic weights, row by row, and a 0.
    arriving : Tensor, shape (3 N + 1,)
        See `rlsbench_torch.synapses`; updated in place.
    spiked : Tensor of int64, shape (S,)
        Neurons that spiked.
    """
    if synapses.static is not None:
        targets = synapses.static.index_select(0, spiked).view(-1)
        if synapses.static_weights is None:
            arriving.index_add_(0, targets, synapses.ones.expand(len(targets)))
        else:
            arriving.index_add_(0, targets, synapses.static_weights.index_select(0, spiked).view(-1))
    if synapses.post is not None and synapses.weight is not None:
        weights = w.index_select(0, synapses.weight.index_select(0, spiked).view(-1))
        arriving.index_add_(0, synapses.post.index_select(0, spiked).view(-1), weights)
