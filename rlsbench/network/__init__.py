"""The network as descriptions: populations, synapses, external inputs and the neuron model."""

from rlsbench.network.connectivity import PlasticInputs, PlasticOutputs, StaticSynapses, plastic_pools
from rlsbench.network.inputs import Feedforward, Noise, Stimulus, external_current
from rlsbench.network.neurons import LIF, NeuronModel, neuron_model
from rlsbench.network.populations import Population, Populations
from rlsbench.network.spontaneous import InitialTrial

__all__ = [
    "LIF",
    "Feedforward",
    "InitialTrial",
    "NeuronModel",
    "Noise",
    "PlasticInputs",
    "PlasticOutputs",
    "Population",
    "Populations",
    "StaticSynapses",
    "Stimulus",
    "external_current",
    "neuron_model",
    "plastic_pools",
]
