"""The network as descriptions: populations, synapses, external inputs and the neuron model."""

from rlsbench.network.connectivity import PlasticInputs, PlasticOutputs, StaticSynapses, plastic_pools
from rlsbench.network.inputs import Feedforward, Noise, Stimulus, external_current
from rlsbench.network.neurons import LIF, NeuronModel, neuron_model
from rlsbench.network.populations import SIGNS, InitialTrial, Population, Populations, populations_of

__all__ = ["InitialTrial", "Population", "Populations", "populations_of"]
__all__ += ["SIGNS"]
__all__ += ["PlasticInputs", "PlasticOutputs", "StaticSynapses", "plastic_pools"]
__all__ += ["LIF", "Feedforward", "NeuronModel", "Noise", "Stimulus", "external_current", "neuron_model"]
