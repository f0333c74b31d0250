"""Numerical health of a training: finite numbers, and a positive definite P.

In: a `Problem`, and a `Trainer` during training.  Out: nothing, or a `NumericsError` that names
neuron and step.  Knows the backend contract; knows no file.

The checks take less than 2 % of an iteration:

    targets   once                  finite; without target, NaN in every bin
    u         each learning bin     u_bal and u_P finite; every fourth bin below 4,096 neurons
    g         each learning bin     0 < g = 1/(1 + x'Px) <= 1, as a positive P implies, if kept
    v         each iteration        finite, if the trainer tells it
    w         each iteration        finite; so is what the rule keeps beside P
    P         each iteration        0 < diagonal <= initial diagonal: P only shrinks, by g k k';
                                    Cholesky factorisation of P for a few neurons, in rotation
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend import Kept, Options, Trainer
from rlsbench.configuration import Experiment
from rlsbench.connectivity import plastic_edges
from rlsbench.errors import ConfigurationError, NumericsError
from rlsbench.network import populations_of
from rlsbench.plugins import check_shape
from rlsbench.precision import PRECISIONS
from rlsbench.problem import Problem
from rlsbench.ranks import ALONE, Communicator

Floats = NDArray[np.floating[Any]]

SMALL = 4096  # fewer neurons: the calls cost more than the arithmetic, so currents are checked every fourth bin
FACTORISED = 4  # neurons whose P is factorised in each iteration
BLOCK = 4096  # neurons checked at a time
SCALED = 2**15 - 1  # P in int16: the largest entry of a neuron in units, at most
ROUNDING: Final = 0.01  # margin of the limits of g and the diagonal: above the rounding of a 16-bit P


def check_problem(problem: Problem) -> None:
    """Reject targets that are not finite.

    Raises
    ------
    NumericsError
        Names the neuron and the learning bin.
    """
    targets = problem.targets
    if targets is None:
        return
    without = np.isnan(targets.row(0, 0))
    for task in range(targets.tasks):
        for first in range(problem.own.start, problem.own.stop, BLOCK):
            neurons = slice(first, min(first + BLOCK, problem.own.stop))
            f = targets.matrix(task, neurons)
            wrong = ~np.isfinite(f) & ~(np.isnan(f) & without[neurons])
            if wrong.any():
                bin, column = np.argwhere(wrong)[0]
                where = f"neuron {first + column} in learning bin {bin + 1} of task {task}"
                raise NumericsError(f"the target of {where} is {_word(f[bin, column])}; it must be finite")


def check_penalties(e: Experiment, options: Options, ranks: Communicator = ALONE) -> None:
    """Reject penalties whose initial P cannot be stored in the precision of the options.

    With several ranks, this is about the inputs of their own neurons.

    Raises
    ------
    ConfigurationError
        Names the penalty and the precision.
    """
    how, precision = e.learning, PRECISIONS[options.p_precision]
    if how.rule != "rls":
        return
    initial = []  # diagonal entries of P: P_inv0 is lambda, plus mu between inputs of the same sign
    for L in _inputs_of_one_sign(e, ranks):
        penalty, total = how.lambda_plastic, how.mu * L
        initial.append(("lambda_plastic", (penalty + total - how.mu) / (penalty * (penalty + total))))
        if precision.epsilon * total > penalty:
            raise ConfigurationError(
                f"learning.lambda_plastic = {penalty:g}: must be at least {precision.epsilon * total:.2g} with "
                f"learning.mu = {how.mu:g} and P in {precision.name}, or P would not be positive definite"
            )
    if e.feedforward.LX and "feedforward" in how.inputs:
        initial.append(("lambda_feedforward", 1 / how.lambda_feedforward))
    unit = max((entry for _, entry in initial), default=1.0) / SCALED if precision.scaled else 1.0
    for key, entry in initial:
        with np.errstate(over="ignore"):
            stored = float(precision.widen(precision.round(np.array([entry / unit], precision.computed)))[0])
        if not 0 < stored < np.inf:
            raise ConfigurationError(
                f"learning.{key} = {getattr(how, key):g}: P would start with entries of {entry:.2g}, which "
                f"{precision.name} rounds to {stored:g}; {_wider(options)}, or another {key}"
            )


def _inputs_of_one_sign(e: Experiment, ranks: Communicator) -> list[int]:
    """Recurrent plastic inputs of one sign that learn: the least and the most of a neuron."""
    edges, L = plastic_edges(e, ranks), e.network.plastic_per_population
    kinds = [kind for kind in ("inhibitory", "excitatory") if kind in e.learning.inputs]
    if edges is None:
        return [L] if L and kinds else []
    excitatory = np.concatenate([[0], np.cumsum(populations_of(e).excitatory(edges.index))])
    counts = {"excitatory": np.diff(excitatory[edges.start])}
    counts["inhibitory"] = np.diff(edges.start) - counts["excitatory"]
    some = np.concatenate([np.empty(0, np.int64), *(counts[kind][counts[kind] > 0] for kind in kinds)])
    return sorted({int(some.min()), int(some.max())}) if len(some) else []


def check_voltages(trainer: Trainer, where: str) -> None:
    """Check v after the last step of a trial, if the trainer tells it."""
    if (v := trainer.voltages()) is not None:
        check_shape("voltages()", v, (trainer.neurons,))
        _finite(where, "v", v, trainer.own.start)


class Watch:
    """Checks a trainer while it learns; raises `NumericsError`.

    With several ranks, which wait for the spikes of each other in each step, `learned` keeps its
    error, and `ended` raises it.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer, self.problem = trainer, trainer.problem
        self.first = trainer.own.start  # number of the trainer's first neuron
        self._found: NumericsError | None = None  # that `ended` is to raise
        small = self.problem.neurons < SMALL
        self.every, self.factorised = (4, 1) if small else (1, FACTORISED)
        rule, plastic = self.problem.learning, self.problem.own_part.plastic
        self.definite = self.problem.definite
        self.most = (1 + ROUNDING) * rule.largest(plastic)
        self.fixed = ~rule.learns(plastic)  # inputs whose entries are 0
        if plastic.varies:  # also beyond a neuron's own
            self.fixed |= np.arange(plastic.n) >= plastic.inputs[:, None]
        # Where a block would copy P, which only a rule with nothing but P does.
        self.copied = trainer.options.device != "cpu" or plastic.varies

    def learned(self, iteration: int, bin: int) -> None:
        """Check g and the currents after the update of one learning bin (0-based)."""
        if self._found is not None:
            return
        try:
            self._check_bin(iteration, bin)
        except NumericsError as error:
            if not self.problem.ranks.spread:
                raise
            self._found = error

    def _check_bin(self, iteration: int, bin: int) -> None:
        g = self.trainer.gain()
        if g is not None:
            check_shape("gain()", g, (self.trainer.neurons,))
        # Sums of squares and extremes take microseconds; elements are searched only if these fail.
        sound = g is None or (g.min() > 0 and g.max() <= 1 + ROUNDING)
        if sound and (bin + 1) % self.every and bin + 1 < self.problem.clock.bins:
            return
        u_bal, u_P = self.trainer.currents()
        for name, u in (("u_bal", u_bal), ("u_P", u_P)):
            check_shape(f"{name} of currents()", u, (self.trainer.neurons,))
        if sound and np.isfinite(np.dot(u_bal, u_bal) + np.dot(u_P, u_P)):
            return
        where = f"in iteration {iteration}, learning bin {bin + 1} of {self.problem.clock.bins}"
        if g is not None and not sound:
            c = int(np.argmin((g > 0) & (g <= 1 + ROUNDING)))
            _fail(where, f"g = 1/(1 + x'Px) of neuron {self.first + c} is {g[c]:.4g}: its P is not positive definite")
        _finite(where, "u_bal", u_bal, self.first)
        _finite(where, "u_P", u_P, self.first)

    def ended(self, iteration: int) -> None:
        """Check v, w and P after the last step of an iteration."""
        if self._found is not None:
            found, self._found = self._found, None
            raise found
        where = f"in iteration {iteration}, after learning bin {self.problem.clock.bins}"
        check_voltages(self.trainer, where)
        if self.copied:
            _finite(where, "w", self.trainer.weights(), self.first)
        N = self.trainer.neurons
        for first in range(0, N, BLOCK):
            last = min(first + BLOCK, N)
            if not self.copied:
                block = self.trainer.block(first, last)
                check_shape("w of block()", block.w, (last - first, self.problem.n))
                for name, kept in {"w": Kept(block.w), **block.kept}.items():
                    if name != self.definite:
                        _finite(where, name, kept.values, self.first + first)
            if self.definite is None:
                continue
            d = self.trainer.diagonal(first, last)
            fixed = self.fixed if self.fixed.ndim == 1 else self.fixed[first:last, : d.shape[1]]
            sound = ((d > 0) & (d <= self.most)) | ((d == 0) & fixed)
            if not sound.all():
                c, i = np.argwhere(~sound)[0]
                wrong = (
                    f"the diagonal of {self.definite} of neuron {self.first + first + c} has the entry {d[c, i]:.4g}"
                )
                if d[c, i] == 0:
                    options = self.trainer.options
                    _fail(where, f"{wrong}: too small for {options.p_precision}; {_wider(options)}")
                rule = f"must be positive and at most {self.most:.4g}"
                _fail(where, f"{wrong}, which {rule}: {self.definite} is not positive definite")
        if self.definite is not None and self.problem.n:
            for k in range(self.factorised):
                self._factorise(where, self.definite, (iteration * self.factorised + k) * 7919 % N)

    def _factorise(self, where: str, name: str, c: int) -> None:
        """P + tolerance I has a Cholesky factor if no eigenvalue of P is below -tolerance."""
        kept = self.trainer.block(c, c + 1).kept[name]
        P, precision = kept.full()[0].astype(np.float64), PRECISIONS[kept.type]
        n = len(P)
        tolerance = np.sqrt(n) * precision.epsilon * float(np.diagonal(P).max(initial=0))
        try:
            np.linalg.cholesky(P + tolerance * np.eye(n))
        except np.linalg.LinAlgError:
            smallest = float(np.linalg.eigvalsh(P)[0]) if np.isfinite(P).all() else float("nan")
            wrong = (
                f"{name} of neuron {self.first + c} is not positive definite: its smallest eigenvalue is {smallest:.4g}"
            )
            if precision.narrow:
                wrong += f", in {precision.name}; {_wider(self.trainer.options)}"
            _fail(where, wrong)


def _wider(options: Options) -> str:
    """Advice after P was too small, too large or too coarse for its precision."""
    wider = "float64" if options.p_precision == options.precision else options.precision
    return f"choose --p-precision {wider}" + (" and --precision float64" if wider != options.precision else "")


def _finite(where: str, name: str, values: Floats, first: int) -> None:
    if np.isfinite(values).all():
        return
    at = np.argwhere(~np.isfinite(values))[0]
    _fail(where, f"{name} of neuron {first + at[0]} is {_word(values[tuple(at)])}")


def _word(value: float) -> str:
    return "NaN" if np.isnan(value) else "infinite" if np.isinf(value) else f"{value:g}"


def _fail(where: str, what: str) -> None:
    raise NumericsError(f"{where}: {what}; training stopped, because further results would be meaningless")
