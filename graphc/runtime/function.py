"""`Function`: a compiled graph that is called with arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.backends import reference
from graphc.backends.cpu import calls
from graphc.expressions.containers import Structure
from graphc.graph.graph import Graph
from graphc.graph.operators import FUNCTIONS
from graphc.runtime.arguments import as_donated, as_input, check_out, overlapping
from graphc.runtime.compiled import PLAIN, Compiled, CompileOptions, KernelInfo
from graphc.runtime.finite import preserved, require_finite
from graphc.runtime.signature import Signature
from graphc.types import sizes
from graphc.types.config import on_change, options, read_threads
from graphc.types.errors import (
    AllocationError,
    IndexOutOfRangeError,
    InputError,
    made_at,
)
from graphc.types.sizes import Dim, SizeLike

if TYPE_CHECKING:
    from graphc.runtime.memory import MemoryReport
    from graphc.schedule.program import Program


_watching = np.zeros(1, np.int64)
"""Whether results are looked at: a word, which native calls read."""


def _watch() -> None:
    _watching[0] = options().check_finite


_watch()


on_change(_watch)

_CALL = """__call__($self, /, *args, out=None, threads=None, **named)
--

Compute the outputs."""


class Function:
    """A compiled function of arrays; made by `graphc.compile`.

    Call it with one argument for each input, in order or by the input's name, in
    the nested containers that `compile` was given. It returns NumPy arrays in the
    containers of the outputs.

    Parameters of a call
    --------------------
    *arrays, **named
        Arrays of the declared dtype and rank; lists and Python numbers are
        converted. Non-contiguous and byte-swapped arrays are copied first.
    out : containers of numpy.ndarray, optional
        Arrays of the outputs' shapes and dtypes to write into. Nothing is allocated
        for those that are contiguous and share no memory with an input or with each
        other; others are filled from an array made for the call. After an error they
        may hold anything.
    threads : int, optional
        How many threads this call may use, as `with_threads`.

    Attributes
    ----------
    original : Graph
        The graph as it was made.
    backend : str
        "cpu", "cuda" or "reference".
    threads : int
        How many threads a call may use; 0 means what the process uses.
    """

    __slots__ = ("__dict__", "__weakref__", "_form", "_quick")

    def __init__(
        self,
        original: Graph,
        inputs: Structure,
        outputs: Structure,
        backend: str,
        threads: int | None = None,
        options: CompileOptions = PLAIN,
    ):
        self.original = original
        self.options = options
        self._donated = [d for d in options.donated if original.inputs[d].ndim]
        self.backend = backend
        self.threads = read_threads(threads)
        self._others: dict[int, Function] = {}
        self._inputs = inputs
        self._outputs = outputs
        self._signature = Signature(original.inputs, inputs)
        self._nested = self._signature.nested
        self._constant_shapes = _constant_shapes(original)
        self._pack = self._packing()
        self._compiled = Compiled(original, options, backend)
        self._use_threads()

    def _use_threads(self) -> None:
        self._entry = self._compiled.entry(self.threads)  # kept for `_native` needs it
        self._native = None if self._entry is None else self._entry.call
        # what a call without keywords may go to straight away (`calls.install`)
        form = self._form_of_result()
        plain = self._native is not None and not self._nested and form is not None
        self._quick = self._native if plain else NotImplemented
        self._form = form
        if plain:
            calls.install(Function, "_quick", "_form", _watching.ctypes.data, _CALL)

    @property
    def graph(self) -> Graph:
        """The graph after all passes."""
        return self._compiled.graph

    @property
    def _executable(self) -> Any:
        return self._compiled.executable

    # ---------------------------------------------------------------- calls

    def __call__(
        self, *args: Any, out: Any = None, threads: int | None = None, **named: Any
    ) -> Any:
        if threads is not None:
            return self.with_threads(threads)(*args, out=out, **named)
        if _watching[0]:
            return self._watched(args, named, out)
        if self._native is not None and out is None and not named:
            flat = self._signature.leaves(args, named) if self._nested else args
            result = self._native(*flat)
            if result is not NotImplemented:
                return result if self._pack is None else self._pack(result)
        return self._call(args, named, out)

    def _call(self, args: Sequence[Any], named: Mapping[str, Any], out: Any) -> Any:
        """Call with whatever arguments, converted and checked as needed."""
        leaves = self._signature.leaves(args, named)
        given = None if out is None else self._outputs.flatten_like(out, "out")
        extra = () if given is None else (*given, NotImplemented)
        if self._native is not None and given is not None:
            if self._native(*leaves, *extra) is not NotImplemented:
                return out
        arrays = [as_input(n, a) for n, a in zip(self.original.inputs, leaves)]
        for number in self._donated:
            node = self.original.inputs[number]
            arrays[number] = as_donated(node, leaves[number], arrays[number])
        if self._native is not None:
            # now that every argument is an array as it should be
            result = self._native(*arrays, *extra)
            if result is not NotImplemented:
                if given is not None:
                    return out
                return result if self._pack is None else self._pack(result)
        values = self._checked_sizes(arrays)
        if given is not None:
            shapes = self._output_shapes(values)
            types = [(s, o.dtype) for s, o in zip(shapes, self.original.outputs)]
            check_out(given, self._outputs.paths("out"), types)
        results = self._run(arrays, values, given)
        if given is None:
            return self._outputs.unflatten(results)
        for array, result in zip(given, results):
            if array is not result:
                array[...] = result
        return out

    def _watched(self, args: Sequence[Any], named: Mapping[str, Any], out: Any) -> Any:
        """Call, and raise `NonFiniteError` if a result is not finite."""
        leaves = self._signature.leaves(args, named)
        given = [] if out is None else self._outputs.flatten_like(out, "out")
        arrays = preserved(
            [as_input(n, a) for n, a in zip(self.original.inputs, leaves)],
            self._donated,
            given,
        )
        result = self._call(args, named, out)
        results = self._outputs.flatten_like(result)
        require_finite(self.graph, arrays, results, self._outputs.paths("result"))
        return result

    def with_threads(self, threads: int | None) -> Function:
        """Return this function with another number of threads for its calls.

        Nothing is compiled: both run the same machine code, and give the same bits.

        Parameters
        ----------
        threads : int or None
            The caller and its helpers together; 0 or None means what the process
            uses (`config`, GRAPHC_NUM_THREADS, or else its cores).

        Returns
        -------
        Function

        Raises
        ------
        ConfigError
            If it is no integer of 0 or more.
        """
        threads = read_threads(threads)
        if threads == self.threads:
            return self
        other = self._others.get(threads)
        if other is None:
            other = object.__new__(type(self))
            other.__dict__.update(self.__dict__)
            other.threads = threads
            other._others = {}
            other._use_threads()
            other = self._others.setdefault(threads, other)
        return other

    def _packing(self) -> Callable[[Any], Any] | None:
        """Return what puts native outputs in their containers, None for nothing.

        Native outputs are one array, or a list. For a list or a tuple of arrays that
        must not take longer than the call.
        """
        structure = self._outputs
        if structure.kind is None:
            return None
        if structure.kind in (list, tuple) and all(
            c.kind is None for c in structure.children
        ):
            if structure.count != 1:
                return None if structure.kind is list else tuple
            return (
                (lambda result: [result])
                if structure.kind is list
                else (lambda result: (result,))
            )
        build = structure.builder()
        if structure.count == 1:
            return lambda result: build((result,))
        return build

    def _form_of_result(self) -> Any:
        """Return what native outputs are put into: `list`, `tuple`, or nothing.

        Nothing is NotImplemented; None if it is something else.
        """
        if self._pack is None:
            return NotImplemented
        children = self._outputs.children if self._outputs.kind in (list, tuple) else ()
        flat = children and all(c.kind is None for c in children)
        return self._outputs.kind if flat else None

    def _run(
        self,
        arrays: list[np.ndarray],
        values: Mapping[Dim, int],
        given: Sequence[np.ndarray] | None,
    ) -> list[np.ndarray]:
        """Return the outputs, written into the arrays given where that is possible."""
        if self._executable is None:
            inputs = dict(zip(self.graph.inputs, arrays))
            return [
                np.array(r) for r in reference.interpret(self.graph, inputs, values)
            ]
        self._executable.check_sizes(values)
        plan = self._executable.program.memory
        for number in overlapping(arrays) & plan.written:
            arrays[number] = arrays[number].copy()
        results = self._results(arrays, self._output_shapes(values), given)
        failed = self._executable.run(arrays, results, values, self.threads)
        if failed is not None:
            raise IndexOutOfRangeError(
                f"{failed.op.name}: an index is out of range in {failed.label()}"
                f"{made_at(failed.origin)}."
            )
        return results

    def _results(
        self,
        arrays: Sequence[np.ndarray],
        shapes: Sequence[tuple[int, ...]],
        given: Sequence[np.ndarray] | None,
    ) -> list[np.ndarray]:
        """Return the arrays to compute outputs into."""
        reused = self._executable.program.memory.reused
        results: list[np.ndarray] = []
        meeting = overlapping([*arrays, *given]) if given is not None else set()
        for number, (shape, node) in enumerate(zip(shapes, self.original.outputs)):
            if number in reused:
                results.append(arrays[reused[number]])
                continue
            if given is not None and len(arrays) + number not in meeting:
                flags = given[number].flags
                if flags.c_contiguous and flags.aligned:
                    results.append(given[number])
                    continue
            try:
                results.append(np.empty(shape, node.dtype))
            except (MemoryError, ValueError):
                where = self._outputs.paths("outputs")[number]
                size = math.prod(shape) * node.dtype.itemsize
                raise AllocationError(
                    f"memory for {where}, {node.label()}{made_at(node.origin)}, of "
                    f"shape {shape}, {size:,} bytes, cannot be had."
                ) from None
        return results

    def _output_shapes(self, values: Mapping[Dim, int]) -> list[tuple[int, ...]]:
        if self._constant_shapes is not None:
            return self._constant_shapes
        memo: dict[Any, int] = {}
        return [
            tuple(sizes.evaluate(s, values.__getitem__, memo) for s in o.shape)
            for o in self.original.outputs
        ]

    # ----------------------------------------------------------- inspection

    @property
    def kernels(self) -> list[KernelInfo]:
        """The steps of a call in order: kernels and matrix products."""
        if self._executable is None:
            return []
        out = []
        for step in self._executable.program.calls:
            kernel = getattr(step, "kernel", None)
            if kernel is None:
                out.append(KernelInfo(step.kind, step.label))
            else:
                out.append(KernelInfo(self._executable.name(kernel), kernel.label))
        return out

    @property
    def source(self) -> str:
        """The kernels as readable text."""
        return "" if self._executable is None else self._executable.source()

    def explain(self, a: Any = None, b: Any = None) -> Any:
        """Return what the kernels fuse, and why they do not fuse more.

        Parameters
        ----------
        a, b : expression or str, optional
            Two nodes of `graph`, or their names: the answer is about these.

        Returns
        -------
        schedule.explain.Explanation or schedule.explain.PairExplanation
            Facts, and text by `str`. The former lists kernels and, for each value
            that one leaves for another, why they are two; and what ``mode="auto"``
            weighed for the derivatives in the graph.

        Raises
        ------
        InputError
            If only one node is given, if `graph` has no such node or more than one
            of that name, or if the function was compiled for the reference backend
            and two nodes are given.
        """
        from graphc.derivatives.choice import choices_in
        from graphc.schedule.explain import Explanation, explain, explain_pair

        if (a is None) != (b is None):
            raise InputError("explain: give two nodes or names, or none.")
        if self._executable is None:
            if a is not None:
                raise InputError(
                    "explain: the reference backend computes node by node, without "
                    'kernels. Compile with backend="cpu".'
                )
            return Explanation((), (), choices_in(self.original.nodes))
        program = self._executable.program
        if a is None:
            choices = choices_in(self.original.nodes)
            return explain(program)._replace(derivatives=choices)
        return explain_pair(program, self._found(a), self._found(b))

    def _found(self, wanted: Any) -> Any:
        """Return a node of the graph, given itself or its name."""
        nodes = self._executable.program.graph.nodes
        if isinstance(wanted, str):
            found = [n for n in nodes if n.name == wanted]
        else:
            found = [n for n in nodes if n is wanted]
        if len(found) == 1:
            return found[0]
        what = repr(wanted) if isinstance(wanted, str) else wanted.label()
        if found:
            raise InputError(f"explain: {len(found)} nodes are named {what}.")
        raise InputError(
            f"explain: the compiled graph has no node {what}: passes replaced it, or "
            "no output needs it. Take a node of f.graph."
        )

    @property
    def memory(self) -> SizeLike:
        """Planned peak bytes of a call besides the inputs: outputs and workspace.

        An integer, or a formula of the symbolic sizes. `memory_plan` says what for.
        """
        return self.memory_plan.peak

    @property
    def memory_plan(self) -> MemoryReport:
        """What the memory of a call is used for; prints as a table."""
        from graphc.runtime.memory import MemoryReport
        from graphc.schedule.memory import MemoryPlan

        if self._executable is None:
            return MemoryReport(self.graph, MemoryPlan())
        program = self._executable.program
        return MemoryReport(program.graph, program.memory)

    @property
    def containers(self) -> int:
        """How many lists and the like a call makes, besides a plain list of results."""
        structure = self._outputs
        flat = structure.kind is list and structure.count == len(structure.children)
        return 0 if self._pack is None or flat else structure.containers

    @property
    def program(self) -> Program | None:
        """The steps of a call, None for the reference backend."""
        return None if self._executable is None else self._executable.program

    def profile(self, *args: Any, rounds: int = 10, **named: Any) -> Any:
        """Time the steps of a call one by one, the shortest of some rounds.

        Arguments are as in a call. Returns a `graphc.surfaces.cost.profile.Profile`;
        raises `InputError` for the reference backend.
        """
        return FUNCTIONS["profile"](self, args, named, rounds)

    def time_steps(
        self, args: Sequence[Any], named: Mapping[str, Any], rounds: int
    ) -> tuple[dict[Dim, int], list[float]]:
        """Return the sizes of a call, and the seconds each of its steps takes."""
        given = zip(self.original.inputs, self._signature.leaves(args, named))
        arrays = [np.array(as_input(n, a)) for n, a in given]
        values = self._checked_sizes(arrays)
        self._run([a.copy() for a in arrays], values, None)  # errors are raised here
        results = self._results(arrays, self._output_shapes(values), None)
        run = self._executable.time_steps
        return values, run(arrays, results, values, self.threads, rounds)

    def _checked_sizes(self, arrays: Sequence[np.ndarray]) -> dict[Dim, int]:
        """Return the integer of each dimension; raise if sizes break a rule."""
        values = reference.bind_sizes(self.original.inputs, arrays)
        reference.check_equalities(self._compiled.equalities, values)
        reference.check_requirements(self._compiled.requirements, values)
        return values

    @property
    def cost(self) -> Any:
        """What a call costs, by kernel and whole: see `graphc.cost`."""
        return FUNCTIONS["cost"](self)

    def release(self) -> None:
        """Free the workspace that the calling thread keeps between calls.

        All compiled functions share it; the next call that needs one makes it anew.
        """
        if self.backend == "cpu":
            from graphc.backends.cpu import memory

            memory.release()

    def _repr_svg_(self) -> str | None:
        return FUNCTIONS["notebook_svg"](self)

    def __repr__(self) -> str:
        return (
            f"<graphc Function ({self._signature.text()}) -> "
            f"{', '.join(str(o.type) for o in self.original.outputs)}, {self.backend}>"
        )

    def __reduce__(self) -> Any:
        from graphc.graph.pickling import flatten

        inputs, outputs = self.original.inputs, self.original.outputs
        rows = flatten([*inputs, *outputs])
        return (
            _restore,
            (
                rows,
                len(inputs),
                self._inputs,
                self._outputs,
                self.backend,
                self.threads,
                self.options,
            ),
        )


def _restore(
    rows: Any,
    count: int,
    inputs: Structure,
    outputs: Structure,
    backend: str,
    threads: int,
    options: CompileOptions = PLAIN,
) -> Function:
    from graphc.graph.pickling import unflatten
    from graphc.runtime.compile import compile_graph

    nodes = unflatten(*rows)
    graph = Graph(nodes[:count], nodes[count:])
    return compile_graph(graph, inputs, outputs, backend, threads, options)


def _constant_shapes(graph: Graph) -> list[tuple[int, ...]] | None:
    shapes = [o.shape for o in graph.outputs]
    if all(sizes.is_static(s) for s in shapes):
        return shapes  # type: ignore[return-value]
    return None
