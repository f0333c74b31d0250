"""Constants that were chosen by measuring on machines, with their units and what was measured.

In: nothing.  Out: numbers, no logic.  docs/performance.md has the tables behind them; where no
figure is given, no other value could be told from noise.

A change costs time or memory. LANES, ROWS and PENDING_PER_ROOT_N also decide in which order numbers
are added, and so the last bits of a result.
"""

from __future__ import annotations

# Layout

LANES = 16  # numbers in a vector: 64 bytes of float32, a register of AVX-512 and a cache line
ROWS = 4  # rows of P that a kernel takes together: they share loads of vectors and fill the registers
GROUP = 256  # neurons that are advanced together: their scratch stays in the first-level cache. Of 4, 16
BLOCK_BITS = 16  # logarithm of the post-synaptic neurons in a block: 16 bits name one, which takes two bytes
CACHE_LINE = 64  # bytes
SENT_AT_ONCE = 1 << 20  # static synapses that a rank draws before it sends them, in 4 bytes each
DRAWS = 64  # random words that are drawn at once for a row of synapses; a multiple of 4

# The form of the update

PENDING_PER_ROOT_N = 1.1
"""Updates that stay pending, per square root of n: m = 8, 12, 16 took 471, 442, 456 ns an update of
a neuron at n = 90, N = 10,000, float32, and 955, 895, 940 ns at n = 128."""
SMALL_N = 64
"""Plastic inputs below which packed updates in 32 or 64 bits are faster in the plain form: 208 ns
against 232 ns at n = 32."""
SPARSE = 4
"""Inputs for each one that spiked, above which the columns of a packed P in 16 bits are taken one
by one: at n = 90, 5 of which spiked, an update took 608 ns in place of 754 in one thread."""
LONG_MS = 60.0
"""Milliseconds between updates above which packed updates are faster in the plain form: the event
form takes 1.1 of its time at 100 ms, when 40 % of the inputs have spiked."""

# Threads

NEURONS_PER_THREAD = 5000  # with fewer, another thread does not pay in the simulation: threads meet in each step
SCANNED_PER_THREAD = 1_000_000
"""The same for looking for neurons that spiked before an update: of 10,000,000 neurons, it takes
5.4 ms in two threads and 10.2 in one; of 1,000,000, 1.1 and 1.0."""
BLOCKS_PER_THREAD = 16  # ranges of neurons a thread in an update: they even out threads that are slowed down
SPIN_COUNT = 1000
"""Turns for which threads of GNU OpenMP wait actively before they sleep. By default they do so for
milliseconds: two busy processes beside a trial of 20,000 neurons took it from 0.9 s to over 60."""

# Ranks

SPIKES_AT_LEAST, SPIKES_PER_NEURON = 15, 1 / 256
"""Spikes that fit in the message of a rank, a number and a share of its neurons: at 5 Hz, a neuron
has 0.0005 in a step."""
SPIKE_SECONDS = 230e-9
"""Seconds in which a thread finds the synapses of a spike onto its neurons if it has one or two:
224 to 255 ns for 1,000,000 and 4,000,000 neurons, of which a thread had 500 to 1,300. For plans."""
SCAN_SECONDS = 1e-9  # for a neuron without a spike, in which a thread looks for one before an update
JUMP_SECONDS = 90e-9
"""Seconds in which a thread finds the synapses of a neuron that spiked, before an update: 89 ns of
100,000,000 neurons and 146 of 10,000,000, of which it had 33,000 and 26,000."""
SHARED_SPIKE_SECONDS, SHARED_SYNAPSE_SECONDS = 460e-9, 6e-9
"""The same for a thread that looks up a spike for all of a rank, and for each of its synapses:
592 ns with 17 synapses, 1,254 with 139, of 100,000,000 and 10,000,000 neurons. For plans."""
SHARED_INPUT_SECONDS = 20e-9  # likewise, for each plastic synapse of a neuron that spiked, before an update
SHARED_NEURONS = 200_000
"""Neurons of a network above which threads of a rank share look-ups: it costs a barrier a step."""
SHARED_SYNAPSES = 80
"""Synapses of a spike onto the neurons of a rank, for each thread but one, below which they do."""
SHARED_AT_LEAST = 64  # synapses for which a list always has room

# Decay of currents

DECAY_STEPS = 64  # most steps between two decays of the stored currents
DECAY_STEPS_PER_NEURON = 8  # the same where each neuron has its own decay, and so its own column in the tables
DECAY_BITS = 20  # most bits by which a stored current may exceed the current

# Distances of prefetching: each makes a read cost bandwidth in place of latency

STATIC_AHEAD = 4  # spikes from the one that is delivered to the one whose static synapses are prefetched
SHARED_AHEAD = 8  # the same for look-ups that threads share, once for where a row is, once for what is in it
EDGES_AHEAD = 4  # the same for static synapses in rows of any length
PLASTIC_TOGETHER = 4  # spikes whose plastic weights are prefetched together
INPUTS_AHEAD = 4  # pre-synaptic neurons from the one that is counted to the one whose synapses are prefetched
EVENT_AHEAD = 2
"""Neurons from the one that is updated to the one whose columns of P are prefetched: an update
without writing P took 195 ns in place of 330."""
COLUMN_LINES = 8
"""Cache lines of a column of a full P that are prefetched; the processor fetches the next ones by
itself. An update without writing P took 0.87 of the time at n = 256 in float32, where a column has
16 lines; with 4 lines, 1.1 at n = 90."""
FOLD_AHEAD = 2048
"""Entries of a full P from those that are written to those that are prefetched: 3.8 us a neuron in
place of 7.4 at n = 128, m = 16."""
PACKED_AHEAD = 1024  # entries of a packed P, likewise: 0.86 of the time of BLAS in place of 1.15 at n = 256

# Memory

TARGETS_IN_MEMORY = 1 << 26  # bytes of targets for which all bins of a task are kept, not computed bin by bin
TARGETS_TOGETHER = 1 << 15
"""Neurons whose targets in a bin are computed together: temporaries stay in the second-level cache.
In two threads, those of 1,000,000 neurons took 3.3 ms; 4.9 with half as many."""
STIMULUS_IN_MEMORY = 1 << 27
"""Bytes of the path of a single task's stimulus which is kept, not computed in each trial: an
iteration of the tutorial took 138 ms in place of 146."""
LISTED_AT_LEAST = 1 << 22  # entries of the lists of inputs that spiked which are always allocated
LISTED_PER_NEURON = 16  # the same for each neuron; longer lists are made in parts
LIBRARY_BYTES = 188 * 2**20  # resident memory before any array: Python, Numba and LLVM, kernels loaded from the cache
BLAS_LIBRARY_BYTES = 220 * 2**20  # the same with SciPy and its BLAS
COMPILER_BYTES = 110 * 2**20  # memory that LLVM keeps after it has compiled the kernels of a run
