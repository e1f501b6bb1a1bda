"""Counts what a call allocates: NumPy's arrays, and the backend's workspaces.

NumPy's data handler (NEP 49) and the workspace's allocator are replaced by functions
that add up what is asked for and pass it on to the C library.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

from numpy._core import _multiarray_umath

from graphc.backends.cpu import memory

_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_size_t
_MALLOC = ctypes.CFUNCTYPE(_POINTER, _POINTER, _SIZE)
_CALLOC = ctypes.CFUNCTYPE(_POINTER, _POINTER, _SIZE, _SIZE)
_REALLOC = ctypes.CFUNCTYPE(_POINTER, _POINTER, _POINTER, _SIZE)
_FREE = ctypes.CFUNCTYPE(None, _POINTER, _POINTER, _SIZE)
_ALIGNED = ctypes.CFUNCTYPE(_POINTER, _SIZE, _SIZE)
_RELEASE = ctypes.CFUNCTYPE(None, _POINTER)
SET_HANDLER = 304
"""The position of PyDataMem_SetHandler in NumPy's C API."""


class _Handler(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        ("context", _POINTER),
        ("malloc", _MALLOC),
        ("calloc", _CALLOC),
        ("realloc", _REALLOC),
        ("free", _FREE),
    )


class Allocations:
    """What is allocated through the two allocators.

    Attributes
    ----------
    count, live, peak : int
        Allocations so far, bytes now, and at the most.
    limit : int or None
        Refuse memory of more bytes at once.
    """

    def __init__(self) -> None:
        self.count = self.live = self.peak = 0
        self.limit: int | None = None
        self._sizes: dict[int, int] = {}
        libc = ctypes.CDLL(None)
        for name in ("malloc", "calloc", "realloc", "aligned_alloc"):
            getattr(libc, name).restype = _POINTER
        self._libc = libc
        self._handler = _Handler(
            b"counting",
            1,
            None,
            _MALLOC(self._malloc),
            _CALLOC(lambda _, k, n: self._made(libc.calloc(_SIZE(k), _SIZE(n)), k * n)),
            _REALLOC(self._realloc),
            _FREE(lambda _, p, n: self._free(p)),
        )
        self._aligned = _ALIGNED(self._aligned_alloc)
        self._release = _RELEASE(self._free)
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = (
            ctypes.py_object,
            [_POINTER, ctypes.c_char_p, _POINTER],
        )
        self.capsule = new(ctypes.addressof(self._handler), b"mem_handler", None)
        state = memory.support().state
        self.words = [
            ctypes.cast(f, _POINTER).value for f in (self._aligned, self._release)
        ]
        self.before = state[[memory.ALLOCATE, memory.FREE]].copy()

    def _malloc(self, _: object, size: int) -> int | None:
        if self._refused(size):
            return None
        return self._made(self._libc.malloc(_SIZE(size)), size)

    def _refused(self, size: int) -> bool:
        return self.limit is not None and size > self.limit

    def _made(self, address: int | None, size: int) -> int | None:
        if address:
            self.count += 1
            self._sizes[address] = size
            self.live += size
            self.peak = max(self.peak, self.live)
        return address

    def _aligned_alloc(self, alignment: int, size: int) -> int | None:
        if self._refused(size):
            return None
        address = self._libc.aligned_alloc(_SIZE(alignment), _SIZE(size))
        return self._made(address, size)

    def _free(self, address: int | None) -> None:
        if address:
            self.live -= self._sizes.pop(address, 0)
        self._libc.free(_POINTER(address))

    def _realloc(self, _: object, address: int | None, size: int) -> int | None:
        self.live -= self._sizes.pop(address or 0, 0)
        return self._made(self._libc.realloc(_POINTER(address), _SIZE(size)), size)


def _set_handler(capsule: object) -> object:
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = _POINTER, [ctypes.py_object, ctypes.c_char_p]
    table = get(_multiarray_umath._ARRAY_API, None)
    address = ctypes.c_size_t.from_address(table + 8 * SET_HANDLER).value
    return ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(address)(capsule)


_kept: list[Allocations] = []


@contextmanager
def counted() -> Iterator[Allocations]:
    """Count allocations of the calling thread, whose workspace is released first."""
    memory.release()
    out = Allocations()
    _kept.append(out)  # arrays that outlive the block are freed through its functions
    state = memory.support().state
    state[[memory.ALLOCATE, memory.FREE]] = out.words
    before = _set_handler(out.capsule)
    try:
        yield out
    finally:
        memory.release()
        _set_handler(before)
        state[[memory.ALLOCATE, memory.FREE]] = out.before
