"""Rate <-> current of the leaky integrate-and-fire neuron, and from recorded rates to target currents.

`stationary` is the published rule, of continuous time; `simulated` allows for the time step of a simulation.
"""

from rlsbench.transfer.simulated import SteppedNoise, max_simulated_rate, simulated_current, simulated_rate
from rlsbench.transfer.stationary import MAX_RATE_HZ, stationary_current, stationary_rate
from rlsbench.transfer.targets import Transfer, targets_from_rates

__all__ = [
    "MAX_RATE_HZ",
    "SteppedNoise",
    "Transfer",
    "max_simulated_rate",
    "simulated_current",
    "simulated_rate",
    "stationary_current",
    "stationary_rate",
    "targets_from_rates",
]
