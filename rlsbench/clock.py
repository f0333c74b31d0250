"""A trial in whole steps, so that no times are compared in floating point."""

from __future__ import annotations

from dataclasses import dataclass

from rlsbench.configuration import Experiment


@dataclass(frozen=True)
class Clock:
    """A trial in whole steps i = 1 .. steps, with t = i dt."""

    dt_ms: float  #: time step, ms
    steps: int  #: number of steps in a trial
    stimulus_off: int  #: step at which the stimulus ends, after which learning begins
    learn_every: int  #: steps between weight updates

    @classmethod
    def from_experiment(cls, e: Experiment) -> Clock:
        """The clock of an experiment."""
        dt, off_ms = e.time.dt_ms, e.stimulus.off_ms
        end_ms = off_ms + e.time.train_duration_ms
        return cls(dt, round(end_ms / dt), round(off_ms / dt), round(e.time.learn_every_ms / dt))

    @property
    def bins(self) -> int:
        """Number of learning bins, which is the number of updates in a trial."""
        return (self.steps - self.stimulus_off) // self.learn_every

    @property
    def sample_every(self) -> int:
        """Steps between samples of the current: 1 ms, or one step if steps are longer."""
        return max(1, round(1.0 / self.dt_ms))

    @property
    def seconds(self) -> float:
        """Duration of a trial in model time, s."""
        return self.steps * self.dt_ms / 1000.0

    def learning_bin(self, step: int) -> int | None:
        """The row of the targets that is learned in this step, or None."""
        if step > self.stimulus_off and step % self.learn_every == 0:
            return (step - self.stimulus_off) // self.learn_every - 1
        return None
