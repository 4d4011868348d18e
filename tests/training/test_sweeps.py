"""Sweeps as processes, through the real main: listing, resuming, two at once, launchers, a search."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from filelock import FileLock
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf

from fer_lab.data.augment import Augmenter
from fer_lab.errors import FerLabError
from fer_lab.results.record import Run, read_record
from fer_lab.schema import compose
from fer_lab.training.plan import DONE, FAILED, INTERRUPTED, MISSING, State, state_of, time_left
from fer_lab.training.rows import Sweep
from tests.conftest import TINY

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

ROWS = ("demo_cross_entropy", "demo_focal")


def write(
    outputs: Path, words: list[str], row: str, seed: int, seconds: float = 2.0, epochs: int = 2, **changes
) -> Path:
    """Leave a run's files as `train` would, without training: record, config and history."""
    cfg = compose("train", [*words, f"experiment={row}", f"seed={seed}"])
    folder = outputs / row / f"seed{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    record = Run(cfg, "d" * 16).record | {
        "status": "completed",
        "timings_s": {"train": seconds * epochs, "evaluate": 1.0},
    }
    (folder / "record.json").write_text(json.dumps(record | changes))
    OmegaConf.save(cfg, folder / "config.yaml")
    lines = [f"{epoch},{seconds}" for epoch in range(epochs)]
    (folder / "history.csv").write_text("\n".join(["epoch,seconds", *lines]) + "\n")
    return folder


def test_dry_says_how_every_run_stands_and_trains_nothing(run: Callable, sweep: list[str], tmp_path: Path) -> None:
    code, printed = run(*sweep, "--dry")
    assert (code, list(tmp_path.iterdir())) == (0, [])
    assert "2 missing" in printed
    assert "Time left: unknown (nothing of it was measured yet)" in printed

    write(tmp_path, sweep, ROWS[0], 0, metrics={"validation": {"macro_f1": 0.5}})
    write(tmp_path, [*sweep, "optimizer.lr=0.5"], ROWS[1], 0)
    write(tmp_path, sweep, ROWS[0], 1, epochs=1, status="running")
    write(tmp_path, sweep, ROWS[1], 1, status="failed", error="The training loss is no longer finite.")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    busy = tmp_path / ROWS[0] / "seed2"
    busy.mkdir()
    with FileLock(busy / ".lock"):
        code, printed = run(*sweep, "seed=0,1,2", "--dry")
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    assert code == 0
    assert "demo_cross_entropy seed 0 done validation macro-F1 0.500" in lines
    assert "demo_cross_entropy seed 1 interrupted after epoch 1 of 2" in lines
    assert "demo_cross_entropy seed 2 running elsewhere 0 of 2 epochs" in lines
    assert "demo_focal seed 0 stale optimizer.lr: 0.5 -> 0.008" in lines
    assert "demo_focal seed 1 failed The training loss is no longer finite." in lines
    assert "demo_focal seed 2 missing" in lines
    assert "1 done, 1 stale, 1 failed, 1 interrupted, 1 running elsewhere, 1 missing" in lines
    assert "Time left: about" in printed
    assert {path: path.read_bytes() for path in before} == before

    _, printed = run(*sweep, "experiment=demo_focal", "seed=1", "--dry")
    assert "demo: 1 runs" in printed


def test_dry_of_a_single_run(run: Callable, sweep: list[str]) -> None:
    code, printed = run(*sweep[1:], "experiment=demo_focal", "--dry")
    assert code == 0
    assert "demo_focal  seed 0  missing" in printed


def test_time_left_by_hand(sweep: list[str], tmp_path: Path) -> None:
    words = [*sweep, "trainer.max_epochs=4"]
    write(tmp_path, words, ROWS[0], 0, seconds=10, epochs=4)  # 4 · 10 s and 1 s of evaluation
    write(tmp_path, words, ROWS[0], 1, seconds=10, epochs=1, status="running")
    jobs = [compose("train", [*words, f"experiment={row}", f"seed={seed}"]) for row in ROWS for seed in (0, 1)]
    states = [state_of(cfg) for cfg in jobs]
    assert [state.status for state in states] == [DONE, INTERRUPTED, MISSING, MISSING]
    # the interrupted run: three quarters of its row's 41 s; the row that never ran: four epochs of 10 s, twice
    assert time_left(jobs, states) == (pytest.approx(41 * 3 / 4 + 2 * 40), "from 1 finished of these runs")
    assert time_left(jobs, states, at_a_time=2)[0] == pytest.approx((41 * 3 / 4 + 2 * 40) / 2)
    assert time_left(jobs[2:], states[2:])[0] is None
    assert time_left(jobs[:1], [State(DONE)])[0] == 0


