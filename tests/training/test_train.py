"""Runs through the functions the command line calls: determinism, resuming, refusing, failing, the test lock."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from fer_lab.errors import FerLabError
from fer_lab.schema import compose
from fer_lab.train import main, train
from fer_lab.training import callbacks
from tests.conftest import TINY

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

OPENED: list[str] = []


@pytest.fixture(scope="module", autouse=True)
def watch_files():
    """Every file this process opens, by Python's audit events (a hook can't be removed: it is muted afterwards)."""
    watching = [True]

    def hook(event: str, arguments: tuple) -> None:
        if event == "open" and watching[0] and isinstance(arguments[0], str | os.PathLike):
            OPENED.append(os.fspath(arguments[0]))

    sys.addaudithook(hook)
    yield
    watching[0] = False


class Killed(BaseException):
    """Stands in for a kill: no handler of ours or Lightning's may turn it into something else."""


def test_the_record_of_a_run(tiny_run: Path) -> None:
    record = json.loads((tiny_run / "record.json").read_text())
    assert record["status"] == "completed"
    assert record["choices"]["backbone"] == "tiny"
    assert record["pretraining"] == "none"
    assert record["model"]["parameters_total"] == 101_724 - record_statistics() + 256 * 7 + 7
    for split in ("validation", "test"):
        metrics = record["metrics"][split]
        assert metrics["n"] == sum(map(sum, metrics["confusion"])) == sum(record["data"]["counts"][split].values())
        assert 0 <= metrics["macro_f1"] <= 1
        assert set(metrics["per_class"]) == set(record["model"]["class_names"])
        table = pd.read_parquet(tiny_run / f"{split}_predictions.parquet")
        assert len(table) == metrics["n"]
        assert list(table.columns[:4]) == ["sample_id", "label", "predicted", "group"]
    assert record["metrics"]["train"]["loss"] > 0
    assert len(record["test_openings"]) == 1
    assert list(record["test_openings"][0]["frozen"]) == ["temperature", "abstain_below", "model.safetensors"]
    assert {"train", "evaluate"} <= set(record["timings_s"])
    history = pd.read_csv(tiny_run / "history.csv")
    assert history["epoch"].tolist() == [0, 1]
    for name in ("confusion_test.png", "reliability_validation.png"):
        assert (tiny_run / "plots" / name).read_bytes()[:4] == b"\x89PNG"


def record_statistics() -> int:
    import timm

    body = timm.create_model("test_efficientnet", num_classes=0)
    return sum(b.numel() for name, b in body.named_buffers() if "running" in name)


def test_same_seed_same_bytes_other_seed_others(tiny: Callable, tiny_run: Path) -> None:
    again = tiny("name=again")
    train(again)
    assert (Path(again.paths.run) / "model.safetensors").read_bytes() == (tiny_run / "model.safetensors").read_bytes()
    other = tiny("name=again", "seed=1")
    train(other)
    assert (Path(other.paths.run) / "model.safetensors").read_bytes() != (tiny_run / "model.safetensors").read_bytes()


STAGED = (
    "schedule=two_stage",
    "schedule.top_layers=null",
    "schedule.top_fraction=0.5",
    "schedule.head_epochs=2",
    "trainer.max_epochs=4",
)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Path:
    """Folder of a run of two stages."""
    outputs = tmp_path_factory.mktemp("undisturbed")
    cfg = compose("train", [*TINY, *STAGED, "name=whole", f"paths.outputs={outputs}", f"paths.cache={cache_dir}"])
    train(cfg)
    return Path(cfg.paths.run)


