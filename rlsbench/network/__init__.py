"""The network as descriptions: synapses, external inputs and the neuron model, drawn from counter-based streams."""

from rlsbench.network.connectivity import PlasticInputs, PlasticOutputs, StaticSynapses, plastic_pools
from rlsbench.network.inputs import Feedforward, Noise, Stimulus
from rlsbench.network.neurons import LIF, NeuronModel, neuron_model

__all__ = [
    "LIF",
    "Feedforward",
    "NeuronModel",
    "Noise",
    "PlasticInputs",
    "PlasticOutputs",
    "StaticSynapses",
    "Stimulus",
    "neuron_model",
    "plastic_pools",
]
