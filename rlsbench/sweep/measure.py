"""Measuring one point of a sweep, in its own process.

In: a `Point`. Out: a `RunDocument`, or an `AttemptDocument` with the reason why there is none.
"""

from __future__ import annotations

from contextlib import suppress
from statistics import median

import numpy as np
from threadpoolctl import threadpool_limits

from rlsbench.backend import Options, registered_backend, resolve_options
from rlsbench.configuration import Experiment
from rlsbench.errors import InsufficientMemoryError, RlsbenchError, UnavailableBackendError, UnsupportedError
from rlsbench.ranks import ALONE, Communicator
from rlsbench.results import (
    AttemptDocument,
    Document,
    RunDocument,
    UpdateRecord,
    attempt_document,
    rank_records,
    run_document,
)
from rlsbench.sweep.plan import Point
from rlsbench.sweep.simulation import simulate
from rlsbench.training import Training, prepare, run_trial

SIMULATIONS = 3  # trials without learning, at most

_OUTCOMES: dict[type[Exception], str] = {
    UnavailableBackendError: "unavailable",
    UnsupportedError: "unsupported",
    InsufficientMemoryError: "insufficient memory",
    MemoryError: "insufficient memory",
}

Verdict = tuple[str, str]


def measure(point: Point, verdicts: dict[str, Verdict], ranks: Communicator = ALONE) -> Document:
    """Train, then time a few trials without learning, then check the backend with the same options.

    A point that names a network is simulated instead.

    `verdicts` are the known ones, from `verdict_key` to validity and reason; a new one is added.
    Several ranks all call this; that which rank 0 returns is the result, and checked there alone.
    """
    experiment = point.experiment()
    try:
        if point.network:
            return simulate(point)
        training = prepare(experiment, point.backend, ranks=ranks)
        if ranks.spread:  # the parent did not know how many threads they would have
            threadpool_limits(training.options.threads, user_api="blas")
        for _ in training.run(correlate=point.correlate, undo=False):
            pass
        counted = [i.seconds for i in training.iterations[point.warm_up :]]
        update = _update_record(training, trials=min(SIMULATIONS, len(counted)))
    except (RlsbenchError, MemoryError) as error:
        outcome = next((name for kind, name in _OUTCOMES.items() if isinstance(error, kind)), "failed")
        return attempt(experiment, point.backend, outcome, str(error) or "out of memory")
    # Before the suite runs, whose memory is not part of the run.
    document = run_document(training).model_copy(update={"rank_records": rank_records(training)})
    ranks.leave()  # others would keep processors busy while they wait
    key = verdict_key(document)
    if key not in verdicts and ranks.rank == 0:
        verdicts[key] = verdict(training)
    validity, reason = verdicts.get(key, (document.validity, document.validity_reason))
    measured = {"seconds_per_iteration": median(counted), "update": update}
    return document.model_copy(update={**measured, "validity": validity, "validity_reason": reason})


def attempt(experiment: Experiment, backend: str, outcome: str, reason: str) -> AttemptDocument:
    """Record that a run did not take place, with its options as far as they are known."""
    names = {"precision", "p_precision", "storage", "threads", "device", "algorithm"}
    options = Options(**experiment.numerics.model_dump(include=names))
    with suppress(RlsbenchError):  # unresolved otherwise
        options = resolve_options(registered_backend(backend), experiment.numerics)
    return attempt_document(experiment, backend, options, outcome, " ".join(reason.split()))


def verdict_key(run: RunDocument) -> str:
    """Return what a verdict of the conformance suite applies to: backend and options."""
    numerics = run.configuration.get("numerics")  # may be anything in a document of others
    compiled = ["compiled"] if isinstance(numerics, dict) and numerics.get("compile") else []
    return "/".join([run.backend, run.precision, run.p_precision, run.storage, run.algorithm, run.device, *compiled])


def verdict(training: Training) -> Verdict:
    """Return the result of the conformance suite for the backend and options of a training."""
    try:
        from rlsbench.conformance import CHECKS, Subject, Validity, run_check
    except RlsbenchError as error:  # without hypothesis
        return "not checked", str(error)
    subject = Subject(training.backend, training.options)
    outcomes = [run_check(name, subject) for name in CHECKS]
    failed = [o for o in outcomes if o.validity is Validity.FAILED]
    passed = sum(o.validity is Validity.PASSED for o in outcomes)
    unchecked = len(outcomes) - passed - len(failed)
    counts = f"{passed} checks passed" + (f", {unchecked} not applicable" if unchecked else "")
    network = "the suite's network of 70 neurons"
    if failed:
        return "failed", f"{failed[0].check}: {failed[0].reason} ({len(failed)} failed, {counts}, on {network})"
    return ("passed" if passed else "not checked"), f"{counts}, on {network}"


def _update_record(training: Training, trials: int) -> UpdateRecord:
    """Times of the updates of the last iteration, and of trials without updates."""
    last, number, clock = training.last_record, len(training.iterations), training.problem.clock
    assert last is not None
    simulation = [run_trial(training.trainer, number + 1 + i, learn=False).seconds for i in range(trials)]
    spikes = last.spike_counts / clock.steps * clock.learn_every  # of a neuron between two updates
    spiked_inputs = float(training.problem.n * -np.expm1(-spikes).mean())  # for Poisson spikes
    cost = training.trainer.update_cost(spiked_inputs)
    return UpdateRecord(
        update_seconds=list(last.update_seconds),
        simulation_seconds=simulation,
        bytes_per_update=None if cost is None else cost.bytes,
        operations_per_update=None if cost is None else cost.operations,
    )
