"""Estimates: memory by array, the choice of precision and storage by memory, and time."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlsbench import capacity, load_experiment
from rlsbench.backend import (
    ArraySpec,
    Backend,
    Capabilities,
    Lifetime,
    Options,
    Sizes,
    get_backend,
    registered_backend,
    registry,
)
from rlsbench.capacity import fitting_options, needed_bytes
from rlsbench.cli import main
from rlsbench.configuration import Experiment
from rlsbench.errors import (
    ConfigurationError,
    RecordingError,
    UnavailableBackendError,
    UnknownBackendError,
    UnsupportedError,
)
from rlsbench.estimate import estimate
from rlsbench.precision import PRECISIONS
from rlsbench.ranks import Planned
from rlsbench.spread import Links, exchange_seconds

N = 10_000


def experiment(**numerics: Any) -> Experiment:
    overrides = {f"numerics.{name}": value for name, value in numerics.items()}
    return load_experiment("sinusoid", overrides={"network.neurons": N} | overrides)


class Sized(Backend):
    """Declares sizes only: 1,000 or 600 numbers of P and 400 other bytes for each neuron."""

    name = "sized"
    description = "sizes only"
    capabilities = Capabilities(
        p_precisions=("float32", "float64", "int16", "float16"), storages=("full", "packed"), features=frozenset()
    )

    def unavailable(self) -> str | None:
        return "it has no kernels"

    def trainer(self, problem: Any, options: Any) -> Any:
        raise AssertionError("nothing is allocated")

    def arrays(self, sizes: Sizes, options: Options) -> list[ArraySpec]:
        entries = 1000 if options.storage == "full" else 600
        where = "host" if options.device == "cpu" else "device"
        stored = PRECISIONS[options.p_precision].stored
        return [
            ArraySpec.of("P", (sizes.N, entries), stored, Lifetime.LEARNING, placement=where),
            ArraySpec.of("rest", (sizes.N, 400), np.uint8, placement=where),
        ]


BACKEND: Backend = Sized()
BESIDE = sum(needed_bytes(BACKEND, experiment(), registry.resolve_options(BACKEND, experiment().numerics)).values())
BESIDE -= N * 4000  # what is there beside P


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set the free memory so that P may take a number of bytes per neuron."""

    def have(per_neuron: float) -> None:
        amount = int((BESIDE + N * per_neuron) / 0.95) + 1
        monkeypatch.setattr(capacity, "available_bytes", lambda: amount)

    return have


@pytest.mark.parametrize(
    ("per_neuron", "asked", "chosen"),
    [
        (4000, {}, ("float32", "full")),
        (3999, {}, ("float32", "packed")),
        (2400, {}, ("float32", "packed")),
        (2399, {}, ("int16", "full")),  # the first of 16 bits that the backend names
        (1999, {}, ("int16", "packed")),
        (1200, {}, ("int16", "packed")),
        (10, {}, ("int16", "packed")),  # nothing fits: the smallest
        (2000, {"storage": "full"}, ("int16", "full")),
        (10, {"storage": "full"}, ("int16", "full")),
        (2000, {"p_precision": "float32"}, ("float32", "packed")),
        (2000, {"p_precision": "float16"}, ("float16", "full")),
        (1500, {"p_precision": "float16"}, ("float16", "packed")),
        (10, {"precision": "float64"}, ("float64", "packed")),  # 16 bits go with float32
        (10, {"p_precision": "float32", "storage": "full"}, ("float32", "full")),  # what was asked for stays
    ],
)
def test_what_was_left_open_follows_memory(
    per_neuron: float, asked: dict[str, str], chosen: tuple[str, str], free: Callable[[float], None]
) -> None:
    free(per_neuron)
    options, notes = fitting_options(BACKEND, experiment(**asked))
    assert (options.p_precision, options.storage) == chosen
    fits = capacity.fits(needed_bytes(BACKEND, experiment(**asked), options), capacity.available_bytes())
    assert bool(notes) == (fits and "p_precision" not in asked and chosen[0] == "int16")


def test_narrower_numbers_are_explained(free: Callable[[float], None]) -> None:
    free(1999)
    _, (note,) = fitting_options(BACKEND, experiment())
    for value in ("int16", "packed", "float32", "GiB"):
        assert value in note


