"""A resumed training is the unbroken one, bit for bit: each form of each backend with each feature.

    RLSBENCH_REPORTS=DIRECTORY pytest -m endurance tests/test_resume.py

also writes the cells that ran, and those that a backend refuses, to DIRECTORY/resume-BACKEND.tsv.
A new neuron model, source of connectivity or kind of input joins as a line of `FEATURES`; a new
backend, storage or precision joins by what the backend declares.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlsbench import Training, load_experiment, plugins, prepare, resume, save_checkpoint
from rlsbench.backend import Backend, compatible_precisions, get_backend
from rlsbench.errors import UnavailableBackendError, UnsupportedError
from tests.conftest import ENDURANCE, TINY
from tests.test_rules import TUTORIAL, register

SHORT = TINY | {"time.dt_ms": 0.5, "training.iterations": 4, "numerics.threads": 1}
SAVED = 2  # iterations, before the training is saved

NOISE = {"noise.kind": "voltage", "noise.sigma": 0.5}
INPUTS = {"feedforward.LX": 3, "feedforward.mu_hz": 200.0}
TASKS = {"targets.tasks": 3, "training.task_order": "random"}
PARTIAL = {"learning.neurons": ["inhibitory", "0:9"]}
TAU_PLAS = {"synapse.tau_plas_ms": [20.0, 200.0]}
SURROGATE = {"targets.kind": "surrogate", "targets.untrained": 5}
FREE_MEAN = {"learning.target_mean": "neuron"}
WITHOUT_P = {"learning.rule": "rls-without-p", "learning.parameters": {"history_ms": 8.0}}
DELTA = {"learning.rule": "delta", "learning.parameters": {"momentum": 0.5}}
SIGNS = {"learning.signs": "keep", "learning.lambda_plastic": 0.01}

FEATURES: dict[str, dict[str, Any]] = {
    "plain": {},
    "voltage noise": NOISE,
    "current noise": {"noise.kind": "current", "noise.sigma": 0.1},
    "feed-forward inputs": INPUTS,
    "several tasks": TASKS,
    "partial targets": PARTIAL,
    "tau_plas per neuron": TAU_PLAS,
    "surrogate targets": SURROGATE,
    "mean of each neuron free": FREE_MEAN,
    "mean of populations free": {"learning.target_mean": "population"},
    "external current that follows rates": SURROGATE | FREE_MEAN | {"learning.external": "rate"},
    "growing penalty": {"learning.lambda_growth": 0.1},
    "forgetting": {"learning.forgetting": 0.9},
    "weights that keep their signs": SIGNS,
    "inputs that do not learn": {"learning.inputs": ["excitatory"]},
    "benchmark": {"learning.benchmark": True},
    "rule rls-without-p": WITHOUT_P,
    "rule of another package": DELTA,
    "no plastic inputs": {"network.L": 0},
    "no static synapses": {"network.K": 0, "network.L": 6, "noise.kind": "voltage", "noise.sigma": 0.9},
    "inputs from the most active": {"network.frac": 0.5},
    "most together": NOISE | INPUTS | TASKS | PARTIAL | TAU_PLAS | FREE_MEAN | {"learning.forgetting": 0.9},
    "signs together": NOISE | INPUTS | TASKS | SURROGATE | SIGNS | {"learning.lambda_growth": 0.1},
    "rule together": NOISE | INPUTS | TASKS | PARTIAL | TAU_PLAS | FREE_MEAN | DELTA,
}
REFUSED = {"torch": {"rule rls-without-p", "rule of another package", "rule together"}}
"""Backend to the features that it refuses by name."""

Form = tuple[str, dict[str, str]]  # backend and numerics


def forms(backend: Backend) -> Iterator[Form]:
    """Every form that a backend declares, but for the precisions that exclude each other."""
    can = backend.capabilities
    for values in product(can.precisions, can.p_precisions, can.storages, can.algorithms):
        if compatible_precisions(*values[:2]):
            yield backend.name, dict(zip(("precision", "p_precision", "storage", "algorithm"), values, strict=True))


@pytest.fixture(autouse=True)
def rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule of docs/rules.md, as if its package were installed."""
    monkeypatch.syspath_prepend(str(TUTORIAL))
    register(monkeypatch, delta="rlsbench_delta_rule:Delta")
    monkeypatch.setattr("rlsbench.results.checkpoint.BLOCK_BYTES", 4000)  # of a few neurons


def train(training: Training, iterations: int | None = None) -> Training:
    list(training.run(iterations))
    return training


def check_same(one: Training, other: Training) -> None:
    np.testing.assert_array_equal(one.trainer.weights(), other.trainer.weights())
    kept = [training.trainer.state().kept for training in (one, other)]
    assert kept[0].keys() == kept[1].keys()
    for name in kept[0]:
        np.testing.assert_array_equal(kept[0][name], kept[1][name])
    timed = {"seconds", "rls_seconds", "measuring_seconds"}
    curves = [[{k: v for k, v in vars(i).items() if k not in timed} for i in t.iterations] for t in (one, other)]
    assert len(curves[0]) == SHORT["training.iterations"]
    assert curves[0] == curves[1]
    np.testing.assert_array_equal(one.first_learned, other.first_learned)
    np.testing.assert_array_equal(*(t.target_mean and t.target_mean.offset for t in (one, other)))


def resumes(form: Form, feature: str, folder: Path) -> None:
    """Neither saving nor resuming changes the results."""
    backend, numerics = form
    changes = SHORT | {f"numerics.{key}": value for key, value in numerics.items()} | FEATURES[feature]
    experiment = load_experiment("smoke", overrides=changes)
    unbroken, saved = train(prepare(experiment, backend)), train(prepare(experiment, backend), SAVED)
    again = resume(save_checkpoint(folder / "saved.h5", saved))
    assert again.resumptions == [f"resumed after iteration {SAVED}: continues bit for bit"]
    check_same(train(again), unbroken)
    check_same(train(saved), unbroken)


@pytest.mark.parametrize(
    ("form", "feature"),
    [
        (("numpy-packed", {}), "most together"),
        (("numpy-full", {}), "signs together"),
        (("numpy-packed", {}), "rule together"),
        (("numpy-packed", {}), "rule rls-without-p"),
        (("numpy-full", {"precision": "float64"}), "no plastic inputs"),
    ],
)
def test_resumes_bit_for_bit(form: Form, feature: str, tmp_path: Path) -> None:
    resumes(form, feature, tmp_path)


@pytest.mark.endurance
@pytest.mark.parametrize("backend", plugins.registered("rlsbench.backends"))
def test_every_cell(backend: str, tmp_path: Path) -> None:
    try:
        every = list(forms(get_backend(backend)))
    except UnavailableBackendError as error:
        pytest.skip(str(error))
    step = max(1, round(1 / ENDURANCE))
    lines, failed = [], []
    for number, form in enumerate(every):
        for feature in list(FEATURES)[number % step :: step]:
            outcome = "ran"
            try:
                resumes(form, feature, tmp_path)
            except UnsupportedError as error:
                outcome = f"refused: {error}"
            except Exception as error:
                outcome = f"failed: {type(error).__name__}: {' '.join(str(error).split())[:500]}"
            expected = "refused" if feature in REFUSED.get(backend, ()) else "ran"
            lines.append("\t".join([*form[1].values(), feature, outcome]))
            failed += [lines[-1]] if outcome.partition(":")[0] != expected else []
            print(f"{backend}\t{lines[-1]}", flush=True)
    if reports := os.environ.get("RLSBENCH_REPORTS"):
        (Path(reports) / f"resume-{backend}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert not failed
