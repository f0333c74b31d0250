"""The conformance suite with numbers of plastic inputs n around the sizes of warps and blocks.

In: a backend, a device, numbers n.  Out: outcomes of checks, one by one.  Knows no backend by name.

The suite itself has n = 2, 12 and a few others. Here each of few neurons has n = 8, 32, 33, 90, 128
or 256 plastic inputs; above 90, half of them are feed-forward, so that the network can stay small.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final
from unittest import mock

import numpy as np

from rlsbench.backend import Backend
from rlsbench.conformance import Outcome, Subject, run_check
from rlsbench.conformance import checks as of_the_suite
from rlsbench.conformance.subjects import problem, variant_problem
from rlsbench.precision import PRECISIONS
from rlsbench.problem import Problem
from rlsbench.training.trial import run_trial

SIZES: Final = (8, 32, 33, 90, 128, 256)
CHECKS: Final = (
    "precision and storage are as requested",
    "many updates match the closed form: P = inv(P_inv0 + sum x x'), w = ridge solution",
    "a replayed trial matches the reference: plain",
    "a free run of 50 ms matches the reference spike for spike: plain",
    "state and restore are a round trip in either storage, and training continues from it",
)


@lru_cache
def sized(n: int) -> Problem:
    """The plain problem of the suite with n plastic inputs of each neuron."""
    feedforward = n % 2 if n <= 90 else n // 2
    L = (n - feedforward) // 2
    changes: dict[str, Any] = {"network.L": L, "network.neurons": max(26, 2 * L + 6)}
    if feedforward:
        changes |= {"feedforward.LX": feedforward, "feedforward.mu_hz": 60.0}
    return problem(**changes)


@contextmanager
def _of_size(n: int) -> Iterator[None]:
    with mock.patch.object(of_the_suite, "variant_problem", return_value=sized(n)):
        yield


def check_sizes(
    found: Sequence[Subject], sizes: Sequence[int] = SIZES, checks: Sequence[str] = CHECKS
) -> Iterator[tuple[int, Outcome]]:
    """Run the checks on some configurations and sizes."""
    for n in sizes:
        for subject in found:
            with _of_size(n):
                for name in checks:
                    # Its tolerance covers 40 roundings to 16 bits at n = 12; at n = 33 even a CPU
                    # exceeds it.
                    if name == CHECKS[1] and PRECISIONS[subject.options.p_precision].narrow:
                        continue
                    yield n, run_check(name, subject)


def check_recorded_at_any_time(subject: Subject) -> None:
    """Spikes that are fetched during a trial are returned once, as are those that follow."""
    p = variant_problem("plain")
    everyone = np.arange(p.neurons)
    found = []
    for length in (p.clock.steps, 125):
        trainer = subject.trainer(p)
        trainer.begin_trial(1, 0, everyone)
        for first in range(1, p.clock.steps + 1, length):
            trainer.advance(first, min(first + length - 1, p.clock.steps))
            spikes = trainer.recorded_spikes()
        found.append(spikes)
    assert len(found[0].step)
    assert np.array_equal(found[0].step, found[1].step)
    assert np.array_equal(found[0].neuron, found[1].neuron)


def check_trial_after_trial(subject: Subject) -> None:
    """Two trials with learning leave the w and P of the reference; nothing else carries over."""
    p = variant_problem("plain")
    spikes = of_the_suite._reference_spikes(p)
    states = []
    for trainer in (subject.trainer(p), Subject.reference(p)):
        for trial in (1, 2):
            run_trial(trainer, trial, replay=spikes)
        states.append(trainer.state())
    for got, wanted in ((states[0].w, states[1].w), (states[0].full(), states[1].full())):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-9 * np.abs(wanted).max())


def all_subjects(backend: Backend, device: str) -> list[Subject]:
    """Every configuration that the backend declares."""
    from rlsbench.conformance import subjects

    return subjects(backend, device)
