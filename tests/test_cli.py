"""The command line: what a run writes and prints, and how invalid input is refused."""

from __future__ import annotations

import csv
import errno
import getpass
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlsbench import capacity, load_experiment
from rlsbench.cli.run import _subject
from rlsbench.configuration import preset_names
from rlsbench.results import RunDocument
from tests.conftest import COMMAND, status

PNG = b"\x89PNG\r\n\x1a\n"
PICTURES = {"summary.png"}
Tree = Callable[[Path], dict[str, bytes | None]]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run in."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_options: list[str]) -> Any:
    """A finished run of three iterations with all results: its folder, document and output."""
    folder = tmp_path_factory.mktemp("finished")
    arguments = ["--backend", "numpy-full", "--seed", "7", "--threads", "2", "--precision", "float64"]
    arguments += ["--p-precision", "float32", "--storage", "full", "--neurons", "1e2", "--iterations", "3"]
    command = ["run", "--preset", "smoke", *tiny_options, *arguments, "--output", "a/b", "--json", "run.json"]
    secret = {"USER": "zzusername", "LOGNAME": "zzusername", "HOSTNAME": "zzhostname"}
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *command],
        cwd=folder,
        env=os.environ | secret,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder, json.loads((folder / "run.json").read_text()), done.stdout


# What a run writes


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({}, "does it learn?"),
        ({"learning.mu": 0.5}, "does it learn?"),
        ({"network.neurons": 600}, "smoke with other settings of network"),
        ({"neuron.model": "adex", "connectivity": [{"rule": "bernoulli", "weight": 0.0}]}, "connectivity, neuron"),
        ({"description": "mine", "network.neurons": 600}, "mine"),
    ],
)
def test_a_network_of_ones_own_is_not_called_by_its_preset(overrides: dict[str, Any], named: str) -> None:
    assert _subject(load_experiment("smoke", overrides=overrides)).endswith(named)


def test_run_directory_is_complete(finished: Any) -> None:
    folder, _, _ = finished
    names = {p.name for p in (folder / "a" / "b").iterdir()}
    assert (
        names == {"configuration.toml", "learning_curve.csv", "machine.json", "result.json", "weights.npy"} | PICTURES
    )
    assert {p.name for p in folder.iterdir()} == {"a", "run.json"}
    weights = np.load(folder / "a" / "b" / "weights.npy")
    assert weights.dtype == np.float64
    assert len(weights) == 100
    for picture in PICTURES:
        content = (folder / "a" / "b" / picture).read_bytes()
        assert content.startswith(PNG)
        assert content.rstrip(b"\0").endswith(b"IEND\xaeB`\x82")


def test_configuration_loads_back(finished: Any, tiny: dict[str, Any]) -> None:
    folder, document, _ = finished
    again = load_experiment("smoke", config=folder / "a" / "b" / "configuration.toml")
    given = {
        "network.neurons": 100,
        "training.iterations": 3,
        "training.seed": 7,
        "numerics.threads": 2,
        "numerics.precision": "float64",
        "numerics.p_precision": "float32",
        "numerics.storage": "full",
    }
    assert again == load_experiment("smoke", overrides=tiny | given)
    assert document["configuration"] == again.model_dump(mode="json")


