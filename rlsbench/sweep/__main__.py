"""The process of one point: `python -m rlsbench.sweep`.

In: a job in one line of JSON, on stdin. Out: a document, or the limits of the machine, as JSON, on
stdout. The environment is set by the parent, which keeps stdin open: when the parent ends, however
that may be, this process and all that it started end, too.
"""

import json
import os
import signal
import sys
import threading

from rlsbench.sweep.limits import measure_limits
from rlsbench.sweep.measure import measure
from rlsbench.sweep.plan import Point


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answer:
        os.dup2(2, 1)  # what a library prints is not part of the answer
        job = json.loads(sys.stdin.readline())
        threading.Thread(target=_end_with_parent, daemon=True).start()
        if "threads" in job:
            answer.write(measure_limits(job["threads"]).model_dump_json())
        else:
            verdicts = {key: tuple(value) for key, value in job["verdicts"].items()}
            answer.write(measure(Point.model_validate(job["point"]), verdicts).to_json())