@pytest.mark.parametrize("name", ["numpy-packed", "numba"])
def test_memory_and_time_of_an_available_backend(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["rlsbench.estimate"], "SMALL", 1000)
    e = load_experiment("sinusoid", overrides={"network.neurons": 20_000, "network.K": 20, "network.L": 4})
    found = estimate(e, get_backend(name))
    needed = needed_bytes(get_backend(name), e, found.options)  # by now, kernels have been compiled
    assert {n: b for n, b in found.bytes.items() if not n.startswith("kernels")} == needed
    assert found.total_bytes == sum(found.bytes.values())
    assert found.timed_neurons == 1000
    assert found.seconds is not None
    assert found.simulation_seconds is not None
    assert found.seconds == found.simulation_seconds + (found.rls_seconds or 0)
    assert 0.05 < found.seconds < 1000  # from a small network, on a busy machine
    assert found.why_no_time is None


def test_without_time_nothing_is_trained() -> None:
    packed_only = Sized()
    packed_only.capabilities = replace(Sized.capabilities, storages=("packed",))
    found = estimate(experiment(), packed_only, time=False)
    assert found.seconds is None
    assert found.options.storage == "packed"


def test_backend_that_cannot_be_used_has_memory_and_a_time_by_count() -> None:
    """Each of 100 updates reads and writes a 90 x 90 P in float32 at the given bandwidth."""
    found = estimate(experiment(), BACKEND, bandwidth=1e9)
    assert found.bytes["P"] == N * 4000
    assert found.why_no_time == "it has no kernels"
    assert found.timed_neurons == 0
    assert found.rls_seconds == pytest.approx(100 * N * (2 * 90 * 90 + 3 * 90) * 4 / 1e9)
    assert found.simulation_seconds == pytest.approx(20_000 * N * 8 * 4 / 1e9)
    assert estimate(experiment(), BACKEND, time=False).seconds is None


class Elsewhere(Sized):
    """Runs on a device that this machine lacks."""

    capabilities = replace(Sized.capabilities, devices=("cuda",))

    def unusable(self, options: Any) -> str | None:
        raise AssertionError("its library is not there to be asked")

    def free_bytes(self, options: Any) -> int:
        raise AssertionError("its library is not there to be asked")


def test_a_device_that_is_not_here_is_not_asked(free: Callable[[float], None]) -> None:
    free(10)  # what this machine has is not what the device has
    e = load_experiment("sinusoid", overrides={"network.neurons": 10**6})
    found = estimate(e, Elsewhere())
    assert found.free_bytes is None
    assert (found.options.p_precision, found.options.storage) == ("float32", "full")
    assert found.seconds == pytest.approx(10**6 * (100 * (2 * 8100 + 270) * 4 + 20_000 * 32) / 1000e9)


def test_registered_backends_need_not_be_usable(
    install: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], refused: Any
) -> None:
    points = {"sized": "estimate_sized:BACKEND", "broken": "estimate_nothing:BACKEND"}
    code = "from tests.test_estimate import BACKEND\n"
    monkeypatch.syspath_prepend(install("sizes", "1", points, estimate_sized=code))
    assert registered_backend("sized").unavailable() == "it has no kernels"
    with refused(UnknownBackendError, "abacus", "sized"):
        registered_backend("abacus")
    with refused(UnavailableBackendError, "broken", "estimate_nothing"):
        registered_backend("broken")
    main(["estimate", "--preset", "sinusoid", "--backend", "sized", "--neurons", "1e9", "--no-time"])
    out = capsys.readouterr().out
    assert re.search(r"^1,000,000,000 neurons\b.*\bsized\b.*\bint16\b.*\bpacked\b", out, re.M)
    assert re.search("^rest +372.5 GiB", out, re.M)
    assert re.search(r"\bnot fit\b", out)
    assert re.search(r"^--p-precision float32 +--storage full .* --neurons \d+$", out, re.M)
    main(["estimate", "--preset", "sinusoid", "--backend", "sized", "--neurons", "1e4"])
    out = capsys.readouterr().out
    assert not re.search(r"\bnot fit\b", out)
    assert "MiB" in out
    assert "at least " in out
    for value in ("20 GB/s", "--bandwidth", "it has no kernels"):
        assert value in out
    assert re.search(r"\bdisk\b.* weights.npy 3.4 MiB", out)