def test_a_sweep_skips_what_is_done_retries_what_failed_and_refuses_what_is_stale(
    run: Callable, short_sweep: list[str], tmp_path: Path
) -> None:
    bad = ["optimizer=sgd", "optimizer.lr=1e30", "trainer.gradient_clip_val=null"]
    code, printed = run(*short_sweep, *bad, "experiment=demo_focal")
    assert code == 1
    assert "1 failed" in printed
    assert "no longer finite" in printed
    code, printed = run(*short_sweep)
    assert (code, "2 completed" in printed) == (0, True)
    assert printed.count("validation accuracy 0.") == 2
    stamps = {row: (tmp_path / row / "seed0" / "model.safetensors").stat().st_mtime_ns for row in ROWS}
    code, printed = run(*short_sweep)
    assert code == 0
    assert printed.count("done already") == 2
    code, printed = run(*short_sweep, "seed=0,1", "optimizer.weight_decay=0.1", "experiment=demo_focal")
    assert code == 1
    assert "optimizer.weight_decay: 0.05 -> 0.1" in printed
    assert "1 stale, 1 completed" in printed  # the other seed was trained all the same
    assert stamps == {row: (tmp_path / row / "seed0" / "model.safetensors").stat().st_mtime_ns for row in ROWS}


def test_a_row_at_work_elsewhere_is_left_for_last_and_waited_for(
    run: Callable, short_sweep: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ROWS[0] / "seed0"
    folder.mkdir(parents=True)
    held = FileLock(folder / ".lock")
    held.acquire()
    seen = []
    again = Sweep.again

    def release_after_the_first_launch(self: Sweep, crash: Exception | None) -> bool:
        seen.append([read_record(tmp_path / row / "seed0") is not None for row in ROWS])
        more = again(self, crash)
        held.release()
        return more

    monkeypatch.setattr(Sweep, "again", release_after_the_first_launch)
    code, printed = run(*short_sweep)
    assert seen == [[False, True], [True, True]]  # the other row first, then the one that was busy
    assert f"running elsewhere {folder}" in printed.replace("\n", "")
    assert code == 0
    assert "2 completed" in printed


def test_a_failure_elsewhere_is_not_tried_again(
    run: Callable, short_sweep: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path, short_sweep, ROWS[0], 0, status="running")
    held = FileLock(folder / ".lock")
    held.acquire()
    again = Sweep.again

    def fail_it(self: Sweep, crash: Exception | None) -> bool:
        more = again(self, crash)
        if held.is_locked:
            write(tmp_path, short_sweep, ROWS[0], 0, status="failed", error="Out of luck.")
            held.release()
        return more

    monkeypatch.setattr(Sweep, "again", fail_it)
    code, printed = run(*short_sweep)
    assert code == 1
    assert "failed: Out of luck." in printed
    assert read_record(folder)["error"] == "Out of luck."


def basic_launcher() -> type[Launcher]:
    """The class that Hydra takes: it loads its plugins' modules a second time."""
    return Plugins.instance().class_name_to_class["hydra._internal.core_plugins.basic_launcher.BasicLauncher"]


class Worker(Exception):
    """Stands in for a launcher's own exception when a worker dies."""


@pytest.mark.parametrize(("launcher", "first_row"), [("basic", FAILED), ("joblib", DONE)])
def test_after_a_launcher_s_death_the_rows_that_are_left_are_launched_again(
    launcher: str,
    first_row: str,
    run: Callable,
    short_sweep: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Joblib takes all workers down for one's sake, so a row gets a second launch there; elsewhere it was the one."""
    launch, launches = basic_launcher().launch, []

    def die_once(self: Launcher, job_overrides: list, initial_job_idx: int) -> list:
        launches.append([word for word in job_overrides[0] if word.startswith("skip=")])
        if len(launches) == 1:
            write(tmp_path, short_sweep, ROWS[0], 0, epochs=0, status="running")
            (tmp_path / ROWS[0] / "seed0" / "history.csv").unlink()
            (tmp_path / ROWS[0] / "seed0" / ".lock").touch()
            raise Worker("a worker was killed")
        return launch(self, job_overrides, initial_job_idx)

    monkeypatch.setattr(basic_launcher(), "launch", die_once)
    init = Sweep.__init__

    def pretend(self: Sweep, config) -> None:
        init(self, config)
        self.launcher = {"basic": "BasicLauncher", "joblib": "JoblibLauncher"}[launcher]

    monkeypatch.setattr(Sweep, "__init__", pretend)
    monkeypatch.setattr("fer_lab.results.record.Run._refusal", lambda self, old: "other data")
    code, printed = run(*short_sweep, "rerun=always") if launcher == "joblib" else run(*short_sweep)
    assert "Worker: a worker was killed" in printed
    record = read_record(tmp_path / ROWS[0] / "seed0")
    assert record["status"] == {FAILED: "failed", DONE: "completed"}[first_row]
    assert read_record(tmp_path / ROWS[1] / "seed0")["status"] == "completed"
    assert len(launches) == 2
    assert code == (first_row == FAILED)
    assert ("its process was killed" in printed) == (first_row == FAILED)


def test_a_launcher_that_never_starts_ends_the_command(
    run: Callable, sweep: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self, job_overrides: list, initial_job_idx: int) -> list:
        raise Worker("no queue")

    monkeypatch.setattr(basic_launcher(), "launch", refuse)
    code, printed = run(*sweep)
    assert code == 1
    assert printed.count("BasicLauncher stopped: Worker: no queue") == 1
    assert "2 not run" in printed


def test_a_missing_plugin_is_named(run: Callable, sweep: list[str]) -> None:
    code, printed = run(*sweep, "hydra/launcher=joblib", "hydra.launcher._target_=hydra_plugins.nowhere.Launcher")
    assert code == 1
    assert "hydra/launcher=joblib needs a plugin: pip install 'fer_lab[scale]'" in printed


def test_several_devices_and_a_launcher_of_processes_do_not_go_together(run: Callable, sweep: list[str]) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="needs the extra scale")
    code, printed = run(*sweep, "hydra/launcher=joblib", "trainer.devices=2")
    assert code == 1
    assert "take hydra/launcher=basic or slurm, or trainer.devices=1" in printed


def test_strength_widens_every_range_and_leaves_one_untouched() -> None:
    steps = {s: compose("train", ["augment=targeted", f"augment.strength={s}"]).augment.steps for s in (0.5, 1, 2)}
    assert steps[1].geometry.rotate == [-12, 12]
    assert steps[2].geometry.rotate == [-24, 24]
    assert steps[2].geometry.scale == pytest.approx([0.85**2, 1.15**2])
    assert steps[2].gamma.gamma_limit == pytest.approx([36, 256])
    assert steps[0.5].light.brightness_limit == pytest.approx(0.1)
    assert steps[0.5].occlusion.hole_height_range == pytest.approx([0.075, 0.2])
    for found in steps.values():
        assert Augmenter(found)
    with pytest.raises(FerLabError, match=r"augment.strength=0 must lie in \(0, 2\]"):
        compose("train", ["augment.strength=0"])


# The real thing: processes, launchers, signals. --------------------------------------------------------------------


def start(words: list[str], **env: str) -> subprocess.Popen:
    own = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")} | env
    return subprocess.Popen(
        [sys.executable, "-m", "fer_lab.train", *words],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=own,
    )


def finish(process: subprocess.Popen) -> tuple[int, str]:
    printed, _ = process.communicate(timeout=500)
    return process.returncode, printed


def statuses(outputs: Path) -> list[str | None]:
    return [(read_record(outputs / row / "seed0") or {}).get("status") for row in ROWS]


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher", [["joblib"], ["ray"], ["submitit_local", "trainer.num_threads=1"]], ids=lambda words: words[0]
)
def test_a_launcher_runs_a_sweep_and_the_exit_code_tells_of_a_row_that_failed(
    launcher: list[str], sweep: list[str], tmp_path: Path
) -> None:
    words = [*sweep, f"hydra/launcher={launcher[0]}", *launcher[1:]]
    code, printed = finish(start(words))
    assert (code, statuses(tmp_path)) == (0, ["completed"] * 2), printed
    assert "demo: 2 completed" in printed
    code, printed = finish(start([*words, "seed=0,1", "experiment=demo_focal", "loss.gamma=-1"]))
    assert code == 1, printed
    assert statuses(tmp_path) == ["completed"] * 2
    assert (read_record(tmp_path / "demo_focal" / "seed1") or {})["status"] == "failed"


