"""The registry of backends and the resolution of options; the core names no backend."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rlsbench
from rlsbench import load_experiment
from rlsbench.available import available_threads
from rlsbench.backend import (
    FEATURES,
    Backend,
    Capabilities,
    Options,
    Sizes,
    SpikeTrain,
    State,
    backend_entries,
    get_backend,
    require,
    resolve_options,
)
from rlsbench.cli import main
from rlsbench.configuration import NumericsSection
from rlsbench.conformance.subjects import problem
from rlsbench.errors import (
    InterruptedRunError,
    UnavailableBackendError,
    UnknownBackendError,
    UnsupportedError,
)
from rlsbench.precision import pack, unpack
from rlsbench.problem import InitialTrial, build_problem
from rlsbench.targets.making import make_targets

IN_TREE = ["cupy", "numba", "numpy-full", "numpy-packed", "reference", "torch"]

# Third-party modules, each of which goes wrong in its own way.
IMPORT_FAILS = "import a_library_that_nobody_has\n"
REFUSES = """
from rlsbench.backend import Backend, Capabilities
class Refusing(Backend):
    name = description = "NAME"
    capabilities = Capabilities(
        precisions=("float32",), p_precisions=("float32",), devices=("cuda",), features=frozenset({"neuron:lif"})
    )
    trainer = arrays = None
    def unavailable(self):
        REASON
BACKEND = Refusing()
"""


def refusing(name: str, body: str) -> str:
    return REFUSES.replace("NAME", name).replace("REASON", body)


class Stub(Backend):
    """As much of a backend as options are resolved from."""

    name = "stub"

    def __init__(self, **changes: Any) -> None:
        self.capabilities = replace(
            Capabilities(
                p_precisions=("float64", "float32"),
                storages=("packed", "full"),
                devices=("cuda", "cpu"),
                features=frozenset({"neuron:lif"}),
            ),
            **changes,
        )

    trainer = arrays = None  # type: ignore[assignment]


def resolved(stub: Stub, **numerics: object) -> Options:
    return resolve_options(stub, NumericsSection.model_validate(numerics))


# The registry


def test_in_tree_backends_are_registered_with_their_origin() -> None:
    entries = {entry.name: entry for entry in backend_entries()}
    assert set(IN_TREE) <= set(entries)
    for name in IN_TREE:
        assert re.fullmatch(r"rlsbench \d+\.\d+\S*", entries[name].origin)
        backend = entries[name].backend
        assert backend is not None
        assert backend.name == name
    assert list(entries) == sorted(entries)


@pytest.mark.parametrize("name", os.environ.get("RLSBENCH_REQUIRE_BACKENDS", "").split() or ["reference"])
def test_required_backend_is_available(name: str) -> None:
    """RLSBENCH_REQUIRE_BACKENDS names those that may not be skipped; without it, the reference."""
    reasons = {entry.name: entry.reason for entry in backend_entries()}
    assert name in reasons, f"backend {name} is required and not registered"
    assert reasons[name] is None, f"backend {name} is required and cannot be used: {reasons[name]}"
    assert get_backend(name).name == name


def test_unknown_name_lists_those_registered(refused: Any) -> None:
    with refused(UnknownBackendError, "'warp'", *IN_TREE) as caught:
        get_backend("warp")
    assert caught.value.exit_code == 2


@pytest.fixture
def elsewhere(install: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Backends of another distribution that cannot be used, each for another reason."""
    folder = install(
        "elsewhere",
        "0.3",
        {
            "absent": "elsewhere_absent:BACKEND",
            "nameless": "elsewhere_off:NOTHING",
            "off": "elsewhere_off:BACKEND",
            "raising": "elsewhere_raising:BACKEND",
            "syntax": "elsewhere_syntax:BACKEND",
        },
        elsewhere_absent=IMPORT_FAILS,
        elsewhere_off=REFUSES.replace("NAME", "off").replace("REASON", "return 'no device of this kind'"),
        elsewhere_raising=REFUSES.replace("NAME", "raising").replace(
            "REASON", "raise OSError('driver is\\n  not loaded')"
        ),
        elsewhere_syntax="def (:\n",
    )
    monkeypatch.syspath_prepend(folder)


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("absent", "ModuleNotFoundError: No module named 'a_library_that_nobody_has'"),
        ("nameless", "AttributeError: "),
        ("off", "no device of this kind"),
        ("raising", "OSError: driver is not loaded"),
        ("syntax", "SyntaxError: "),
    ],
)
def test_unusable_backend_is_listed_with_its_reason_and_harms_no_other(name: str, reason: str, refused: Any) -> None:
    entries = {entry.name: entry for entry in backend_entries()}
    assert entries[name].origin == "elsewhere 0.3"
    found = entries[name].reason
    assert found is not None
    assert reason in found
    assert "\n" not in found
    assert {entries[n].reason for n in ("reference", "numpy-full", "numpy-packed")} == {None}
    assert get_backend("reference").name == "reference"
    with refused(UnavailableBackendError, name, reason) as caught:
        get_backend(name)
    assert caught.value.exit_code == 1


