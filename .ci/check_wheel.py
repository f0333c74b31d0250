"""Check what a wheel holds: every top-level name is ours, and no data file is missing.

python .ci/check_wheel.py WHEEL
"""

import sys
import zipfile

NEEDED = (
    "rlsbench/py.typed",
    "rlsbench/configuration/presets/",
    "rlsbench/export/templates/compare.py.j2",
    "rlsbench/report/templates/report.html",
    "rlsbench_cupy/kernels/rls_event.cu",
    "rlsbench_cupy/kernels/warp.cuh",
    *(f"rlsbench_{name}/" for name in ("reference", "numpy", "numba", "torch", "cupy")),
)

names = zipfile.ZipFile(sys.argv[1]).namelist()
top = sorted({name.partition("/")[0] for name in names})
print(*top)
foreign = [name for name in top if not name.startswith("rlsbench")]
if foreign:
    sys.exit(f"not part of this project: {', '.join(foreign)}")
missing = [needed for needed in NEEDED if not any(name.startswith(needed) for name in names)]
if missing:
    sys.exit(f"missing from the wheel: {', '.join(missing)}")
