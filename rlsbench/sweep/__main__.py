"""The process of one point: `python -m rlsbench.sweep JOB RESULT`, both JSON files.

In: a job. Out: a document, or the limits of the machine. The environment is set by the parent.
"""

import json
import sys
from pathlib import Path

from rlsbench.results import write_atomically
from rlsbench.sweep.limits import measure_limits
from rlsbench.sweep.measure import measure
from rlsbench.sweep.plan import Point

if __name__ == "__main__":
    job_file, result_file = map(Path, sys.argv[1:])
    job = json.loads(job_file.read_text(encoding="utf-8"))
    if "threads" in job:
        text = measure_limits(job["threads"]).model_dump_json()
    else:
        verdicts = {key: tuple(value) for key, value in job["verdicts"].items()}
        text = measure(Point.model_validate(job["point"]), verdicts).to_json()
    write_atomically(result_file, text)
