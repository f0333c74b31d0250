"""Results: the JSON document of a run, the record of the machine, the run's directory and the store of documents."""

from rlsbench.results.directory import RunDirectory, check_writable, write_array, write_bytes, write_whole
from rlsbench.results.document import (
    SCHEMA_VERSION,
    AttemptDocument,
    MachineLimits,
    Repetition,
    ResourceRecord,
    RunDocument,
    UpdateRecord,
    attempt_document,
    configuration_hash,
    digest,
    parse_document,
    resource_record,
    result_schema,
    run_document,
)
from rlsbench.results.machine import machine_id, machine_label, machine_record, peak_memory_bytes, version_record
from rlsbench.results.saved import SavedRun, load_run
from rlsbench.results.space import check_disk, disk_bytes
from rlsbench.results.store import ResultSet, Store, load_results, read_results
from rlsbench.results.table import counted, results_table

__all__ = [
    "SCHEMA_VERSION",
    "AttemptDocument",
    "MachineLimits",
    "Repetition",
    "ResourceRecord",
    "ResultSet",
    "RunDirectory",
    "RunDocument",
    "SavedRun",
    "Store",
    "UpdateRecord",
    "attempt_document",
    "check_disk",
    "check_writable",
    "configuration_hash",
    "counted",
    "digest",
    "disk_bytes",
    "load_results",
    "load_run",
    "machine_id",
    "machine_label",
    "machine_record",
    "parse_document",
    "peak_memory_bytes",
    "read_results",
    "resource_record",
    "result_schema",
    "results_table",
    "run_document",
    "version_record",
    "write_array",
    "write_bytes",
    "write_whole",
]
