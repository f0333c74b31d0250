"""Precisions of P.

In: nothing.  Out: sizes.  Knows nothing of backends.
"""

from __future__ import annotations

from typing import Final

__all__ = ["PRECISION_BYTES"]

PRECISION_BYTES: Final = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int16": 2}
"""Bytes of a number of P."""
