"""Simulators that a static network is timed in: scripts for another Python environment.

In: a file of arrays, which `rlsbench.sweep.simulation` writes.  Out: one line of JSON on stdout.
The scripts import NumPy and their simulator, and nothing of this package.
"""
