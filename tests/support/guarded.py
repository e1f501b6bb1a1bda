"""Arrays that end or begin where memory ends: who reads beyond them is killed."""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import numpy as np

_PAGE = mmap.PAGESIZE


class _Memory:
    """Bytes at an address, as NumPy takes them."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, address: int):
        self.__array_interface__: dict[str, Any] = {
            "shape": shape,
            "typestr": dtype.str,
            "data": (address, False),
            "version": 3,
        }


def guarded(array: np.ndarray, end: bool = True) -> np.ndarray:
    """Return a copy of an array beside a page that nobody may touch.

    Parameters
    ----------
    array : ndarray
    end : bool
        Whether the page comes after it, and not before it. An array without elements
        lies at that page's border, and both pages beside it are of that kind.
    """
    library = ctypes.CDLL(None, use_errno=True)
    size = -(-array.nbytes // _PAGE) * _PAGE
    pages = mmap.mmap(-1, size + 2 * _PAGE)
    base = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    for page in (base, base + _PAGE + size):
        done = library.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(_PAGE), 0)
        assert done == 0, "mprotect failed"
    start = base + _PAGE + (size - array.nbytes if end else 0)
    out = np.asarray(_Memory(array.shape, array.dtype, start))
    assert out.ctypes.data == start
    out[...] = array
    _kept.append(pages)
    return out


_kept: list[mmap.mmap] = []
