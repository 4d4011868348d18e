"""The demo's sweep, made tiny, through the real main."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fer_lab.train import main
from tests.conftest import TINY


@pytest.fixture
def sweep(tmp_path: Path, cache_dir: Path) -> list[str]:
    """Words that make the demo's two rows tiny."""
    return ["sweep=demo", *TINY, "trainer.limit_batches=2", f"paths.outputs={tmp_path}", f"paths.cache={cache_dir}"]


@pytest.fixture
def short_sweep(sweep: list[str]) -> list[str]:
    """The same with one epoch, where runs have to end and not to learn."""
    return [*sweep, "trainer.max_epochs=1"]


@pytest.fixture
def long_sweep(sweep: list[str]) -> list[str]:
    """The same with epochs long enough to be killed, or to meet, in."""
    return [word for word in sweep if word != "trainer.limit_batches=2"]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[..., tuple[int, str]]:
    """`run(*words)` is the command line in this process: its exit code and what it printed."""

    def command(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["train", *words])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return command
