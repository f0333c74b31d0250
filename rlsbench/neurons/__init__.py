"""Neuron models, each written once for all backends; docs/neurons.md writes one.

In: the settings of an experiment.  Out: `Neurons`, a model with its parameters.  Knows neither
networks nor backends.

Stable names, for models in other distributions: `NeuronModel`, `Parameter`, `exp`, `where`,
`muladd`.
"""

from rlsbench.neurons.definition import NeuronModel, Parameter, exp, muladd, where
from rlsbench.neurons.lif import LIF
from rlsbench.neurons.neurons import GROUP, Neurons, make_neurons, model_names, neuron_model

__all__ = ["GROUP", "LIF", "NeuronModel", "Neurons", "Parameter", "exp", "muladd", "where"]
__all__ += ["make_neurons", "model_names", "neuron_model"]
