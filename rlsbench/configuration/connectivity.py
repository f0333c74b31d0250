"""Synapses between populations as data: one table of `[[connectivity]]`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from rlsbench.configuration.section import Finite, Positive, Section

MAX_DELAY = 255  # steps: a synapse's own delay takes a byte


class ConnectivitySection(Section):
    """Synapses from one population to another, by a rule or from a file (docs/connectivity.md)."""

    kind: Literal["static", "plastic"] | None = None
    """What the synapses are; of a file with a column `kind`, only the edges of this kind are read.
    By default what that column says, and else static."""
    source: str = ""
    """Population of the presynaptic neurons; empty: all neurons."""
    target: str = ""
    """Population of the postsynaptic neurons; empty: all neurons."""
    rule: str = ""
    """Name of the rule that draws them: fixed-out-degree, fixed-in-degree, lognormal-in-degree,
    bernoulli, distance, or one that another package registers."""
    parameters: dict[str, bool | Finite | str] = Field(default_factory=dict)
    """Parameters of the rule, such as degree or probability."""
    file: str = ""
    """File that lists them: CSV, Parquet, NPZ of a SciPy sparse matrix, or SONATA edges (HDF5)."""
    rows: Literal["pre", "post"] | None = None
    """Which neurons are the rows of a sparse matrix; required for one."""
    edges: str = ""
    """Edge population of a SONATA file; required if it has several."""
    edge_types: str = ""
    """CSV of the edge types of a SONATA file, for weights and delays that are not in the file."""
    weight: Finite | None = None
    """Weight of each synapse, (threshold - reset) ms; required unless the file has weights. Plastic
    synapses may do without: then it is the published initial one, for the neuron's in-degree."""
    scale: Finite = 1.0
    """Factor on all weights, such as from the units of a file."""
    delay_ms: Positive | None = None
    """Delay of all synapses, ms, in whole steps; by default that of the file, or one step."""
    round_delays: bool = False
    """Round the delays of a file to whole steps; otherwise, others are refused."""
    duplicates: Literal["refuse", "sum"] = "refuse"
    """sum: edges of a file with the same neurons and delay become one synapse."""
    self_loops: bool = False
    """Whether a neuron may have a synapse onto itself."""
    any_sign: bool = False
    """Whether plastic synapses of a file may have another sign than their population, as trained
    ones have."""
    digest: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""
    """SHA-256 of the file, which a run records and compares when it is read again."""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        """Take the name of a file for a table that has only this."""
        return {"file": value} if isinstance(value, str) else value


Tables = Annotated[tuple[ConnectivitySection, ...], BeforeValidator(lambda v: tuple(v) if isinstance(v, list) else v)]


def checks(tables: tuple[ConnectivitySection, ...], dt_ms: float) -> Iterator[tuple[bool, str, object, str]]:
    """Conditions on the tables: whether each holds, its key, the value, and what is accepted."""
    for number, t in enumerate(tables):
        key = f"connectivity.{number}"
        one = bool(t.rule) != bool(t.file)
        yield one, f"{key}.rule", repr(t.rule), "a table names either a rule or a file"
        weighs = t.rule == "" or t.weight is not None or t.kind == "plastic"
        yield weighs, f"{key}.weight", None, f"rule {t.rule} needs a weight"
        for name in ("rows", "edges", "edge_types", "round_delays", "any_sign", "digest"):
            yield t.rule == "" or not getattr(t, name), f"{key}.{name}", getattr(t, name), "is for files, not for rules"
        yield t.file == "" or not t.parameters, f"{key}.parameters", t.parameters, "are for rules, not for files"
        yield not t.any_sign or t.kind == "plastic", f"{key}.any_sign", t.any_sign, "is for kind = plastic"
        if t.delay_ms is not None:
            steps = t.delay_ms / dt_ms
            whole = abs(steps - round(steps)) <= 1e-6 * steps and 1 <= round(steps) <= MAX_DELAY
            wanted = f"must be 1 to {MAX_DELAY} whole steps of time.dt_ms = {dt_ms:g}"
            yield whole, f"{key}.delay_ms", f"{t.delay_ms:g}", wanted
