"""The building blocks of a configuration: its tables, and the types of their values."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _whole(value: Any) -> Any:
    """Convert 1e4 to 10000: TOML reads an integer with an exponent as a float."""
    if isinstance(value, bool):
        raise ValueError("should be a number, not true or false")  # what pydantic expects of a validator
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _texts(value: Any) -> Any:
    """Take one text for a tuple of one."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def neuron_names(value: Any) -> Any:
    """Take a mask as ranges of neurons, and its length; numbers or a text, also one, as texts."""
    mask = np.asarray(value)
    if mask.dtype.kind in "iu" and mask.ndim <= 1:
        return tuple(map(str, mask.reshape(-1)))
    if mask.dtype != np.bool_ or mask.ndim != 1:
        return _texts(value)
    first = np.flatnonzero(np.diff(mask, prepend=False, append=False)).reshape(-1, 2)
    return (*(f"{a}:{b}" for a, b in first), f"of {len(mask)}")


def _sign(value: Any) -> Any:
    return {"excitatory": 1, "inhibitory": -1}.get(value, value) if isinstance(value, str) else value


NAME = r"[A-Za-z][A-Za-z0-9_/+.-]{0,31}"  # of a population, such as L2/3e
Name = Annotated[str, Field(pattern=f"^{NAME}$")]
Sign = Annotated[Literal[1, -1], BeforeValidator(_sign)]
Neurons = Annotated[
    tuple[Annotated[str, Field(pattern=rf"^({NAME}|\d{{1,12}}(:\d{{1,12}})?|of \d{{1,12}})$")], ...],
    BeforeValidator(neuron_names),
]
Count = Annotated[int, BeforeValidator(_whole)]
# A number of the model: ms, Hz, or relative to the threshold. Between a picosecond and eleven days,
# products of several of them are still finite in float32.
LARGEST = 1e9
Finite = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]
Positive = Annotated[float, Field(ge=1 / LARGEST, le=LARGEST, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, le=LARGEST, allow_inf_nan=False)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_texts)]


class Section(BaseModel):
    """A table of the configuration: no unknown keys, no change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, use_attribute_docstrings=True)
