"""Ctrl-C once, and twice."""

import signal

import pytest

from fer_lab.live.interrupt import stop_requests


def test_the_first_is_a_request_and_the_second_acts_as_ever():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), stop_requests() as requests:  # noqa: PT012
        assert not requests
        signal.raise_signal(signal.SIGINT)
        assert requests == [signal.SIGINT]
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
