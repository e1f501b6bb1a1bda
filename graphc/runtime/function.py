"""`Function`: a compiled graph that is called with arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphc.backends import reference
from graphc.expressions.containers import Structure
from graphc.graph.graph import Graph
from graphc.runtime.arguments import as_input, check_out
from graphc.types import sizes
from graphc.types.config import read_threads
from graphc.types.errors import IndexOutOfRangeError, InputError, made_at
from graphc.types.sizes import Dim, SizeLike


class KernelInfo(NamedTuple):
    """One step of a compiled function.

    Attributes
    ----------
    name : str
        Equal names are one piece of machine code.
    fuses : str
        The ops it computes, and the types it stores.
    """

    name: str
    fuses: str


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
        Arrays of the outputs' shapes and dtypes to write into.
    threads : int, optional
        How many threads this call may use, as `with_threads`.

    Attributes
    ----------
    graph : Graph
        The graph after all passes.
    backend : str
        "cpu" or "reference".
    threads : int
        How many threads a call may use; 0 means what the process uses.
    """

    def __init__(
        self,
        original: Graph,
        graph: Graph,
        inputs: Structure,
        outputs: Structure,
        backend: str,
        threads: int | None = None,
    ):
        self.original = original
        self.graph = graph
        self.backend = backend
        self.threads = read_threads(threads)
        self._others: dict[int, Function] = {}
        self._inputs = inputs
        self._outputs = outputs
        self._nested = inputs.kind not in (list, tuple) or any(
            c.kind is not None for c in inputs.children
        )
        self._names = {
            n.name: i for i, n in enumerate(graph.inputs) if not self._nested and n.name
        }
        self._equalities = reference.equalities(original)
        self._requirements = reference.requirements(original)
        self._dims = _dims(original)
        self._executable: Any = None
        self._native: Any = None
        self._bare = outputs.kind is None
        self._constant_shapes = _constant_shapes(graph)
        if backend == "cpu":
            from graphc.backends.cpu.executable import Executable

            self._executable = Executable(
                graph,
                self._dims,
                self._equalities,
                self._requirements,
                self.threads,
            )
            entry = self._executable.entry
            self._native = None if entry is None else entry.call

    # ---------------------------------------------------------------- calls

    def __call__(
        self, *args: Any, out: Any = None, threads: int | None = None, **named: Any
    ) -> Any:
        if threads is not None:
            return self.with_threads(threads)(*args, out=out, **named)
        if self._native is not None and out is None and not named:
            flat = self._leaves(args, named) if self._nested else args
            result = self._native(*flat)
            if result is not NotImplemented:
                return result if self._bare else self._pack(result)
        leaves = self._leaves(args, named)
        arrays = [as_input(n, a) for n, a in zip(self.graph.inputs, leaves)]
        if self._native is not None and out is None:
            # now that every argument is an array as it should be
            result = self._native(*arrays)
            if result is not NotImplemented:
                return result if self._bare else self._pack(result)
        values = reference.bind_sizes(self.graph.inputs, arrays)
        reference.check_equalities(self._equalities, values)
        reference.check_requirements(self._requirements, values)
        if self._executable is None:
            results = reference.interpret(
                self.graph, dict(zip(self.graph.inputs, arrays)), values
            )
            results = [np.array(r) for r in results]
            if out is not None:
                return self._give(results, out, values)
            return self._outputs.unflatten(results)
        return self._run(arrays, values, out)

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
            if self._executable is not None:
                other._executable = self._executable.with_threads(threads)
                entry = other._executable.entry
                other._native = None if entry is None else entry.call
            other = self._others.setdefault(threads, other)
        return other

    def _pack(self, result: Any) -> Any:
        """Return native outputs, one array or a tuple, in their containers."""
        leaves = result if isinstance(result, tuple) else (result,)
        return self._outputs.unflatten(leaves)

    def _run(
        self, arrays: list[np.ndarray], values: Mapping[Dim, int], out: Any
    ) -> Any:
        shapes = self._output_shapes(values)
        results = [np.empty(s, o.dtype) for s, o in zip(shapes, self.graph.outputs)]
        failed = self._executable.run(arrays, results, values)
        if failed is not None:
            raise IndexOutOfRangeError(
                f"{failed.op.name}: an index is out of range in {failed.label()}"
                f"{made_at(failed.origin)}."
            )
        if out is not None:
            return self._give(results, out, values)
        return self._outputs.unflatten(results)

    def _give(
        self, results: Sequence[np.ndarray], out: Any, values: Mapping[Dim, int]
    ) -> Any:
        given = self._outputs.flatten_like(out, "out")
        types = [(r.shape, r.dtype) for r in results]
        check_out(given, self._outputs.paths("out"), types)
        for array, result in zip(given, results):
            array[...] = result
        return out

    def _output_shapes(self, values: Mapping[Dim, int]) -> list[tuple[int, ...]]:
        if self._constant_shapes is not None:
            return self._constant_shapes
        memo: dict[Any, int] = {}
        return [
            tuple(sizes.evaluate(s, values.__getitem__, memo) for s in o.shape)  # type: ignore[arg-type]
            for o in self.graph.outputs
        ]

    def _leaves(self, args: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
        count = 1 if self._inputs.kind not in (list, tuple) else len(self._inputs.keys)
        given = list(args)
        if named:
            given = self._with_names(given, named, count)
        if len(given) != count:
            raise InputError(
                f"{count} inputs are needed, {len(given)} were given. The inputs are "
                f"{self._input_text()}."
            )
        if not self._nested:
            return given
        if self._inputs.kind not in (list, tuple):
            return self._inputs.flatten_like(given[0], self._argument_name(0))
        leaves: list[Any] = []
        for position, (child, value) in enumerate(zip(self._inputs.children, given)):
            leaves += child.flatten_like(value, self._argument_name(position))
        return leaves

    def _argument_name(self, position: int) -> str:
        return f"argument {position}"

    def _with_names(
        self, given: list[Any], named: Mapping[str, Any], count: int
    ) -> list[Any]:
        slots = {}
        offset = 0
        children = self._inputs.children if self._inputs.children else (self._inputs,)
        for position, child in enumerate(children):
            if child.kind is None:
                slots[self.graph.inputs[offset].name] = position
            offset += child.count
        missing = object()
        full = given + [missing] * (count - len(given))
        for name, value in named.items():
            if sum(n.name == name for n in self.graph.inputs) > 1:
                raise InputError(
                    f"more than one input is named {name!r}: give them by position. "
                    f"The inputs are {self._input_text()}."
                )
            if name not in slots:
                raise InputError(
                    f"unknown input {name!r}; the inputs are {self._input_text()}."
                )
            if slots[name] < len(given):
                raise InputError(f"input {name!r} is given by position and by name.")
            full[slots[name]] = value
        left = [str(n) for n, p in slots.items() if full[p] is missing]
        if left or any(v is missing for v in full):
            raise InputError(
                f"missing inputs: {', '.join(left) or 'a nested one'}; the inputs are "
                f"{self._input_text()}."
            )
        return full

    def _input_text(self) -> str:
        return ", ".join(n.label() for n in self.graph.inputs) or "none"

    # ----------------------------------------------------------- inspection

    @property
    def kernels(self) -> list[KernelInfo]:
        """The steps of a call in order: kernels and matrix products."""
        if self._executable is None:
            return []
        out = []
        for step in self._executable.program.steps:
            printed = self._executable.printed.get(id(getattr(step, "kernel", None)))
            label = step.label if printed is None else step.kernel.label
            out.append(
                KernelInfo("product" if printed is None else printed.name, label)
            )
        return out

    @property
    def source(self) -> str:
        """The kernels as readable text."""
        return "" if self._executable is None else self._executable.source()

    @property
    def memory(self) -> SizeLike:
        """Planned peak bytes of a call besides the inputs: outputs and workspace.

        An integer, or a formula of the symbolic sizes.
        """
        total: SizeLike = 0
        for o in self.graph.outputs:
            total = total + o.size * o.dtype.itemsize
        if self._executable is not None:
            total = total + self._executable.program.workspace
        return total

    def __repr__(self) -> str:
        return (
            f"<graphc Function ({self._input_text()}) -> "
            f"{', '.join(str(o.type) for o in self.graph.outputs)}, {self.backend}>"
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
            ),
        )


def _restore(
    rows: Any,
    count: int,
    inputs: Structure,
    outputs: Structure,
    backend: str,
    threads: int,
) -> Function:
    from graphc.graph.pickling import unflatten
    from graphc.runtime.compile import compile_graph

    nodes = unflatten(*rows)
    graph = Graph(nodes[:count], nodes[count:])
    return compile_graph(graph, inputs, outputs, backend, threads)


def _dims(graph: Graph) -> list[Dim]:
    """Return the symbolic dimensions of the inputs."""
    out: dict[Dim, None] = {}
    for node in graph.inputs:
        for s in node.shape:
            out.update(dict.fromkeys(sizes.dims(s)))
    return list(out)


def _constant_shapes(graph: Graph) -> list[tuple[int, ...]] | None:
    shapes = [o.shape for o in graph.outputs]
    if all(sizes.is_static(s) for s in shapes):
        return shapes  # type: ignore[return-value]
    return None
