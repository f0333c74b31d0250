"""The network as descriptions: populations, synapses and external inputs."""

from rlsbench.network.connectivity import PlasticInputs, PlasticOutputs, StaticSynapses, plastic_pools
from rlsbench.network.inputs import Background, Feedforward, Noise, Stimulus, background_of, external_current
from rlsbench.network.populations import SIGNS, InitialTrial, Population, Populations, populations_of

__all__ = ["SIGNS", "InitialTrial", "Population", "Populations", "populations_of"]
__all__ += ["PlasticInputs", "PlasticOutputs", "StaticSynapses", "plastic_pools"]
__all__ += ["Background", "Feedforward", "Noise", "Stimulus", "background_of", "external_current"]