def test_learning_curve_is_that_of_the_document(finished: Any) -> None:
    folder, document, _ = finished
    with (folder / "a" / "b" / "learning_curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(document["iterations"]) == 3
    for row, iteration in zip(rows, document["iterations"], strict=True):
        assert iteration["exchange_seconds"] is None  # and in no learning curve
        for key in iteration.keys() - {"population_rates_hz", "exchange_seconds"}:  # the first has columns of its own
            value = iteration[key]
            assert (float(row[key]) if row[key] else None) == value


def test_documents_agree(finished: Any) -> None:
    folder, document, _ = finished
    assert json.loads((folder / "a" / "b" / "result.json").read_text()) == document
    machine = json.loads((folder / "a" / "b" / "machine.json").read_text())
    assert machine == {"machine": document["machine"], "versions": document["versions"]}


def test_document_has_every_field(finished: Any) -> None:
    _, document, _ = finished
    given = {
        "schema_version": 2,
        "preset": "smoke",
        "backend": "numpy-full",
        "neurons": 100,
        "plastic_inputs": 12,
        "static_outputs": 16,
        "precision": "float64",
        "p_precision": "float32",
        "storage": "full",
        "threads": 2,
        "seed": 7,
    }
    for key, value in given.items():
        assert document[key] == value
        assert type(document[key]) is type(value)
    for key in ("setup_seconds", "compile_seconds", "seconds_per_iteration"):
        assert isinstance(document[key], float)
        assert document[key] > 0
    rates = document["spontaneous_rate_hz"]
    assert set(rates) == {"excitatory", "inhibitory", "populations"}
    assert rates["populations"] == {}  # of others than the published two
    assert all(isinstance(rates[sign], float) and rates[sign] > 1 for sign in ("excitatory", "inhibitory"))
    assert isinstance(document["peak_memory_bytes"], int)
    assert document["peak_memory_bytes"] > 10**7
    for number, iteration in enumerate(document["iterations"], 1):
        assert {key: type(value) for key, value in iteration.items()} == {
            "iteration": int,
            "seconds": float,
            "rls_seconds": float,
            "firing_rate_hz": float,
            "correlation": float,
            "undefined_correlations": int,
            "neurons_above_maxrate": int,
            "target_offset_excitatory": type(None),
            "target_offset_inhibitory": type(None),
            "external_excitatory": type(None),
            "external_inhibitory": type(None),
            "population_rates_hz": dict,
            "exchange_seconds": type(None),
        }
        assert iteration["iteration"] == number
        assert 0 < iteration["rls_seconds"] < iteration["seconds"]
        assert -1 <= iteration["correlation"] <= 1
    seconds = [i["seconds"] for i in document["iterations"]]
    assert document["seconds_per_iteration"] == np.median(seconds[1:])


def test_document_describes_machine_and_versions(finished: Any) -> None:
    _, document, _ = finished
    machine, versions = document["machine"], document["versions"]
    assert machine["cpu"]
    assert machine["logical_cores"] == os.cpu_count()
    assert 1 <= machine["usable_threads"] <= machine["logical_cores"]
    assert machine["memory_bytes"] > 10**8
    assert "blas" in {pool["user_api"] for pool in machine["thread_pools"]}
    assert versions["numpy"] == np.__version__
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert re.match(r"\d+\.\d+", versions["rlsbench"])
    assert RunDocument.model_validate(document).to_json() == json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def test_no_host_or_user_name_is_written(finished: Any) -> None:
    folder, _, out = finished
    names = {"zzusername", "zzhostname", getpass.getuser(), socket.gethostname(), str(folder), str(Path.home())}
    for path in [p for p in folder.rglob("*") if p.is_file()]:
        content = path.read_bytes()
        assert b"zzusername" not in content
        assert b"zzhostname" not in content
    texts = [out] + [p.read_text() for p in folder.rglob("*") if p.suffix in (".json", ".toml", ".csv")]
    for name in names:
        for text in texts:
            assert not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text), name


def test_plain_lines_when_piped(finished: Any) -> None:
    _, document, out = finished
    assert "\x1b" not in out
    assert "\r" not in out
    lines = re.findall(r"^iteration (\d)/3  (\d+\.\d{3}) s  (\d+\.\d\d) Hz  correlation (-?\d\.\d{3})$", out, re.M)
    assert len(lines) == 3
    for (number, seconds, rate, correlation), iteration in zip(lines, document["iterations"], strict=True):
        assert int(number) == iteration["iteration"]
        assert float(seconds) == pytest.approx(iteration["seconds"], abs=6e-4)
        assert float(rate) == pytest.approx(iteration["firing_rate_hz"], abs=6e-3)
        assert float(correlation) == pytest.approx(iteration["correlation"], abs=6e-4)
    last = document["iterations"][-1]["correlation"]
    assert f"correlation {last:.3f} and " in out.splitlines()[-3]
    assert out.splitlines()[-2:] == [f"results in {Path('a/b')}", f"picture in {Path('a/b/summary.png')}"]


def test_default_output_is_a_new_directory_in_runs(here: Path, tiny_options: list[str]) -> None:
    assert status("run", "--backend", "numpy-packed", *tiny_options, "--iterations", "0") == 0
    (made,) = (here / "runs").iterdir()
    assert re.fullmatch(r"smoke-numpy-packed-\d{8}-\d{6}", made.name)
    document = json.loads((made / "result.json").read_text())
    assert document["iterations"] == []
    assert document["seconds_per_iteration"] is None


