"""Sine, cosine and tangent of huge arguments, exactly reduced modulo pi/2.

The reduction multiplies the argument's integer significand by the bits of 2/pi that
matter at its exponent (Payne and Hanek 1983). It is scalar code, called where an
argument exceeds the reach of the vector code. A branch in a loop's body would keep
LLVM from vectorizing the loop, so the test is inside a function of its own,
``corrected(x, y)``, which returns y except for huge x; for each length of vectors
there is a variant that tests all elements at once, announced to the loop vectorizer
by the attribute ``vector-function-abi-variant``, and inlined after it: constants and
other values then stay in registers past the test. In a module without loops worth
vectorizing (`LlvmModule.loops`) the function is inlined: a predicted branch costs a
lone value nothing, a call makes it save and reload all registers.

This module prints LLVM code directly, and so serves the CPU backend only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.backends.cpu.vector_math.notation import PI, Number
from graphc.types import dtypes

Combine = Callable[[Number, Number, Number], Number]

_LENGTHS = {"float": (2, 4, 8, 16, 32), "double": (2, 4, 8, 16)}
_PARTS = "{ i64, double, double }"
_ZEROS = 64
_WORDS = 21
"""64 zero bits and the first 1280 bits of 2/pi: enough for 2**1023."""


def corrected(
    name: str, x: Number, y: Number, reach: float, combine: Combine
) -> Number:
    """Return y, but where ``|x| > reach`` the function by exact reduction.

    Parameters
    ----------
    name : str
        Of the function, unique.
    x, y : Number
        The argument, and the result for moderate arguments.
    reach : float
    combine : callable
        ``(q, r, low) -> number``: the function of ``q*pi/2 + r + low``, in float64.
    """
    k = x.k
    kind = "float" if x.dtype == dtypes.float32 else "double"
    symbol = f"graphc.{name}.corrected.{x.dtype.name}"
    if symbol not in k.module.definitions:
        _define(k.module, symbol, name, kind, reach, combine)
    text = (
        f"call {kind} @{symbol}({kind} {x.value.text}, {kind} {y.value.text}) nounwind "
        "willreturn memory(none)"
    )
    if k.module.loops:
        variants = ",".join(
            f"_ZGV_LLVM_N{n}vv_{symbol}({symbol}.x{n})" for n in _LENGTHS[kind]
        )
        text += f' "vector-function-abi-variant"="{variants}"'
    return Number(k, k.pure(text, x.dtype))


def _define(
    module: Any, symbol: str, name: str, kind: str, reach: float, combine: Combine
) -> None:
    suffix = "f32" if kind == "float" else "f64"
    exact = _define_exact(module, name, kind, combine)
    # The variants are referred to by name only, until vectorization.
    for n in _LENGTHS[kind] if module.loops else ():
        vector = f"<{n} x {kind}>"
        size = module.declare(f"llvm.fabs.v{n}{suffix}", vector, [vector])
        module.declare("llvm.expect.i1", "i1", ["i1", "i1"])
        module.keep(f"{symbol}.x{n}")
        module.definitions[f"{symbol}.x{n}"] = _VARIANT.format(
            symbol=symbol, n=n, kind=kind, vector=vector, size=size, reach=reach
        )
    size = module.declare(f"llvm.fabs.{suffix}", kind, [kind])
    inline = "noinline" if module.loops else "alwaysinline"
    module.definitions[symbol] = _SCALAR.format(
        symbol=symbol, kind=kind, size=size, reach=reach, exact=exact, inline=inline
    )
    if module.loops:
        module.keep(symbol)


_SCALAR = """\
define internal {kind} @{symbol}({kind} %x, {kind} %y)
{inline} nounwind willreturn memory(none) {{
  %size = call {kind} {size}({kind} %x)
  %huge = fcmp ogt {kind} %size, {reach:e}
  br i1 %huge, label %slow, label %fast
slow:
  %exact = call {kind} {exact}({kind} %x)
  ret {kind} %exact
fast:
  ret {kind} %y
}}"""

_VARIANT = """\
define internal {vector} @{symbol}.x{n}({vector} %x, {vector} %y)
alwaysinline nounwind willreturn memory(none) {{
  %some = freeze {vector} %x ; lanes past a loop's last round hold nothing
  %size = call {vector} {size}({vector} %some)
  %huge = fcmp ogt {vector} %size, splat ({kind} {reach:e})
  %bits = bitcast <{n} x i1> %huge to i{n}
  %none = icmp eq i{n} %bits, 0
  %likely = call i1 @llvm.expect.i1(i1 %none, i1 true)
  br i1 %likely, label %fast, label %slow
fast:
  ret {vector} %y
slow:
  %exact = call {vector} @{symbol}.x{n}.slow({vector} %some, {vector} %y)
  ret {vector} %exact
}}
define internal {vector} @{symbol}.x{n}.slow({vector} %x, {vector} %y)
noinline cold nounwind willreturn memory(none) {{
  br label %loop
loop:
  %i = phi i64 [ 0, %0 ], [ %next, %loop ]
  %results = phi {vector} [ %y, %0 ], [ %inserted, %loop ]
  %argument = extractelement {vector} %x, i64 %i
  %given = extractelement {vector} %y, i64 %i
  %result = call {kind} @{symbol}({kind} %argument, {kind} %given)
  %inserted = insertelement {vector} %results, {kind} %result, i64 %i
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, {n}
  br i1 %more, label %loop, label %done
done:
  ret {vector} %inserted
}}"""


def _define_exact(module: Any, name: str, kind: str, combine: Combine) -> str:
    """Define the function by exact reduction, and return its name."""
    from graphc.backends.cpu.scalars import LlvmModule, LlvmScalars, Value

    symbol = f"graphc_{name}_huge_{kind}"
    inner = LlvmModule(loops=False)
    inner.definitions["graphc.reduce_huge"] = _reduction(inner)
    k = LlvmScalars(inner, contract=False)
    x = Value("%x", dtypes.float32 if kind == "float" else dtypes.float64)
    wide = k.cast(x, dtypes.float64)
    reduced = k.fresh("r")
    k.lines.append(
        f"  {reduced} = call {_PARTS} @graphc.reduce_huge(double {wide.text})"
    )
    q, r, low = (
        Number(k, k.emit(f"extractvalue {_PARTS} {reduced}, {i}", dtype))
        for i, dtype in enumerate((dtypes.uint64, dtypes.float64, dtypes.float64))
    )
    result = combine(q, r, low)
    # inf - inf is NaN; finite arguments get + 0.0.
    y = k.cast((result + (Number(k, wide) - Number(k, wide))).value, x.dtype)
    head = f"({kind} %x) nounwind willreturn memory(none) {{"
    body = "\n".join([head, *k.lines, f"  ret {kind} {y.text}", "}"])
    return module.define_apart(symbol, kind, [kind], inner, body)


def _words() -> list[int]:
    """Return the table of 2/pi."""
    bits = 64 * _WORDS - _ZEROS
    guard = bits + 64
    value = (2 << (bits + guard)) // _scaled_pi(guard)
    return [(value >> (64 * i)) & (2**64 - 1) for i in reversed(range(_WORDS))]


def _scaled_pi(bits: int) -> int:
    """Return ``pi * 2**bits`` by Machin's formula."""

    def arccot(n: int) -> int:
        total, term, k = 0, (1 << (bits + 16)) // n, 1
        while term:
            total += term // k if k % 4 == 1 else -(term // k)
            term //= n * n
            k += 2
        return total

    return (4 * (4 * arccot(5) - arccot(239))) >> 16


