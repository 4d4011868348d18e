"""How often somebody may guess."""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable


class Attempts:
    """Counts attempts by any key (an address, an account) and says when there were too many.

    Args:
        most: attempts of one key within `seconds`. clock: seconds that never go back.
    """

    def __init__(self, most: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.most, self.seconds, self.clock = most, seconds, clock
        self.lock = threading.Lock()
        self.times: dict[str, deque[float]] = defaultdict(deque)

    def allow(self, key: str, times: int = 1) -> bool:
        """Count an attempt before it is made; False where `key` has used up `times` × most of them."""
        with self.lock:
            now = self.clock()
            if len(self.times) > 10_000:  # many addresses: forget those that are over
                for other in [name for name, kept in self.times.items() if kept[-1] <= now - self.seconds]:
                    del self.times[other]
            kept = self.times[key]
            while kept and kept[0] <= now - self.seconds:
                kept.popleft()
            if len(kept) >= self.most * times:
                return False
            kept.append(now)
            return True

    def forget(self, key: str) -> None:
        """The right password came: start anew."""
        with self.lock:
            self.times.pop(key, None)
