"""Signals find a stack to run on whatever OpenVINO models came and went."""

import ctypes
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from fer_lab.deploy.runtimes import Classifier
from fer_lab.deploy.signal_stack import _Stack, signal_stack_kept

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="OpenVINO installs signal stacks on Linux only")


def installed() -> int | None:
    """The address of the thread's alternate signal stack; None without one."""
    stack = _Stack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack)) == 0
    return stack.address


def load(file: Path, faces: np.ndarray) -> Classifier:
    """A classifier with graphs, and Cores, for one face and for any number."""
    classifier = Classifier.load(file)
    classifier.probabilities(faces[:3])
    return classifier


def test_models_that_go_in_the_order_they_came_leave_the_signal_stack(openvino_file: Path, faces: np.ndarray) -> None:
    with signal_stack_kept():  # the process goes on safely where this fails
        before = installed()
        models = [load(openvino_file, faces), load(openvino_file, faces)]
        assert installed() == before
        while models:
            del models[0]
            assert installed() == before
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_models_that_go_in_another_thread_leave_it_too(openvino_file: Path, faces: np.ndarray) -> None:
    with signal_stack_kept():
        before, models = installed(), [load(openvino_file, faces)]
        thread = threading.Thread(target=models.clear)
        thread.start()
        thread.join()
        assert installed() == before


def test_a_stack_installed_inside_is_undone_even_by_an_error() -> None:
    before, memory = installed(), ctypes.create_string_buffer(1 << 16)
    with pytest.raises(ZeroDivisionError), signal_stack_kept():  # noqa: PT012
        assert ctypes.CDLL(None).sigaltstack(ctypes.byref(_Stack(ctypes.addressof(memory), 0, len(memory))), None) == 0
        assert installed() == ctypes.addressof(memory)
        raise ZeroDivisionError
    assert installed() == before
