"""How often somebody may guess."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

_SWEEP_S = 60.0  # no more often are all keys looked at: the lock is held meanwhile


class Attempts:
    """Counts attempts by any key (an address, an account) and says when there were too many.

    Args:
        most: attempts of one key within `seconds`. clock: seconds that never go back.
    """

    def __init__(self, most: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.most, self.seconds, self.clock = most, seconds, clock
        self.lock = threading.Lock()
        self.times: dict[str, deque[float]] = {}
        self.swept = clock()

    def allow(self, key: str, times: int = 1) -> bool:
        """Count an attempt before it is made; False where `key` has used up `times` × most of them."""
        return self.allow_all({key: times})

    def allow_all(self, limits: Mapping[str, int]) -> bool:
        """The same of several keys at once: where one has used up its attempts, none is counted, of any key."""
        with self.lock:
            now = self.clock()
            self._sweep(now)
            for key, times in limits.items():
                kept = self.times.get(key, deque())
                while kept and kept[0] <= now - self.seconds:
                    kept.popleft()
                if len(kept) >= self.most * times:
                    return False
            for key in limits:
                self.times.setdefault(key, deque()).append(now)
            return True

    def take_back(self, key: str) -> None:
        """The last attempt was none: the right password came."""
        with self.lock:
            if kept := self.times.get(key):
                kept.pop()

    def forget(self, key: str) -> None:
        """All of its attempts."""
        with self.lock:
            self.times.pop(key, None)

    def _sweep(self, now: float) -> None:
        """Forget keys whose attempts are over."""
        if now - self.swept >= _SWEEP_S:
            self.swept = now
            self.times = {key: kept for key, kept in self.times.items() if kept and kept[-1] > now - self.seconds}