@pytest.mark.parametrize("killed_at", [1, 3], ids=["in the first stage", "in the second stage"])
def test_a_killed_run_ends_as_an_undisturbed_one(
    killed_at: int, tiny: Callable, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = tiny("name=killed", *STAGED)
    write = callbacks.write_history

    def write_or_die(path: Path, rows: list[dict]) -> None:
        if rows[-1]["epoch"] == killed_at:
            raise Killed
        write(path, rows)

    monkeypatch.setattr(callbacks, "write_history", write_or_die)
    with pytest.raises(Killed):
        train(cfg)
    folder, whole = Path(cfg.paths.run), undisturbed
    assert json.loads((folder / "record.json").read_text())["status"] == "running"
    monkeypatch.setattr(callbacks, "write_history", write)
    record = train(cfg)
    assert record["status"] == "completed"
    assert (folder / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    drop = ["seconds"]
    pd.testing.assert_frame_equal(
        pd.read_csv(folder / "history.csv").drop(columns=drop), pd.read_csv(whole / "history.csv").drop(columns=drop)
    )


@pytest.mark.slow
def test_kill_9_of_the_real_command(tiny: Callable, tmp_path: Path) -> None:
    undisturbed = tiny("name=whole", "trainer.max_epochs=4")
    train(undisturbed)
    overrides = [
        *TINY,
        "trainer.max_epochs=4",
        f"paths.outputs={tmp_path}",
        f"paths.cache={undisturbed.paths.cache}",
        "name=cut",
    ]
    command = [sys.executable, "-m", "fer_lab.train", *overrides]
    history = tmp_path / "cut" / "seed0" / "history.csv"
    for finished_epochs in (1, 3):
        process = subprocess.Popen(command)
        while process.poll() is None and not (
            history.exists() and len(history.read_text().splitlines()) > finished_epochs
        ):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, check=True)
    weights = [tmp_path / name / "seed0" / "model.safetensors" for name in ("whole", "cut")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_finished_run_is_skipped(tiny: Callable, tiny_run: Path) -> None:
    cfg = tiny("name=tiny")
    shutil.copytree(tiny_run, cfg.paths.run)
    before = (Path(cfg.paths.run) / "record.json").read_bytes()
    record = train(cfg)
    assert record["objective"] == record["metrics"]["validation"]["macro_f1"]
    assert (Path(cfg.paths.run) / "record.json").read_bytes() == before


def test_another_config_in_the_same_folder_is_refused_with_the_difference(tiny: Callable, tiny_run: Path) -> None:
    cfg = tiny("name=tiny", "loss=label_smoothing")
    shutil.copytree(tiny_run, cfg.paths.run)
    with pytest.raises(FerLabError, match=r"loss.label_smoothing: 0.0 -> 0.1.*rerun=always"):
        train(cfg)
    assert json.loads((Path(cfg.paths.run) / "record.json").read_text())["status"] == "completed"
    record = train(tiny("name=tiny", "loss=label_smoothing", "rerun=always", "trainer.max_epochs=1"))
    assert record["epochs"] == 1


def test_a_folder_at_work_is_refused(tiny: Callable) -> None:
    from filelock import FileLock

    cfg = tiny("name=busy")
    Path(cfg.paths.run).mkdir(parents=True)
    with FileLock(Path(cfg.paths.run) / ".lock"), pytest.raises(FerLabError, match="another process"):
        train(cfg)


def test_nan_fails_with_a_record_and_a_better_rate_may_follow(tiny: Callable) -> None:
    cfg = tiny("name=nan", "optimizer=sgd", "optimizer.lr=1e30", "trainer.gradient_clip_val=null")
    with pytest.raises(FerLabError, match=r"no longer finite \(epoch 0.*lower optimizer.lr"):
        train(cfg)
    record = json.loads((Path(cfg.paths.run) / "record.json").read_text())
    assert record["status"] == "failed"
    assert "no longer finite" in record["error"]
    assert train(tiny("name=nan", "trainer.max_epochs=1"))["status"] == "completed"


def test_training_and_calibration_never_open_the_test_split(tiny: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """The split is a file of its own; Python's audit events show whether anything opened it."""

    class Reached(Exception):
        pass

    def door(*arguments, **keywords):
        raise Reached

    train(tiny("name=warm", "trainer.max_epochs=1"))  # builds the cache, and shows that the watch sees an opening
    assert any(path.endswith("test.u8") for path in OPENED)
    monkeypatch.setattr("fer_lab.train.open_test_split", door)
    OPENED.clear()
    cfg = tiny("name=locked", "trainer.max_epochs=1")
    with pytest.raises(Reached):
        train(cfg)
    assert (Path(cfg.paths.run) / "validation_predictions.parquet").exists()  # all decisions were made by then
    assert any(path.endswith("train.u8") for path in OPENED)
    assert not [path for path in OPENED if path.endswith(("test.u8", "test.parquet"))]


def test_a_required_key_is_named() -> None:
    with pytest.raises(FerLabError, match=r"data.path is required; add data.path="):
        train(compose("train", ["data=fer2013"]))


def test_a_sweep_checks_all_rows_trains_them_and_sums_up(
    tmp_path: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    shared = [
        "sweep=demo",
        "data.samples=300",
        "trainer.max_epochs=1",
        "trainer.limit_batches=2",
        "trainer.progress=false",
    ]
    arguments = [*shared, f"paths.outputs={tmp_path}", f"paths.cache={cache_dir}"]
    monkeypatch.setattr(sys, "argv", ["train", *arguments])
    main()
    assert "2 completed" in capsys.readouterr().out
    for row in ("demo_cross_entropy", "demo_focal"):
        record = json.loads((tmp_path / row / "seed0" / "record.json").read_text())
        assert (record["status"], record["table"]) == ("completed", "demo")
    monkeypatch.setattr(
        sys,
        "argv",
        ["train", *arguments, "seed=7", "optimizer.lr=1e30", "optimizer=sgd", "trainer.gradient_clip_val=null"],
    )
    with pytest.raises(SystemExit):
        main()
    assert "2 failed" in capsys.readouterr().out


def test_a_row_that_cannot_run_stops_the_sweep_before_the_first_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(sys, "argv", ["train", "sweep=demo", "+optimizer.learning_rate=1", f"paths.outputs={tmp_path}"])
    with pytest.raises(SystemExit):
        main()
    assert "'demo_cross_entropy' cannot run, so none was started" in capsys.readouterr().err
    assert not (tmp_path / "demo_cross_entropy").exists()


def test_an_ad_hoc_multirun_never_shares_a_folder(
    tmp_path: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["-m", *TINY, "trainer.max_epochs=1", "trainer.limit_batches=1", "loss=focal,cross_entropy", "name=adhoc"]
    monkeypatch.setattr(sys, "argv", ["train", *words, f"paths.outputs={tmp_path}", f"paths.cache={cache_dir}"])
    main()
    assert sorted(path.name for path in (tmp_path / "adhoc").iterdir()) == ["loss=cross_entropy", "loss=focal"]