@pytest.mark.usefixtures("elsewhere")
def test_command_lists_every_backend(capsys: pytest.CaptureFixture[str]) -> None:
    main(["backends"])
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if " lacks " not in line}
    assert re.search(r"float64 +float64 +full .*cpu +rlsbench \S+ +yes$", lines["reference"].strip())
    assert re.search(
        r"float32 +float32 +full .*cuda +elsewhere 0\.3 +no: no device of this kind$", lines["off"].strip()
    )
    assert "no: ModuleNotFoundError" in lines["absent"]


LISTED = """
from dataclasses import replace
from rlsbench.backend import Backend, Capabilities
class Listed(Backend):
    name = "NAME"
    description = "listed"
    trainer = arrays = None
    CHANGE
BACKEND = Listed()
"""
WAYS = {
    "tuple": ("capabilities = Capabilities(precisions=5)", "precisions = 5"),
    "empty": ("capabilities = Capabilities(devices=())", "devices = ()"),
    "unknown": ("capabilities = Capabilities(storages=('half',))", "half"),
    "features": ("capabilities = Capabilities(features=None)", "None"),
    "capabilities": ("capabilities = None", "NoneType"),
    "other-name": ("name = 'numpy-full'", "'numpy-full'"),
    "returned": ("def unavailable(self): return 5", "5"),
    "base": ("class X(BaseException): pass\n    raise X('boo')", "X: boo"),
    "exits": ("raise SystemExit(7)", "SystemExit: 7"),
    "../away": ("pass", "plain"),
    "numpy-packed": ("pass", "misbehaving 1 and rlsbench"),
    "markup": ("def unavailable(self): return '[/x] [bold]needs'", "[/x] [bold]needs"),
}


def test_plug_ins_that_misbehave_are_named_and_harm_no_other(
    install: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], refused: Any
) -> None:
    modules = {f"way_{i}": LISTED.replace("NAME", n).replace("CHANGE", WAYS[n][0]) for i, n in enumerate(WAYS)}
    points = {name: f"way_{i}:BACKEND" for i, name in enumerate(WAYS)}
    monkeypatch.syspath_prepend(install("misbehaving", "1", points, **modules))
    main(["backends"])
    lines = {line.split()[0]: line.strip() for line in capsys.readouterr().out.splitlines() if " lacks " not in line}
    assert all(f"{name}: {lines[name]}".find(" no: ") > 0 and named in lines[name] for name, (_, named) in WAYS.items())
    assert lines["reference"].endswith("yes")
    assert get_backend("numpy-full").name == "numpy-full"
    for name, (_, named) in WAYS.items():
        with refused(UnavailableBackendError, name, named) as caught:
            get_backend(name)
        assert "\n" not in str(caught.value)


def test_a_plug_in_that_takes_for_ever_is_named_when_interrupted(
    install: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, refused: Any
) -> None:
    monkeypatch.syspath_prepend(install("slow", "1", {"slow": "slow_one:B"}, slow_one="raise KeyboardInterrupt"))
    with refused(InterruptedRunError, "slow 1"):
        backend_entries()


def test_command_says_which_features_are_lacking(
    install: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(
        install(
            "few",
            "1",
            {"few": "few_features:BACKEND"},
            few_features=REFUSES.replace("NAME", "few").replace("REASON", "return None"),
        )
    )
    main(["backends"])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("few lacks")]
    assert set(re.findall(r"[\w-]+(?=,|$)", line)) == set(FEATURES) - {"neuron:lif"}


def test_object_that_is_not_a_backend_does_not_break_the_list(
    install: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], refused: Any
) -> None:
    source = "class Half:\n    def unavailable(self):\n        return None\nBACKEND = Half()\n"
    monkeypatch.syspath_prepend(install("half", "1", {"half": "half_backend:BACKEND"}, half_backend=source))
    main(["backends"])
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert {"half", *IN_TREE} <= set(listed)
    with refused(UnavailableBackendError, "half", "rlsbench.backend.Backend"):
        get_backend("half")


