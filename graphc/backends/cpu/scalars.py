"""The scalar instructions of a kernel, printed as LLVM code.

`LlvmScalars` implements the `Scalars` protocol of `graphc.ops.declare` for one
LLVM function under construction; `LlvmModule` collects what the functions of one
module need besides their own lines: declared intrinsics, and definitions of
the functions of `vector_math`.

>>> module = LlvmModule()
>>> k = LlvmScalars(module)
>>> x = k.load("%in", np.dtype("float32"))
>>> k.store(k("mul", k("sin", x), x), "%out")
>>> body = k.lines              # to be put into a ``define``
>>> rest = module.text()        # declarations and definitions, same module

A value is a `Value`: its text (an SSA name or a literal) and its dtype. Booleans
are ``i1`` in registers and ``i8`` in memory. Equal instructions give one value
within a scope: the caller opens a scope (`LlvmScalars.scope`) for each block that
the blocks before it do not all lead through.

Floating point. Results honour NaN, infinities and signed zeros, and nothing is
reordered or contracted to fused multiply-adds: a value computed twice, in two
kernels or two loops of one, must have the same bits, or ``x == max(x)`` holds nowhere
when its gradient asks. Only the instructions add_reassoc and mul_reassoc, for
accumulators of reductions, may be reordered, and take a product in by a fused
multiply-add (LLVM's ``contract``, which products carry for that; `vector_math` builds
its functions without it).

Integers. Arithmetic wraps around. Division by zero gives 0, as in NumPy, and the
smallest integer divided by -1 gives itself. Shifts by the width or more, or by
negative amounts, give 0, or -1 for a negative number shifted right.

Conversions of floats to integers truncate; NaN gives 0 and what is out of range the
nearest integer of the type, where NumPy's result depends on the processor.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from graphc.backends.cpu.jit import KEPT
from graphc.types import dtypes
from graphc.types.errors import internal_assert


class Value(NamedTuple):
    """A scalar in an LLVM function.

    Attributes
    ----------
    text : str
        An SSA name (``%v3``) or a literal (``0x3FF0000000000000``, ``7``, ``true``).
    dtype : np.dtype
    """

    text: str
    dtype: np.dtype

    @property
    def literal(self) -> bool:
        """Tell whether the value is a constant."""
        return not self.text.startswith("%")


def llvm_type(dtype: np.dtype) -> str:
    """Return the LLVM type of a dtype in a register."""
    if dtype.kind == "f":
        return "float" if dtype.itemsize == 4 else "double"
    return "i1" if dtype.kind == "b" else f"i{8 * dtype.itemsize}"


def memory_type(dtype: np.dtype) -> str:
    """Return the LLVM type of a dtype in memory: booleans take a byte."""
    return "i8" if dtype.kind == "b" else llvm_type(dtype)


def literal(value: Any, dtype: np.dtype) -> str:
    """Return a number as an LLVM literal of a dtype, exactly."""
    if dtype.kind == "b":
        return "true" if value else "false"
    if dtype.kind == "f":
        # LLVM writes float literals, too, as the bits of the equal double.
        (bits,) = struct.unpack("<Q", struct.pack("<d", float(dtype.type(value))))
        return f"0x{bits:016X}"
    return str(int(value))


def bits_dtype(dtype: np.dtype) -> np.dtype:
    """Return the signed integer dtype of the width of a float dtype."""
    return dtypes.int32 if dtype.itemsize == 4 else dtypes.int64


class LlvmModule:
    """What functions share in one LLVM module.

    Parameters
    ----------
    loops : bool
        Whether the module's functions have loops to vectorize. If not, code may branch.

    Attributes
    ----------
    loops : bool
    declarations : dict of str to str
        Intrinsics and external functions: name to ``declare`` line.
    definitions : dict of str to str
        Functions and constants: name to text.
    kept : dict of str to None
        Functions that LLVM must not drop or change though nothing calls them yet.
    externals : dict of str to (str, str)
        Functions in modules of their own that must be loaded before, in this order:
        name to the text of the module, and how it is compiled (`jit.compile_module`).
    """

    def __init__(self, loops: bool = True) -> None:
        self.loops = loops
        self.declarations: dict[str, str] = {}
        self.definitions: dict[str, str] = {}
        self.kept: dict[str, None] = {}
        self.externals: dict[str, tuple[str, str]] = {}

    def define_apart(
        self,
        name: str,
        result: str,
        operands: Sequence[str],
        inner: LlvmModule,
        body: str,
    ) -> str:
        """Define a pure function in a module of its own, and return its name.

        It is compiled once on a machine, not again in each module that calls it.

        Parameters
        ----------
        name : str
            Begins with ``graphc_``.
        result : str
        operands : sequence of str
            Types.
        inner : LlvmModule
            What the function refers to.
        body : str
            The function's parameters in brackets, attributes, and code in braces.
        """
        self.externals.update(inner.externals)
        text = f"define {result} @{name}{body}"
        self.externals[name] = "\n".join([text, inner.text()]), "straight"
        at = self.declare(name, result, operands)
        self.declarations[name] += " nounwind willreturn memory(none)"
        return at

    def declare(self, name: str, result: str, operands: Sequence[str]) -> str:
        """Declare a function and return its name, ``@`` included."""
        self.declarations[name] = f"declare {result} @{name}({', '.join(operands)})"
        return f"@{name}"

    def keep(self, name: str) -> None:
        """Keep a function that is referred to by name only, until vectorization."""
        self.kept[name] = None

    def text(self) -> str:
        """Return declarations and definitions, to follow the module's functions."""
        lines = [*self.declarations.values(), *self.definitions.values()]
        if self.kept:
            names = ", ".join(f"ptr @{name}" for name in self.kept)
            # external, so that passes leave it: see `jit.Machine.optimized`
            lines.append(f"@{KEPT} = constant [{len(self.kept)} x ptr] [{names}]")
        return "\n".join([*lines, ""])


_COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")
_FLOAT_UNARY = {
    "sqrt": "sqrt",
    "floor": "floor",
    "ceil": "ceil",
    "rint": "rint",
    "trunc": "trunc",
    "abs": "fabs",
}
_BITWISE = ("and", "or", "xor")
_BOOL_AS = {"add": "or", "mul": "and", "min": "and", "max": "or"}


class LlvmScalars:
    """Scalar instructions appended to one LLVM function.

    Parameters
    ----------
    module : LlvmModule
        Collects declarations and definitions.
    contract : bool
        Whether accumulators may take in products by fused multiply-adds.

    Attributes
    ----------
    lines : list of str
        The instructions so far. A caller may append lines of its own (labels,
        branches), or replace the list.
    """

    def __init__(self, module: LlvmModule, contract: bool = True):
        self.module = module
        self.contract = contract
        self.lines: list[str] = []
        self.scopes: list[dict[str, Value]] = [{}]
        self._count = 0

    # ------------------------------------------------------------- emission

    def fresh(self, prefix: str = "v") -> str:
        """Return a new SSA name; also good for labels, without the ``%``."""
        self._count += 1
        return f"%{prefix}{self._count}"

    def emit(self, text: str, dtype: np.dtype) -> Value:
        """Append an instruction and return its result."""
        value = Value(self.fresh(), dtype)
        self.lines.append(f"  {value.text} = {text}")
        return value

    def pure(self, text: str, dtype: np.dtype) -> Value:
        """As `emit`, but an equal instruction in scope is used again."""
        for scope in self.scopes:
            if text in scope:
                return scope[text]
        value = self.scopes[-1][text] = self.emit(text, dtype)
        return value

    def push_scope(self) -> None:
        """Begin a block: what is computed from here on is forgotten by `pop_scope`."""
        self.scopes.append({})

    def pop_scope(self) -> None:
        """End the block begun last."""
        self.scopes.pop()

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Enclose the code of one block in a ``with`` statement."""
        self.push_scope()
        try:
            yield
        finally:
            self.pop_scope()

    def load(self, address: str, dtype: np.dtype, suffix: str = "") -> Value:
        """Load from an address (``%name``); `suffix` holds alignment and metadata."""
        value = self.emit(f"load {memory_type(dtype)}, ptr {address}{suffix}", dtype)
        if dtype.kind == "b":
            return self.emit(f"icmp ne i8 {value.text}, 0", dtype)
        return value

    def store(self, value: Value, address: str, suffix: str = "") -> None:
        """Store to an address."""
        kind, text = memory_type(value.dtype), value.text
        if value.dtype.kind == "b":
            text = self.pure(f"zext i1 {text} to i8", value.dtype).text
        self.lines.append(f"  store {kind} {text}, ptr {address}{suffix}")

    def intrinsic(
        self, name: str, operands: Sequence[Value], flags: str = "", extra: str = ""
    ) -> Value:
        """Call ``llvm.<name>`` of the first operand's type, which is the result's.

        `extra` is a trailing immediate operand, such as ``i1 false``.
        """
        dtype = operands[0].dtype
        kind = llvm_type(dtype)
        suffix = {"float": "f32", "double": "f64"}.get(kind, kind)
        kinds = [kind] * len(operands) + ([extra.split()[0]] if extra else [])
        function = self.module.declare(f"llvm.{name}.{suffix}", kind, kinds)
        texts = [f"{kind} {o.text}" for o in operands] + ([extra] if extra else [])
        return self.pure(f"call {flags}{kind} {function}({', '.join(texts)})", dtype)

    # ------------------------------------------------------------ constants

    def dtype(self, value: Value) -> np.dtype:
        """Return a value's dtype."""
        return value.dtype

    def constant(self, value: Any, dtype: np.dtype) -> Value:
        """Return a constant."""
        return Value(literal(value, np.dtype(dtype)), np.dtype(dtype))

    def like(self, x: Value, value: Any) -> Value:
        """Return a constant of the dtype of `x`."""
        return self.constant(value, x.dtype)

    def zero(self, x: Value) -> Value:
        """Return 0 in the dtype of `x`."""
        return self.constant(0, x.dtype)

    def one(self, x: Value) -> Value:
        """Return 1 in the dtype of `x`."""
        return self.constant(1, x.dtype)

    # --------------------------------------------------------- instructions

    def __call__(self, name: str, *operands: Value) -> Value:
        """Apply an instruction or a function of `vector_math`.

        Operands have one dtype, except the boolean of select. The result has it
        too, except that comparisons and isnan, isinf, isfinite give booleans and
        bits and from_bits change between float and integer of one width.
        """
        method = _INSTRUCTIONS.get(name)
        if method is None:
            return self._function(name, operands)
        rest = operands[1:] if name == "select" else operands
        dtype = rest[0].dtype
        if any(o.dtype is not dtype and o.dtype != dtype for o in rest):
            names = [o.dtype.name for o in rest]
            internal_assert(False, f"instruction {name} got operands of dtypes {names}")
        return method(self, name, *operands)

    def _function(self, name: str, operands: Sequence[Value]) -> Value:
        from graphc.backends.cpu import vector_math

        function = vector_math.define(self.module, name, [o.dtype for o in operands])
        kind = llvm_type(operands[0].dtype)
        texts = ", ".join(f"{kind} {o.text}" for o in operands)
        return self.pure(f"call {kind} {function}({texts})", operands[0].dtype)

    def _binary(self, opcode: str, a: Value, b: Value) -> Value:
        text = f"{opcode} {llvm_type(a.dtype)} {a.text}, {b.text}"
        return self.pure(text, a.dtype)

    def _arithmetic(self, name: str, a: Value, b: Value) -> Value:
        if a.dtype.kind == "b":
            internal_assert(name in _BOOL_AS, f"instruction {name} on booleans")
            return self._binary(_BOOL_AS[name], a, b)
        if a.dtype.kind != "f":
            return self._binary(name, a, b)
        contract = " contract" if name == "mul" and self.contract else ""
        return self._binary(f"f{name}{contract}", a, b)

    def _reassociated(self, name: str, a: Value, b: Value) -> Value:
        name = name.removesuffix("_reassoc")
        if a.dtype.kind != "f":
            return self._arithmetic(name, a, b)
        return self._binary(f"f{name} reassoc contract", a, b)

    def _div(self, name: str, a: Value, b: Value) -> Value:
        internal_assert(a.dtype.kind == "f", "instruction div on integers")
        return self._binary("fdiv", a, b)

    def _neg(self, name: str, a: Value) -> Value:
        if a.dtype.kind == "f":
            return self.pure(f"fneg {llvm_type(a.dtype)} {a.text}", a.dtype)
        return self._binary("sub", self.zero(a), a)

    def _abs(self, name: str, a: Value) -> Value:
        if a.dtype.kind == "i":
            return self.intrinsic("abs", [a], extra="i1 false")
        return self._rounding(name, a)

    def _rounding(self, name: str, a: Value) -> Value:
        if a.dtype.kind != "f":
            internal_assert(name != "sqrt", "instruction sqrt on integers")
            return a
        return self.intrinsic(_FLOAT_UNARY[name], [a])

    def _extremum(self, name: str, a: Value, b: Value) -> Value:
        name, _, free = name.partition("_")  # which zero it is may be left open
        flags = "nsz " if free else ""
        if a.dtype.kind == "b":
            return self._arithmetic(name, a, b)
        if a.dtype.kind == "f":
            return self.intrinsic(f"{name}imum", [a, b], flags)
        return self.intrinsic(("s" if a.dtype.kind == "i" else "u") + name, [a, b])

    def _fma(self, name: str, a: Value, b: Value, c: Value) -> Value:
        return self.intrinsic("fma", [a, b, c])

    def _copysign(self, name: str, a: Value, b: Value) -> Value:
        return self.intrinsic("copysign", [a, b])

    def _compare(self, name: str, a: Value, b: Value) -> Value:
        if a.dtype.kind == "f":
            opcode = "fcmp " + ("une" if name == "ne" else f"o{name}")
        elif name in ("eq", "ne"):
            opcode = f"icmp {name}"
        else:
            opcode = f"icmp {'s' if a.dtype.kind == 'i' else 'u'}{name}"
        return self._binary(opcode, a, b)._replace(dtype=dtypes.bool_)

    def _classify(self, name: str, a: Value) -> Value:
        if a.dtype.kind != "f":
            return self.constant(name == "isfinite", dtypes.bool_)
        if name == "isnan":
            return self._binary("fcmp uno", a, a)._replace(dtype=dtypes.bool_)
        infinity = self.like(a, np.inf)
        return self("eq" if name == "isinf" else "lt", self("abs", a), infinity)

    def _bitwise(self, name: str, a: Value, b: Value) -> Value:
        return self._binary(name, a, b)

    def _not(self, name: str, a: Value) -> Value:
        ones = Value("true", a.dtype) if a.dtype.kind == "b" else Value("-1", a.dtype)
        return self._binary("xor", a, ones)

    def _shift(self, name: str, a: Value, b: Value) -> Value:
        signed = a.dtype.kind == "i"
        opcode = name if name == "shl" else ("ashr" if signed else "lshr")
        width = 8 * a.dtype.itemsize
        if b.literal and 0 <= int(b.text) < width:
            return self._binary(opcode, a, b)
        inside = self._binary("icmp ult", b, self.like(b, width))
        inside = inside._replace(dtype=dtypes.bool_)
        if opcode == "ashr":
            most = self.like(b, width - 1)
            return self._binary(opcode, a, self("select", inside, b, most))
        shifted = self._binary(opcode, a, self("select", inside, b, self.zero(b)))
        return self("select", inside, shifted, self.zero(a))

    def _select(self, name: str, condition: Value, a: Value, b: Value) -> Value:
        if a.text == b.text:
            return a
        kind = llvm_type(a.dtype)
        text = f"select i1 {condition.text}, {kind} {a.text}, {kind} {b.text}"
        return self.pure(text, a.dtype)

    def _bits(self, name: str, a: Value) -> Value:
        internal_assert(a.dtype.kind == "f", "instruction bits on integers")
        dtype = bits_dtype(a.dtype)
        return self.pure(
            f"bitcast {llvm_type(a.dtype)} {a.text} to {llvm_type(dtype)}", dtype
        )

    def _from_bits(self, name: str, a: Value) -> Value:
        dtype = np.dtype(f"float{8 * a.dtype.itemsize}")
        return self.pure(
            f"bitcast {llvm_type(a.dtype)} {a.text} to {llvm_type(dtype)}", dtype
        )

    # ------------------------------------------------------------- division

    def _floor_division(self, name: str, a: Value, b: Value) -> Value:
        if a.dtype.kind == "f":
            return self._float_division(name, a, b)
        zero, one = self.zero(a), self.one(a)
        by_zero = self("eq", b, zero)
        if a.dtype.kind != "i":
            divisor = self("select", by_zero, one, b)
            opcode = "udiv" if name == "floordiv" else "urem"
            return self("select", by_zero, zero, self._binary(opcode, a, divisor))
        # The processor traps on x / 0 and on min / -1; both are kept away from it.
        by_minus_one = self("eq", b, self.like(b, -1))
        special = self("or", by_zero, by_minus_one)
        divisor = self("select", special, one, b)
        quotient = self._binary("sdiv", a, divisor)
        rest = self("sub", a, self("mul", quotient, divisor))
        unlike = self("lt", self("xor", rest, divisor), zero)
        low = self("and", self("ne", rest, zero), unlike)
        if name == "mod":
            rest = self("select", low, self("add", rest, divisor), rest)
            return self("select", special, zero, rest)
        quotient = self("select", low, self("sub", quotient, one), quotient)
        quotient = self("select", by_minus_one, self("neg", a), quotient)
        return self("select", by_zero, zero, quotient)

    def _float_division(self, name: str, a: Value, b: Value) -> Value:
        """NumPy's divmod of floats, which is Python's, with infinities and NaN."""
        zero, one = self.zero(a), self.one(a)
        rest = self._binary("frem", a, b)
        has_rest = self("ne", rest, zero)
        unlike = self("ne", self("lt", b, zero), self("lt", rest, zero))
        low = self("and", has_rest, unlike)
        if name == "mod":
            rest = self("select", low, self("add", rest, b), rest)
            return self("select", has_rest, rest, self("copysign", zero, b))
        exact = self("div", a, b)
        quotient = self("div", self("sub", a, rest), b)
        quotient = self("select", low, self("sub", quotient, one), quotient)
        down = self("floor", quotient)
        up = self("gt", self("sub", quotient, down), self.like(a, 0.5))
        down = self("select", up, self("add", down, one), down)
        signed_zero = self("copysign", zero, exact)
        down = self("select", self("ne", quotient, zero), down, signed_zero)
        return self("select", self("eq", b, zero), exact, down)

    # ---------------------------------------------------------- conversions

    def cast(self, value: Value, dtype: np.dtype) -> Value:
        """Return a value converted as NumPy's astype does (see the module's text)."""
        source, dtype = value.dtype, np.dtype(dtype)
        if source == dtype:
            return value
        if dtype.kind == "b":
            return self("ne", value, self.zero(value))
        if source.kind == "f" and dtype.kind in "iu":
            return self._truncate(value, dtype)
        narrower = dtype.itemsize < source.itemsize
        if source.kind == "f":
            opcode = "fptrunc" if narrower else "fpext"
        elif dtype.kind == "f":
            opcode = "sitofp" if source.kind == "i" else "uitofp"
        elif source.kind != "b" and dtype.itemsize == source.itemsize:
            return value._replace(dtype=dtype)
        elif narrower:
            opcode = "trunc"
        else:
            opcode = "sext" if source.kind == "i" else "zext"
        text = f"{opcode} {llvm_type(source)} {value.text} to {llvm_type(dtype)}"
        return self.pure(text, dtype)

    def _truncate(self, value: Value, dtype: np.dtype) -> Value:
        source, kind = llvm_type(value.dtype), llvm_type(dtype)
        suffix = "f32" if source == "float" else "f64"
        letter = "s" if dtype.kind == "i" else "u"
        name = f"llvm.fpto{letter}i.sat.{kind}.{suffix}"
        function = self.module.declare(name, kind, [source])
        return self.pure(f"call {kind} {function}({source} {value.text})", dtype)


