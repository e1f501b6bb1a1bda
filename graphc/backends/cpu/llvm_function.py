"""A writer of LLVM functions with loops and branches, for code that is no kernel.

Values are LLVM's own names as text; the writer numbers them and keeps track of blocks,
so that what is left to write is arithmetic::

    f = FunctionWriter("clear", "i64 %n, ptr %x")
    with f.loop(0, "%n") as i:
        f.store("double 0.0", f.element("double", "%x", i))
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

DECLARATIONS = """
declare i64 @llvm.smin.i64(i64, i64)
declare i64 @llvm.smax.i64(i64, i64)
"""


class FunctionWriter:
    """Writes one function that returns nothing.

    Parameters
    ----------
    name : str
    parameters : str
        As LLVM has them: ``i64 %n, ptr noalias %x``.
    linkage : str
        ``internal`` or ``linkonce`` and the like; empty for a function others call.
    """

    def __init__(
        self, name: str, parameters: str, linkage: str = "", attributes: str = ""
    ):
        self._head = (
            f"define {linkage} void @{name}({parameters}) {attributes}nounwind {{"
        )
        self._entry: list[str] = []
        self._lines: list[str] = []
        self._count = 0
        self.block = "body"

    def text(self) -> str:
        """Return the function."""
        lines = [self._head, "entry:", *self._entry, "  br label %body", "body:"]
        return "\n".join([*lines, *self._lines, "  ret void", "}", ""])

    def name(self, stem: str = "v") -> str:
        """Return a name not used before, without its percent sign."""
        self._count += 1
        return f"{stem}{self._count}"

    def do(self, line: str) -> None:
        """Write an instruction that has no value."""
        self._lines.append(f"  {line}")

    def __call__(self, instruction: str, *operands: object) -> str:
        """Write an instruction such as ``f("add i64", a, b)`` and return its value."""
        value = f"%{self.name()}"
        self.do(f"{value} = {instruction} {', '.join(map(str, operands))}".rstrip())
        return value

    # ------------------------------------------------------------------- integers

    def add(self, a: object, b: object) -> str:
        return self("add nsw i64", a, b)

    def sub(self, a: object, b: object) -> str:
        return self("sub nsw i64", a, b)

    def mul(self, a: object, b: object) -> str:
        return self("mul nsw i64", a, b)

    def div(self, a: object, b: object) -> str:
        """Return the quotient, rounded down, of numbers that are not negative."""
        return self("udiv i64", a, b)

    def ceil_div(self, a: object, b: object) -> str:
        """Return the quotient, rounded up, of numbers that are not negative."""
        return self.div(self.add(a, self.sub(b, 1)), b)

    def mod(self, a: object, b: object) -> str:
        return self("urem i64", a, b)

    def min(self, a: object, b: object) -> str:
        return self(f"call i64 @llvm.smin.i64(i64 {a}, i64 {b})")

    def max(self, a: object, b: object) -> str:
        return self(f"call i64 @llvm.smax.i64(i64 {a}, i64 {b})")

    def compare(self, relation: str, a: object, b: object) -> str:
        return self(f"icmp {relation} i64", a, b)

    def select(self, condition: str, a: object, b: object) -> str:
        return self(f"select i1 {condition}, i64 {a}, i64 {b}")

    # --------------------------------------------------------------------- memory

    def element(self, kind: str, pointer: str, index: object) -> str:
        return self(f"getelementptr inbounds {kind}, ptr {pointer}, i64 {index}")

    def beside(self, kind: str, pointer: str, index: object) -> str:
        """Return the place of an element that may lie outside of the array."""
        return self(f"getelementptr {kind}, ptr {pointer}, i64 {index}")

    def load(self, kind: str, pointer: str, align: int = 0) -> str:
        return self(
            f"load {kind}, ptr {pointer}" + (f", align {align}" if align else "")
        )

    def store(self, value: str, pointer: str, align: int = 0) -> None:
        """Store a value that is written with its type."""
        self.do(f"store {value}, ptr {pointer}" + (f", align {align}" if align else ""))

    def word(self, words: str, number: object) -> str:
        """Return a 64-bit word of an array of them."""
        return self.load("i64", self.element("i64", words, number))

    def local(self, kind: str, align: int = 8) -> str:
        """Return memory of the function's own frame."""
        place = f"%{self.name('local')}"
        self._entry.append(f"  {place} = alloca {kind}, align {align}")
        return place

    # -------------------------------------------------------------------- control

    @contextmanager
    def loop(self, low: object, high: object, step: object = 1) -> Iterator[str]:
        """Write ``for index in range(low, high, step)``."""
        n = self.name("loop")
        before = self.block
        head = len(self._lines) + 2
        self._lines += [
            f"  br label %{n}_head",
            f"{n}_head:",
            "",
            f"  %{n}_more = icmp slt i64 %{n}, {high}",
            f"  br i1 %{n}_more, label %{n}_body, label %{n}_exit",
            f"{n}_body:",
        ]
        self.block = f"{n}_body"
        yield f"%{n}"
        self._lines += [
            f"  %{n}_next = add nsw i64 %{n}, {step}",
            f"  br label %{n}_head",
            f"{n}_exit:",
        ]
        self._lines[head] = (
            f"  %{n} = phi i64 [ {low}, %{before} ], [ %{n}_next, %{self.block} ]"
        )
        self.block = f"{n}_exit"

    @contextmanager
    def when(self, condition: str) -> Iterator[None]:
        """Write ``if condition:``."""
        n = self.name("when")
        self._lines += [f"  br i1 {condition}, label %{n}, label %{n}_end", f"{n}:"]
        self.block = n
        yield
        self._lines += [f"  br label %{n}_end", f"{n}_end:"]
        self.block = f"{n}_end"

    @contextmanager
    def unless(self, condition: str) -> Iterator[None]:
        """Write ``if not condition:``."""
        with self.when(self(f"xor i1 {condition}, true")):
            yield
