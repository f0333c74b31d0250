"""Results: the JSON document of a run, the record of the machine, and the run's directory."""

from rlsbench.results.directory import RunDirectory, check_writable, write_array, write_whole
from rlsbench.results.document import SCHEMA_VERSION, RunDocument, run_document
from rlsbench.results.machine import machine_record, peak_memory_bytes, version_record
from rlsbench.results.saved import SavedRun, load_run

__all__ = [
    "SCHEMA_VERSION",
    "RunDirectory",
    "RunDocument",
    "SavedRun",
    "check_writable",
    "load_run",
    "machine_record",
    "peak_memory_bytes",
    "run_document",
    "version_record",
    "write_array",
    "write_whole",
]
