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
from collections.abc import Callable, Iterator, Mapping, Sequence
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


def _faults(of: Mapping[str, Sequence[tuple[str, str, str]]]) -> tuple[Fault, ...]:
    """From file to name, text and what takes its place."""
    return tuple(Fault(name, file, text, instead) for file, faults in of.items() for name, text, instead in faults)


KERNEL_FAULTS: Final = _faults(
    {
        "kernels/diagonal.cu": (
            (
                "the diagonal of the first neurons, whichever are asked for",
                "c = first + e / N_INPUTS",
                "c = e / N_INPUTS",
            ),
        ),
        "kernels/rls_plain.cu": (
            ("no barrier between k = P x and its use", "    neuron_sync<WARPS>();\n\n    // (2)", "\n    // (2)"),
            ("no barrier between k and P - g k k'", "s.k[i] *= root;\n    neuron_sync<WARPS>();", "s.k[i] *= root;"),
            ("the diagonal counts twice", "PACKED && j < i", "PACKED && j <= i"),
            ("P + g k k'", " - k_i * s.k[j])", " + k_i * s.k[j])"),
            ("rows of a triangle as long as n", "if (j < length) P[row + j]", "if (j < n) P[row + j]"),
            ("no barrier between P and its use", "load(P[at]);\n    neuron_sync<WARPS>();", "load(P[at]);"),
            ("w changes in benchmark mode", "    if (!frozen)\n", "    if (true)\n"),
            ("w - g^2 e k", "(REAL)root * e * (REAL)s.k[i]", "(REAL)(root * root) * e * (REAL)s.k[i]"),
        ),
        "kernels/warp.cuh": (
            (
                "a sum of half a warp",
                "T warp_sum(T x) {\n    for (int o = LANES / 2",
                "T warp_sum(T x) {\n    for (int o = LANES / 4",
            ),
            ("a lane is missing in the mask", "ALL_LANES = 0xffffffffu", "ALL_LANES = 0x7fffffffu"),
            (
                "no barrier before a sum over warps",
                "scratch[warp] = x;\n    __syncthreads();\n    T sum",
                "scratch[warp] = x;\n    T sum",
            ),
            (
                "no barrier after a sum over warps",
                "sum += scratch[other];\n    __syncthreads();",
                "sum += scratch[other];",
            ),
            ("a block's barrier in place of a warp's", "__syncwarp();\n    else", "__syncthreads();\n    else"),
        ),
        "kernels/storage.cuh": (
            ("triangles without their last entries", "N_INPUTS * (N_INPUTS + 1) / 2 :", "N_INPUTS * N_INPUTS / 2 :"),
            ("rows begin one row too early", "PACKED ? i * (i + 1) / 2 :", "PACKED ? i * (i - 1) / 2 :"),
            ("half is cut off, not rounded", "(bits + 0xfffu + ((bits >> 13) & 1u)) >> 13", "bits >> 13"),
        ),
        "kernels/rls_event.cu": (
            (
                "the sign of the pending updates",
                "s.factor[j] = -g_pending[j] * s_k",
                "s.factor[j] = g_pending[j] * s_k",
            ),
            ("too little shared memory", "short column[N_INPUTS];", "short column[N_INPUTS / 2];"),
            ("no end of the neurons", "    if (c >= N) return;", "    if (c >= N + NEURONS) return;"),
            (
                "an index of P in 32 bits",
                "const Stored *P = P_all + c * ENTRIES",
                "const Stored *P = P_all + (int)c * ENTRIES",
            ),
        ),
        "kernels/rls_fold.cu": (
            ("a fold beyond the row", "column < row_length(i + r) ? factor", "column <= row_length(i + r) ? factor"),
            (
                "a fold without its first pair",
                "for (int j = 0; j < pending; ++j) {\n        const Wide root",
                "for (int j = 1; j < pending; ++j) {\n        const Wide root",
            ),
        ),
        "kernels/deliver.cu": (
            (
                "spikes are counted without atomics",
                "atomicAdd(&arrived[c[b]], excitatory(j) ? 1u : 65536u)",
                "arrived[c[b]] += excitatory(j) ? 1u : 65536u",
            ),
            ("an index of targets in 32 bits", "(long long)j * STATIC_EACH", "j * STATIC_EACH"),
            ("targets beyond the row", "k < each ? targets[row + k] : -1", "targets[row + k]"),
        ),
        "kernels/step.cu": (
            ("a neuron too many", "    if (c < N) {\n        // Norm", "    if (c <= N) {\n        // Norm"),
            (
                "a refractory period too short",
                "if (i - last > REFRACTORY_STEPS) {\n                v +=",
                "if (i - last >= REFRACTORY_STEPS) {\n                v +=",
            ),
            ("the counter of this step is cleared", "out.spiked_count[(i + 1) & 1] = 0", "out.spiked_count[i & 1] = 0"),
            (
                "a place too far in the list",
                "out.spiked[place + __popc(who & ((1u << lane) - 1))]",
                "out.spiked[place + __popc(who & ((2u << lane) - 1))]",
            ),
            ("what arrived stays", "            if (arrived) arriving.arrived[c] = 0;\n", ""),
        ),
        "kernels/filter.cuh": (("r decays a step too long", "(double)(i - last - 1)", "(double)(i - last)"),),
        "kernels/connect.cu": (
            ("a table without a barrier", "found = 0;\n    __syncthreads();", "found = 0;"),
            ("a place without an atomic", "values[atomicAdd(&found, 1)]", "values[found++]"),
        ),
        "kernels/streams.cuh": (("nine rounds of Philox", "round < 10", "round < 9"),),
        "kernels/inputs.cu": (("x of the last update is not kept", "        r_before[j] = x;\n", ""),),
        "kernels/fixed_point.cuh": (
            ("sums in steps of 2^-20", "rint((double)weight * 0x1p40)", "rint((double)weight * 0x1p20)"),
        ),
    }
)

