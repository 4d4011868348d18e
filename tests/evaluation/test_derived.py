"""Rows that are scored on a parent's logits: what they fit, what they may not read, and when they refuse."""

import fcntl
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import DictConfig

import fer_lab.benchmark
import fer_lab.train
from fer_lab.data.dataset import FaceData
from fer_lab.deploy.latency import Measured, Plan, Target
from fer_lab.deploy.runtimes import Classifier
from fer_lab.errors import FerLabError
from fer_lab.evaluate import evaluate
from fer_lab.evaluation.calibration import fit_temperature
from fer_lab.evaluation.parent import ready_parent
from fer_lab.evaluation.predict import load_predictions
from fer_lab.evaluation.run import load_run
from fer_lab.evaluation.test_split import file_hash
from fer_lab.export import export
from fer_lab.schema import compose
from fer_lab.train import train
from fer_lab.training.rows import check_row
from tests.conftest import TINY

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

SHORT = ("trainer.max_epochs=1", "trainer.limit_batches=2")
BASE, CALIBRATED, SMOOTHED = ((name, "seed0") for name in ("base", "calibrated", "smoothed"))
FITTED = ("calibration=temperature", "parent=base", "name=calibrated")
EMA = ("calibration=temperature", "smoothing=ema", "parent=calibrated", "name=smoothed")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Path:
    """An outputs folder with a chain: base ← calibrated ← smoothed, made without reading a face after the first."""
    outputs = tmp_path_factory.mktemp("derived")

    def make(*overrides: str) -> DictConfig:
        return compose("train", [*TINY, *SHORT, f"paths.outputs={outputs}", f"paths.cache={cache_dir}", *overrides])

    train(make("calibration=none", "name=base"))
    with pytest.MonkeyPatch.context() as patch:

        def no_faces(self: FaceData, name: str) -> None:
            raise AssertionError(f"the {name} faces were read")

        patch.setattr(FaceData, "_read", no_faces)
        train(make(*FITTED, "plots=true"))
        train(make(*EMA))
    return outputs