@pytest.mark.parametrize(
    "code",
    [
        "from rlsbench.backend import backend_entries; backend_entries()",
        "from rlsbench.cli import main; main(['backends'])",
        "import rlsbench, rlsbench.results, rlsbench.conformance.pytest_plugin",
    ],
)
def test_listing_backends_imports_no_optional_library(cli: Callable[..., object], tmp_path: Path, code: str) -> None:
    for name in ("numba", "torch", "cupy", "mpi4py"):  # stand-ins: an import would succeed, so it would be seen
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    report = "; import sys; print('IMPORTED', *sorted({'numba', 'torch', 'cupy', 'mpi4py'} & set(sys.modules)))"
    done = cli(path=[tmp_path], code=code + report)
    assert done.returncode == 0, done.stderr  # type: ignore[attr-defined]
    assert done.stdout.splitlines()[-1].strip() == "IMPORTED"  # type: ignore[attr-defined]


WITHOUT_OPTIONAL_LIBRARIES = """
import sys
from importlib.machinery import PathFinder
found = PathFinder.find_spec
hidden = {"numba", "llvmlite", "torch", "cupy"}
PathFinder.find_spec = lambda name, *where: None if name.partition(".")[0] in hidden else found(name, *where)
from rlsbench.cli import main
main(sys.argv[1:])
"""


def test_without_optional_libraries_the_rest_works_and_says_what_is_missing(
    cli: Callable[..., Any], tiny_options: list[str], tmp_path: Path
) -> None:
    listed = cli("backends", code=WITHOUT_OPTIONAL_LIBRARIES)
    assert listed.returncode == 0, listed.stderr
    lines = {line.split()[0]: line.strip() for line in listed.stdout.splitlines() if " lacks " not in line}
    for name, hint in (("numba", "pip install 'rlsbench[numba]'"), ("torch", "pip install torch")):
        assert re.search(rf" no: .*{re.escape(hint)}$", lines[name])
    assert lines["reference"].endswith("yes")
    stopped = cli("run", "--backend", "torch", code=WITHOUT_OPTIONAL_LIBRARIES)
    assert (stopped.returncode, len(stopped.stderr.splitlines())) == (1, 1)
    assert re.search(r"\btorch\b.*PyTorch", stopped.stderr)
    counted = cli("estimate", "--backend", "torch", "--neurons", "1e4", code=WITHOUT_OPTIONAL_LIBRARIES)
    assert counted.returncode == 0, counted.stderr
    assert "pip install torch" in counted.stdout
    command = ["run", "--backend", "numpy-packed", "--output", str(tmp_path / "run"), *tiny_options]
    assert cli(*command, code=WITHOUT_OPTIONAL_LIBRARIES).returncode == 0


# The core and the names of backends