_INSTRUCTIONS: dict[str, Callable[..., Value]] = {
    **dict.fromkeys(("add", "sub", "mul"), LlvmScalars._arithmetic),
    **dict.fromkeys(("add_reassoc", "mul_reassoc"), LlvmScalars._reassociated),
    "div": LlvmScalars._div,
    **dict.fromkeys(("floordiv", "mod"), LlvmScalars._floor_division),
    "neg": LlvmScalars._neg,
    "abs": LlvmScalars._abs,
    **dict.fromkeys(("min", "max"), LlvmScalars._extremum),
    **dict.fromkeys(("min_nsz", "max_nsz"), LlvmScalars._extremum),
    **dict.fromkeys(("sqrt", "floor", "ceil", "rint", "trunc"), LlvmScalars._rounding),
    "copysign": LlvmScalars._copysign,
    "fma": LlvmScalars._fma,
    **dict.fromkeys(_COMPARISONS, LlvmScalars._compare),
    **dict.fromkeys(("isnan", "isinf", "isfinite"), LlvmScalars._classify),
    **dict.fromkeys(_BITWISE, LlvmScalars._bitwise),
    "not": LlvmScalars._not,
    **dict.fromkeys(("shl", "shr"), LlvmScalars._shift),
    "select": LlvmScalars._select,
    "bits": LlvmScalars._bits,
    "from_bits": LlvmScalars._from_bits,
}
"""Each instruction's method, which takes the name and the operands."""