def test_command_says_memory_and_time(capsys: pytest.CaptureFixture[str]) -> None:
    main(["estimate", "--backend", "numpy-packed", "--neurons", "400"])
    out = capsys.readouterr().out
    assert re.search(r"^400 neurons\b.*\bnumpy-packed\b.*\bfloat32\b.*\bpacked\b", out, re.M)
    assert re.search(r"[\d.]+ s\b.*\bsimulation\b.*[\d.]+.* 400 neurons", out)


def test_a_recording_is_read_for_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Any) -> None:
    np.save(tmp_path / "rates.npy", np.ones((30, 40)))
    settings = {"targets.kind": "recording", "recording.files": [str(tmp_path / "rates.npy")]}
    settings |= {"recording.time_axis": "rows", "targets.untrained": 10}
    found = estimate(load_experiment("mouse", overrides=settings), get_backend("numpy-packed"), time=False)
    e = found.experiment
    assert (e.network.neurons, e.plastic_inputs, e.time.train_duration_ms) == (50, 50, 600.0)
    assert found.bytes["P"] == needed_bytes(get_backend("numpy-packed"), e, found.options)["P"]
    assert any("50 plastic inputs" in note for note in found.notes)
    monkeypatch.setenv("RLSBENCH_DATA_DIR", str(tmp_path))  # where nothing is fetched
    found = estimate(load_experiment("alm"), get_backend("numpy-packed"), time=False)
    assert found.experiment.network.neurons == 1824
    assert "rlsbench data fetch alm" in found.notes[0]
    with refused(RecordingError, "none.npy"):
        files = {"recording.files": ["none.npy"]}
        estimate(load_experiment("alm", overrides=files), get_backend("numpy-packed"), time=False)


# Several ranks


class Spreadable(Sized):
    """Can be spread, and has an array of all neurons."""

    capabilities = replace(Sized.capabilities, features=frozenset({"neuron:lif", "ranks"}))

    def arrays(self, sizes: Sizes, options: Options) -> list[ArraySpec]:
        return [*super().arrays(sizes, options), ArraySpec.of("of all", sizes.everyone, np.int64)]


@settings(max_examples=30, deadline=None)
@given(size=st.integers(2, 40), here=st.integers(1, 3), neurons=st.sampled_from([10_240, 10**6, 10**8]))
def test_memory_of_ranks_is_that_of_their_neurons(size: int, here: int, neurons: int) -> None:
    """Nothing of this size is allocated: 10^8 neurons would take 440 GB."""
    e = load_experiment("sinusoid", overrides={"network.neurons": neurons})
    ranks = Planned(size, min(size, here))
    found = estimate(e, Spreadable(), time=False, ranks=ranks, free=10**15)
    spread, widths = found.spread, np.diff(ranks.bounds(neurons))
    assert spread is not None
    assert spread.neurons == widths.max()
    assert spread.others["P"] == widths[1:].max() * 4000
    assert found.bytes["P"] == widths[0] * 4000
    assert found.bytes["of all"] == spread.others["of all"] == neurons * 8
    assert found.node_bytes == found.total_bytes + (ranks.here - 1) * sum(spread.others.values())
    whole = spread.all_bytes(found.total_bytes)
    assert whole == found.total_bytes + (size - 1) * sum(spread.others.values())
    assert whole >= neurons * 4400 + size * neurons * 8


@given(
    size=st.integers(2, 10**4),
    spikes=st.floats(0.0, 1e6),
    latency=st.floats(1e-7, 1e-3),
    bandwidth=st.floats(1e8, 1e12),
)
def test_an_exchange_takes_no_less_than_its_rounds_and_its_bytes(
    size: int, spikes: float, latency: float, bandwidth: float
) -> None:
    links, ranks = Links(latency, bandwidth), Planned(size)
    found = exchange_seconds(ranks, links, 4 * spikes)
    rounds = 0
    while 2**rounds < size:  # known ranks double in a round
        rounds += 1
    assert found == pytest.approx(rounds * latency + 4 * spikes * (size - 1) / size / bandwidth)
    assert found <= exchange_seconds(Planned(size, 2), links, 4 * spikes)  # which share the link


