"""Calls of a Python class's instances without Python code: straight to their entries.

A `__call__` written in Python takes half as long again as the rest of a small call: a
frame, a tuple and a dictionary for each. `install` puts a method printed as LLVM code
in its place. It reads a slot of the instance, which holds the compiled entry or None,
and calls that with the very arguments; keyword arguments, an instance without an entry
and what the entry declines go to a method in Python.

It relies on the layout of CPython's objects, which it verifies before.
"""

from __future__ import annotations

import ctypes
import re
from typing import Any

from graphc.backends.cpu import jit
from graphc.backends.cpu.cache import machine_code
from graphc.backends.cpu.native import TYPE, layout_known

_METH_FASTCALL_KEYWORDS = 0x80 | 0x02
_MEMBER, _OFFSET = 40, 16
"""Where a slot's descriptor has its definition, and that the slot's place."""

_METHOD, _SELF, _FUNCTION = 16, 24, 8
"""Where a built-in function has its definition and its own object, and that its code."""

_SOURCE = f"""
@slow = internal global ptr null
@declined = internal global ptr null
@halted = internal global ptr null
@list = internal global ptr null
@slot = internal global i64 0
@form = internal global i64 0
declare ptr @PyList_New(i64)
declare i32 @PyList_SetItem(ptr, i64, ptr)
declare ptr @PyList_AsTuple(ptr)
declare ptr @PyTuple_New(i64)
declare i32 @PyTuple_SetItem(ptr, i64, ptr)
declare ptr @PyObject_Vectorcall(ptr, ptr, i64, ptr)
declare i64 @PyTuple_Size(ptr)
declare void @Py_DecRef(ptr)

; The method in Python, whether entries are not to be used, and the slots of instances.
define void @graphc_call_setup(ptr %slow, ptr %declined, ptr %list, ptr %halted, i64 %slot, i64 %form) {{
  store ptr %slow, ptr @slow
  store ptr %declined, ptr @declined
  store ptr %list, ptr @list
  store ptr %halted, ptr @halted
  store i64 %slot, ptr @slot
  store i64 %form, ptr @form
  ret void
}}

define ptr @graphc_call(ptr %self, ptr %args, i64 %count, ptr %names) nounwind {{
entry:
  %named = icmp ne ptr %names, null
  br i1 %named, label %python, label %look
look:
  %halted = load ptr, ptr @halted
  %halt = load i64, ptr %halted
  %halts = icmp ne i64 %halt, 0
  br i1 %halts, label %python, label %find
find:
  %slot = load i64, ptr @slot
  %at = getelementptr i8, ptr %self, i64 %slot
  %native = load ptr, ptr %at
  %known = load ptr, ptr @declined
  %unset = icmp eq ptr %native, null
  br i1 %unset, label %python, label %check
check:
  ; the slot holds an entry or NotImplemented
  %none = icmp eq ptr %native, %known
  br i1 %none, label %python, label %call
call:
  %method_at = getelementptr i8, ptr %native, i64 {_METHOD}
  %method = load ptr, ptr %method_at
  %code_at = getelementptr i8, ptr %method, i64 {_FUNCTION}
  %code = load ptr, ptr %code_at
  %own_at = getelementptr i8, ptr %native, i64 {_SELF}
  %own = load ptr, ptr %own_at
  %result = call ptr %code(ptr %own, ptr %args, i64 %count)
  %refused = icmp eq ptr %result, %known
  br i1 %refused, label %refuse, label %done
done:
  %form_slot = load i64, ptr @form
  %form_at = getelementptr i8, ptr %self, i64 %form_slot
  %form = load ptr, ptr %form_at
  %as_it_is = icmp eq ptr %form, %known
  %failed = icmp eq ptr %result, null
  %ready = or i1 %as_it_is, %failed
  br i1 %ready, label %bare, label %pack
bare:
  ret ptr %result
pack:
  ; entries return one array, or a list of several
  %list = load ptr, ptr @list
  %kind_at = getelementptr i8, ptr %result, i64 {TYPE}
  %kind = load ptr, ptr %kind_at
  %several = icmp eq ptr %kind, %list
  br i1 %several, label %turn, label %one
one:
  %in_list = icmp eq ptr %form, %list
  br i1 %in_list, label %one_list, label %one_tuple
one_list:
  %l = call ptr @PyList_New(i64 1)
  %l1 = call i32 @PyList_SetItem(ptr %l, i64 0, ptr %result)
  ret ptr %l
one_tuple:
  %t = call ptr @PyTuple_New(i64 1)
  %t1 = call i32 @PyTuple_SetItem(ptr %t, i64 0, ptr %result)
  ret ptr %t
turn:
  %tuple = call ptr @PyList_AsTuple(ptr %result)
  call void @Py_DecRef(ptr %result)
  ret ptr %tuple
refuse:
  call void @Py_DecRef(ptr %result)
  br label %python
python:
  br i1 %named, label %measure, label %gather
measure:
  %extra = call i64 @PyTuple_Size(ptr %names)
  br label %gather
gather:
  %more = phi i64 [ 0, %python ], [ %extra, %measure ]
  %values = add i64 %count, %more
  %room = add i64 %values, 1
  %all = alloca ptr, i64 %room
  store ptr %self, ptr %all
  br label %copy
copy:
  %i = phi i64 [ 0, %gather ], [ %i_next, %put ]
  %left = icmp slt i64 %i, %values
  br i1 %left, label %put, label %go
put:
  %from = getelementptr ptr, ptr %args, i64 %i
  %value = load ptr, ptr %from
  %i_next = add i64 %i, 1
  %to = getelementptr ptr, ptr %all, i64 %i_next
  store ptr %value, ptr %to
  br label %copy
go:
  %function = load ptr, ptr @slow
  %given = add i64 %count, 1
  %answer = call ptr @PyObject_Vectorcall(ptr %function, ptr %all, i64 %given, ptr %names)
  ret ptr %answer
}}
"""