def workers(process: subprocess.Popen, folder: Path) -> Iterator[psutil.Process]:
    """Descendants of a command that hold a run's lock."""
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if any(file.path == str(folder / ".lock") for file in child.open_files()):
                yield child
        except psutil.Error:
            continue


@pytest.mark.slow
def test_a_killed_worker_fails_its_row_alone(long_sweep: list[str], tmp_path: Path) -> None:
    process = start([*long_sweep, "trainer.max_epochs=8", "hydra/launcher=joblib"])
    folder, threads = tmp_path / ROWS[0] / "seed0", []
    while process.poll() is None and not threads:
        if (folder / "history.csv").exists():
            for worker in workers(process, folder):
                variables = Path(f"/proc/{worker.pid}/environ").read_bytes().decode().split("\0")
                threads = [word for word in variables if word.startswith("OMP_NUM_THREADS=")]
                os.kill(worker.pid, signal.SIGKILL)
        time.sleep(0.05)
    code, printed = finish(process)
    assert (code, statuses(tmp_path)) == (1, ["failed", "completed"]), printed
    assert threads == [f"OMP_NUM_THREADS={max(1, len(os.sched_getaffinity(0)) // 2)}"]
    assert "its process was killed by SIGKILL" in read_record(folder)["error"]
    code, printed = finish(start([*long_sweep, "trainer.max_epochs=8"]))
    assert (code, statuses(tmp_path)) == (0, ["completed"] * 2), printed