def test_without_correlation_it_is_null(here: Path, tiny_options: list[str]) -> None:
    assert status("run", "--backend", "numpy-packed", *tiny_options, "--no-correlate", "--output", "out") == 0
    document = json.loads((here / "out" / "result.json").read_text())
    assert [i["correlation"] for i in document["iterations"]] == [None, None]
    assert (here / "out" / "summary.png").read_bytes().startswith(PNG)


def test_empty_directory_is_taken(here: Path, tiny_options: list[str]) -> None:
    (here / "out").mkdir()
    assert status("run", "--backend", "numpy-packed", *tiny_options, "--output", "out") == 0
    assert (here / "out" / "result.json").exists()


def results(here: Path, options: list[str], *, seed: str, output: str) -> tuple[Any, Any]:
    """What a seed determines: spontaneous rates, and rate and correlation of each iteration."""
    assert status("run", "--backend", "numpy-packed", *options, "--seed", seed, "--output", output) == 0
    document = json.loads((here / output / "result.json").read_text())
    assert document["seed"] == int(seed)
    return document["spontaneous_rate_hz"], [(i["firing_rate_hz"], i["correlation"]) for i in document["iterations"]]


def test_same_seed_same_result(here: Path, tiny_options: list[str]) -> None:
    first, again, other = (
        results(here, tiny_options, seed=seed, output=output) for seed, output in (("3", "a"), ("3", "b"), ("4", "c"))
    )
    assert first == again
    assert first[0] != other[0]
    assert first[1] != other[1]