@pytest.fixture
def chain(made: Path, tmp_path: Path) -> Path:
    """A copy of the chain, where `tiny` looks for parents."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


def read(outputs: Path, name: str) -> dict:
    return json.loads((outputs / name / "seed0" / "record.json").read_text())


def test_a_calibration_row_fits_its_temperature_on_the_parent_s_validation_logits(made: Path) -> None:
    base, row = read(made, "base"), read(made, "calibrated")
    logits, labels = load_predictions(made / "base/seed0/validation_predictions.parquet", base["model"]["class_names"])
    assert base["calibration"]["temperature"] == 1
    assert row["calibration"] == fit_temperature(logits, labels).to_dict()
    assert row["status"] == "completed"
    assert (row["parent"], row["parent_key"]) == ("base", base["key"])
    assert row["key"] != base["key"]
    assert row["epochs"] == 0
    assert set(row["timings_s"]) == {"data", "derive"}
    for same in ("model", "pretraining", "data", "best_epoch"):
        assert row[same] == base[same]
    for split in ("validation", "test"):
        old, new = base["metrics"][split], row["metrics"][split]
        assert old.keys() == new.keys()
        assert old["accuracy"] == new["accuracy"]
        assert old["nll"] == new["nll_uncalibrated"]
        assert old["loss"] == new["loss"]
    assert row["metrics"]["validation"]["nll"] < base["metrics"]["validation"]["nll"]
    assert "sequence" not in row["metrics"]


def test_a_smoothing_row_adds_sequences_and_leaves_still_faces_as_they_were(made: Path) -> None:
    calibrated, row = read(made, "calibrated"), read(made, "smoothed")
    assert {split: row["metrics"][split] for split in calibrated["metrics"]} == calibrated["metrics"]
    assert row["smoothing"]["method"] == "ema"
    assert row["smoothing"]["chosen_on"] == "validation"
    grid = {entry["alpha"]: entry for entry in row["smoothing"]["grid"]}
    assert set(grid) == {0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5}
    assert grid[row["smoothing"]["alpha"]]["nll"] == min(entry["nll"] for entry in grid.values())
    names = ("accuracy", "macro_f1", "nll", "ece", "flips_per_minute", "lag_s", "never_reached")
    for split in ("validation", "test"):
        sequence = row["metrics"]["sequence"][split]
        assert sequence["surrogate"] is True
        assert (sequence["seconds"], sequence["fps"]) == (3600, 10)
        assert {f"{name}{suffix}" for name in names for suffix in ("", "_unsmoothed")} < set(sequence)


def test_a_derived_folder_holds_the_parent_s_logits_and_no_weights(made: Path) -> None:
    for name in ("calibrated", "smoothed"):
        folder = made / name / "seed0"
        for split in ("validation", "test"):
            file = f"{split}_predictions.parquet"
            assert (folder / file).read_bytes() == (made / "base/seed0" / file).read_bytes()
        assert not (folder / "model.safetensors").exists()
        assert not (folder / "history.csv").exists()
    assert (made / "calibrated/seed0/plots/reliability_test.png").exists()
    assert not (made / "smoothed/seed0/plots").exists()  # which TINY leaves out


def test_the_test_logits_are_opened_for_what_is_frozen_and_counted(made: Path) -> None:
    row, base = read(made, "smoothed"), made / "base" / "seed0"
    (opening,) = row["test_openings"]
    assert opening["by"] == "train"
    assert opening["frozen"] == {
        "temperature": row["calibration"]["temperature"],
        "abstain_below": row["metrics"]["validation"]["selective"]["threshold"],
        "alpha": row["smoothing"]["alpha"],
        "validation_predictions.parquet": file_hash(base / "validation_predictions.parquet"),
        "model.safetensors": file_hash(base / "model.safetensors"),
    }


def test_fitting_never_reads_the_test_logits(chain: Path, tiny: Callable) -> None:
    """Spoiled test logits change no choice, and unreadable ones are noticed only when everything is chosen."""
    before = read(chain, "smoothed")
    file = chain / "calibrated" / "seed0" / "test_predictions.parquet"
    table = pd.read_parquet(file)
    noise = np.random.default_rng(0).normal(size=(len(table), 7)) * 9
    table[[name for name in table if name.startswith("logit_")]] = noise
    table.to_parquet(file)
    spoiled = train(tiny(*SHORT, *EMA, "name=spoiled"))
    assert spoiled["metrics"]["test"]["accuracy"] != before["metrics"]["test"]["accuracy"]
    for chosen in ("calibration", "smoothing"):
        assert spoiled[chosen] == before[chosen]
    assert spoiled["metrics"]["validation"] == before["metrics"]["validation"]

    file.write_text("not logits")
    with pytest.raises(ValueError, match="Parquet"):
        train(tiny(*SHORT, *EMA, "name=unreadable"))
    frozen = read(chain, "unreadable")["test_openings"][0]["frozen"]
    assert frozen["alpha"] == before["smoothing"]["alpha"]
    assert frozen["temperature"] == before["calibration"]["temperature"]


def test_absent_logits_are_named(chain: Path, tiny: Callable) -> None:
    (chain / "base" / "seed0" / "test_predictions.parquet").unlink()
    with pytest.raises(FerLabError, match=r"base/seed0/test_predictions.parquet does not exist; train base again"):
        train(tiny(*SHORT, *FITTED, "name=another"))
    assert read(chain, "another")["test_openings"] == []
    (chain / "base" / "seed0" / "validation_predictions.parquet").unlink()
    with pytest.raises(FerLabError, match=r"base/seed0 holds no validation_predictions.parquet; train base again"):
        train(tiny(*SHORT, *FITTED, "name=another"))


def test_data_that_changed_since_the_parent_was_trained_is_refused(chain: Path, tiny: Callable) -> None:
    path = chain / "base" / "seed0" / "record.json"
    path.write_text(json.dumps(read(chain, "base") | {"data_hash": "another"}))
    with pytest.raises(FerLabError, match=r"base/seed0: its data has changed since \(manifest another, now \w+\)"):
        train(tiny(*SHORT, *FITTED, "name=new"))


def test_a_parent_s_weights_that_changed_do_not_open_the_test_logits(chain: Path, tiny: Callable) -> None:
    with (chain / "base" / "seed0" / "model.safetensors").open("ab") as handle:
        handle.write(b"x")
    with pytest.raises(FerLabError, match=r"model.safetensors has changed since it was frozen"):
        train(tiny(*SHORT, *FITTED, "name=another"))
    assert read(chain, "another")["test_openings"] == []


def test_a_finished_row_is_skipped(chain: Path, tiny: Callable) -> None:
    before = (chain / "smoothed" / "seed0" / "record.json").read_bytes()
    assert train(tiny(*SHORT, *EMA))["objective"] == read(chain, "base")["metrics"]["validation"]["macro_f1"]
    assert (chain / "smoothed" / "seed0" / "record.json").read_bytes() == before


def test_a_parent_that_was_changed_makes_the_row_stale_and_says_so(chain: Path, tiny: Callable) -> None:
    train(tiny(*SHORT, *FITTED, "calibration=none", "rerun=always"))
    with pytest.raises(
        FerLabError, match=r"smoothed/seed0 holds .* \(calibrated, its parent, has run again: \w+ -> \w+\)"
    ):
        train(tiny(*SHORT, *EMA))
    with pytest.raises(FerLabError, match=r"derived from a run of calibrated that .* no longer holds"):
        load_run(chain / "smoothed" / "seed0")
    record = train(tiny(*SHORT, *EMA, "rerun=always"))
    assert record["parent_key"] == read(chain, "calibrated")["key"]
    assert load_run(chain / "smoothed" / "seed0").calibration.temperature == record["calibration"]["temperature"]


def test_a_parent_trained_again_with_an_equal_key_is_noticed_by_its_logits(chain: Path, tiny: Callable) -> None:
    file = chain / "base" / "seed0" / "validation_predictions.parquet"
    table = pd.read_parquet(file)
    table["logit_happy"] += 0.01
    table.to_parquet(file)
    with pytest.raises(FerLabError, match=r"logits that .*base/seed0 no longer holds, it was trained again"):
        train(tiny(*SHORT, *FITTED))


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["smoothing=ema"], r"smoothing=ema needs a parent, single faces have no time"),
        (["parent=mine", "name=mine"], r"parents go round in a circle \(mine → mine\)"),
        (
            ["parent=base", "loss=focal"],
            r"in more than calibration and smoothing \(loss._target_: .*CrossEntropy -> .*Focal",
        ),
        (["parent=base", "seed=1"], r"base/seed1 holds no run; train base first"),
        (["parent=demo_focal"], r"differs from its parent's row demo_focal in .*\(.*loss.gamma: 2.0 -> None"),
        (["parent=base", "smoothing=ema", "smoothing.grid=[2]"], r"smoothing\.alpha=2\.0 must be above 0"),
    ],
)
def test_refusals(overrides: list[str], sentence: str, chain: Path, tiny: Callable) -> None:
    with pytest.raises(FerLabError, match=sentence):
        train(tiny(*SHORT, "name=new", *overrides))
    assert not (chain / "new").exists()


def test_a_parent_that_is_a_row_is_trained_first_and_once(tiny: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = []
    fit = fer_lab.train.fit
    monkeypatch.setattr(fer_lab.train, "fit", lambda cfg, *rest: fitted.append(cfg.name) or fit(cfg, *rest))
    child = ("experiment=demo_focal", *SHORT, "backbone=tiny", "parent=demo_focal", "smoothing=ema", "calibration=none")
    record = train(tiny(*child, "name=child", "rerun=always"))  # about the child alone
    parent = Path(tiny().paths.outputs) / "demo_focal" / "seed0"
    assert json.loads((parent / "record.json").read_text())["key"] == record["parent_key"]
    assert json.loads((parent / "record.json").read_text())["choices"]["calibration"] == "temperature"
    assert record["calibration"]["temperature"] == 1
    train(tiny(*child, "name=child", "rerun=always"))
    train(tiny(*child, "smoothing=window", "name=other", "sweep_keys=[smoothing]"))
    assert fitted == ["demo_focal"]


def test_a_failed_parent_is_named_and_not_tried_again_by_every_child(
    tiny: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def fail(*rest: object) -> None:
        tried.append(1)
        raise FerLabError("the loss is not a number.")

    monkeypatch.setattr(fer_lab.train, "fit", fail)
    for name in ("one", "two"):
        with pytest.raises(FerLabError, match=rf"{name}: its parent demo_focal failed: the loss is not a number"):
            train(tiny("experiment=demo_focal", *SHORT, "parent=demo_focal", f"name={name}"))
    assert len(tried) == 1


def hold(folder: Path) -> Callable[[], None]:
    """Lock a run's folder as another process would; returns what unlocks it."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = (folder / ".lock").open("w")
    fcntl.flock(handle, fcntl.LOCK_EX)
    return handle.close


