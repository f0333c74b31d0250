"""The backends `cupy` and `cupy-float32` beyond the conformance suite.

Availability, costs, storage, repeatability, normals in float32.

Kernels run in the emulator; tests that launch none run anywhere.
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rlsbench import load_experiment
from rlsbench.backend import DeviceLimits, Kept, KernelCost, Options, Sizes, Trainer
from rlsbench.capacity import assumed_device
from rlsbench.cli import main
from rlsbench.conformance import Subject, Validity, run_check
from rlsbench.conformance.subjects import problem, variant_problem
from rlsbench.estimate import estimate
from rlsbench.precision import PRECISIONS, pack
from rlsbench.ranks import Planned
from rlsbench.training.learned_current import LearnedCurrent
from rlsbench.training.trial import run_trial
from rlsbench_cupy import BACKEND, FLOAT32, backend, groups, simulation, synapses, tuning
from rlsbench_cupy.arrays import declare
from rlsbench_cupy.compiling import FOLDER, MODULES, options_of, source
from rlsbench_cupy.costs import DEVICES, kernel_costs
from rlsbench_cupy.profiling import kernel_times
from rlsbench_cupy.storage import Encoding
from tests import emulator
from tests.emulator import Mode, emulated_cupy

OPTIONS = Options("float32", "float32", "packed", 1, "cuda:0", "event")
emulated = pytest.mark.skipif(emulator.missing() is not None, reason=str(emulator.missing()))


# Availability


@pytest.fixture
def without_cupy(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """CuPy is neither loaded nor found."""
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    found = importlib.util.find_spec
    monkeypatch.setattr(backend, "find_spec", lambda name: None if name == "cupy" else found(name))
    return monkeypatch


def test_missing_cupy_is_reported(without_cupy: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    without_cupy.setattr(ctypes, "CDLL", lambda name: object())
    with pytest.raises(SystemExit) as ended:
        main(["run", "--backend", "cupy"])
    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 1
    assert "pip install cupy-cuda12x" in line
    assert "numpy-packed" in line  # which is available


@pytest.mark.parametrize("installed", [True, False])
def test_missing_driver_is_reported(
    installed: bool, without_cupy: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if installed:
        without_cupy.setattr(backend, "find_spec", lambda name: object())

    def no_driver(name: str) -> None:
        raise OSError(name)

    without_cupy.setattr(ctypes, "CDLL", no_driver)
    with pytest.raises(SystemExit) as ended:
        main(["run", "--backend", "cupy"])
    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 1
    assert "driver" in line
    assert ("pip install cupy-cuda12x" in line) is not installed
    assert "numpy-packed" in line


def test_caveat_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["backends"])
    assert BACKEND.capabilities.caveat in capsys.readouterr().out


# Its source


@pytest.mark.parametrize("module", MODULES)
def test_source_is_whole_and_has_each_file_once(module: str) -> None:
    text = source(*MODULES[module])
    assert '#include "' not in text
    for file in FOLDER.iterdir():
        assert text.count(f'#line 1 "{file.name}"') <= 1
    assert all(f'#line 1 "{name}"' in text for name in MODULES[module])


def test_every_kernel_file_is_used() -> None:
    text = "".join(source(*files) for files in MODULES.values())
    assert {f.name for f in FOLDER.iterdir() if f'#line 1 "{f.name}"' not in text} == set()


@pytest.mark.parametrize("name", [name for name, group in vars(groups).items() if hasattr(group, "_fields")])
def test_groups_have_the_same_members_in_kernels_and_on_the_host(name: str) -> None:
    text = "".join((FOLDER / file).read_text() for file in ("groups.cuh", "rls_groups.cuh"))
    (declared,) = re.findall(rf"#define {name.upper()}_PARAMETERS((?:.*\\\n)*.*)", text)
    members = re.findall(r"(\w+)(?:,|\s*$)", declared.replace("\\\n", " "))
    assert tuple(members) == getattr(groups, name)._fields


def test_options_are_macros() -> None:
    assert options_of({"A": True, "B": 0.1, "C": None, "D": "float"}) == (
        "-std=c++17",
        "-DA=1",
        "-DB=0.1",
        "-DC",
        "-DD=float",
    )


# Memory and costs, by count


@pytest.mark.parametrize(
    ("neurons", "p_precision", "most"),
    [(10**6, "float32", 30e9), (4 * 10**6, "int16", 80e9), (4 * 10**6, "float16", 80e9)],
)
def test_published_sizes_fit(neurons: int, p_precision: str, most: float) -> None:
    e = load_experiment("sinusoid", overrides={"network.neurons": neurons})
    arrays = declare(Sizes.of_experiment(e), replace(OPTIONS, p_precision=p_precision))
    assert sum(array.bytes for array in arrays) < most


def test_floor_is_the_longer_of_moving_and_computing() -> None:
    device = DeviceLimits("d", 100.0, 10.0, 50.0)
    assert device.floor_seconds(KernelCost("k", 200.0, 10.0, 1)) == 2.0
    assert device.floor_seconds(KernelCost("k", 200.0, 40.0, 1)) == 4.0
    assert device.floor_seconds(KernelCost("k", 200.0, 10.0, 1, working_set=50.0)) == 1.0


@pytest.mark.parametrize(("storage", "entries"), [("packed", 4095), ("full", 8100)])
def test_plain_update_reads_and_writes_p_once(storage: str, entries: int) -> None:
    e = load_experiment("sinusoid", overrides={"network.neurons": 2000})
    costs = {c.kernel: c for c in kernel_costs(e, replace(OPTIONS, storage=storage, algorithm="plain"), 5.5)}
    of_P = 100 * 2000 * 2 * 4 * entries
    assert of_P < costs["learn_plain"].bytes < 1.1 * of_P
    assert costs["step"].launches == costs["deliver"].launches == 20_000


def test_event_form_moves_less_than_half() -> None:
    e = load_experiment("sinusoid", overrides={"network.neurons": 10**6})
    moved = {
        form: sum(c.bytes for c in kernel_costs(e, replace(OPTIONS, algorithm=form), 5.5) if c.kernel in kernels)
        for form, kernels in (("plain", ["learn_plain"]), ("event", ["learn_event", "fold"]))
    }
    assert 3.2e12 < moved["plain"] < 3.5e12  # 3.3 TB, as the published storage moves
    assert moved["event"] < moved["plain"] / 2


def test_estimate_of_a_device_that_is_not_here(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["estimate", "--preset", "sinusoid", "--backend", "cupy", "--neurons", "1e6"]
    main([*command, "--storage", "packed", "--device-memory", "80GB"])
    output = capsys.readouterr().out
    assert "74.5 GiB" in output
    assert "does not fit" not in output
    assert all(device.name in output for device in DEVICES)
    assert "1,000,000" in output  # the published figure
    main([*command, "--storage", "packed", "--device-memory", "16GiB"])
    assert "does not fit" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--backend", "cupy", "--device-memory", "many"], "many"),
        (["--backend", "cupy", "--device-memory", "0"], "80GB"),
        (["--backend", "numpy-full", "--device-memory", "1GB"], "numpy-full"),
    ],
)
def test_estimate_refuses(arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["estimate", *arguments])
    assert ended.value.code == 2
    assert named in capsys.readouterr().err


@pytest.mark.parametrize(("size", "here"), [(2, 1), (8, 4)])
def test_memory_of_ranks_is_that_of_a_device_each(size: int, here: int) -> None:
    e = load_experiment("sinusoid", overrides={"network.neurons": 10**6})
    found = estimate(e, assumed_device(BACKEND, 10**11), time=False, ranks=Planned(size, here))
    declared = declare(Sizes.of_experiment(e, Planned(size)), found.options)
    beside = {"learned current"}
    assert sum(n for name, n in found.bytes.items() if name not in beside) == sum(spec.bytes for spec in declared)
    assert found.spread is not None
    assert (found.free_bytes, found.node_bytes) == (10**11, sum(found.spread.others.values()))
    of_neurons = sum(spec.bytes for spec in declare(Sizes.of_experiment(e), found.options)) / size
    assert of_neurons < sum(spec.bytes for spec in declared) < of_neurons + 45 * 10**6


def test_memory_of_a_node_is_not_that_of_its_devices(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["estimate", "--backend", "cupy", "--ranks", "2", "--node-memory", "256GB"])
    assert ended.value.code == 2
    errors = capsys.readouterr().err
    assert all(part in errors for part in ("--node-memory", "cupy", "--device-memory"))


def test_assumed_device_is_the_backend_with_other_memory() -> None:
    device: Any = assumed_device(BACKEND, 12)
    assert (device.name, device.free_bytes(OPTIONS), device.unavailable()) == ("cupy", 12, None)


# Storage of P


@given(
    st.sampled_from(sorted(PRECISIONS)),
    st.booleans(),
    arrays(np.float64, (2, 5, 5), elements=st.floats(-1, 1)).map(lambda a: a @ a.transpose(0, 2, 1) + 0.1 * np.eye(5)),
)
def test_storage_rounds_once(precision: str, packed: bool, P: Any) -> None:
    encoding = Encoding(5, "packed" if packed else "full", precision)

    def decoded(stored: Any, unit: Any) -> Any:
        assert stored.dtype == PRECISIONS[precision].stored
        return Kept(stored.reshape(2, *encoding.shape), precision, unit).widened()

    stored, unit = encoding.encode(P.astype(encoding.wide))
    wide = decoded(stored, unit)
    assert np.array_equal(decoded(*encoding.encode(wide)), wide)
    relative = {"float64": 0, "float32": 0, "float16": 2**-11, "bfloat16": 2**-8, "int16": 0}[precision]
    absolute = unit[:, None] / 2 if precision == "int16" else 2.0**-25
    flat = pack(P.astype(encoding.wide)) if packed else P.astype(encoding.wide).reshape(2, -1)
    assert (np.abs(wide.reshape(2, -1) - flat) <= relative * np.abs(flat) + absolute).all()


# In the emulator


@pytest.fixture
def cupy() -> Iterator[Any]:
    with emulated_cupy() as module:
        yield module


@emulated
def test_synapses_are_those_of_the_host(cupy: Any) -> None:
    p: Any = variant_problem("plain")
    drawn: Any = BACKEND.trainer(replace(p, targets=None), OPTIONS)
    sources = p.plastic.sources(p.seed)
    assert np.array_equal(drawn.simulation.synapses.targets.get(), p.static.targets(p.seed))
    assert np.array_equal(drawn.simulation.sources.get(), sources)
    wanted, got = p.plastic.outputs(sources), drawn.simulation.synapses
    assert np.array_equal(got.start.get(), wanted.start)
    pre = np.repeat(np.arange(p.neurons), np.diff(wanted.start))
    assert set(zip(pre, got.post.get(), got.column.get(), strict=True)) == set(
        zip(pre, wanted.post, wanted.column, strict=True)
    )


@emulated
def test_declared_arrays_are_those_that_are_allocated() -> None:
    size = {"network.neurons": 500, "network.K": 20, "network.L": 20}
    p = problem(**size)
    with emulated_cupy(Mode(checked=False)) as cupy:
        trainer = BACKEND.trainer(p, OPTIONS)
        held = cupy.get_default_memory_pool().used_bytes()
        assert trainer.problem is p
        del trainer
    declared = [-(-array.bytes // 512) * 512 for array in declare(Sizes.of_problem(p), OPTIONS)]
    assert sum(declared) <= held <= sum(declared) + 10 * 512  # allocations are multiples of 512 bytes


@emulated
def test_currents_are_summed_on_the_device_as_on_the_host(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    p: Any = variant_problem("plain")
    found = []
    for on_device in (True, False):
        trainer = BACKEND.trainer(p, OPTIONS)
        if not on_device:
            for name in ("clear_sums", "add_currents", "current_sums"):
                monkeypatch.setattr(type(trainer), name, getattr(Trainer, name))
        learned: Any = LearnedCurrent(p.clock, p.neurons, 4.0, plastic_only=False, dtype="float32")
        run_trial(trainer, 1, sampler=learned)
        found.append((learned.sums, learned.counts))
    (sums, counts), (host_sums, host_counts) = found
    assert np.array_equal(counts, host_counts)
    np.testing.assert_allclose(sums, host_sums, rtol=1e-5, atol=1e-5)
    assert np.abs(sums).max() > 0.1


@emulated
@pytest.mark.parametrize("schedule", ["backward", "random"])
def test_a_trial_has_the_same_bits_in_any_order(schedule: Any) -> None:
    p: Any = variant_problem("plain")
    results = []
    for mode in (Mode(checked=False), Mode(checked=False, schedule=schedule, seed=5)):
        with emulated_cupy(mode):
            trainer = BACKEND.trainer(p, OPTIONS)
            record = run_trial(trainer, 1, record=np.arange(p.neurons))
            results.append((trainer.state().w, trainer.state().P, record.spikes.neuron, *trainer.currents()))
    for one, other in zip(*results, strict=True):
        assert np.array_equal(one, other)


@emulated
def test_second_device_and_none_beyond(cupy: Any) -> None:
    assert BACKEND.unusable(OPTIONS) is None
    for device in ("cuda:2", "cuda:x", "cpu"):
        reason = BACKEND.unusable(replace(OPTIONS, device=device))
        assert device in str(reason)
        assert "cuda:0, cuda:1" in str(reason)
    p: Any = variant_problem("plain")
    first, second = (BACKEND.trainer(p, replace(OPTIONS, device=device)) for device in ("cuda:0", "cuda:1"))
    assert second.simulation.state.v.data.device_id == 1  # type: ignore[attr-defined]
    for trainer in (first, second):
        trainer.advance(1, 30)
    assert all(np.array_equal(a, b) for a, b in zip(first.currents(), second.currents(), strict=True))


@emulated
def test_synapses_drawn_on_the_host_are_the_same(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    p: Any = variant_problem("plain")
    monkeypatch.setattr(synapses, "DRAWN_AT_MOST", 0)
    monkeypatch.setattr(synapses, "COPIED_BYTES", 1000)  # several ranges
    drawn: Any = BACKEND.trainer(replace(p, targets=None), OPTIONS)
    assert np.array_equal(drawn.simulation.synapses.targets.get(), p.static.targets(p.seed))
    assert np.array_equal(drawn.simulation.sources.get(), p.plastic.sources(p.seed))


@emulated
def test_recorded_spikes_are_fetched_before_the_buffer_is_full(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    p: Any = variant_problem("plain")
    spikes = []
    for capacity in (simulation.SPIKES_KEPT, 1):
        monkeypatch.setattr(simulation, "SPIKES_KEPT", capacity)
        trainer = BACKEND.trainer(p, OPTIONS)
        spikes.append(run_trial(trainer, 1, learn=False, record=np.arange(p.neurons)).spikes)
    assert len(spikes[0].step) > 0
    assert all(np.array_equal(a, b) for a, b in zip(*spikes, strict=True))


@emulated
@pytest.mark.parametrize("weight", [1e9, -1e9, np.nan, np.inf])
def test_a_weight_out_of_range_makes_the_current_nan(weight: float, cupy: Any) -> None:
    p: Any = variant_problem("plain")
    w = np.full((p.neurons, p.n), 0.1)
    w[3] = weight
    given = replace(p, targets=None, plastic=replace(p.plastic, own_weights=w))
    trainer = BACKEND.trainer(given, OPTIONS)
    trainer.begin_trial(1, 0, np.empty(0, np.int64))
    trainer.advance(1, p.clock.steps)
    u_P = trainer.currents()[1]
    assert np.isnan(u_P[3])
    assert np.isfinite(np.delete(u_P, 3)).all()


@emulated
def test_delivery_does_not_depend_on_the_threads_of_a_spike(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    p: Any = variant_problem("plain")
    assert p.static.outputs == 16  # three threads read eight targets each, of which two thirds are there
    found = []
    for threads in (tuning.DELIVERING_THREADS, 3, 1):
        monkeypatch.setattr(tuning, "DELIVERING_THREADS", threads)
        trainer = BACKEND.trainer(p, OPTIONS)
        trainer.advance(1, 120)
        assert trainer.spike_counts().any()
        found.append((*trainer.currents(), trainer.voltages()))
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], other, strict=True))


@emulated
def test_graphs_hold_the_same_launches(cupy: Any) -> None:
    p: Any = variant_problem("plain")
    results = []
    for capture in (True, False):
        trainer: Any = BACKEND.trainer(p, OPTIONS)
        trainer.simulation.capture = capture
        for trial in (1, 2):
            run_trial(trainer, trial)
        assert bool(trainer.simulation.graphs) is capture
        results.append((trainer.state().w, trainer.state().P, *trainer.currents()))
    assert all(np.array_equal(a, b) for a, b in zip(*results, strict=True))


@emulated
def test_kernel_times_cover_every_launch_and_leave_the_trainer_as_it_was(cupy: Any) -> None:
    p: Any = variant_problem("plain")
    trainer: Any = BACKEND.trainer(p, OPTIONS)
    kernels = dict(trainer.simulation.kernels)
    times = {t.kernel: t for t in kernel_times(trainer, lambda: run_trial(trainer, 1))}
    assert {name: times[name].launches for name in ("begin", "step", "deliver", "learn_event")} == {
        "begin": 1,
        "step": p.clock.steps,
        "deliver": p.clock.steps,
        "learn_event": p.clock.bins,
    }
    assert all(t.milliseconds >= 0 for t in times.values())
    assert trainer.simulation.kernels == kernels
    assert trainer.simulation.capture


# Normals in float32

PROBE = """
extern "C" __global__ void probe(int count, const unsigned *u, const unsigned *v, double *exact, float *fast) {
    for (int i = threadIdx.x; i < count; i += blockDim.x)
        for (int sine = 0; sine < 2; ++sine) {
            exact[2 * i + sine] = box_muller<double>(u[i], v[i], sine);
            fast[2 * i + sine] = box_muller<float>(u[i], v[i], sine);
        }
}
"""


def words_of_all_kinds(count: int) -> tuple[Any, Any]:
    """Pairs of words: any, close to 0 and to 1, where series change, and single ones."""
    rng, edge = np.random.default_rng(0), 2.0**32
    small = 2.0 ** rng.uniform(0, 32, count)
    u = [rng.uniform(0, edge, count), small, edge - 1 - small, edge / 2**0.5 + rng.integers(-99, 99, count)]
    v = [rng.uniform(0, edge, 3 * count), rng.integers(0, 8, count) * edge / 8 + rng.integers(-99, 99, count)]
    single = np.array([0, 1, 2**23, 2**24 + 1, 2**29, 2**30, 2**31 - 1, 2**31, 3 * 2**30, 2**32 - 2, 2**32 - 1])
    pairs = np.meshgrid(single, single)
    found = (np.concatenate([*a, b.ravel()]) for a, b in zip((u, v), pairs, strict=True))
    first, second = (np.clip(word, 0, edge - 1).astype(np.uint64).astype(np.uint32) for word in found)
    return first, second


@emulated
def test_normals_in_float32_are_within_a_millionth() -> None:
    u, v = words_of_all_kinds(20_000)
    with emulated_cupy(Mode(checked=False)) as cupy:
        kernel = cupy.RawModule(code=source("streams.cuh") + PROBE, options=("-std=c++17",)).get_function("probe")
        exact, fast = cupy.empty((len(u), 2), np.float64), cupy.empty((len(u), 2), np.float32)
        kernel((1,), (32,), (np.int32(len(u)), cupy.array(u), cupy.array(v), exact, fast))
        exact, fast = exact.get(), fast.get()
    radius, angle = np.sqrt(-2 * np.log((u + 0.5) / 2**32)), 2 * np.pi * ((v + 0.5) / 2**32)
    np.testing.assert_allclose(exact, (radius * [np.cos(angle), np.sin(angle)]).T, rtol=0, atol=2e-14)
    difference = np.abs(fast - exact)
    assert np.abs(exact).max() > 6.7
    assert 0 < difference.max() < 1e-6


@emulated
@pytest.mark.parametrize(
    "check",
    [
        "precision and storage are as requested",
        "a replayed trial matches the reference: everything",
        "a replayed trial matches the reference: current noise",
    ],
)
def test_the_backend_with_normals_in_float32_conforms(check: str, cupy: Any) -> None:
    outcome = run_check(check, Subject(FLOAT32, replace(OPTIONS, storage="full")))
    assert outcome.validity is Validity.PASSED, outcome.reason


@emulated
def test_normals_in_float32_change_little_and_have_the_same_bits_in_any_order() -> None:
    p: Any = variant_problem("voltage noise")
    found = []
    for chosen, schedule in ((BACKEND, "forward"), (FLOAT32, "forward"), (FLOAT32, "backward")):
        with emulated_cupy(Mode(checked=False, schedule=schedule)):
            trainer: Any = chosen.trainer(p, OPTIONS)
            trainer.advance(1, 60)
            found.append(trainer.voltages())
    exact, fast, backward = found
    assert np.array_equal(fast, backward)
    assert 0 < np.abs(fast - exact).max() < 1e-5


def test_normals_in_float32_need_float32() -> None:
    assert FLOAT32.capabilities.precisions == ("float32",)
    assert "float64" in BACKEND.capabilities.precisions
