"""The transfer function of the leaky integrate-and-fire neuron, between rates and currents.

`stationary` is the published rule, for continuous time; `simulated` corrects it for the time step.
"""

from rlsbench.transfer.neuron import NeuronParameters, SteppedNoise
from rlsbench.transfer.simulated import max_simulated_rate, simulated_current, simulated_rate
from rlsbench.transfer.stationary import MAX_RATE_HZ, stationary_current, stationary_rate
from rlsbench.transfer.targets import Transfer, targets_from_rates

__all__ = ["NeuronParameters", "SteppedNoise", "Transfer", "targets_from_rates"]
__all__ += ["MAX_RATE_HZ", "stationary_current", "stationary_rate"]
__all__ += ["max_simulated_rate", "simulated_current", "simulated_rate"]
