"""The thread's alternate signal stack, on which Python runs its signal handlers where there is one (sigaltstack(2))."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class _Stack(ctypes.Structure):
    """glibc's stack_t."""

    _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def signal_stack_kept() -> Iterator[None]:
    """Restores the thread's alternate signal stack; Linux only, elsewhere nothing is done.

    Each openvino.Core installs one of its own with its CPU plugin, and at its end frees it and restores the one that it
    found. Of two Cores, the first to go frees the stack that the second then restores, and the next signal, such as
    Ctrl-C, is a segmentation fault or writes over whatever is there by then. So does a Core that goes in another
    thread than it came in. A Core whose stack is no longer the thread's restores nothing.
    """
    if sys.platform != "linux":
        yield
        return
    libc, found = ctypes.CDLL(None), _Stack()
    libc.sigaltstack(None, ctypes.byref(found))
    try:
        yield
    finally:
        libc.sigaltstack(ctypes.byref(found), None)