def without_comments(path: Path) -> str:
    """The code of a module: no comments, no docstrings."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(module):
        body = getattr(node, "body", None)
        if isinstance(body, list):  # a string that stands alone documents what is above it
            kept = [s for s in body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.unparse(module)


CORE = Path(rlsbench.__file__).parent


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=lambda path: str(path.relative_to(CORE)))
def test_core_names_no_backend(path: Path) -> None:
    code = without_comments(path)
    assert not re.search(r"numba|cupy|torch|numpy[-_](full|packed)|rlsbench_\w+", code)
    named = re.findall(r"['\"]reference['\"]", code)
    assert not named or path.relative_to(CORE).parts == ("conformance", "subjects.py")


# Options


def test_auto_takes_what_the_backend_prefers() -> None:
    options = resolved(Stub(), threads=3)
    assert (options.precision, options.p_precision) == ("float32", "float32")
    assert (options.storage, options.threads, options.device) == ("packed", 3, "cuda")


def test_precision_of_P_follows_the_rest_and_can_be_chosen() -> None:
    assert resolved(Stub(), precision="float64").p_precision == "float64"
    assert resolved(Stub(), p_precision="float64").p_precision == "float64"
    assert resolved(Stub(), p_precision="float64").precision == "float32"


def test_zero_threads_means_all_that_may_be_used() -> None:
    assert resolved(Stub()).threads == available_threads()


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:1"])
def test_device_is_kept_as_asked(device: str) -> None:
    assert resolved(Stub(), device=device).device == device


@pytest.mark.parametrize(
    ("stub", "asked", "named"),
    [
        (Stub(precisions=("float32",)), {"precision": "float64"}, "precision float64 float32"),
        (Stub(p_precisions=("float32",)), {"p_precision": "float64"}, "p_precision float64 float32"),
        (Stub(p_precisions=("float64",)), {}, "p_precision float32 float64"),
        (Stub(p_precisions=("float16",)), {"precision": "float64", "p_precision": "float16"}, "float16 float32"),
        (Stub(storages=("packed",)), {"storage": "full"}, "storage full packed"),
        (Stub(devices=("cpu",)), {"device": "cuda:0"}, "device cuda cpu"),
        (Stub(), {"algorithm": "event"}, "algorithm event plain"),
        (Stub(), {"device": "abacus"}, "device abacus cuda cpu"),
        (Stub(), {"compile": True}, "numerics.compile"),
    ],
)
def test_what_a_backend_lacks_is_refused_with_what_it_has(
    stub: Stub, asked: dict[str, Any], named: str, refused: Any
) -> None:
    with refused(UnsupportedError, *named.split()) as caught:
        resolved(stub, **asked)
    assert caught.value.exit_code == 2


EDGES = {"rule": "fixed-out-degree", "parameters": {"degree": 2}, "weight": 0.0}


@pytest.mark.parametrize(
    ("feature", "changes"),
    [
        ("voltage-noise", {"noise.kind": "voltage", "noise.sigma": 0.5}),
        ("current-noise", {"noise.kind": "current", "noise.sigma": 0.5}),
        ("feedforward", {"feedforward.LX": 2}),
        ("tau-plas-per-neuron", {"synapse.tau_plas_ms": [20.0, 200.0]}),
        ("benchmark", {"learning.benchmark": True}),
        ("neuron:lif", {}),
        ("static-edges", {"connectivity": [EDGES]}),
        ("static-delays", {"connectivity": [EDGES | {"delay_ms": 0.2}]}),
        ("plastic-delays", {"connectivity": [EDGES | {"kind": "plastic", "delay_ms": 0.2}]}),
    ],
)
def test_feature_that_is_not_declared_is_refused(
    feature: str, changes: dict[str, object], tiny: dict[str, object], refused: Any
) -> None:
    experiment = load_experiment("smoke", overrides=tiny | changes)
    zeros = np.zeros(experiment.network.neurons)
    initial = InitialTrial(zeros, zeros, zeros)
    problem = build_problem(experiment, initial, make_targets(experiment, initial))
    require(Stub(features=frozenset(FEATURES)), problem)
    with refused(UnsupportedError, "stub", feature, FEATURES[feature]):
        require(Stub(features=frozenset(FEATURES) - {feature}), problem)


def test_more_plastic_inputs_than_a_backend_supports_are_refused(tiny: dict[str, Any], refused: Any) -> None:
    experiment = load_experiment("smoke", overrides=tiny)  # n = 12
    zeros = np.zeros(experiment.network.neurons)
    initial = InitialTrial(zeros, zeros, zeros)
    problem = build_problem(experiment, initial, make_targets(experiment, initial))
    require(Stub(features=frozenset(FEATURES), max_plastic_inputs=12), problem)
    with refused(UnsupportedError, "stub", 11, 12):
        require(Stub(features=frozenset(FEATURES), max_plastic_inputs=11), problem)


# Memory


@pytest.mark.parametrize(
    ("name", "storage", "row"),
    [
        ("reference", "full", 100),
        ("numpy-full", "full", 100),
        ("numpy-packed", "packed", 100),
        ("numba", "packed", 112),
        ("torch", "full", 100),
        ("cupy", "packed", 100),
    ],
)
def test_memory_is_foreseen(name: str, storage: str, row: int) -> None:
    """P and w, which grow with n, by hand: n = 2 L + LX; a row of w may be padded."""
    entry = {entry.name: entry for entry in backend_entries()}[name]
    assert entry.backend is not None  # it may be unavailable: asking takes no library
    e = load_experiment("sinusoid", overrides={"feedforward.LX": 10})
    N, n = 10_000, 100
    entries = n * n if storage == "full" else n * (n + 1) // 2
    for p_precision, size in (("float64", 8), ("float32", 4)):
        options = Options("float64", p_precision, storage)
        if p_precision not in entry.backend.capabilities.p_precisions:
            continue
        needed = {spec.name: spec.bytes for spec in entry.backend.arrays(Sizes.of_experiment(e), options)}
        matrices = sum(
            number for key, number in needed.items() if key.partition(" ")[0] == "P"
        )  # perhaps in classes of n
        assert matrices == pytest.approx(N * entries * size, abs=16 * row * size)  # rows may reach beyond the end
        assert needed["w"] == pytest.approx(N * row * 8, abs=8)


# Data that passes between core and backend


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_pack_and_unpack_are_a_round_trip(n: int, dtype: str) -> None:
    P = np.random.default_rng(n).random((3, n, n)).astype(dtype)
    P += P.transpose(0, 2, 1)
    packed = pack(P)
    assert packed.shape == (3, n * (n + 1) // 2)
    assert packed.dtype == dtype
    for i in range(n):
        for j in range(i + 1):
            np.testing.assert_array_equal(packed[:, i * (i + 1) // 2 + j], P[:, i, j])
    np.testing.assert_array_equal(unpack(packed), P)
    assert unpack(packed).dtype == dtype


def test_state_turns_P_into_either_storage() -> None:
    P = np.arange(18.0).reshape(2, 3, 3)
    P += P.transpose(0, 2, 1)
    w = np.zeros((2, 3))
    for state in (State(w, {"P": P}), State(w, {"P": pack(P)})):
        np.testing.assert_array_equal(state.full(), P)
        np.testing.assert_array_equal(state.packed(), pack(P))


@pytest.mark.parametrize("storage", ["full", "packed"])
def test_numpy_updates_every_neuron_of_a_network_with_few_inputs(storage: str) -> None:
    p = problem(**{"network.L": 2})
    assert p.n * (p.n + 1) // 2 < p.neurons
    backends = ((f"numpy-{storage}", storage), ("reference", "full"))
    trainers = [get_backend(name).trainer(p, Options("float64", "float64", kept)) for name, kept in backends]
    rng = np.random.default_rng(1)
    x, u_bal, f = rng.random((p.neurons, p.n)), *rng.random((2, p.neurons))
    for trainer in trainers:
        trainer.rls_update(x, u_bal, f)
    np.testing.assert_allclose(trainers[0].state().full(), trainers[1].state().full(), rtol=1e-12)
    np.testing.assert_allclose(trainers[0].weights(), trainers[1].weights(), rtol=1e-12)


def test_spike_trains_are_joined_in_order_and_cut_by_step() -> None:
    parts = [SpikeTrain(np.array(s, np.int32), np.array(n, np.int32)) for s, n in (([3, 5], [4, 1]), ([1, 3], [9, 2]))]
    joined = SpikeTrain.join(parts)
    assert joined.step.tolist() == [1, 3, 3, 5]
    assert joined.neuron.tolist() == [9, 2, 4, 1]
    assert joined.bounds(2, 5).tolist() == [1, 1, 3, 3, 4]
    assert SpikeTrain.join([]).step.tolist() == []


@pytest.mark.parametrize(
    ("settings", "storage", "p_precision", "chosen"),
    [
        ({}, "full", "float32", "event"),
        ({}, "packed", "float32", "event"),
        ({"network.L": 10}, "full", "float32", "event"),
        ({"network.L": 10}, "packed", "float32", "plain"),
        ({"network.L": 10}, "packed", "float16", "event"),
        ({"time.learn_every_ms": 100.0}, "packed", "float32", "plain"),
        ({"time.learn_every_ms": 100.0}, "full", "float32", "event"),
        ({"synapse.tau_plas_ms": [50.0, 60.0]}, "full", "float32", "plain"),
    ],
)
def test_numba_chooses_the_faster_form(settings: dict[str, Any], storage: str, p_precision: str, chosen: str) -> None:
    backend = {entry.name: entry for entry in backend_entries()}["numba"].backend
    if backend is None or backend.unavailable() is not None:
        required = "numba" in os.environ.get("RLSBENCH_REQUIRE_BACKENDS", "").split()
        (pytest.fail if required else pytest.skip)("the backend numba cannot be used")
    assert backend is not None
    e = load_experiment("sinusoid", overrides={"network.neurons": 200, "network.K": 4} | settings)
    initial = InitialTrial(np.zeros(200), np.zeros(200), np.zeros(200))
    options = Options("float32", p_precision, storage, 1)
    trainer = backend.trainer(build_problem(e, initial, make_targets(e, initial)), options)
    assert trainer.options.algorithm == chosen
    declared = {spec.heading for spec in backend.arrays(Sizes.of_experiment(e), options)}
    assert ("spiked inputs" in declared) == (chosen == "event")  # the estimate foresees it
