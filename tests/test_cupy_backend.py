"""The backend `cupy` beyond the conformance suite: what it says of itself, what it holds, and that it repeats itself.

Kernels run through the emulator. What needs none runs anywhere.
"""

from __future__ import annotations

import ctypes
import importlib.util
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
from rlsbench.backend import DeviceLimits, KernelCost, Options, SumsCurrents, pack
from rlsbench.capacity.assumed import assumed_device
from rlsbench.cli import main
from rlsbench.conformance.subjects import problem, variant_problem
from rlsbench.training.learned_current import LearnedCurrent
from rlsbench.training.trial import run_trial
from rlsbench_cupy import BACKEND, backend, connectivity, simulation
from rlsbench_cupy.compiling import FOLDER, MODULES, options_of, source
from rlsbench_cupy.costs import DEVICES, kernel_costs, memory_bytes
from rlsbench_cupy.profiling import kernel_times
from rlsbench_cupy.storage import STORED, Storage
from tests import emulator
from tests.emulator import Mode, emulated_cupy

OPTIONS = Options("float32", "float32", "packed", 1, "cuda:0", "event")
emulated = pytest.mark.skipif(emulator.missing() is not None, reason=str(emulator.missing()))


# What it says of itself


@pytest.fixture
def without_cupy(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """CuPy is neither loaded nor found."""
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    found = importlib.util.find_spec
    monkeypatch.setattr(backend, "find_spec", lambda name: None if name == "cupy" else found(name))
    return monkeypatch


def test_it_says_that_cupy_is_missing(without_cupy: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    without_cupy.setattr(ctypes, "CDLL", lambda name: object())
    with pytest.raises(SystemExit) as ended:
        main(["run", "--backend", "cupy"])
    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 1
    assert "CuPy is not installed; pip install" in line
    assert "available here: " in line
    assert "numpy-packed" in line.split("available here: ")[1]


@pytest.mark.parametrize("installed", [True, False])
def test_it_says_that_the_driver_is_missing(
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
    assert "no CUDA driver (" in line
    assert ("pip install cupy-cuda12x" in line) is not installed
    assert "numpy-packed" in line.split("available here: ")[1]


def test_backends_say_that_no_gpu_has_run_it(capsys: pytest.CaptureFixture[str]) -> None:
    main(["backends"])
    assert "cupy: emulated, not yet run on a GPU" in capsys.readouterr().out


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


def test_options_are_macros() -> None:
    assert options_of({"A": True, "B": 0.1, "C": None, "D": "float"}) == (
        "-std=c++17",
        "-DA=1",
        "-DB=0.1",
        "-DC",
        "-DD=float",
    )


# What it holds and moves, by count


@pytest.mark.parametrize(
    ("neurons", "p_precision", "most"),
    [(10**6, "float32", 30e9), (4 * 10**6, "int16", 80e9), (4 * 10**6, "float16", 80e9)],
)
def test_published_sizes_fit(neurons: int, p_precision: str, most: float) -> None:
    e = load_experiment("sinusoid", overrides={"network.neurons": neurons})
    assert sum(memory_bytes(e, replace(OPTIONS, p_precision=p_precision)).values()) < most


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
    said = capsys.readouterr().out
    assert "74.5 GiB are free: it fits" in said
    assert all(device.name in said for device in DEVICES)
    assert "Lower bounds, not measurements" in said
    assert "48 s for 1,000,000 neurons on an NVIDIA A100 80 GB" in said
    main([*command, "--storage", "packed", "--device-memory", "16GiB"])
    assert "it does not fit" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--backend", "cupy", "--device-memory", "many"], 2, "is not a size; write 80GB"),
        (["--backend", "cupy", "--device-memory", "0"], 2, "is not a size; write 80GB"),
        (["--backend", "numpy-full", "--device-memory", "1GB"], 2, "has no device of its own"),
    ],
)
def test_estimate_refuses(arguments: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["estimate", *arguments])
    assert ended.value.code == status
    assert said in capsys.readouterr().err


def test_assumed_device_is_the_backend_with_other_memory() -> None:
    device: Any = assumed_device(BACKEND, 12)
    assert (device.name, device.free_bytes(OPTIONS), device.unavailable()) == ("cupy", 12, None)


# How P is stored


@given(
    st.sampled_from(sorted(STORED)),
    st.booleans(),
    arrays(np.float64, (2, 5, 5), elements=st.floats(-1, 1)).map(lambda a: a @ a.transpose(0, 2, 1) + 0.1 * np.eye(5)),
)
def test_storage_rounds_once(precision: str, packed: bool, P: Any) -> None:
    s = Storage(5, "packed" if packed else "full", precision)
    stored, unit = s.to_stored(P.astype(s.wide))
    assert stored.dtype == STORED[precision]
    wide = s.to_wide(stored, unit)
    again, same = s.to_stored(wide)
    assert np.array_equal(s.to_wide(again, same), wide)
    relative = {"float64": 0, "float32": 0, "float16": 2**-11, "bfloat16": 2**-8, "int16": 0}[precision]
    absolute = unit[:, None] / 2 if precision == "int16" else 2.0**-25
    flat = pack(P.astype(s.wide)) if packed else P.astype(s.wide).reshape(2, -1)
    assert (np.abs(wide.reshape(2, -1) - flat) <= relative * np.abs(flat) + absolute).all()


# What it does, through the emulator


@pytest.fixture
def cupy() -> Iterator[Any]:
    with emulated_cupy() as module:
        yield module


@emulated
def test_synapses_are_those_of_the_host(cupy: Any) -> None:
    p: Any = variant_problem("plain")
    drawn: Any = BACKEND.trainer(replace(p, targets=None), OPTIONS)
    sources = p.plastic.sources(p.seed)
    assert np.array_equal(drawn.simulation.targets.get(), p.static.targets(p.seed))
    assert np.array_equal(drawn.simulation.sources.get(), sources)
    wanted, got = p.plastic.outputs(sources), drawn.simulation.outputs
    assert np.array_equal(got.start.get(), wanted.start)
    pre = np.repeat(np.arange(p.neurons), np.diff(wanted.start))
    assert set(zip(pre, got.post.get(), got.column.get(), strict=True)) == set(
        zip(pre, wanted.post, wanted.column, strict=True)
    )


@emulated
def test_what_it_holds_is_what_it_counts() -> None:
    size = {"network.neurons": 500, "network.K": 20, "network.L": 20}
    p = problem(**size)
    with emulated_cupy(Mode(checked=False)) as cupy:
        trainer = BACKEND.trainer(p, OPTIONS)
        held = cupy.get_default_memory_pool().used_bytes()
        assert trainer.problem is p
        del trainer
    counted = memory_bytes(load_experiment("smoke", overrides=size), OPTIONS)
    counted["targets"] = p.clock.bins * p.neurons * 4  # of another clock
    counted["learned current"] = 0  # not yet
    counted["recorded spikes"] = 8 * simulation.KEPT_AT_LEAST
    assert held == pytest.approx(
        sum(counted.values()), rel=0.005, abs=512 * 40
    )  # each array is rounded up to 512 bytes


@emulated
def test_learned_current_is_the_same_added_up_where_it_is(cupy: Any) -> None:
    p: Any = variant_problem("plain")
    sums = []
    for summing in (True, False):
        trainer = BACKEND.trainer(p, OPTIONS)
        assert isinstance(trainer, SumsCurrents)
        learned: Any = LearnedCurrent(p.clock, p.neurons, 4.0, plastic_only=False, dtype="float32")
        sampler = learned if summing else _Beside(learned)
        run_trial(trainer, 1, sampler=sampler)
        sums.append((learned.sums, learned.counts))
    assert np.array_equal(sums[0][1], sums[1][1])
    np.testing.assert_allclose(sums[0][0], sums[1][0], rtol=1e-5, atol=1e-5)
    assert np.abs(sums[0][0]).max() > 0.1


class _Beside:
    """A sampler that the core does not know, so that the currents are copied to it."""

    def __init__(self, learned: LearnedCurrent) -> None:
        self.learned, self.after = learned, learned.after
        self.sample = learned.sample


@emulated
@pytest.mark.parametrize("schedule", ["backward", "random"])
def test_a_trial_has_the_same_bits_in_any_order(schedule: Any) -> None:
    p: Any = variant_problem("plain")
    results = []
    for mode in (Mode(checked=False), Mode(checked=False, schedule=schedule, seed=5)):
        with emulated_cupy(mode):
            trainer = BACKEND.trainer(p, OPTIONS)
            record = run_trial(trainer, 1, record=np.arange(p.neurons))
            results.append((*trainer.state(), record.spikes.neuron, *trainer.currents()))
    for one, other in zip(*results, strict=True):
        assert np.array_equal(one, other)


@emulated
def test_second_device_and_none_beyond(cupy: Any) -> None:
    assert BACKEND.unusable(OPTIONS) is None
    for device in ("cuda:2", "cuda:x", "cpu"):
        reason = BACKEND.unusable(replace(OPTIONS, device=device))
        assert reason == f"there is no {device} here; there are cuda:0, cuda:1"
    p: Any = variant_problem("plain")
    first, second = (BACKEND.trainer(p, replace(OPTIONS, device=device)) for device in ("cuda:0", "cuda:1"))
    assert second.simulation.v.data.device_id == 1  # type: ignore[attr-defined]
    for trainer in (first, second):
        trainer.advance(1, 30)
    assert all(np.array_equal(a, b) for a, b in zip(first.currents(), second.currents(), strict=True))


@emulated
def test_synapses_drawn_on_the_host_are_the_same(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    p: Any = variant_problem("plain")
    monkeypatch.setattr(connectivity, "DRAWN_AT_MOST", 0)
    monkeypatch.setattr(connectivity, "RANGE_BYTES", 1000)  # several ranges
    drawn: Any = BACKEND.trainer(replace(p, targets=None), OPTIONS)
    assert np.array_equal(drawn.simulation.targets.get(), p.static.targets(p.seed))
    assert np.array_equal(drawn.simulation.sources.get(), p.plastic.sources(p.seed))


@emulated
def test_recorded_spikes_are_fetched_before_there_is_no_room(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    p: Any = variant_problem("plain")
    spikes = []
    for room in (simulation.KEPT_AT_LEAST, 1):
        monkeypatch.setattr(simulation, "KEPT_AT_LEAST", room)
        trainer = BACKEND.trainer(p, OPTIONS)
        spikes.append(run_trial(trainer, 1, learn=False, record=np.arange(p.neurons)).spikes)
    assert len(spikes[0].step) > 0
    assert all(np.array_equal(a, b) for a, b in zip(*spikes, strict=True))


@emulated
@pytest.mark.parametrize("weight", [1e9, -1e9, np.nan, np.inf])
def test_a_weight_beyond_all_bounds_shows_in_the_current(weight: float, cupy: Any) -> None:
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
def test_graphs_hold_the_same_launches(cupy: Any) -> None:
    p: Any = variant_problem("plain")
    results = []
    for capture in (True, False):
        trainer: Any = BACKEND.trainer(p, OPTIONS)
        trainer.simulation.capture = capture
        for trial in (1, 2):
            run_trial(trainer, trial)
        assert bool(trainer.simulation.graphs) is capture
        results.append((*trainer.state(), *trainer.currents()))
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
