"""Shared by the tests: the command line in a separate process, and temporary distributions."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from rlsbench import Training
    from rlsbench.backend import Backend

COMMAND = "from rlsbench.cli import main; main()"
# Real recordings and samples of formats, which are not in the repository.
DATA = Path(os.environ.get("RLSBENCH_TEST_DATA", Path(__file__).resolve().parents[1].parent / "shared" / "data"))

# Tests run side by side, so a thread that spins while it waits takes the time of another test. Each
# is read when its library is loaded: workers of pytest-xdist and subprocesses inherit it.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")  # 2^4 cycles
os.environ.setdefault("GOMP_SPINCOUNT", "0")

# The smoke preset cut down to 70 neurons and 50 ms, at a rate that gives each neuron some spikes.
TINY: dict[str, Any] = {
    "network.neurons": 70,
    "network.K": 8,
    "network.L": 6,
    "external.scale": 0.4,
    "stimulus.on_ms": 4.0,
    "stimulus.off_ms": 10.0,
    "time.learn_every_ms": 2.0,
    "time.train_duration_ms": 40.0,
    "targets.period_ms": 40.0,
    "training.average_from_ms": 0.0,
    "training.window_ms": 4.0,
    "training.iterations": 2,
}

# Size of the long proofs of the marker `endurance`: 1 for the whole.
ENDURANCE = float(os.environ.get("RLSBENCH_ENDURANCE", "1"))

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
Refused = Callable[..., "AbstractContextManager[pytest.ExceptionInfo[BaseException]]"]
Install = Callable[..., Path]


@lru_cache
def usable(name: str) -> Backend:
    """The backend of that name; a test is skipped without it, and fails where it is required."""
    from rlsbench.backend import backend_entries

    entry = {entry.name: entry for entry in backend_entries()}[name]
    if entry.backend is None or entry.reason is not None:
        required = name in os.environ.get("RLSBENCH_REQUIRE_BACKENDS", "").split()
        (pytest.fail if required else pytest.skip)(f"backend {name} cannot be used: {entry.reason}")
    assert entry.backend is not None
    return entry.backend


def status(*arguments: object) -> int:
    """Exit status of the command line, in this process."""
    from rlsbench.cli import main

    try:
        main([str(argument) for argument in arguments])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture
def data() -> Path:
    """Folder of real recordings and format samples."""
    if not (DATA / "nwb").is_dir():
        pytest.skip(f"no recordings in {DATA}")
    return DATA


@pytest.fixture(scope="session")
def tiny() -> dict[str, Any]:
    """Overrides that make any run of the smoke preset take a fraction of a second."""
    return dict(TINY)


@pytest.fixture(scope="session")
def tiny_options() -> list[str]:
    """The same for the command line."""
    return [part for key, value in TINY.items() for part in ("--set", f"{key}={value}")]


@pytest.fixture
def make(tiny: dict[str, Any]) -> Callable[..., Training]:
    """A tiny network, ready to be trained: make("numba", **overrides)."""
    from rlsbench import load_experiment, prepare

    def prepared(backend: str = "numpy-packed", **overrides: Any) -> Training:
        return prepare(load_experiment("smoke", overrides=tiny | {"training.iterations": 5} | overrides), backend)

    return prepared


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in this process draw nothing, which takes most of the time of a tiny run."""
    monkeypatch.setattr("rlsbench.report.figures.save_summary", lambda training, folder: folder)


@pytest.fixture(scope="session")
def refused() -> Refused:
    """Expect an error of a kind whose message names keys and values, in whatever words.

    with refused(ConfigurationError, "network.K", -1): ...
    """

    @contextmanager
    def refusal(kind: type[BaseException], *named: object) -> Iterator[pytest.ExceptionInfo[BaseException]]:
        with pytest.raises(kind) as caught:
            yield caught
        message = str(caught.value)
        missing = [str(part) for part in named if str(part) not in message]
        assert not missing, f"not named: {missing}; the message: {message}"

    return refusal


@pytest.fixture
def page_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The neuron model that docs/neurons.md writes, as it is named in a configuration."""
    page = (Path(__file__).resolve().parents[1] / "docs" / "neurons.md").read_text(encoding="utf-8")
    text = page.partition("%%writefile quadratic.py\n")[2].partition("```")[0]
    name = f"quadratic_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return f"{name}:Quadratic"


@pytest.fixture(scope="session")
def cli() -> Cli:
    """The command line in a new process: cli("run", "--backend", "numba", path=[folder])."""

    def run(
        *arguments: str,
        path: list[Path] | tuple[()] = (),
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        code: str = COMMAND,
        timeout: float = 300,
    ) -> subprocess.CompletedProcess[str]:
        search = os.pathsep.join([*map(str, path), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = os.environ | {"PYTHONPATH": search, "COLUMNS": "240", "NO_COLOR": "1"} | (env or {})
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Install a distribution into a folder that a test may put on the path; returns the folder.

    install("example", "1.0", {"backend-name": "module:OBJECT"}, module="source text")
    """

    def make(name: str, version: str, entry_points: Mapping[str, str], **modules: str) -> Path:
        folder = tmp_path / "site"
        information = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        information.mkdir(parents=True)
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = [f"{key} = {value}\n" for key, value in entry_points.items()]
        (information / "entry_points.txt").write_text("".join(["[rlsbench.backends]\n", *lines]))
        for module, source in modules.items():
            (folder / f"{module}.py").write_text(source)
        return folder

    return make