def test_time_of_ranks_by_count() -> None:
    """Two of four ranks share the memory and the link of a node."""
    e, links = experiment(), Links(1e-6, 1e9)
    found = estimate(e, Spreadable(), bandwidth=1e9, ranks=Planned(4, 2), links=links, rate_hz=10.0)
    spread, steps = found.spread, 20_000
    assert spread is not None
    assert (spread.neurons, spread.spikes, spread.bytes) == (2560, pytest.approx(10.0), pytest.approx(40.0))
    exchange = steps * (2 * 1e-6 + 2 * 40 * 3 / 4 / 1e9)
    assert spread.exchange_seconds == spread.floor_seconds == pytest.approx(exchange)
    assert found.rls_seconds == pytest.approx(2 * 2560 * 100 * (2 * 8100 + 270) * 4 / 1e9)
    assert found.simulation_seconds == pytest.approx(2 * 2560 * steps * 32 / 1e9)
    assert found.seconds == pytest.approx(sum(found.parts.values()))


def test_time_of_ranks_is_that_of_their_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that this machine lacks share the work, but not the bandwidth of a node."""
    monkeypatch.setattr(sys.modules["rlsbench.estimate"], "SMALL", 1000)
    backend, settings_ = get_backend("numba"), {"network.neurons": 20_000, "network.K": 20, "network.L": 4}

    def of(threads: int, bandwidth: float) -> Any:
        e = load_experiment("sinusoid", overrides=settings_ | {"numerics.threads": threads})
        return estimate(e, backend, ranks=Planned(2), bandwidth=bandwidth)

    few, many, narrow = of(1, 1e15), of(1000, 1e15), of(1000, 1e6)
    assert few.timed_neurons == many.timed_neurons == 1000
    assert many.options.threads == 1000
    assert 0 < 50 * many.rls_seconds < few.rls_seconds
    assert narrow.rls_seconds > few.rls_seconds
    assert few.spread.others_seconds == pytest.approx(many.spread.others_seconds, rel=0.5)  # each looks at all spikes
    assert few.spread.floor_seconds < few.spread.exchange_seconds


def test_threads_share_the_spikes_of_other_ranks() -> None:
    def seconds(threads: int) -> float:
        e = load_experiment("sinusoid", overrides={"network.neurons": 10**8, "numerics.threads": threads})
        spread = estimate(e, get_backend("numba"), time=False, ranks=Planned(64), free=10**15).spread
        assert spread is not None
        return spread.others_seconds

    assert seconds(1) / 30 < seconds(40) < seconds(20) / 1.8 < seconds(1) / 10


@pytest.mark.parametrize(
    ("backend", "ranks", "error", "named"),
    [
        (BACKEND, (2,), UnsupportedError, ["sized", "ranks"]),
        (Spreadable(), (41,), ConfigurationError, ["41", "10000", "40"]),
        (Spreadable(), (2, 3), ConfigurationError, ["3", "2"]),
    ],
)
def test_ranks_that_a_run_would_refuse(
    backend: Backend, ranks: Any, error: Any, named: list[str], refused: Any
) -> None:
    e = load_experiment("sinusoid", overrides={"network.neurons": N})
    with refused(error, *named):
        estimate(e, backend, time=False, ranks=Planned(*ranks))


def test_command_plans_ranks(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["estimate", "--preset", "sinusoid", "--backend", "numba", "--neurons", "1e8", "--no-time"]
    main([*command, "--ranks", "64", "--threads", "48", "--node-memory", "256GB"])
    out = capsys.readouterr().out
    assert re.search(r"^64 ranks on 64 nodes\b.* 1,562,624 neurons", out, re.M)
    assert re.search(r"^total +[\d.]+ GiB +[\d.]+ GiB", out, re.M)
    assert "238.4 GiB are free: it fits" in out
    with pytest.raises(SystemExit) as caught:
        main([*command, "--latency-us", "3"])
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert all(part in err for part in ("--latency-us", "3", "--ranks"))
