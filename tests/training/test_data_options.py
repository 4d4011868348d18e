"""Runs on votes, on the clean test, on a kept split and on folds, through what the command line calls."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import DictConfig

from fer_lab.data.datamodule import FaceDataModule
from fer_lab.data.dataset import build_data
from fer_lab.errors import FerLabError
from fer_lab.evaluation.calibration import Calibration
from fer_lab.evaluation.clean import clean_test_scores
from fer_lab.evaluation.decision import Decision
from fer_lab.evaluation.metrics import compute_metrics
from fer_lab.evaluation.predict import load_predictions
from fer_lab.train import train

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
VOTING = "data._target_=tests.data.voting.VotingSource"


def test_training_on_votes_and_the_clean_test_beside_the_official(tiny: Callable[..., DictConfig]) -> None:
    options = (VOTING, "loss=soft_label", "trainer.max_epochs=1")
    cfg = tiny(*options, "name=votes")
    record = train(cfg)
    assert record["metrics"]["train"]["loss"] > 0.6, "cross-entropy is not below the votes' own entropy, 0.61"
    assert record["data"]["split"]["divided_groups"]["group"] == 15
    whole, clean = record["metrics"]["test"], record["metrics"]["test_clean"]
    assert (whole["n"], clean["n"]) == (60, 45)
    path = Path(cfg.paths.run) / "test_predictions.parquet"
    logits, labels = load_predictions(path, record["model"]["class_names"])
    keep = ~pd.read_parquet(path)["copy_in_train"].to_numpy()
    again = compute_metrics(logits[keep], labels[keep], record["model"]["class_names"])
    assert clean["confusion"] == again["confusion"]
    kept = pd.read_parquet(Path(cfg.paths.run) / "split.parquet")
    assert kept["split"].value_counts().to_dict() == {"train": 210, "test": 60, "validation": 30}

    derived = train(
        tiny(VOTING, "loss=soft_label", "name=d", "parent=votes", "calibration=none", "trainer.max_epochs=1")
    )
    assert derived["metrics"]["test_clean"]["confusion"] == clean["confusion"]


def test_a_split_without_test_faces_is_refused_before_it_trains(tiny: Callable[..., DictConfig]) -> None:
    cfg = tiny("name=untested", "data.fractions=[0.8,0.2,0.0]")
    with pytest.raises(FerLabError, match="synthetic has no face in test"):
        train(cfg)
    assert not (Path(cfg.paths.run) / "history.csv").exists()


def test_no_clean_test_where_every_test_face_is_a_copy(tmp_path: Path) -> None:
    pd.DataFrame({"copy_in_train": [True, True]}).to_parquet(tmp_path / "test.parquet")
    decision = Decision(Calibration("none", {"temperature": 1.0}), None, None)
    assert clean_test_scores(tmp_path / "test.parquet", ["happy", "sad"], decision) == {}


def test_training_batches_hold_votes_and_validation_batches_labels(tiny: Callable[..., DictConfig]) -> None:
    cfg = tiny(VOTING)
    data = build_data(cfg)
    split = data.split("train")
    assert split.votes is not None
    module = FaceDataModule(data, cfg.augment, seed=0, batch_size=16, votes=True)
    batch = next(iter(module.train_dataloader()))
    np.testing.assert_array_equal(batch["target"].numpy(), split.votes[batch["index"].numpy()])
    assert batch["target"].numpy().sum(1) == pytest.approx(1)
    assert next(iter(module.val_dataloader()))["target"].tolist() == data.split("validation").labels.tolist()
    without = FaceDataModule(data, cfg.augment, seed=0, batch_size=16)
    assert next(iter(without.train_dataloader()))["target"].tolist() == split.labels[batch["index"].numpy()].tolist()


def test_a_run_can_be_given_the_split_of_another(tiny: Callable[..., DictConfig], tiny_run: Path) -> None:
    record = json.loads((tiny_run / "record.json").read_text())
    again = build_data(tiny(f"data.split_file={tiny_run}/split.parquet"))
    assert again.meta["hash"] == record["data_hash"]
    assert again.meta["split"]["method"] == "file"
    other = build_data(tiny("data.split_seed=1"))
    assert other.meta["hash"] != record["data_hash"]


def test_folds_are_different_data_of_the_same_faces(tiny: Callable[..., DictConfig]) -> None:
    folds = [build_data(tiny("data.folds=3", f"data.fold={k}", "data.samples=420")) for k in range(3)]
    assert len({data.meta["hash"] for data in folds}) == 3
    assert sum(data.meta["faces"]["test"] for data in folds) == 420
    assert folds[1].describe()["split"]["method"] == "fold 1 of 3"
