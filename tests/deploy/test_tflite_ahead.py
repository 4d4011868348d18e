"""Conversions ahead of time: the same flatbuffer as here and now, and a converter that dies takes nothing with it."""

import os
import sys
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fer_lab.deploy import tflite_ahead
from fer_lab.deploy.runtimes import Classifier
from fer_lab.deploy.tflite import convert, write
from fer_lab.deploy.tflite_ahead import Conversions
from fer_lab.deploy.workshop import Workshop
from fer_lab.errors import FerLabError

pytest.importorskip("litert_torch", reason="the extra [tflite] is not installed")
#: In the place of the converter's process: what it is given in capitals, unless that is fatal or a mistake.
ECHO = """
import os, pickle, sys
while True:
    word = pickle.loads(pickle.load(sys.stdin.buffer))[0]
    if word == "fatal":
        os.abort()
    pickle.dump(None if word == "wrong" else word.upper().encode(), sys.stdout.buffer)
    sys.stdout.buffer.flush()
"""


class Flat(torch.nn.Module):
    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(pixels, 7)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return self.layer(faces.flatten(1).float() / 255)


class Deadly(Flat):
    """Opening it ends the process."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        os.abort()


def test_a_converter_that_dies_takes_no_other_conversion_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tflite_ahead, "COMMAND", (sys.executable, "-c", ECHO))
    conversions = Conversions()
    for word in ("first", "fatal", "wrong", "last"):
        conversions.ask(word, word, None)  # type: ignore[arg-type]
    assert conversions.get("last", None, None) == b"LAST"  # type: ignore[arg-type]
    assert conversions.get("first", None, None) == b"FIRST"  # type: ignore[arg-type]
    with pytest.raises(FerLabError, match="the converter ended with status -"):
        conversions.get("fatal", None, None)  # type: ignore[arg-type]
    monkeypatch.setattr(tflite_ahead, "convert", lambda network, _: network[::-1])
    assert conversions.get("wrong", "wrong", None) == "gnorw"  # type: ignore[arg-type, comparison-overlap]
    assert conversions.get("another", "another", None) == b"ANOTHER"  # type: ignore[arg-type]
    turns = conversions._turns
    conversions.close()
    assert turns is not None
    turns.join(timeout=10)
    assert not turns.is_alive()
    assert turns.process is not None
    assert turns.process.wait(timeout=10) != 0


def test_a_converter_that_cannot_start_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tflite_ahead, "COMMAND", ("/no/such/interpreter",))
    turns = tflite_ahead._Turns()
    turns.start()
    for _ in range(2):
        with pytest.raises(FerLabError, match="the converter could not be started"):
            turns.ask(b"").result(10)
    turns.end()


def test_it_converts_here_without_a_process_and_what_cannot_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tflite_ahead, "COMMAND", (sys.executable, "-c", ECHO))
    monkeypatch.setattr(tflite_ahead, "convert", lambda network, metadata: (network, metadata))
    conversions = Conversions()
    assert conversions.get("key", "network", "metadata") == ("network", "metadata")  # type: ignore[arg-type]
    conversions.ask("word", "word", None)  # type: ignore[arg-type]
    local = lambda: None  # noqa: E731 - pickle refuses it
    assert conversions.get("local", local, "metadata") == (local, "metadata")  # type: ignore[arg-type]
    conversions.close()


def test_torch_has_a_thread_less_while_a_conversion_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[-1])
    monkeypatch.setattr(torch, "set_num_threads", lambda count: threads.append(count))
    workshop = Workshop.__new__(Workshop)
    workshop._conversions = Conversions()
    future: Future[bytes | None] = Future()
    workshop._conversions._asked["key"] = future
    for all_threads, spare in ((4, 3), (1, 1)):
        threads.append(all_threads)
        with suppress(KeyError), workshop.beside_conversions():
            assert threads[-1] == spare
            raise KeyError
        assert threads[-1] == all_threads
    future.set_result(b"")
    threads.append(4)
    with workshop.beside_conversions():
        assert threads[-1] == 4


@pytest.mark.slow  # the converter starts in three processes
def test_the_other_process_converts_alike_and_one_that_aborts_is_replaced(metadata, faces, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, deadly = (kind(int(np.prod(metadata.face_shape))) for kind in (Flat, Deadly))
    conversions = Conversions()
    conversions.ask("deadly", deadly, metadata)
    conversions.ask("good", network, metadata)
    with pytest.raises(FerLabError, match="the converter ended with status"):
        conversions.get("deadly", deadly, metadata)
    ahead = write(conversions.get("good", network, metadata), metadata, tmp_path / "ahead.tflite")
    conversions.close()
    here = write(convert(network, metadata), metadata, tmp_path / "here.tflite")
    answers = [Classifier.load(path).logits(faces) for path in (ahead, here)]
    np.testing.assert_array_equal(*answers)
