"""Function objects of Python around compiled entries, and the layouts they rely on."""

from __future__ import annotations

import ctypes
import sys
import sysconfig
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from graphc.backends.cpu import jit, memory

# Offsets in CPython's and NumPy's objects; `layout_known` checks them.
TYPE, FLOAT_VALUE = 8, 16
DATA, NDIM, DIMENSIONS, DESCR, FLAGS = 16, 24, 32, 56, 64
CONTIGUOUS_ALIGNED = 0x0101
WRITEABLE = 0x0400

# Cells of a function object.
THREADS, ARRAY_TYPE, EMPTY, NOT_IMPLEMENTED = 0, 1, 2, 3
WORKSPACE, FLOAT_TYPE, FLOAT64_TYPE, FLOAT32_TYPE, FIRST = 4, 5, 6, 7, 8

METH_FASTCALL = 0x80


class _MethodDef(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


class NativeEntry:
    """A callable of positional arrays that runs a program, or NotImplemented.

    Attributes
    ----------
    call : callable
        Takes the inputs, or the inputs, the arrays for the outputs and NotImplemented.
        Returns the one output, or a tuple of them.
    """

    def __init__(
        self,
        address: int,
        dtypes: Sequence[np.dtype],
        constants: Sequence[np.ndarray],
        threads: int = 0,
    ):
        self._cells = np.zeros(FIRST + len(dtypes) + len(constants), np.int64)
        fill = self._cells
        fill[THREADS] = threads
        fill[WORKSPACE] = memory.support().address
        fill[ARRAY_TYPE] = id(np.ndarray)
        fill[FLOAT_TYPE] = id(float)
        fill[FLOAT64_TYPE] = id(np.float64)
        fill[FLOAT32_TYPE] = id(np.float32)
        fill[EMPTY] = _numpy_empty()
        fill[NOT_IMPLEMENTED] = id(NotImplemented)
        self._kept = [np.dtype(d) for d in dtypes]
        for number, dtype in enumerate(self._kept):
            fill[FIRST + number] = id(dtype)
        for number, array in enumerate(constants, len(dtypes)):
            fill[FIRST + number] = array.ctypes.data
        self._method = _MethodDef(b"graphc_function", address, METH_FASTCALL, None)
        make = ctypes.pythonapi.PyCFunction_NewEx
        make.restype = ctypes.py_object
        make.argtypes = [ctypes.POINTER(_MethodDef), ctypes.py_object, ctypes.c_void_p]
        self.call: Callable[..., Any] = make(
            ctypes.byref(self._method), self._cells, None
        )


@lru_cache(maxsize=1)
def layout_known() -> bool:
    """Tell whether arrays lie in memory as this module assumes."""
    if sys.implementation.name != "cpython" or sys.platform == "win32":
        return False
    if sysconfig.get_config_var("Py_GIL_DISABLED") or hasattr(sys, "gettotalrefcount"):
        return False
    array = np.zeros((3, 5), np.float32)

    def read(offset: int, kind: Any) -> int:
        return kind.from_address(id(array) + offset).value

    dimensions = read(DIMENSIONS, ctypes.c_size_t)
    shape = (ctypes.c_int64 * 2).from_address(dimensions)
    number = 2.5
    value = ctypes.c_double.from_address(id(number) + FLOAT_VALUE).value
    double, single = np.float64(number), np.float32(number)
    value64 = ctypes.c_double.from_address(id(double) + FLOAT_VALUE).value
    value32 = ctypes.c_float.from_address(id(single) + FLOAT_VALUE).value
    return (
        ctypes.sizeof(ctypes.c_void_p) == 8
        and read(TYPE, ctypes.c_size_t) == id(np.ndarray)
        and read(DATA, ctypes.c_size_t) == array.ctypes.data
        and read(NDIM, ctypes.c_int) == 2
        and tuple(shape) == (3, 5)
        and read(DESCR, ctypes.c_size_t) == id(np.dtype(np.float32))
        and read(FLAGS, ctypes.c_int) & CONTIGUOUS_ALIGNED == CONTIGUOUS_ALIGNED
        and value == value64 == value32 == number
    )


@lru_cache(maxsize=1)
def _numpy_empty() -> int:
    """Return the address of NumPy's PyArray_Empty, entry 184 of its C API."""
    from numpy._core import _multiarray_umath  # type: ignore[attr-defined]

    capsule = _multiarray_umath._ARRAY_API
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype = ctypes.c_void_p
    get.argtypes = [ctypes.py_object, ctypes.c_char_p]
    table = get(capsule, None)
    for name in ("PyList_New", "PyList_SetItem", "PyEval_SaveThread"):
        _add_python_symbol(name)
    for name in ("PyEval_RestoreThread", "Py_DecRef", "Py_IncRef", "PyErr_Clear"):
        _add_python_symbol(name)
    return ctypes.c_size_t.from_address(table + 184 * 8).value


def _add_python_symbol(name: str) -> None:
    function = getattr(ctypes.pythonapi, name)
    jit.add_symbol(name, ctypes.cast(function, ctypes.c_void_p).value or 0)
