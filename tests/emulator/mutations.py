"""Faults that are put into a copy of the backend, one at a time, and the check that detects each.

In: names of faults.  Out: for each, what detected it, if anything.  Knows the text of kernels
and host code: a fault is a text that occurs there once, and its replacement.  Every fault runs
in a separate process, which may hang or crash.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
BACKEND: Final = ROOT / "backends" / "rlsbench_cupy"
SECONDS: Final = 240  # that one fault may take


class Fault(NamedTuple):
    """One fault.

    A text stands once in a file of the backend, and another one takes its place.
    """

    name: str
    file: str
    text: str
    instead: str


_K, _H = "kernels/", ""

KERNEL_FAULTS: Final = (
    Fault(
        "the diagonal of the first neurons, whichever are asked for",
        _K + "diagonal.cu",
        "c = first + e / N_INPUTS",
        "c = e / N_INPUTS",
    ),
    Fault(
        "no barrier between k = P x and its use",
        _K + "rls_plain.cu",
        "    neuron_sync<WARPS>();\n\n    // (2)",
        "\n    // (2)",
    ),
    Fault(
        "no barrier between k and P - g k k'",
        _K + "rls_plain.cu",
        "s.k[i] *= root;\n    neuron_sync<WARPS>();",
        "s.k[i] *= root;",
    ),
    Fault("the diagonal counts twice", _K + "rls_plain.cu", "PACKED && j < i", "PACKED && j <= i"),
    Fault("P + g k k'", _K + "rls_plain.cu", "stored(p - k_i * s.k[j])", "stored(p + k_i * s.k[j])"),
    Fault(
        "rows of a triangle as long as n",
        _K + "rls_plain.cu",
        "            if (j < length) {\n#if STAGED\n                const",
        "            if (j < n) {\n#if STAGED\n                const",
    ),
    Fault("w changes in benchmark mode", _K + "rls_plain.cu", "    if (!frozen)\n", "    if (true)\n"),
    Fault(
        "w - g^2 e k", _K + "rls_plain.cu", "(REAL)root * e * (REAL)s.k[i]", "(REAL)(root * root) * e * (REAL)s.k[i]"
    ),
    Fault(
        "a sum of half a warp",
        _K + "warp.cuh",
        "T warp_sum(T x) {\n    for (int o = LANES / 2",
        "T warp_sum(T x) {\n    for (int o = LANES / 4",
    ),
    Fault("a lane is missing in the mask", _K + "warp.cuh", "ALL_LANES = 0xffffffffu", "ALL_LANES = 0x7fffffffu"),
    Fault(
        "no barrier before a sum over warps",
        _K + "warp.cuh",
        "scratch[warp] = x;\n    __syncthreads();\n    T sum",
        "scratch[warp] = x;\n    T sum",
    ),
    Fault(
        "no barrier after a sum over warps",
        _K + "warp.cuh",
        "sum += scratch[other];\n    __syncthreads();",
        "sum += scratch[other];",
    ),
    Fault(
        "a block's barrier in place of a warp's",
        _K + "warp.cuh",
        "__syncwarp();\n    else",
        "__syncthreads();\n    else",
    ),
    Fault(
        "triangles without their last entries",
        _K + "storage.cuh",
        "N_INPUTS * (N_INPUTS + 1) / 2 :",
        "N_INPUTS * N_INPUTS / 2 :",
    ),
    Fault(
        "rows begin one row too early", _K + "storage.cuh", "PACKED ? i * (i + 1) / 2 :", "PACKED ? i * (i - 1) / 2 :"
    ),
    Fault(
        "half is cut off, not rounded", _K + "storage.cuh", "(bits + 0xfffu + ((bits >> 13) & 1u)) >> 13", "bits >> 13"
    ),
    Fault(
        "the sign of the pending updates",
        _K + "rls_event.cu",
        "s.factor[j] = -g_pending[j] * s_k",
        "s.factor[j] = g_pending[j] * s_k",
    ),
    Fault("too little shared memory", _K + "rls_event.cu", "short column[N_INPUTS];", "short column[N_INPUTS / 2];"),
    Fault("no end of the neurons", _K + "rls_event.cu", "    if (c >= N) return;", "    if (c >= N + NEURONS) return;"),
    Fault(
        "an index of P in 32 bits",
        _K + "rls_event.cu",
        "const Stored *P = P_all + c * ENTRIES",
        "const Stored *P = P_all + (int)c * ENTRIES",
    ),
    Fault(
        "a fold beyond the row",
        _K + "rls_fold.cu",
        "column < row_length(i + r) ? factor",
        "column <= row_length(i + r) ? factor",
    ),
    Fault(
        "a fold without its first pair",
        _K + "rls_fold.cu",
        "for (int j = 0; j < pending; ++j) {\n        const Wide root",
        "for (int j = 1; j < pending; ++j) {\n        const Wide root",
    ),
    Fault(
        "spikes are counted without atomics",
        _K + "deliver.cu",
        "atomicAdd(&arrived[c], j < EXCITATORY ? 1u : 65536u)",
        "arrived[c] += j < EXCITATORY ? 1u : 65536u",
    ),
    Fault("an index of targets in 32 bits", _K + "deliver.cu", "(long long)j * STATIC_EACH", "j * STATIC_EACH"),
    Fault("a neuron too many", _K + "step.cu", "    if (c < N) {\n        // 2.", "    if (c <= N) {\n        // 2."),
    Fault(
        "a refractory period too short", _K + "step.cu", "i - last > REFRACTORY_STEPS", "i - last >= REFRACTORY_STEPS"
    ),
    Fault(
        "the counter of this step is cleared",
        _K + "step.cu",
        "out.spiked_count[(i + 1) & 1] = 0",
        "out.spiked_count[i & 1] = 0",
    ),
    Fault(
        "a place too far in the list",
        _K + "step.cu",
        "out.spiked[place + __popc(who & ((1u << lane) - 1))]",
        "out.spiked[place + __popc(who & ((2u << lane) - 1))]",
    ),
    Fault("what arrived stays", _K + "step.cu", "            if (arrived) arriving.arrived[c] = 0;\n", ""),
    Fault("r decays a step too long", _K + "filter.cuh", "(double)(i - last - 1)", "(double)(i - last)"),
    Fault("a table without a barrier", _K + "connect.cu", "found = 0;\n    __syncthreads();", "found = 0;"),
    Fault("a place without an atomic", _K + "connect.cu", "values[atomicAdd(&found, 1)]", "values[found++]"),
    Fault("nine rounds of Philox", _K + "streams.cuh", "round < 10", "round < 9"),
    Fault("x of the last update is not kept", _K + "inputs.cu", "        r_before[j] = x;\n", ""),
    Fault(
        "sums in steps of 2^-20",
        _K + "fixed_point.cuh",
        "rint((double)weight * 0x1p40)",
        "rint((double)weight * 0x1p20)",
    ),
)

HOST_FAULTS: Final = (
    Fault(
        "a Python int for an unsigned",
        _H + "simulation.py",
        "*(np.uint32(key) for key in key_from_seed(p.seed))",
        "*key_from_seed(p.seed)",
    ),
    Fault("a Python float for a float", _H + "updates.py", "self.storage.encoding.wide.type(self.a)", "self.a"),
    Fault(
        "u_bal and f swapped",
        _H + "updates.py",
        "s.sources, signal, s.state.u_bal, f, self.benchmark",
        "s.sources, signal, f, s.state.u_bal, self.benchmark",
    ),
    Fault("k and g swapped", _H + "updates.py", "Pending(self.k, self.g, ", "Pending(self.g, self.k, "),
    Fault("a block too few", _H + "device.py", "-(-threads // BLOCK)", "threads // BLOCK"),
    Fault(
        "block of another shape",
        _H + "updates.py",
        "return 32 * self.warps, self.neurons",
        "return self.neurons, 32 * self.warps",
    ),
    Fault(
        "another type of counts",
        _H + "arrays.py",
        '("last", "spiked", "counts")',
        '("last", "spiked")), *(state(name, N, np.int64) for name in ("counts",)',
    ),
    Fault(
        "arrays not zeroed",
        _H + "device.py",
        "return self._cupy.zeros(shape, dtype)",
        "return self._cupy.empty(shape, dtype)",
    ),
    Fault("a counter not zeroed", _H + "simulation.py", "            self.spikes.kept_count.fill(0)\n", ""),
    Fault("q and g of the trial before", _H + "updates.py", "        self.q_g.fill(0)\n", ""),
    Fault("not on its own stream", _H + "device.py", "with self._device, self.stream:", "with self._device:"),
    Fault(
        "read without waiting",
        _H + "device.py",
        "array.get(stream=self.stream)",
        "array.get(stream=self._cupy.cuda.Stream(non_blocking=True))",
    ),
    Fault(
        "NumPy of a device array",
        _H + "simulation.py",
        "self.device.take(self.spikes.counts)",
        "np.asarray(self.spikes.counts)",
    ),
    Fault(
        "an array in a graph",
        _H + "simulation.py",
        "        for _ in range(steps):\n            step()\n",
        "        self.device.zeros(1, self.dtype)\n        for _ in range(steps):\n            step()\n",
    ),
    Fault(
        "waiting in a graph",
        _H + "simulation.py",
        "        for _ in range(steps):\n            step()\n",
        "        for _ in range(steps):\n            self.device.synchronize()\n            step()\n",
    ),
    Fault(
        "a list of spikes with space for one",
        _H + "arrays.py",
        '("last", "spiked", "counts")',
        '("last", "counts")), *(state(name, 1, np.int32) for name in ("spiked",)',
    ),
    Fault(
        "P without its pending updates",
        _H + "trainer.py",
        "        self.update.settle()\n",
        "        pass\n",
    ),
    Fault(
        "rows of another neuron",
        _H + "storage.py",
        "self.device.put(self.values[first:last], stored",
        "self.device.put(self.values[first:last], stored[::-1].copy()",
    ),
    Fault(
        "blocks that leave the last updates of the trainer in which they are put",
        _H + "trainer.py",
        "        self.update.forget()\n",
        "",
    ),
    Fault(
        "units of other neurons in a block",
        _H + "storage.py",
        "self.device.take(self.unit[first:last])",
        "self.device.take(self.unit[: last - first])",
    ),
)


def trials() -> Iterator[tuple[str, str]]:
    """Run checks until one fails: what failed and why, for the backend that is imported."""
    from rlsbench.backend import Options
    from rlsbench.conformance import Subject, Validity, run_check
    from rlsbench_cupy import BACKEND as backend
    from tests.emulator import emulated_cupy, indices, matrix, rounding
    from tests.emulator.device import machine

    def subject(
        algorithm: str, precision: str = "float64", p_precision: str = "float64", storage: str = "packed"
    ) -> Subject:
        return Subject(backend, Options(precision, p_precision, storage, 2, "cuda:0", algorithm))

    plain, event, half = subject("plain"), subject("event"), subject("plain", "float32", "float16")
    replayed = "a replayed trial matches the reference: "
    free = "a free run of 50 ms matches the reference spike for spike: "
    first = [
        (event, replayed + "plain"),
        (event, free + "plain"),
        (plain, replayed + "plain"),
        (plain, "one RLS update matches the reference for random P, x, w, u_bal and f"),
        (subject("event", "float32", "float32"), replayed + "plain"),
    ]
    blocks = "blocks are an exact round trip in either storage, and training continues from them"
    then = [
        (event, blocks),
        (subject("event", "float32", "int16"), blocks),
        (event, "state and restore are a round trip in either storage, and training continues from it"),
        (plain, replayed + "benchmark mode"),
        (event, replayed + "benchmark mode"),
        (event, replayed + "everything"),
        (event, free + "voltage noise"),
        (event, "a trial is reproducible, and differs from another trial"),
    ]

    def of_the_suite(pairs: list[tuple[Subject, str]]) -> Iterator[tuple[str, str]]:
        for on, name in pairs:
            outcome = run_check(name, on)
            if outcome.validity is Validity.FAILED:
                yield f"{name} ({on})", outcome.reason

    with emulated_cupy():
        yield from of_the_suite(first)
    with emulated_cupy() as cupy:
        machine().device_bytes = 2**44
        for name, check in indices.CHECKS.items():
            yield from _failure(f"the last neurons of a huge network: {name}", partial(check, cupy))
    with emulated_cupy():
        yield from _failure("rounding to float16", lambda: rounding.check_rounding(half))
        yield from _failure("recorded spikes at any time", lambda: matrix.check_recorded_at_any_time(event))
        yield from _failure("a trial after a trial", lambda: matrix.check_trial_after_trial(event))
        yield from of_the_suite(then)
        # Several warps work on a neuron in the plain form and when folding; then in the event form
        # as well.
        for subjects, n in (((event, plain), 33), ((event,), 130)):
            for _, outcome in matrix.check_sizes(subjects, [n], [replayed + "plain"]):
                if outcome.validity is Validity.FAILED:
                    yield f"n = {n}: {outcome.check} ({outcome.configuration})", outcome.reason


def _failure(name: str, check: Callable[[], None]) -> Iterator[tuple[str, str]]:
    try:
        check()
    except Exception as error:  # what a faulty kernel does is not known
        yield name, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def faulty_copy(fault: Fault | None, folder: Path) -> None:
    """Put a copy of the backend into a folder, with a fault or none."""
    package = folder / "rlsbench_cupy"
    shutil.copytree(BACKEND, package, ignore=shutil.ignore_patterns("__pycache__"))
    if fault is not None:
        file = package / fault.file
        text = file.read_text(encoding="utf-8")
        count = text.count(fault.text)
        if count != 1:
            raise ValueError(f"{fault.name}: its text stands {count} times in {fault.file}")
        file.write_text(text.replace(fault.text, fault.instead), encoding="utf-8")


def run(fault: Fault | None) -> tuple[str, str] | None:
    """What detects a fault, as (check, reason), or None."""
    with tempfile.TemporaryDirectory() as folder:
        faulty_copy(fault, Path(folder))
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([folder, str(ROOT)]), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "tests.emulator", "first-failure"]
        try:
            done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            return "time", f"it had not ended after {SECONDS} s"
    if done.returncode not in (0, 3):
        return "crash", " ".join(done.stderr.split())[-300:]
    check, _, reason = done.stdout.partition("\t")
    return (check, reason.strip()) if done.returncode else None


def run_all(faults: Sequence[Fault], workers: int) -> Iterator[tuple[Fault, tuple[str, str] | None]]:
    """What catches each of some faults, several at a time."""
    with ThreadPoolExecutor(workers) as pool:
        yield from zip(faults, pool.map(run, faults), strict=True)


def first_failure() -> int:
    """Print what fails first; exit status 3, or 0 where nothing does."""
    for check, reason in trials():
        print(check, reason, sep="\t")
        return 3
    return 0
