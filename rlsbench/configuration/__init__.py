"""Experiments as data: validated, immutable, read from TOML presets and overridden key by key."""

from rlsbench.configuration.experiment import CheckpointsSection, Experiment, NumericsSection
from rlsbench.configuration.loading import (
    changed,
    load_experiment,
    parse_assignments,
    preset_names,
    preset_of,
    read_toml,
    to_toml,
    validated,
)

__all__ = [
    "CheckpointsSection",
    "Experiment",
    "NumericsSection",
    "changed",
    "load_experiment",
    "parse_assignments",
    "preset_names",
    "preset_of",
    "read_toml",
    "to_toml",
    "validated",
]