def test_a_parent_that_another_process_works_on_is_waited_for(chain: Path, tiny: Callable) -> None:
    shutil.move(chain / "base", chain / "away")
    release = hold(chain / "base" / "seed0")

    def finish() -> None:
        shutil.copytree(chain / "away" / "seed0", chain / "base" / "seed0", dirs_exist_ok=True)
        release()

    threading.Timer(0.3, finish).start()
    assert train(tiny(*SHORT, *FITTED, "name=patient"))["status"] == "completed"


def test_a_run_that_waits_goes_on_when_the_other_process_is_done(chain: Path, tiny: Callable) -> None:
    release = hold(chain / "calibrated" / "seed0")
    with pytest.raises(FerLabError, match="is being worked on by another process"):
        train(tiny(*SHORT, *FITTED))
    threading.Timer(0.3, release).start()
    assert train(tiny(*SHORT, *FITTED), wait=True)["status"] == "completed"


def test_a_helper_process_of_a_parent_s_distributed_training_ends_with_it(
    tiny: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    asked = []
    with pytest.raises(SystemExit) as ended:
        ready_parent(
            tiny("experiment=demo_focal", "parent=demo_focal", "name=new"),
            lambda cfg, wait: asked.append((cfg.name, cfg.parent, wait)),
        )
    assert (ended.value.code, asked) == (0, [("demo_focal", None, True)])


def test_rows_are_checked_against_their_parents_before_any_trains() -> None:
    row = compose("train", ["experiment=demo_focal", "name=child", "parent=demo_focal", "smoothing=window"])
    check_row(row)
    with pytest.raises(FerLabError, match=r"child: differs from its parent's row demo_cross_entropy"):
        check_row(compose("train", ["experiment=demo_focal", "name=child", "parent=demo_cross_entropy"]))


START = {"import_ms": 1.0, "load_ms": 1.0, "first_ms": 1.0, "peak_memory_mb": 1.0}


def opened_here(targets: dict[str, Target], plan: Plan) -> dict[str, Measured]:
    """Opens every file as the benchmark's processes do, without them."""
    found = {}
    for name, target in targets.items():
        classifier = Classifier.load(target.path, threads=1)
        classifier.logits(np.zeros((1, *classifier.metadata.face_shape), np.uint8))
        found[name] = Measured([START], {setting: [[1.0]] for setting in plan.settings()})
    return found


def test_a_derived_run_ships_the_parent_s_network_with_its_own_temperature(
    chain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = chain / "smoothed" / "seed0"
    record = read(chain, "smoothed")
    run = load_run(folder)
    assert run.weights == chain / "base" / "seed0" / "model.safetensors"
    assert run.calibration.temperature == record["calibration"]["temperature"] != 1
    exported = export(compose("export", [f"run={folder}", "quantization=none"]))
    assert exported["run_key"] == record["key"]
    scores = evaluate(compose("evaluate", [f"run={folder}"]))["files"]
    assert scores["model.safetensors"]["nll"] == pytest.approx(record["metrics"]["test"]["nll"], abs=1e-5)
    assert scores["model.onnx"]["nll"] == pytest.approx(record["metrics"]["test"]["nll"], abs=1e-4)
    assert len(read(chain, "smoothed")["test_openings"]) == 3
    monkeypatch.setattr(fer_lab.benchmark, "measure", opened_here)
    timed = fer_lab.benchmark.benchmark(compose("benchmark", [f"run={folder}"]))
    assert timed["failed"] == []
    assert [entry["runtime"] for entry in timed["entries"]] == ["torch", "onnxruntime"]
    assert folder / timed["entries"][0]["file"] == folder / "../../base/seed0/model.safetensors"
