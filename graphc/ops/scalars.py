"""`Scalars`: the instructions on scalars that ops lower themselves to."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from graphc.graph.node import Node
from graphc.types.sizes import SizeLike

Index = tuple[SizeLike, ...]
Value = Any
"""A scalar in a kernel; opaque to ops."""


class Scalars(Protocol):
    """The instructions a kernel has on scalars; ops lower themselves to these.

    ``k("add", a, b)`` applies an instruction; all operands have one dtype except
    where said, and the result has it too. Instructions:

    - add sub mul neg abs, also of integers, which wrap around; of booleans add is or
      and mul is and, abs changes nothing; min max (NaN if an operand is NaN);
    - div sqrt copysign, of floats;
    - floordiv mod: NumPy's floor_divide and remainder, of integers and floats; an
      integer divided by zero gives 0;
    - floor ceil rint trunc, which change nothing but floats;
    - lt le gt ge eq ne isnan isinf isfinite, which give booleans;
    - and or xor not shl shr, of integers and (but for the shifts) booleans; a shift by
      a negative amount, or by the width or more, gives 0, or -1 for a negative
      number shifted right;
    - select(bool, a, b);
    - the functions, of floats: exp exp2 expm1 log log2 log10 log1p cbrt pow
      hypot, sin cos tan arcsin arccos arctan arctan2, sinh cosh tanh arcsinh arccosh
      arctanh, sigmoid softplus logaddexp, erf erfc gammaln digamma, polygamma_<n> for
      n from 1 to 100, integer_power_<n> for n other than 0.
    """

    def __call__(self, name: str, *operands: Value) -> Value: ...

    def constant(self, value: Any, dtype: np.dtype) -> Value:
        """Return a constant."""

    def like(self, x: Value, value: Any) -> Value:
        """Return a constant of the dtype of `x`."""

    def zero(self, x: Value) -> Value:
        """Return 0 in the dtype of `x`."""

    def one(self, x: Value) -> Value:
        """Return 1 in the dtype of `x`."""

    def dtype(self, x: Value) -> np.dtype:
        """Return the dtype of a value."""

    def cast(self, value: Value, dtype: np.dtype) -> Value:
        """Return a value converted as NumPy's astype does."""

    def size(self, size: SizeLike, dtype: np.dtype) -> Value:
        """Return a size or index as a value."""

    def dynamic_index(
        self, value: Value, extent: SizeLike, node: Node, source: Node
    ) -> SizeLike:
        """Return an integer value, an element of `source`, as an index.

        Negative ones count from the end; one out of range makes the call fail with
        an IndexError.
        """

    def inside(self, index: SizeLike, low: SizeLike, high: SizeLike) -> Value:
        """Return ``low <= index < high``."""
