"""Ctrl-C as a request to finish, not as an exception somewhere in the middle of a row."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Inside, SIGINT and SIGTERM only append their number to the list given; a second one acts as it did before."""
    requests: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def request(number: int, frame: FrameType | None) -> None:
        requests.append(number)
        restore()

    for number in before:
        signal.signal(number, request)
    try:
        yield requests
    finally:
        restore()