def _reduction(module: Any) -> str:
    """Return the code of ``reduce_huge(x) -> (n, r, low)``, for ``|x| >= 1``.

    The significand m of ``x = m * 2**e`` times 192 bits of 2/pi, from bit e-1 on,
    is x*2/pi modulo 4 in units of 2**-190. Its top two bits, after rounding,
    are n; what remains is a signed fraction of pi/2, made a pair of doubles.
    """
    module.declare("llvm.fshl.i64", "i64", ["i64"] * 3)
    module.declare("llvm.ctlz.i128", "i128", ["i128", "i1"])
    module.declare("llvm.abs.i128", "i128", ["i128", "i1"])
    module.declare("llvm.fma.f64", "double", ["double"] * 3)
    module.declare("llvm.copysign.f64", "double", ["double"] * 2)
    words = ", ".join(f"i64 {w}" for w in _words())
    module.definitions["graphc.two_over_pi"] = (
        f"@graphc.two_over_pi = internal constant [{_WORDS} x i64] [{words}]"
    )
    from graphc.backends.cpu.scalars import literal
    from graphc.backends.cpu.vector_math.notation import FLOAT64, parts

    high, low = (literal(p, dtypes.float64) for p in parts(PI / 2, FLOAT64, 2))
    return _REDUCTION.format(high=high, low=low, offset=_ZEROS - 2 - 1075)


