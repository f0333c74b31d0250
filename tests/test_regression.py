"""The regression command: what it takes for a slow-down, how it measures, and its exit status."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

ROOT = Path(__file__).resolve().parents[1]
if not (ROOT / "benchmarks").is_dir():
    pytest.skip("the benchmarks are in the repository only", allow_module_level=True)
sys.path.insert(0, str(ROOT))

from benchmarks import regression  # noqa: E402
from benchmarks.decision import estimate, is_slower, is_suspect, ratios_needed  # noqa: E402
from benchmarks.worker import SUBJECTS  # noqa: E402

Speeds = Callable[[str, str], float | str]


class Fake:
    """A process whose calls take the time from `speeds`, with noise per process and per turn."""

    def __init__(self, tree: str, speeds: Speeds, rng: np.random.Generator, noise: float) -> None:
        self.tree, self.speeds, self.rng, self.noise = tree, speeds, rng, noise
        self.closed = False

    def prepare(self, name: str) -> float | str:
        speed = self.speeds(self.tree, name)
        if isinstance(speed, str):
            return speed
        self.speed = speed * np.exp(self.noise / 3 * self.rng.standard_t(3))
        return float(self.speed)

    def seconds(self, calls: int) -> float:
        return float(self.speed * np.exp(self.noise * self.rng.standard_t(3)))

    def close(self) -> None:
        self.closed = True


class Farm:
    """Starts fakes and keeps them."""

    def __init__(self, speeds: Speeds, seed: int = 0, noise: float = 0.1) -> None:
        self.speeds, self.rng, self.noise = speeds, np.random.default_rng(seed), noise
        self.started: list[Fake] = []

    def __call__(self, tree: str) -> Fake:
        self.started.append(Fake(tree, self.speeds, self.rng, self.noise))
        return self.started[-1]


def same(tree: str, name: str) -> float:
    return 0.02


def slowed(by: float, slow: str) -> Speeds:
    return lambda tree, name: 0.02 * (by if (tree, name) == ("head", slow) else 1.0)


def verdicts(farm: Farm, names: list[str] | None = None, factor: float = 1.1) -> dict[str, str]:
    rows, _ = regression.compare(names or list(SUBJECTS), factor, 6, farm, lambda _: None)
    return {row.name: row.verdict for row in rows}


# The decision


def test_the_interval_is_that_of_order_statistics() -> None:
    ratios = [1.0, 1.01, 1.02, 1.03, 1.04, 1.05, 1.06, 1.07, 1.08, 1.09, 1.10, 1.11]
    # Of 12 ratios, the second exceeds the median with probability 13/4096 < 0.05/10,
    # the third with 79/4096 > 0.05/10.
    assert estimate(ratios[::-1], 10) == pytest.approx((1.055, 1.01, 1.10))


def test_few_ratios_have_the_widest_interval_and_raise_no_alarm() -> None:
    assert ratios_needed(10) == 8
    assert estimate([1.3, 1.2, 1.25], 10) == pytest.approx((1.25, 1.2, 1.3))
    assert not is_slower([2.0] * 7, 1.1, 10)
    assert is_slower([2.0] * 8, 1.1, 10)


@pytest.mark.parametrize(
    ("ratios", "slower"),
    [
        ([1.09] * 12, False),  # certain, but less than the factor
        ([1.5] * 9 + [0.9] * 3, False),  # more than the factor, but not certain
        ([1.5] * 11 + [0.9], True),
        ([0.5] * 12, False),
    ],
)
def test_a_slow_down_exceeds_the_factor_and_the_noise(ratios: list[float], slower: bool) -> None:
    assert is_slower(ratios, 1.1, 10) is slower


def test_the_factor_is_exceeded_by_the_median_before_anything_is_measured_again() -> None:
    assert is_suspect([0.9, 1.2, 1.2], 1.1)
    assert not is_suspect([0.9, 1.0, 5.0], 1.1)


# The measurement


def test_noise_raises_no_alarm() -> None:
    found = [verdicts(Farm(same, seed, noise=0.15)) for seed in range(50)]
    assert all("SLOWER" not in f.values() for f in found)
    assert any("ok, measured again" in f.values() for f in found)  # so the second measurement was needed


def test_a_slow_down_by_a_third_is_found_in_noise_and_nothing_else_is() -> None:
    slow = "simulation: numba"
    for seed in range(30):
        found = verdicts(Farm(slowed(1.33, slow), seed))
        assert [name for name, verdict in found.items() if verdict == "SLOWER"] == [slow]


def test_a_slow_down_below_the_factor_is_accepted() -> None:
    assert "SLOWER" not in verdicts(Farm(slowed(1.3, "simulation: numba"), noise=0.01), factor=1.4).values()


def test_a_speed_up_is_no_alarm() -> None:
    assert "SLOWER" not in verdicts(Farm(slowed(0.5, "simulation: numba"))).values()


def test_turns_alternate_and_rounds_begin_with_either() -> None:
    order: list[str] = []

    class Recording(Fake):
        def seconds(self, calls: int) -> float:
            order.append(self.tree)
            return 1.0

    def start(tree: str) -> Recording:
        return Recording(tree, same, np.random.default_rng(0), 0.0)

    regression.measure({"simulation: numba": 1}, 2, start, lambda _: None)
    ab, ba = ["base", "head"], ["head", "base"]
    assert order == 3 * (ab + ba) + 3 * (ba + ab)


def test_processes_are_ended_and_none_is_used_twice() -> None:
    farm = Farm(same)
    verdicts(farm, ["simulation: numba"])
    assert len(farm.started) == 2 * (1 + 6)
    assert all(fake.closed for fake in farm.started)


def test_benchmarks_missing_in_the_base_are_left_out_with_the_reason() -> None:
    def speeds(tree: str, name: str) -> float | str:
        return "no such storage" if (tree, name) == ("base", "simulation: numba") else 0.02

    rows, lacking = regression.compare(list(SUBJECTS), 1.1, 6, Farm(speeds), lambda _: None)
    assert lacking == {"simulation: numba": "no such storage"}
    assert [row.name for row in rows] == [name for name in SUBJECTS if name != "simulation: numba"]


def test_the_worker_times_a_tree_with_the_benchmarks_beside_it(tmp_path: Path) -> None:
    process = regression.Process(ROOT, tmp_path / "numba", tmp_path / "log")
    try:
        once = process.prepare("inversion of rates")
        assert isinstance(once, float)
        assert 0 < process.seconds(2) < 10 * once
        assert "KeyError" in str(process.prepare("no such benchmark"))
        process.process.kill()
        with pytest.raises(regression.CannotMeasureError, match="status -9"):
            process.seconds(1)
    finally:
        process.close()


def test_a_tree_from_elsewhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(regression.CannotMeasureError, match=f"not from {tmp_path}"):
        regression.Process(tmp_path, tmp_path / "numba", tmp_path / "log")


# The command


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """Run it on fakes, in a repository of two commits."""

    def run(speeds: Speeds, *arguments: str) -> Result:
        root = tmp_path / "repository"
        if not root.exists():
            root.mkdir()
            identity = ["-c", "user.name=x", "-c", "user.email=x@example.com"]
            (root / "file").write_text("something")
            commit = ["commit", "-q", "--allow-empty", "-m", "nothing"]
            for command in (["init", "-q"], ["add", "file"], commit, commit):
                subprocess.run(["git", "-C", str(root), *identity, *command], check=True)
        monkeypatch.setattr(regression, "ROOT", root)
        monkeypatch.setattr(regression, "KEPT", root / ".asv" / "regression")
        farm = Farm(speeds, noise=0.01)
        monkeypatch.setattr(regression, "Process", lambda tree, cache, log: farm(log.stem))
        return CliRunner().invoke(regression.main, arguments)

    return run


def test_exit_status_0_where_nothing_is_slower(command: Callable[..., Result]) -> None:
    result = command(same)
    assert (result.exit_code, result.output.splitlines()[-1]) == (0, "nothing became slower")
    assert all(name in result.output for name in SUBJECTS)


def test_exit_status_1_where_something_is_slower(command: Callable[..., Result]) -> None:
    result = command(slowed(1.5, "delivery: numba"))
    assert (result.exit_code, result.output.splitlines()[-1]) == (1, "SLOWER: delivery: numba")


@pytest.mark.parametrize(
    ("speeds", "arguments", "message"),
    [
        (same, ["--base", "nonsense"], "nonsense"),
        (same, ["--base", "HEAD~2"], "HEAD~2"),
        (same, ["--factor", "0.9"], "0.9"),
        (lambda tree, name: "broken" if tree == "head" else 0.02, [], "update: numba, event, full: broken"),
        (lambda tree, name: "broken" if tree == "base" else 0.02, [], f"{regression.OLDEST} or later: broken"),
    ],
)
def test_exit_status_2_where_nothing_can_be_measured(
    command: Callable[..., Result], speeds: Speeds, arguments: list[str], message: str
) -> None:
    result = command(speeds, *arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output
