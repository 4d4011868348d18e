"""Stages in threads with short queues between them: a slow stage drops the oldest frame, so memory cannot grow.

Reading, finding faces and asking the model spend their time in OpenCV and ONNX Runtime, which release Python's lock.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any

_PATIENCE = 0.2  # seconds between looks at whether somebody wants to stop
_GOODBYE = 2.0  # seconds that a stage gets to end; a camera's driver may hold its thread for longer


class Channel:
    """A bounded queue from one thread to the next.

    Args:
        size: most items that wait. lossless: a full queue makes the sender wait, instead of dropping the oldest item.

    Attributes:
        dropped: number of items that never arrived.
    """

    def __init__(self, size: int, lossless: bool) -> None:
        self.size, self.lossless, self.dropped = size, lossless, 0
        self.items: deque[Any] = deque()
        self.changed = threading.Condition()
        self.finished = self.abandoned = False
        self.error: BaseException | None = None

    def put(self, item: Any) -> bool:
        """Hand an item on; False when nobody wants any more."""
        with self.changed:
            while self.lossless and len(self.items) >= self.size and not self.abandoned:
                self.changed.wait()
            if len(self.items) >= self.size:
                self.items.popleft()
                self.dropped += 1
            self.items.append(item)
            self.changed.notify_all()
            return not self.abandoned

    def finish(self, error: BaseException | None = None) -> None:
        """Say that nothing more comes, and why, if something went wrong; what waits is still handed over."""
        with self.changed:
            self.finished, self.error = True, error
            self.changed.notify_all()

    def abandon(self) -> None:
        """Say that nothing more is wanted."""
        with self.changed:
            self.abandoned = True
            self.items.clear()
            self.changed.notify_all()

    def get(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Any]:
        """Items as they come, until the last one, or until `stop`; then the sender's error is raised, if any."""
        while True:
            with self.changed:
                while not (self.items or self.finished or self.abandoned or stop()):
                    self.changed.wait(_PATIENCE)
                if stop() or self.abandoned:
                    return
                if not self.items:
                    if self.error:
                        raise self.error
                    return
                item = self.items.popleft()
                self.changed.notify_all()
            yield item


class Stages:
    """A source and its stages, each in a thread, and what comes out at the end.

    Args:
        source: the first items, read in a thread of its own.
        work: functions from an item to the next stage's item.
        size, lossless: of every queue, as in :class:`Channel`.
        gone: set when nobody needs items any more, for a source that waits.
    """

    def __init__(
        self,
        source: Iterable[Any],
        work: Sequence[Callable[[Any], Any]],
        size: int,
        lossless: bool,
        gone: threading.Event | None = None,
    ) -> None:
        self.gone = gone or threading.Event()
        self.channels = [Channel(size, lossless) for _ in range(len(work) + 1)]
        inputs = [iter(source), *(map(f, c.get()) for f, c in zip(work, self.channels, strict=False))]
        self.threads = [
            threading.Thread(target=_pump, args=(items, before, after), daemon=True, name="stage")
            for items, before, after in zip(inputs, [None, *self.channels[:-1]], self.channels, strict=True)
        ]

    @property
    def dropped(self) -> list[int]:
        """Items dropped before each stage, the last entry being what never came out."""
        return [channel.dropped for channel in self.channels]

    def run(self, stop: Callable[[], bool] = lambda: False) -> Generator[Any, None, None]:
        """Finished items until the source ends or `stop()`. A stage's error is raised here; all threads end with it."""
        for thread in self.threads:
            thread.start()
        try:
            yield from self.channels[-1].get(stop)
        finally:
            self.gone.set()
            for channel in self.channels:
                channel.abandon()
            until = time.monotonic() + _GOODBYE
            try:
                self._wait(until)
            except KeyboardInterrupt:  # OpenVINO aborts a process that ends while a thread is inside it
                self._wait(until)
                raise
            for thread in self.threads:
                thread.join(max(0.0, until - time.monotonic()))

    def _wait(self, until: float) -> None:
        """Until each stage has left its work. Unlike one of Python 3.11's joins, it can be interrupted and repeated."""
        for channel in self.channels:
            with channel.changed:
                while not channel.finished and (left := until - time.monotonic()) > 0:
                    channel.changed.wait(left)


def _pump(items: Iterator[Any], before: Channel | None, after: Channel) -> None:
    """Move what a stage makes into the next queue; whoever stops first stops its neighbours."""
    error = None
    try:
        for item in items:
            if not after.put(item):
                break
    except BaseException as caught:  # handed to whoever waits at the end
        error = caught
    after.finish(error)
    if before is not None:
        before.abandon()
