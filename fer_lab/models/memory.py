"""The C library's allocator, told to keep the pages it has."""

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # malloc.h
_TOP = 64 << 20


def keep_pages() -> bool:
    """Let memory that a network's layers free stay with this process, for the next layer to use; whether it worked.

    As it comes, glibc maps each large tensor anew and gives it back when it is freed, and the kernel zeroes its pages
    every time: on a CPU that is a third to half of a training step (experiments/speed/allocator.py). The process then
    keeps the most memory that it ever had, a twelfth more than its peak without. Nothing happens where there is no
    glibc, nor under a preloaded allocator, which has settings of its own.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has none
        return False
    return all([mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, -1), mallopt(_TOP_PAD, _TOP)])