@pytest.mark.slow
def test_two_processes_share_a_sweep(long_sweep: list[str], tmp_path: Path) -> None:
    both = [start([*long_sweep, "trainer.max_epochs=6"]) for _ in range(2)]
    ends = [finish(process) for process in both]
    assert [code for code, _ in ends] == [0, 0], ends
    for row in ROWS:
        trained = sum(f"{row} seed 0: full 6 epochs" in printed for _, printed in ends)
        assert trained == 1, ends  # by one of them only
        assert len((tmp_path / row / "seed0" / "history.csv").read_text().splitlines()) == 1 + 6


@pytest.mark.slow
def test_two_processes_of_one_run(tmp_path: Path, cache_dir: Path) -> None:
    words = [*TINY, "name=two", f"paths.outputs={tmp_path}", f"paths.cache={cache_dir}", "trainer=ddp"]
    words += ["trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true", "trainer.num_workers=0"]
    words += ["trainer.progress=false", "trainer.max_epochs=2", "trainer.batch_size=16", "trainer.deterministic=true"]
    code, printed = finish(start(words, OMP_NUM_THREADS="1"))
    assert code == 0, printed
    assert len(list(tmp_path.rglob("record.json"))) == 1
    record = read_record(tmp_path / "two" / "seed0")
    assert record["status"] == "completed"
    history = (tmp_path / "two" / "seed0" / "history.csv").read_text().splitlines()
    names, *rows = [line.split(",") for line in history]
    assert len(rows) == 2
    best = max(float(row[names.index("validation_macro_f1")]) for row in rows)
    # scored over the gathered logits of both processes in training, by the first one alone afterwards
    assert record["metrics"]["validation"]["macro_f1"] == pytest.approx(best, abs=1e-6)
    assert record["metrics"]["validation"]["n"] == sum(record["data"]["counts"]["validation"].values())


@pytest.mark.slow
def test_a_search_repeats_its_trials_at_no_cost_and_goes_on(sweep: list[str], tmp_path: Path) -> None:
    words = ["search=lr_loss_augment", "experiment=demo_cross_entropy", *sweep[1:], "trainer.max_epochs=1"]
    code, printed = finish(start([*words, "hydra.sweeper.n_trials=2"]))
    assert code == 0, printed
    first = {path: path.read_bytes() for path in tmp_path.rglob("record.json")}
    assert len(first) == 2
    code, printed = finish(start([*words, "hydra.sweeper.n_trials=3"]))
    assert code == 0, printed
    assert printed.count("done already") == 2
    assert {path: path.read_bytes() for path in first} == first
    records = [json.loads(path.read_text()) for path in tmp_path.rglob("record.json")]
    assert len(records) == 3
    best = max(record["metrics"]["validation"]["macro_f1"] for record in records)
    found = (tmp_path / ROWS[0] / "optimization_results.yaml").read_text()
    assert f"best_value: {best}" in found
    assert all(name in found for name in ("optimizer.lr", "loss", "augment.strength"))