_REDUCTION = """\
define internal {{ i64, double, double }} @graphc.reduce_huge(double %x)
noinline cold nounwind willreturn memory(none) {{
  %raw = bitcast double %x to i64
  %shifted = lshr i64 %raw, 52
  %biased = and i64 %shifted, 2047
  %fraction = and i64 %raw, 4503599627370495
  %m = or i64 %fraction, 4503599627370496
  %place = add i64 %biased, {offset}
  %index = lshr i64 %place, 6
  %shift = and i64 %place, 63
  %p0 = getelementptr i64, ptr @graphc.two_over_pi, i64 %index
  %p1 = getelementptr i64, ptr %p0, i64 1
  %p2 = getelementptr i64, ptr %p0, i64 2
  %p3 = getelementptr i64, ptr %p0, i64 3
  %w0 = load i64, ptr %p0
  %w1 = load i64, ptr %p1
  %w2 = load i64, ptr %p2
  %w3 = load i64, ptr %p3
  %a0 = call i64 @llvm.fshl.i64(i64 %w0, i64 %w1, i64 %shift)
  %a1 = call i64 @llvm.fshl.i64(i64 %w1, i64 %w2, i64 %shift)
  %a2 = call i64 @llvm.fshl.i64(i64 %w2, i64 %w3, i64 %shift)
  %m128 = zext i64 %m to i128
  %a0w = zext i64 %a0 to i128
  %a1w = zext i64 %a1 to i128
  %a2w = zext i64 %a2 to i128
  %t2 = mul i128 %m128, %a2w
  %t2h = lshr i128 %t2, 64
  %t1 = mul i128 %m128, %a1w
  %t0 = mul i128 %m128, %a0w
  %t0h = shl i128 %t0, 64
  %sum1 = add i128 %t1, %t2h
  %product = add i128 %sum1, %t0h
  %rounded = add i128 %product, 42535295865117307932921825928971026432
  %n128 = lshr i128 %rounded, 126
  %n = trunc i128 %n128 to i64
  %part = shl i128 %product, 2
  %sign = icmp slt i128 %part, 0
  %size = call i128 @llvm.abs.i128(i128 %part, i1 false)
  %zeros = call i128 @llvm.ctlz.i128(i128 %size, i1 false)
  %norm = shl i128 %size, %zeros
  %top128 = lshr i128 %norm, 75
  %top = trunc i128 %top128 to i64
  %next128 = lshr i128 %norm, 22
  %next64 = trunc i128 %next128 to i64
  %next = and i64 %next64, 9007199254740991
  %topf = sitofp i64 %top to double
  %nextf = sitofp i64 %next to double
  %zeros64 = trunc i128 %zeros to i64
  %e1 = sub i64 970, %zeros64
  %e1s = shl i64 %e1, 52
  %s1 = bitcast i64 %e1s to double
  %e2 = sub i64 917, %zeros64
  %e2s = shl i64 %e2, 52
  %s2 = bitcast i64 %e2s to double
  %d1 = fmul double %topf, %s1
  %d2 = fmul double %nextf, %s2
  %h = fmul double %d1, {high}
  %hn = fneg double %h
  %l0 = call double @llvm.fma.f64(double %d1, double {high}, double %hn)
  %l1 = call double @llvm.fma.f64(double %d1, double {low}, double %l0)
  %l2 = call double @llvm.fma.f64(double %d2, double {high}, double %l1)
  %hneg = fneg double %h
  %lneg = fneg double %l2
  %r1 = select i1 %sign, double %hneg, double %h
  %r2 = select i1 %sign, double %lneg, double %l2
  %negative = icmp slt i64 %raw, 0
  %nneg = sub i64 0, %n
  %r1n = fneg double %r1
  %r2n = fneg double %r2
  %nf = select i1 %negative, i64 %nneg, i64 %n
  %r1f = select i1 %negative, double %r1n, double %r1
  %r2f = select i1 %negative, double %r2n, double %r2
  %out0 = insertvalue {{ i64, double, double }} poison, i64 %nf, 0
  %out1 = insertvalue {{ i64, double, double }} %out0, double %r1f, 1
  %out2 = insertvalue {{ i64, double, double }} %out1, double %r2f, 2
  ret {{ i64, double, double }} %out2
}}"""