@pytest.fixture
def during(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], object]], None]:
    """Do something in the middle of a trial: during(3, action)."""

    def arrange(trial: int, action: Callable[[], object]) -> None:
        from rlsbench_numpy.trainer import NumpyTrainer

        original = NumpyTrainer.learn

        def learn(self: Any, bin: int) -> None:
            if self.simulation.trial == trial and bin == 10 and self.problem.neurons == 70:
                action()
            original(self, bin)

        monkeypatch.setattr(NumpyTrainer, "learn", learn)

    return arrange


@pytest.fixture
def tree() -> Callable[[Path], dict[str, bytes | None]]:
    """Every file below a folder with its content, and every folder with None."""

    def of(folder: Path) -> dict[str, bytes | None]:
        found = sorted(folder.rglob("*"))
        return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in found}

    return of


@pytest.fixture
def make_nwb(tmp_path: Path) -> Callable[..., Path]:
    """Write an NWB file in the layout of DANDI:000363: 6 units, 8 trials of 4.9 s, 5 s apart.

    make_nwb({"units/classification": None, "units/quality": [...]}) omits, replaces or adds data.
    Trials start at 1, 6, 11, ... s, with the go cue 3.2 s later; units fire in trials only.
    """

    def make(changes: Mapping[str, Any] | None = None, name: str = "made.nwb") -> Path:
        import h5py

        random = np.random.default_rng(5)
        units, trials = 6, 8
        start = 1.0 + 5.0 * np.arange(trials)
        stop = start + 4.9
        spikes = [
            np.sort(np.concatenate([s + 4.9 * random.random(random.poisson(4.9 * rate)) for s in start]))
            for rate in (4, 12, 30, 8, 20, 2)
        ]
        ends = np.cumsum([len(times) for times in spikes])
        intervals = np.tile(np.stack([start, stop], axis=1), (units, 1))
        regions = [f'{{"brain_regions": "{region}"}}' for region in ("left ALM", "right Striatum")]
        table: dict[str, Any] = {
            "session_start_time": "2019-01-01T00:00:00+00:00",
            "units/id": np.arange(10, 10 + units),
            "units/spike_times": np.concatenate(spikes),
            "units/spike_times_index": ends.astype(np.uint16),
            "units/classification": ["good", "good", "unlabelled", "good", "good", "good"],
            "units/anno_name": ["MOs5", "MOs5", "", "MOs6a", "CP", "CP"],
            "units/electrodes": np.array([0, 0, 1, 0, 1, 1]),
            "units/electrodes_index": np.arange(1, units + 1, dtype=np.uint8),
            "units/is_good_trials": np.ones((units, trials), dtype=bool),
            "units/obs_intervals": intervals,
            "units/obs_intervals_index": (trials * np.arange(1, units + 1)).astype(np.uint8),
            "general/extracellular_ephys/electrodes/location": regions,
            "intervals/trials/id": np.arange(trials),
            "intervals/trials/start_time": start,
            "intervals/trials/stop_time": stop,
            "intervals/trials/trial_instruction": ["left", "right"] * 4,
            "intervals/trials/outcome": ["hit", "hit", "miss", "hit", "ignore", "hit", "hit", "hit"],
            "intervals/trials/photostim_onset": ["N/A", "N/A", "N/A", "2.7", "N/A", "N/A", "N/A", "2.7"],
            "intervals/trials/go_time": start + 3.2,
            "acquisition/BehavioralEvents/go_start_times/timestamps": start + 3.2,
            "acquisition/BehavioralEvents/go_start_times/data": np.ones(trials),
            "acquisition/BehavioralEvents/sample_start_times/timestamps": np.sort([*(start + 1.35), 2.9, 27.9]),
            "acquisition/Video/position/timestamps": np.arange(0.0, 40.0, 0.01),
            "acquisition/Video/position/data": np.zeros((4000, 2)),
        } | dict(changes or {})
        path = tmp_path / name
        with h5py.File(path, "w") as file:
            for key, values in table.items():
                if values is not None:
                    text = isinstance(values, str) or (
                        isinstance(values, list) and values and isinstance(values[0], str)
                    )
                    file.create_dataset(key, data=values, dtype=h5py.string_dtype() if text else None)
        return path

    return make
