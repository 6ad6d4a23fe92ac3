"""`builtin`: a tape as a builtin function, which Python calls with nothing in between.

A call through `ctypes` converts what is given and what comes back, which takes a quarter of a microsecond: too much
beside a step of ten.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgraph.native.objects import addresses, unit
from tensorgraph.native.tape import DRIVER, Tape

__all__ = ["builtin"]

NAME = b"tensorgraph.tape"  # of capsules that hold the addresses
ONE_OBJECT = 8  # METH_O of Python's C API: a function of one object

TEXT = f"""
declare ptr @PyCapsule_GetPointer(ptr, ptr)
declare ptr @PyLong_FromLongLong(i64)

@name = private constant [{len(NAME) + 1} x i8] c"{NAME.decode()}\\00"
{DRIVER.replace("define void @tg_drive(", "define internal void @drive(")}
define ptr @tg_builtin(ptr %capsule, ptr %object) nounwind {{
  %words = call ptr @PyCapsule_GetPointer(ptr %capsule, ptr @name)
  %tape = load i64, ptr %words, align 8
  %pg = getelementptr i64, ptr %words, i64 1
  %given = load ptr, ptr %pg, align 8
  %ps = getelementptr i64, ptr %words, i64 2
  %status = load ptr, ptr %ps, align 8
  store ptr %object, ptr %given, align 8
  call void @drive(i64 %tape)
  %code = load i64, ptr %status, align 8
  %result = call ptr @PyLong_FromLongLong(i64 %code)
  ret ptr %result
}}
"""

UNIT = unit("tg_builtin", TEXT)


class _Definition(ctypes.Structure):
    """PyMethodDef of Python's C API."""

    _fields_ = (
        ("name", ctypes.c_char_p), ("function", ctypes.c_void_p), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p),
    )  # fmt: skip


@functools.cache
def _makers() -> tuple[Any, Any, _Definition]:
    """What makes capsules and functions, and the definition of these, which lives as long as the process."""
    python = ctypes.pythonapi
    capsule = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
    function = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.py_object)
    entry = addresses([UNIT])[0]
    definition = _Definition(b"tape", entry, ONE_OBJECT, None)
    return capsule(("PyCapsule_New", python)), function(("PyCFunction_NewEx", python)), definition


def builtin(tape: Tape, given: int, status: int) -> Callable[[Any], int]:
    """A tape as a function of one object, which runs it holding the interpreter's lock, and gives a status.

    Parameters
    ----------
    tape : Tape
        Its first kernel knows what to do with the object. The function holds the tape, and nothing else that the
        words point at.
    given, status : int
        The address at which the object's own is left, and the one of the int64 that is given when the tape has ended.

    Examples
    --------
    >>> import numpy as np
    >>> from tensorgraph.native.builtin import builtin
    >>> from tensorgraph.native.tape import Tape
    >>> words = np.array([0, 7])
    >>> builtin(Tape([]), words.ctypes.data, words.ctypes.data + 8)("an object")
    7
    """
    capsule, function, definition = _makers()
    words = np.array([tape.words.ctypes.data, given, status], np.int64)
    held = capsule(words.ctypes.data, NAME, None)
    made: Callable[[Any], int] = function(ctypes.addressof(definition), held, (tape, words))
    return made
