"""Memory that is freed stays with the process where glibc can be told so."""

import platform
import subprocess
import sys

import pytest

from fer_lab.models import memory

FAULTS = """
import resource, sys
import numpy as np
from fer_lab.models.memory import keep_pages
if sys.argv[1] == "kept":
    assert keep_pages()
for _ in range(3):
    np.ones(10_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    np.ones(10_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_a_large_array_is_not_mapped_anew_each_time() -> None:
    def faults(way: str) -> int:
        done = subprocess.run([sys.executable, "-c", FAULTS, way], check=True, capture_output=True, text=True)
        return int(done.stdout)

    kept, plain = faults("kept"), faults("plain")
    assert kept < plain / 10, (kept, plain)


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: object())
    assert not memory.keep_pages()
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    assert not memory.keep_pages()