@pytest.mark.parametrize(
    ("text", "neurons"),
    [("1e3", 1000), ("1_000", 1000), ("1k", 1000), ("2.5K", 2500), ("1000", 1000), ("1M", 10**6), ("10e2", 1000)],
)
def test_neurons_may_be_written_in_many_ways(text: str, neurons: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert status("show", "smoke", "--neurons", text) == 0
    assert re.search(rf"^neurons = {neurons}$", capsys.readouterr().out, re.M)


@pytest.mark.parametrize("transposed", [False, True])
def test_recording_sets_the_number_of_neurons(here: Path, capsys: pytest.CaptureFixture[str], transposed: bool) -> None:
    rates = 4 + 3 * np.sin(np.arange(12)[:, None] + np.arange(40))  # 12 bins of 20 ms, 40 neurons
    np.save("rates.npy", rates.T if transposed else rates)
    short = ["stimulus.on_ms=20", "stimulus.off_ms=40", "network.L=5", "training.average_from_ms=0"]
    arguments = [part for item in short for part in ("--set", item)]
    axis = "columns" if transposed else "rows"
    arguments += ["--recording", "rates.npy", "--time-axis", axis, "--iterations", "2", "--output", "out"]
    assert status("run", "--preset", "mouse", "--backend", "numpy-packed", *arguments) == 0
    document = json.loads((here / "out" / "result.json").read_text())
    assert document["neurons"] == 40
    assert document["static_outputs"] == 0
    assert document["plastic_inputs"] == 10
    assert document["configuration"]["time"]["train_duration_ms"] == 240
    assert all(i["correlation"] is not None for i in document["iterations"])
    note, width = document["notes"]
    assert f"the {axis} of" in note
    assert "20 ms" in width
    assert note in capsys.readouterr().out
    again = load_experiment("mouse", config=here / "out" / "configuration.toml").model_dump(mode="json")
    assert again["recording"].pop("files") == [str(here / "rates.npy")]  # absolute, but not in the document
    assert document["configuration"]["recording"].pop("files") == ["rates.npy"]
    assert again == document["configuration"]


def test_module_is_the_command_line(here: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rlsbench", "show", "smoke", "--neurons", "-1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert re.fullmatch(r"rlsbench: .*network\.neurons.*-1.*\n", done.stderr)
    done = subprocess.run([sys.executable, "-m", "rlsbench", "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: rlsbench")


@pytest.mark.parametrize("preset", preset_names())
def test_output_of_show_is_a_configuration(preset: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed = ["--seed", "5", "--set", "noise.kind=current", "--set", "noise.sigma=0.1"]
    changed += ["--set", "synapse.tau_plas_ms=[20, 200]", "--threads", "3"]
    assert status("show", preset, *changed) == 0
    first = capsys.readouterr().out
    (here / "again.toml").write_text(first)
    assert status("show", preset, "--config", "again.toml") == 0
    assert capsys.readouterr().out == first
    assert "seed = 5" in first
    given = {"training.seed": 5, "noise.kind": "current", "noise.sigma": 0.1, "numerics.threads": 3}
    wanted = load_experiment(preset, overrides=given | {"synapse.tau_plas_ms": [20, 200]})
    again = load_experiment(preset, config=here / "again.toml")
    assert again.model_dump(exclude={"network"}) == wanted.model_dump(exclude={"network"})
    assert again.network.plastic_per_population == wanted.network.plastic_per_population


def test_later_settings_win(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--config over the preset, --set over --config, a specific option over --set."""
    (here / "a.toml").write_text("[network]\nneurons = 1111\nK = 11\nL = 5\n[training]\nseed = 11\n")
    settings = ["--set", "network.neurons=2222", "--set", "network.K=22", "--neurons", "3333"]
    assert status("show", "sinusoid", "--config", "a.toml", *settings) == 0
    out = capsys.readouterr().out
    for line in ("neurons = 3333", "K = 22", "L = 5", "seed = 11", "iterations = 5"):
        assert re.search(rf"^{line}$", out, re.M)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "-h"], ["show", "-h"], ["backends", "-h"], ["verify", "-h"], ["inspect", "-h"]]
)
def test_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert status(*arguments) == 0
    assert capsys.readouterr().out.startswith("Usage: rlsbench")


# Invalid input

RUN = ["run", "--backend", "numpy-packed"]
LONG = "x" * 300
BAD: dict[str, tuple[int, list[str], tuple[str, ...]]] = {
    # what: exit status, arguments, what the message names
    "unknown backend": (2, ["run", "--backend", "abacus"], ("abacus", "numpy-packed")),
    "missing backend": (2, ["run"], ("--backend",)),
    "interval of NaN": (2, [*RUN, "--monitor", "nan"], ("--monitor", "nan")),
    "infinite bandwidth": (2, ["estimate", "--backend", "numpy-packed", "--bandwidth", "inf"], ("--bandwidth", "inf")),
    "unavailable backend": (1, ["run", "--backend", "off"], ("off", "no device of this kind")),
    "backend whose import fails": (1, ["run", "--backend", "absent"], ("absent", "a_library_that_nobody_has")),
    "unknown preset": (2, [*RUN, "--preset", "huge"], ("huge", "alm, mouse, sinusoid, smoke, tutorial")),
    "unknown key": (2, [*RUN, "--set", "network.neuron=5"], ("neuron", "neurons")),
    "unknown section": (2, [*RUN, "--set", "net.neurons=5"], ("net", "network")),
    "key without section": (2, [*RUN, "--set", "neurons=5"], ("neurons",)),
    "setting without value": (2, [*RUN, "--set", "network.neurons"], ("network.neurons", "section.key=value")),
    "empty key": (2, [*RUN, "--set", ".=3"], (".=3", "section.key=value")),
    "unknown precision": (2, [*RUN, "--precision", "float16"], ("numerics.precision", "float64", "float32")),
    "unknown precision of P": (2, [*RUN, "--p-precision", "int8"], ("numerics.p_precision", "bfloat16", "int16")),
    "storage it lacks": (2, [*RUN, "--storage", "full"], ("numpy-packed", "full", "packed")),
    "precision it lacks": (2, ["run", "--backend", "reference", "--precision", "float32"], ("float32", "float64")),
    "device it lacks": (2, [*RUN, "--device", "cuda:0"], ("numpy-packed", "cuda", "cpu")),
    "no neurons": (2, [*RUN, "--neurons", "0"], ("network.neurons", "0")),
    "neurons in words": (2, [*RUN, "--neurons", "ten"], ("--neurons", "'ten'")),
    "half a neuron": (2, [*RUN, "--neurons", "10.5"], ("--neurons", "'10.5'")),
    "infinite neurons": (2, [*RUN, "--neurons", "1e999"], ("--neurons", "'1e999'")),
    "too dense": (2, [*RUN, "--neurons", "100"], ("network.K = 100", "network.neurons = 100")),
    "step that does not divide": (2, [*RUN, "--set", "time.dt_ms=0.3"], ("time.dt_ms = 0.3",)),
    "too many threads": (2, [*RUN, "--threads", "1e6"], ("numerics.threads", "1000000")),
    "odd number of plastic inputs": (2, [*RUN, "--plastic-inputs", "33"], ("--plastic-inputs", "33")),
    "patience without correlation": (2, [*RUN, "--patience", "3", "--no-correlate"], ("--patience", "--no-correlate")),
    "best without correlation": (2, [*RUN, "--save-best", "--no-correlate"], ("--save-best", "--no-correlate")),
    "unknown best": (2, [*RUN, "--save-best", "worst"], ("--save-best", "worst")),
    "no checkpoint to keep": (2, [*RUN, "--keep", "0"], ("checkpoints.keep", "0")),
    "unknown option": (2, [*RUN, "--quick"], ("--quick",)),
    "unknown command": (2, ["walk"], ("walk",)),
    "no configuration": (2, [*RUN, "--config", "none.toml"], ("none.toml", "No such file")),
    "configuration is a folder": (2, [*RUN, "--config", "full"], ("full", "Is a directory")),
    "configuration is no TOML": (2, [*RUN, "--config", "file"], ("file", "TOML")),
    "not enough memory": (1, [*RUN, "--iterations", "0"], ("0.0 GiB", "--neurons")),
    "output is a file": (1, [*RUN, "--output", "file"], ("file",)),
    "output in a file": (1, [*RUN, "--output", "file/out"], ("file/out",)),
    "output is not empty": (1, [*RUN, "--output", "full"], ("full", "--output")),
    "output name too long": (1, [*RUN, "--output", LONG], ("File name too long",)),
    "document is a folder": (1, [*RUN, "--json", "full"], ("full", "directory")),
    "document in no folder": (1, [*RUN, "--json", "none/run.json"], ("No such file or directory",)),
    "document name too long": (1, [*RUN, "--json", LONG], ("File name too long",)),
    "recording and neurons": (2, [*RUN, "--recording", "file", "--neurons", "5"], ("--recording", "--neurons")),
    "no recording": (1, [*RUN, "--preset", "mouse", "--recording", "none.npy"], ("none.npy",)),
    "recording is text": (1, [*RUN, "--preset", "mouse", "--recording", "file"], ("file",)),
    "recording that is not named": (2, [*RUN, "--set", "targets.kind=recording"], ("recording.files", "--recording")),
    "data set that is not there": (1, [*RUN, "--preset", "alm"], ("rlsbench data fetch alm",)),
    "unknown data set": (2, [*RUN, "--recording", "alm:up"], ("alm:up", "alm:left", "alm:right")),
    "evaluation of no run": (1, ["evaluate", "none"], ("none",)),
    "unknown backend to estimate": (2, ["estimate", "--backend", "abacus"], ("abacus", "numpy-packed")),
    "budget in words": (2, ["sweep", "--backend", "numpy-full", "--budget", "soon"], ("'soon'",)),
    "empty name of a backend": (2, ["sweep", "--backend", "numpy-full,"], ("'numpy-full,'",)),
    "sizes in words": (2, ["sweep", "--backend", "numpy-full", "--neurons", "1e4,some"], ("'some'",)),
    "sweep over nothing": (2, ["sweep"], ("backends",)),
    "no plan": (2, ["sweep", "none.toml"], ("none.toml",)),
    "report of nothing": (2, ["report"], ("RESULTS",)),
    "report to nowhere": (2, ["report", "file"], ("--output",)),
    "report of no folder": (1, ["report", "none", "-o", "out"], ("none",)),
    "unknown backend to verify": (2, ["verify", "abacus"], ("abacus", "numpy-packed")),
    "unknown preset to show": (2, ["show", "huge"], ("huge", "smoke")),
    "unavailable backend to verify": (1, ["verify", "off"], ("off", "no device of this kind")),
}

OFF = """
from rlsbench.backend import Backend, Capabilities

class Off(Backend):
    name = description = "off"
    capabilities = Capabilities(devices=("cuda",))
    def trainer(self, problem, options):
        raise NotImplementedError
    def arrays(self, sizes, options):
        return ()
    def unavailable(self):
        return "no device of this kind"

BACKEND = Off()
"""


@pytest.fixture
def troubled(here: Path, install: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds a file and a full folder, and backends that cannot be used."""
    (here / "file").write_text("in the way")
    (here / "full").mkdir()
    (here / "full" / "file").write_text("kept")
    points = {"off": "cli_off:BACKEND", "absent": "cli_absent:BACKEND"}
    site = install("troubles", "1", points, cli_off=OFF, cli_absent="import a_library_that_nobody_has\n")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)
    monkeypatch.setenv("RLSBENCH_DATA_DIR", str(here / "data"))
    return here


@pytest.mark.parametrize("what", BAD)
def test_bad_input_ends_in_one_line(
    what: str, troubled: Path, tree: Tree, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if what == "not enough memory":
        monkeypatch.setattr(capacity, "available_bytes", lambda: 2**20)
    wanted, arguments, named = BAD[what]
    before = tree(troubled)
    ended = status(*arguments)
    _, err = capsys.readouterr()
    assert err.startswith("rlsbench: ")
    assert err.endswith("\n")
    first, *table = err.splitlines()
    assert bool(table) == (what == "not enough memory")
    assert [part for part in named if part not in first] == []
    assert "Traceback" not in err
    assert ended == wanted
    assert tree(troubled) == before


@pytest.mark.parametrize("what", ["unknown backend", "neurons in words", "output is a file", "unavailable backend"])
def test_bad_input_ends_in_one_line_of_a_process(
    what: str, troubled: Path, tree: Tree, cli: Callable[..., Any]
) -> None:
    wanted, arguments, named = BAD[what]
    before = tree(troubled)
    done = cli(*arguments, cwd=troubled)
    assert done.returncode == wanted
    assert re.fullmatch(r"rlsbench: [^\n]+\n", done.stderr)
    assert all(part in done.stderr for part in named)
    assert tree(troubled) == before


@pytest.mark.parametrize("folder", ["a" * 300, "n" * 300 + "/run"])
def test_a_name_too_long_is_an_error_of_the_user(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status("evaluate", folder) == 1
    err = capsys.readouterr().err
    assert os.strerror(errno.ENAMETOOLONG) in err
    assert folder in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["run", "--backend"], ["run", "--neurons"], ["resume"], []])
def test_a_long_argument_is_shortened(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert status(*arguments, "9" * 5000)
    err = capsys.readouterr().err
    assert "9" * 500 in err
    assert len(err) < 2000


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser can write everywhere")
def test_unwritable_folder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "locked").mkdir(mode=0o555)
    for arguments in (["--output", "locked/out"], ["--output", "locked"], ["--json", "locked/run.json"]):
        assert status(*RUN, *arguments) == 1
        assert re.fullmatch(r"rlsbench: [^\n]*Permission denied\n", capsys.readouterr().err)


# Failures during a run, and control-C


@pytest.mark.parametrize(
    ("error", "wanted", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 1, "memory"),
    ],
)
def test_failure_during_set_up_leaves_nothing(
    error: BaseException,
    wanted: int,
    message: str,
    here: Path,
    tiny_options: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(sys.modules["rlsbench.cli.run"], "prepare", fail)
    assert status(*RUN, *tiny_options, "--output", "a/b/c") == wanted
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("rlsbench: ")
    assert message in line
    assert list(here.iterdir()) == []


def test_document_that_cannot_be_replaced_leaves_no_part(here: Path, tree: Tree, refused: Any) -> None:
    from rlsbench.errors import OutputError
    from rlsbench.results import write_atomically

    (here / "taken").mkdir()
    (here / "taken" / "file").write_text("kept")
    before = tree(here)
    with refused(OutputError, "taken"):
        write_atomically(Path("taken"), "text")
    assert tree(here) == before


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to another process")
def test_interrupt_keeps_what_was_done(here: Path, tiny_options: list[str]) -> None:
    arguments = [*RUN, *tiny_options, "--iterations", "100000", "--output", "out", "--json", "run.json"]
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.startswith("iteration 1/100000"):
                process.send_signal(signal.SIGINT)
                break
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    finishing, ended = err.splitlines()
    assert re.search(r"iteration \d+\b", finishing)
    assert re.fullmatch(r"rlsbench: .*iteration \d+\b.*: rlsbench resume out", ended)
    document = RunDocument.model_validate_json((here / "out" / "result.json").read_text())
    assert 1 <= len(document.iterations) < 1000
    assert [i.iteration for i in document.iterations] == list(range(1, len(document.iterations) + 1))
    assert (here / "run.json").read_text() == (here / "out" / "result.json").read_text()
    assert (here / "out" / "summary.png").read_bytes().startswith(PNG)
    assert not [p.name for p in here.rglob(".*")]
