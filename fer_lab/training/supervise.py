"""The process of `train` from its first launch to its exit code, however it ends."""

import signal
import sys
import traceback
from collections.abc import Callable

from hydra.errors import CompactHydraException
from rich import print as say

from fer_lab.training.rows import Sweep

_INTERRUPTED, _TERMINATED = 130, 143  # exit codes after Ctrl-C and SIGTERM, as shells have them


def supervised(start: Callable[[], None]) -> None:
    """Run Hydra's main of `train`, as often as its sweep needs it, and exit with 1 if a run failed, with 130 or 143
    after Ctrl-C or SIGTERM."""
    Sweep.current = None
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        _launch(start)
    except (KeyboardInterrupt, SystemExit) as stop:
        by_hand = KeyboardInterrupt in (type(stop), type(stop.__context__))  # Lightning makes of it an exit with 1
        if not by_hand and getattr(stop, "code", 0) != _TERMINATED:
            raise
        if Sweep.current:
            Sweep.current.sum_up()
        say("Interrupted: the same command goes on from the last finished epoch.")
        raise SystemExit(_INTERRUPTED if by_hand else _TERMINATED) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminated(*_: object) -> None:
    raise SystemExit(_TERMINATED)


def _launch(start: Callable[[], None]) -> None:
    if "--dry" in sys.argv:
        sys.argv = [*(word for word in sys.argv if word != "--dry"), "dry=true"]
    words = list(sys.argv)
    more = True
    while more:
        crash = None
        try:
            start()
        except CompactHydraException:
            raise
        except Exception as error:
            if Sweep.current is None:
                raise
            crash = error
        sys.argv = list(words)
        more = Sweep.current is not None and Sweep.current.again(crash)
        if crash and not more:
            traceback.print_exception(crash)
    if Sweep.current and Sweep.current.sum_up():
        sys.exit(1)
