"""Several loggers at once; W&B offline is one finished run with the whole history, also after a failure."""

import hashlib
import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import wandb
from lightning import LightningModule, Trainer

from fer_lab.errors import FerLabError
from fer_lab.results.record import Run
from fer_lab.train import train
from fer_lab.training.callbacks import Metrics

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")


def records(run: Path) -> bytes:
    """An offline run's file without the 7-byte headers that cut what crosses its blocks of 32 KiB."""
    wandb.teardown()  # W&B's own process writes the file; its end is the only sign that all of it is there
    data = next(run.glob("*.wandb")).read_bytes()
    blocks = [data[i : i + 32768] for i in range(0, len(data), 32768)]
    return blocks[0] + b"".join(block[7:] for block in blocks[1:])


def test_tensorboard_and_wandb_offline_together(tiny: Callable) -> None:
    cfg = tiny("name=logged", "logger=all", "logger.wandb.mode=offline", "sweep_keys=[]")
    train(cfg)
    folder = Path(cfg.paths.run)
    assert list((folder / "tensorboard").rglob("events.out.tfevents*"))
    runs = list((folder / "wandb").glob("offline-run-*"))
    assert len(runs) == 1
    sent = records(runs[0])
    for word in (b"validation/macro_f1", b"test/per_class", b"completed", b"seed0"):
        assert word in sent, word


def test_a_resumed_run_goes_on_with_its_id_online(tiny: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    from fer_lab.training.loggers import build_loggers

    seen: list[dict] = []

    class Sent:
        def log(self, metrics: dict, step: int | None) -> None: ...

    monkeypatch.setattr(wandb, "init", lambda **arguments: seen.append(arguments) or Sent())
    cfg = tiny("name=resumed", "logger=wandb", "loss=focal")
    for _ in range(2):  # a first process, and one that goes on after it
        run = Run(cfg, "data")
        with pytest.raises(KeyboardInterrupt), run:
            raise KeyboardInterrupt
        (logger,) = build_loggers(cfg, run.record)
        logger.log_metrics({"train/loss": 1.0}, 0)
    assert seen[0] == seen[1]
    assert (seen[0]["resume"], seen[0]["mode"]) == ("allow", "online")
    (other,) = build_loggers(tiny("name=other", "logger=wandb", "loss=focal"), run.record)
    assert other.version != seen[0]["id"], "rows of equal recipes are runs of their own"
    again = tiny("name=resumed", "logger=wandb", "loss=focal", "rerun=always")
    elsewhere = tiny("name=resumed", "logger=wandb", "loss=focal", f"paths.outputs={cfg.paths.outputs}/elsewhere")
    for repeated in (again, elsewhere):  # the same key, and not the same run
        with Run(repeated, "data") as new:
            assert new.record["key"] == run.record["key"]
            assert build_loggers(repeated, new.record)[0].version != seen[0]["id"]
    old = {name: value for name, value in run.record.items() if name != "token"}
    assert build_loggers(cfg, old)[0].version == hashlib.sha256(f"None resumed  {run.key}".encode()).hexdigest()[:16]
    flat = {"backbone": "tiny", "loss": "focal", "head": "linear", "seed": 0}
    assert flat.items() <= seen[0]["config"].items()


def test_exported_files_become_an_artifact(tmp_path: Path, tiny: Callable) -> None:
    from fer_lab.training.loggers import publish_export

    cfg = tiny("name=exported", "logger=wandb", "logger.wandb.mode=offline")
    Path(cfg.paths.run).mkdir(parents=True)
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "model.onnx").write_bytes(b"a model")
    publish_export(cfg, {"key": "0123"}, tmp_path / "export")
    sent = records(next((Path(cfg.paths.run) / "wandb").glob("offline-run-*-export")))
    assert b"model.onnx" in sent


def test_wandb_is_finished_when_training_fails(tiny: Callable) -> None:
    cfg = tiny(
        "name=broken",
        "logger=wandb",
        "logger.wandb.mode=offline",
        "optimizer=sgd",
        "optimizer.lr=1e30",
        "trainer.gradient_clip_val=null",
    )
    with pytest.raises(FerLabError, match="no longer finite"):
        train(cfg)
    assert wandb.run is None
    sent = records(next((Path(cfg.paths.run) / "wandb").glob("offline-run-*")))
    assert b"failed" in sent


def test_offline_a_run_that_was_stopped_and_failed_on_its_way_is_one_run(
    tiny: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = tiny("name=stopped", "logger=wandb", "logger.wandb.mode=offline", "sweep_keys=[]")
    start = Metrics.on_train_epoch_start
    for error in (KeyboardInterrupt(), RuntimeError("the disk is full"), None):

        def breaks(
            self: Metrics, trainer: Trainer, module: LightningModule, error: BaseException | None = error
        ) -> None:
            start(self, trainer, module)
            if error and trainer.current_epoch == 1:
                raise error

        monkeypatch.setattr(Metrics, "on_train_epoch_start", breaks)
        before = signal.getsignal(signal.SIGINT)  # Lightning turns it off after the first
        with pytest.raises((SystemExit, RuntimeError)) if error else nullcontext():
            train(cfg)
        signal.signal(signal.SIGINT, before)
        runs = list((Path(cfg.paths.run) / "wandb").glob("offline-run-*"))
        assert len(runs) == (0 if isinstance(error, KeyboardInterrupt) else 1)
    sent = records(runs[0])
    assert b"completed" in sent
    assert b"the disk is full" not in sent


def test_disabled_writes_nothing_and_an_unknown_mode_is_refused(tiny: Callable) -> None:
    cfg = tiny("name=off", "logger=wandb", "logger.wandb.mode=disabled", "trainer.max_epochs=1")
    train(cfg)
    assert not (Path(cfg.paths.run) / "wandb").exists()
    with pytest.raises(FerLabError, match="use online, offline or disabled"):
        train(tiny("name=odd", "logger=wandb", "logger.wandb.mode=maybe"))
