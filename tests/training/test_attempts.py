"""What an attempt that comes to nothing leaves: words in its folder and in the summary, and an exit code."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from fer_lab.results.record import REFUSED, read_record
from fer_lab.training.callbacks import Metrics
from tests.data.drawn import write_tree

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

ROWS = ("demo_cross_entropy", "demo_focal")


@pytest.fixture
def signals() -> Iterator[None]:
    """Lightning turns SIGINT off for good."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores it
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_sweep_that_is_stopped_sums_up_and_goes_on(
    number: int, exit_code: int, run: Callable, sweep: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, signals: None,
) -> None:  # fmt: skip
    start = Metrics.on_train_epoch_start

    def stopped(self: Metrics, trainer: L.Trainer, module: L.LightningModule) -> None:
        start(self, trainer, module)
        if trainer.current_epoch == 1:
            os.kill(os.getpid(), number)

    handler = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(Metrics, "on_train_epoch_start", stopped)
        code, printed = run(*sweep)
    assert code == exit_code
    assert "1 interrupted, 1 not run" in printed
    assert f"{tmp_path / ROWS[0] / 'seed0'}: interrupted: after epoch 1 of 2" in printed
    assert "the same command goes on from the last finished epoch" in printed
    assert read_record(tmp_path / ROWS[0] / "seed0")["status"] == "running"
    assert signal.getsignal(signal.SIGTERM) is handler
    code, printed = run(*sweep)
    assert (code, "2 completed" in printed) == (0, True)


def test_a_single_run_that_is_stopped_says_so_with_its_exit_code(
    run: Callable, sweep: list[str], monkeypatch: pytest.MonkeyPatch, signals: None
) -> None:
    monkeypatch.setattr(Metrics, "on_train_epoch_start", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    code, printed = run(*sweep[1:], "experiment=demo_focal")
    assert (code, "goes on from the last finished epoch" in printed) == (143, True)


def test_a_run_of_other_weights_is_stale_and_names_them(run: Callable, short_sweep: list[str], tmp_path: Path) -> None:
    code, _ = run(*short_sweep, "experiment=demo_focal")
    weights = tmp_path / "weights.safetensors"
    state = load_file(tmp_path / ROWS[1] / "seed0" / "model.safetensors")
    body = {name.removeprefix("backbone.body."): t for name, t in state.items() if name.startswith("backbone.body.")}
    save_file(body, weights)
    words = [*short_sweep, f"backbone.weights={weights}", "rerun=always"]
    assert (code, run(*words)[0]) == (0, 0)
    words = words[:-1]
    save_file({name: tensor + torch.ones_like(tensor) for name, tensor in body.items()}, weights)
    _, printed = run(*words, "--dry")
    assert "2 stale" in printed
    code, printed = run(*words)
    assert (code, "2 stale" in printed) == (1, True)
    assert "bytes of its pretrained weights: " in printed
    assert not (tmp_path / ROWS[0] / "seed0" / REFUSED).exists()  # the file itself tells
    save_file(body, weights)
    code, printed = run(*words)
    assert (code, "2 completed" in printed) == (0, True)


def test_a_run_of_other_data_is_stale_and_data_that_cannot_be_read_fail(
    run: Callable, short_sweep: list[str], tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    root = write_tree(tmp_path / "mine", [generator.integers(0, 256, (48, 48), np.uint8) for _ in range(210)])
    words = [word for word in short_sweep if not word.startswith("data.samples")]
    words += ["data=folder", f"data.path={root}", "data.size=48", "data.channels=grey", "experiment=demo_focal"]
    folder, broken = tmp_path / ROWS[1] / "seed0", next(iter(sorted(root.rglob("*.png"))))
    whole = broken.read_bytes()

    broken.write_bytes(whole[:50])
    code, printed = run(*words)  # nothing there yet: failed, not "not run"
    assert (code, "1 failed" in printed, broken.name in printed) == (1, True, True)
    assert broken.name in read_record(folder)["error"]
    (folder / "record.json").unlink()
    broken.write_bytes(whole)
    code, printed = run(*words)
    assert code == 0, printed

    broken.unlink()
    code, printed = run(*words)
    assert (code, "1 stale" in printed, "data: " in printed) == (1, True, True)
    assert "at the last attempt: " in run(*words, "--dry")[1]
    assert read_record(folder)["status"] == "completed"

    Image.new("L", (48, 48)).save(broken)
    broken.write_bytes(broken.read_bytes()[:50])
    code, printed = run(*words)
    assert (code, "1 stale" in printed, broken.name in printed) == (1, True, True)

    broken.write_bytes(whole)
    code, printed = run(*words)
    assert (code, "1 completed" in printed, (folder / REFUSED).exists()) == (0, True, False)


def test_a_data_path_that_does_not_exist_starts_no_row(run: Callable, short_sweep: list[str], tmp_path: Path) -> None:
    words = [word for word in short_sweep if not word.startswith("data.samples")]
    code, printed = run(*words, "data=folder", "data.path=/nope")
    assert (code, list(tmp_path.iterdir())) == (1, [])
    assert "data.path=/nope does not exist" in printed


def test_a_damaged_record_is_one_row_s_failure(run: Callable, short_sweep: list[str], tmp_path: Path) -> None:
    assert run(*short_sweep)[0] == 0
    record = tmp_path / ROWS[0] / "seed0" / "record.json"
    record.write_text("{")
    code, printed = run(*short_sweep, "--dry")
    assert (code, "1 done, 1 failed" in printed) == (0, True)
    code, printed = run(*short_sweep)
    assert (code, "1 failed, 1 completed" in printed) == (1, True)
    assert f"{record} is damaged" in printed
    assert record.read_text() == "{"
    code, printed = run(*short_sweep, "rerun=always")
    assert (code, "2 completed" in printed) == (0, True)


@pytest.mark.parametrize("part", ["rows", "seeds"])
def test_a_table_without_rows_or_seeds_is_refused(part: str, run: Callable, sweep: list[str], tmp_path: Path) -> None:
    for dry in ([], ["--dry"]):
        code, printed = run(*sweep, f"table.{part}=[]", *dry)
        assert (code, list(tmp_path.iterdir())) == (1, [])
        assert f"table.{part}=[] leaves nothing to train" in printed