_kept: list[Any] = []
"""What installed methods refer to, for good."""


class _MethodDef(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


def install(cls: type, slot: str, form: str, halted: int, doc: str) -> bool:
    """Let instances of a class be called natively.

    Parameters
    ----------
    cls : type
        Its `__call__` is from then on what is called where an entry cannot serve. Only
        one class can have such a method.
    slot : str
        A name of its ``__slots__``: an entry (`NativeEntry.call`), or NotImplemented.
    form : str
        Another: what the entry's result is put into, `list` or `tuple`, or
        NotImplemented for a result that is returned as it is.
    halted : int
        The address of a 64-bit word; unless it is 0, entries are not used.
    doc : str
        The method's docstring, with a signature as built-in methods have it.

    Returns
    -------
    bool
        Whether that was done: not where objects lie differently from what is known.
    """
    if _kept or not layout_known():
        return bool(_kept)
    offsets = [_slot_offset(cls, name) for name in (slot, form)]
    if None in offsets or not _functions_known():
        return False
    with jit.guarded():
        if _kept:
            return True
        for name in re.findall(r"@(Py\w+)\(", _SOURCE):
            function = getattr(ctypes.pythonapi, name)
            jit.add_symbol(name, ctypes.cast(function, ctypes.c_void_p).value or 0)
        names = ["graphc_call", "graphc_call_setup"]
        call, setup = jit.load(machine_code(_SOURCE, "once"), names)
        slow = cls.__dict__["__call__"]
        method = _MethodDef(b"__call__", call, _METH_FASTCALL_KEYWORDS, doc.encode())
        _kept.extend((slow, method))
        words = (ctypes.c_size_t,) * 6
        ctypes.CFUNCTYPE(None, *words)(setup)(
            id(slow), id(NotImplemented), id(list), halted, *offsets
        )
        make = ctypes.pythonapi.PyDescr_NewMethod
        make.restype = ctypes.py_object
        make.argtypes = [ctypes.py_object, ctypes.c_void_p]
        type.__setattr__(cls, "__call__", make(cls, ctypes.addressof(method)))
    return True


def begin_install() -> None:
    """Have the method compiled ahead, unless it is loaded or cannot be had."""
    from graphc.backends.cpu.cache import begin

    if not _kept and layout_known():
        begin(_SOURCE, "once")


def _slot_offset(cls: type, slot: str) -> int | None:
    """Return where in an instance a slot lies, None if that is not sure."""
    member = ctypes.c_size_t.from_address(id(cls.__dict__[slot]) + _MEMBER).value
    offset = ctypes.c_ssize_t.from_address(member + _OFFSET).value
    if not 0 < offset <= cls.__basicsize__ - 8:
        return None
    probe: Any = object.__new__(cls)
    marker = object()
    setattr(probe, slot, marker)
    found = ctypes.c_size_t.from_address(id(probe) + offset).value
    return offset if found == id(marker) else None


def _functions_known() -> bool:
    """Tell whether built-in functions lie in memory as the code above assumes."""
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype = ctypes.py_object
    make.argtypes = [ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p]
    own, method = object(), _MethodDef(b"probe", 1234567, 0x80, None)
    _kept_probe = make(ctypes.addressof(method), own, None)
    word = ctypes.c_size_t.from_address
    return (
        word(id(_kept_probe) + _METHOD).value == ctypes.addressof(method)
        and word(id(_kept_probe) + _SELF).value == id(own)
        and word(ctypes.addressof(method) + _FUNCTION).value == 1234567
    )
