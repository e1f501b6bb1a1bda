"""`DeviceFunction`: a compiled graph that is called with arrays on a CUDA device."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.runtime.arguments import as_donated, as_input, check_out
from graphc.runtime.finite import preserved, require_finite
from graphc.runtime.function import Function
from graphc.types.errors import (
    AllocationError,
    DTypeError,
    InputError,
    ShapeError,
    made_at,
)
from graphc.types.sizes import Dim

MOST_SHAPES = 1_000
"""Shapes of arguments that a function knows to fit."""


class DeviceFunction(Function):
    """A compiled function of arrays on a device; made by ``compile(backend="cuda")``.

    Parameters of a call
    --------------------
    *arrays, **named
        Anything with `__cuda_array_interface__` or DLPack is read where it lies, if it
        is contiguous and of the declared dtype, else copied on the device. What is on
        the host is transferred.
    out : containers of arrays, optional
        Arrays of the outputs' shapes and dtypes to write into, on the device or of
        NumPy. Filling those of NumPy waits for the result.

    Notes
    -----
    Results are CuPy arrays, unless the function was compiled with
    ``results="numpy"``. A call returns when its work is queued, on the stream of the
    caller's arrays: PyTorch's current one if an argument is a tensor of it, else
    CuPy's. An index out of range is reported by a later call that finds it done, by
    `synchronize`, or when a result goes to the host.
    """

    def __init__(self, *args: Any):
        self._known: dict[tuple, tuple] = {}
        super().__init__(*args)

    @property
    def device(self) -> Any:
        """The device that the function runs on."""
        return self._executable.device

    def __call__(
        self, *args: Any, out: Any = None, threads: int | None = None, **named: Any
    ) -> Any:
        from graphc.types.config import options

        if options().check_finite:
            return self._watched(args, named, out)
        return self._call(args, named, out)

    def with_threads(self, threads: int | None) -> Function:
        return self

    def synchronize(self) -> None:
        """Wait for all calls, and raise what they found.

        Raises
        ------
        IndexOutOfRangeError
            If an index was out of range.
        InternalError
            If a kernel failed.
        """
        self.device.synchronize()
        self._executable.check_reports()

    def release(self) -> None:
        """Give memory back that the device's pool keeps between calls."""
        self.device.release()

    def _use_threads(self) -> None:
        self._native = self._entry = None

    # ---------------------------------------------------------------- calls

    def _call(self, args: Sequence[Any], named: Mapping[str, Any], out: Any) -> Any:
        leaves = self._signature.leaves(args, named)
        given = None if out is None else self._outputs.flatten_like(out, "out")
        with self.device.scope([*leaves, *(given or ())]):
            arrays = self._adopted(leaves)
            values, shapes = self._sizes_of(arrays)
            if given is not None:
                self._check_out(given, shapes)
            results = self._run_on(arrays, values, shapes, given)
            if given is not None:
                self._fill(given, results)
                return out
            if self._to_host:
                return self._outputs.unflatten(self._downloaded(results))
            return self._outputs.unflatten(results)

    def _sizes_of(self, arrays: Sequence[Any]) -> tuple[dict[Dim, int], list[tuple]]:
        """Return dimensions and outputs' shapes, checked once for the same shapes."""
        key = tuple([a.shape for a in arrays])
        found = self._known.get(key)
        if found is None:
            values = self._checked_sizes(arrays)
            self._executable.check_sizes(values)
            if len(self._known) >= MOST_SHAPES:
                self._known.clear()
            found = self._known[key] = values, self._output_shapes(values)
        return found

    @property
    def _to_host(self) -> bool:
        return self.options.results == "numpy"

    def _adopted(self, leaves: Sequence[Any]) -> list[Any]:
        """Return the arguments as arrays of the device, of the declared types."""
        arrays = []
        device = self.device
        for number, (node, value) in enumerate(zip(self.original.inputs, leaves)):
            try:
                array = device.adopt(value)
            except InputError as error:
                raise InputError(f"{node.name}: {error}") from None
            if array is None:
                own = as_input(node, value)
                if number in self._donated:
                    own = as_donated(node, value, own)
                arrays.append(self._uploaded(node, own))
                continue
            if array.dtype != node.dtype:
                raise DTypeError(
                    f"{node.name}: an array of {array.dtype.name} was given for "
                    f"{node.label()}{made_at(node.origin)}. Convert it with astype."
                )
            if array.ndim != node.ndim:
                raise ShapeError(
                    f"{node.name}: an array of shape {array.shape} was given for "
                    f"{node.label()}{made_at(node.origin)}, which has {node.ndim} "
                    "dimensions."
                )
            arrays.append(device.contiguous(array))
        return arrays

    def _uploaded(self, node: Any, array: np.ndarray) -> Any:
        try:
            return self.device.upload(array)
        except MemoryError:
            self.device.release()
            raise AllocationError(
                f"memory for {node.label()}, of shape {array.shape}, "
                f"{array.nbytes:,} bytes, cannot be had on {self.device.name}."
            ) from None

    def _run_on(
        self,
        arrays: list[Any],
        values: Mapping[Dim, int],
        shapes: Sequence[tuple[int, ...]],
        given: Sequence[Any] | None = None,
    ) -> list[Any]:
        """Start a call and return its outputs."""
        executable = self._executable
        written = executable.program.memory.written
        for number in self._meeting(arrays) & written if written else ():
            arrays[number] = self._copied(arrays[number])
        results = self._results(arrays, shapes, given)
        executable.run(arrays, results, values)
        if not executable.device.asynchronous:
            executable.check_reports()
        return results

    def _meeting(self, arrays: Sequence[Any]) -> set[int]:
        """Return the positions of contiguous arrays whose memory meets another's."""
        spans = sorted(
            (start, start + a.nbytes, i)
            for i, a in enumerate(arrays)
            if a.size
            for start in [self.device.address(a)]
        )
        out: set[int] = set()
        end, holder = -1, -1
        for low, high, i in spans:
            if low < end:
                out |= {i, holder}
            if high > end:
                end, holder = high, i
        return out

    def _copied(self, array: Any) -> Any:
        other = self.device.empty(array.shape, array.dtype)
        self.device.copy(other, array)
        return other

    def _results(
        self,
        arrays: Sequence[Any],
        shapes: Sequence[tuple[int, ...]],
        given: Sequence[Any] | None,
    ) -> list[Any]:
        reused = self._executable.program.memory.reused
        adopted = [None] * len(shapes)
        if given is not None:
            adopted = [self._writable(g) for g in given]
            known = [a for a in adopted if a is not None]
            meeting = self._meeting([*arrays, *known])
            spots = iter(range(len(arrays), len(arrays) + len(known)))
            adopted = [
                None if a is None or next(spots) in meeting else a for a in adopted
            ]
        results: list[Any] = []
        for number, (shape, node) in enumerate(zip(shapes, self.original.outputs)):
            if number in reused:
                results.append(arrays[reused[number]])
            elif adopted[number] is not None:
                results.append(adopted[number])
            else:
                results.append(self._made(number, node, shape))
        return results

    def _writable(self, array: Any) -> Any:
        """Return an array given for an output, None if it cannot be written to."""
        if self.device.simulated:
            own = array
        else:
            own = self.device.adopt(array)
        contiguous = own is not None and own.flags.c_contiguous
        return own if contiguous else None

    def _made(self, number: int, node: Any, shape: tuple[int, ...]) -> Any:
        try:
            return self.device.empty(shape, node.dtype)
        except (MemoryError, ValueError):
            self.device.release()
            where = self._outputs.paths("outputs")[number]
            size = math.prod(shape) * node.dtype.itemsize
            raise AllocationError(
                f"memory for {where}, {node.label()}{made_at(node.origin)}, of shape "
                f"{shape}, {size:,} bytes, cannot be had on {self.device.name}."
            ) from None

    def _check_out(self, given: Sequence[Any], shapes: Sequence[tuple]) -> None:
        types = [(s, o.dtype) for s, o in zip(shapes, self.original.outputs)]
        paths = self._outputs.paths("out")
        for array, name, type_ in zip(given, paths, types):
            own = self.device.adopt(array)
            if own is None:
                check_out([array], [name], [type_])
                continue
            if own.dtype != type_[1]:
                raise DTypeError(
                    f"{name} has dtype {own.dtype.name}, but the output is "
                    f"{type_[1].name}."
                )
            if own.shape != type_[0]:
                raise ShapeError(
                    f"{name} has shape {own.shape}, but the output {type_[0]}."
                )

    def _fill(self, given: Sequence[Any], results: Sequence[Any]) -> None:
        """Copy results into arrays that could not be written directly."""
        host = False
        for array, result in zip(given, results):
            own = self.device.adopt(array)
            on_host = own is None and not self.device.simulated
            target = array if own is None else own
            if on_host or self.device.address(target) != self.device.address(result):
                self.device.copy(target, result)
                host |= on_host
        if host:
            self.synchronize()

    def _downloaded(self, results: Sequence[Any]) -> list[np.ndarray]:
        out = [self.device.download(r) for r in results]
        self._executable.check_reports()
        return out

    def _watched(self, args: Sequence[Any], named: Mapping[str, Any], out: Any) -> Any:
        leaves = self._signature.leaves(args, named)
        given = [] if out is None else self._outputs.flatten_like(out, "out")
        arrays = [self.device.download(a) for a in self._adopted(leaves)]
        arrays = preserved(arrays, self._donated, [])
        result = self._call(args, named, out)
        results = given or self._outputs.flatten_like(result)
        host = [self._on_host(r) for r in results]
        require_finite(self.graph, arrays, host, self._outputs.paths("result"))
        return result

    def _on_host(self, array: Any) -> np.ndarray:
        own = self.device.adopt(array)
        return np.asarray(array) if own is None else self.device.download(own)

    # ----------------------------------------------------------- inspection

    def time_steps(
        self, args: Sequence[Any], named: Mapping[str, Any], rounds: int
    ) -> tuple[dict[Dim, int], list[float]]:
        leaves = self._signature.leaves(args, named)
        with self.device.scope(leaves):
            arrays = [self._copied(a) for a in self._adopted(leaves)]
            values, shapes = self._sizes_of(arrays)
            self._run_on([self._copied(a) for a in arrays], values, shapes)
            self.synchronize()
            results = self._results(arrays, shapes, None)
            run = self._executable.time_steps
            return values, run(arrays, results, values, 0, rounds)