HOST_FAULTS: Final = _faults(
    {
        "simulation.py": (
            (
                "a Python int for an unsigned",
                "*(np.uint32(key) for key in key_from_seed(p.seed))",
                "*key_from_seed(p.seed)",
            ),
            ("a counter not zeroed", "            self.spikes.kept_count.fill(0)\n", ""),
            ("NumPy of a device array", "self.device.take(self.spikes.counts)", "np.asarray(self.spikes.counts)"),
            (
                "an array in a graph",
                "        for _ in range(steps):\n            step()\n",
                "        self.device.zeros(1, self.dtype)\n        for _ in range(steps):\n            step()\n",
            ),
            (
                "waiting in a graph",
                "        for _ in range(steps):\n            step()\n",
                "        for _ in range(steps):\n            self.device.synchronize()\n            step()\n",
            ),
        ),
        "updates.py": (
            ("a Python float for a float", "self.storage.encoding.wide.type(self.a)", "self.a"),
            (
                "u_bal and f swapped",
                "s.sources, signal, s.state.u_bal, f, self.benchmark",
                "s.sources, signal, f, s.state.u_bal, self.benchmark",
            ),
            ("k and g swapped", "Pending(self.k, self.g, ", "Pending(self.g, self.k, "),
            ("block of another shape", "return 32 * self.warps, self.neurons", "return self.neurons, 32 * self.warps"),
            ("q and g of the trial before", "        self.q_g.fill(0)\n", ""),
        ),
        "device.py": (
            ("a block too few", "-(-threads // BLOCK)", "threads // BLOCK"),
            ("arrays not zeroed", "return self._cupy.zeros(shape, dtype)", "return self._cupy.empty(shape, dtype)"),
            ("not on its own stream", "with self._device, self.stream:", "with self._device:"),
            (
                "read without waiting",
                "array.get(stream=self.stream)",
                "array.get(stream=self._cupy.cuda.Stream(non_blocking=True))",
            ),
        ),
        "arrays.py": (
            (
                "another type of counts",
                'state("counts", N, np.int32)',
                'state("counts", N, np.int64)',
            ),
            (
                "a list of spikes with space for one",
                'state("spikes", 2 + everyone, np.int32)',
                'state("spikes", 2 + 1, np.int32)',
            ),
        ),
        "trainer.py": (
            ("P without its pending updates", "        self.update.settle()\n", "        pass\n"),
            (
                "blocks that leave the last updates of the trainer in which they are put",
                "        self.update.forget()\n",
                "",
            ),
        ),
        "storage.py": (
            (
                "rows of another neuron",
                "self.device.put(self.values[first:last], stored",
                "self.device.put(self.values[first:last], stored[::-1].copy()",
            ),
            (
                "units of other neurons in a block",
                "self.device.take(self.unit[first:last])",
                "self.device.take(self.unit[: last - first])",
            ),
        ),
    }
)

RANK_FAULTS: Final = _faults(
    {
        "kernels/deliver.cu": (
            ("r stays as it was", "if (SPREAD && threadIdx.x == 0)", "if (false)"),
            ("the static targets of another neuron", "SPREAD ? static_rows[2ll * j] :", "SPREAD ? static_rows[0] :"),
        ),
        "kernels/begin.cu": (("voltages of the first rank", "number_of(c, origin), 0, trial", "c, 0, trial"),),
        "kernels/step.cu": (
            ("noise of the first rank", "normal<NORMAL>(j, i, trial", "normal<NORMAL>(c, i, trial"),
            ("a stimulus of the first rank", "normal<NORMAL>(j, i - STIM", "normal<NORMAL>(c, i - STIM"),
            ("recorded spikes of the first rank", "out.kept[2 * place + 1] = j", "out.kept[2 * place + 1] = c"),
        ),
        "exchange.py": (
            ("spikes of other ranks are not heard", "self.ranks.gather(found[2:last])", "found[2:last]"),
            ("all counts are those of even steps", "found[self.step % 2], found[2:] =", "found[0], found[2:] ="),
        ),
        "simulation.py": (
            ("r of the trial before", "            self.state.r.fill(0)\n", ""),
            ("spikes of the trial before", "            self.state.last.fill(NEVER)\n", ""),
        ),
        "synapses.py": (
            ("inputs of the first rank", "inhibitory, offset=L, first=origin", "inhibitory, offset=L"),
            ("targets counted from the first neuron", "edges.index - np.int32(own.start)", "edges.index"),
        ),
        "trainer.py": (("an external current of the first rank", "current[self.own]", "current[: self.neurons]"),),
    }
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

    ranks = "a network on 1 to 4 ranks is that of one process, bit by bit: everything"
    with emulated_cupy():
        yield from of_the_suite([*first, (event, ranks)])
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
