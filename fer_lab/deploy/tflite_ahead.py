"""Conversions to LiteRT ahead of time, in a process of their own: python -m fer_lab.deploy.tflite_ahead

A conversion takes ten seconds of one core, in Python; so does everything else that is drafted meanwhile. And where the
converter aborts, as it does on graphs that it cannot scale, that process ends and not the search.
"""

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Hashable
from concurrent.futures import Future
from contextlib import suppress
from importlib.util import find_spec
from queue import SimpleQueue
from typing import TYPE_CHECKING

from fer_lab.deploy.metadata import ModelMetadata
from fer_lab.deploy.tflite import convert
from fer_lab.errors import FerLabError

if TYPE_CHECKING:
    from torch import nn

COMMAND = (sys.executable, "-m", "fer_lab.deploy.tflite_ahead")


class Conversions:
    """Flatbuffers of networks by key: asked for ahead, and waited for when they are wanted."""

    def __init__(self) -> None:
        self._asked: dict[Hashable, Future[bytes | None]] = {}
        self._turns: _Turns | None = None

    def ask(self, key: Hashable, network: "nn.Module", metadata: ModelMetadata) -> None:
        """Begin a conversion (`fer_lab.deploy.tflite.convert`), once the earlier ones are done; only once a key, and
        not at all where the converter is not installed, which `get` says, or the network cannot be pickled."""
        if key not in self._asked and find_spec("litert_torch"):
            with suppress(Exception):  # pickle raises what it likes
                self._submit(key, network, metadata)

    def get(self, key: Hashable, network: "nn.Module", metadata: ModelMetadata) -> bytes:
        """The flatbuffer: waited for if it was asked for, else converted, in the other process if there is one.

        Where that fails without an abort, as with classes that only this process knows, it is converted here.

        Raises:
            FerLabError: the converter aborted on this network.
        """
        if key not in self._asked and self._turns is not None:
            self.ask(key, network, metadata)
        content = self._asked.pop(key).result() if key in self._asked else None
        return convert(network, metadata) if content is None else content

    @property
    def busy(self) -> bool:
        """Whether the process is at work."""
        return not all(future.done() for future in self._asked.values())

    def close(self) -> None:
        """End the process and what is asked of it; it starts anew where something is asked for again."""
        if self._turns is not None:
            self._turns.end()
        self._turns, self._asked = None, {}

    def _submit(self, key: Hashable, network: "nn.Module", metadata: ModelMetadata) -> None:
        if self._turns is None:
            self._turns = _Turns()
            self._turns.start()
        self._asked[key] = self._turns.ask(pickle.dumps((network, metadata)))


class _Turns(threading.Thread):
    """Hands one conversion after the other to a process, and the next to a new one where that ended."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.waiting: SimpleQueue[tuple[bytes, Future[bytes | None]] | None] = SimpleQueue()
        self.process: subprocess.Popen[bytes] | None = None
        self.ended = False

    def ask(self, given: bytes) -> "Future[bytes | None]":
        future: Future[bytes | None] = Future()
        self.waiting.put((given, future))
        return future

    def end(self) -> None:
        self.ended = True
        self.waiting.put(None)
        if self.process is not None:
            self.process.kill()

    def run(self) -> None:
        while (turn := self.waiting.get()) is not None and not self.ended:
            given, future = turn
            try:
                if self.process is None or self.process.poll() is not None:
                    self.process = None
                    self.process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                pipe_in, pipe_out = self.process.stdin, self.process.stdout
                assert pipe_in is not None
                assert pipe_out is not None
                pickle.dump(given, pipe_in)
                pipe_in.flush()
                future.set_result(pickle.load(pipe_out))
            except (OSError, EOFError, pickle.UnpicklingError) as error:
                said = f"could not be started: {error}"
                if self.process is not None:
                    self.process.kill()
                    said = f"ended with status {self.process.wait()}: see its log above"
                future.set_exception(FerLabError(f"the converter {said}"))
        if self.process is not None:
            self.process.kill()


def main() -> None:
    """Convert until the input ends, as it does with the process that asks; None is the answer where that fails."""
    import torch

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the converter prints must not get among the answers
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a word
    torch.set_num_threads(1)
    while True:
        try:
            given = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        answer = None
        with suppress(Exception):  # it comes again where it is converted once more, and is reported there
            answer = convert(*pickle.loads(given))
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    main()
