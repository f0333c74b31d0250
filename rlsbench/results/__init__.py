"""Results: documents, the description of the machine, checkpoints, runs and stores."""

from rlsbench.results.checkpoint import Checkpoint, read_checkpoint, save_checkpoint
from rlsbench.results.checkpoints import Checkpoints, checkpoint_files, last_checkpoint
from rlsbench.results.directory import (
    RunDirectory,
    atomic_write,
    check_new,
    check_writable,
    remove_parts,
    write_atomically,
)
from rlsbench.results.document import (
    SCHEMA_VERSION,
    AttemptDocument,
    Document,
    MachineLimits,
    Repetition,
    ResourceRecord,
    RunDocument,
    SimulationDocument,
    UpdateRecord,
    attempt_document,
    configuration_hash,
    digest,
    parse_document,
    result_schema,
    run_document,
    simulation_document,
)
from rlsbench.results.given import read_given
from rlsbench.results.machine import machine_id, machine_label, machine_record, peak_memory_bytes
from rlsbench.results.saved import SavedRun, frozen, iterations_in, load_run, requested_settings, resume
from rlsbench.results.store import ResultSet, Store, load_results, read_results
from rlsbench.results.table import counted, results_table

__all__ = [
    "SCHEMA_VERSION",
    "AttemptDocument",
    "Checkpoint",
    "Checkpoints",
    "Document",
    "MachineLimits",
    "Repetition",
    "ResourceRecord",
    "ResultSet",
    "RunDirectory",
    "RunDocument",
    "SavedRun",
    "SimulationDocument",
    "Store",
    "UpdateRecord",
    "atomic_write",
    "attempt_document",
    "check_new",
    "check_writable",
    "checkpoint_files",
    "configuration_hash",
    "counted",
    "digest",
    "frozen",
    "iterations_in",
    "last_checkpoint",
    "load_results",
    "load_run",
    "machine_id",
    "machine_label",
    "machine_record",
    "parse_document",
    "peak_memory_bytes",
    "read_checkpoint",
    "read_given",
    "read_results",
    "remove_parts",
    "requested_settings",
    "result_schema",
    "results_table",
    "resume",
    "run_document",
    "save_checkpoint",
    "simulation_document",
    "write_atomically",
]
