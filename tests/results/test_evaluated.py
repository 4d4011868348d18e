"""What was evaluated is in the report: classroom, other data, parts, looks, and tiles only where faces may be shown."""

import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fer_lab.evaluation.parent import VALIDATION
from fer_lab.evaluation.predict import save_predictions
from fer_lab.evaluation.robustness import Robustness
from fer_lab.evaluation.sequences import Script
from fer_lab.evaluation.subgroups import Subgroups
from fer_lab.evaluation.suites import save_results
from fer_lab.evaluation.temporal import Temporal
from fer_lab.evaluation.tta import TestTimeAugmentation
from fer_lab.labels import EMOTIONS
from fer_lab.results.explain_tiles import overlay, tile
from fer_lab.results.mistakes import likeliest_mistakes, mistake_rows
from fer_lab.results.report import write_report
from fer_lab.results.suite_charts import drop_figure
from tests.evaluation.conftest import made_up_model, made_up_split, make_trial  # noqa: F401
from tests.evaluation.test_robustness import by_light


@pytest.fixture
def table(tmp_path, run_factory, gather, make_trial):  # noqa: F811
    """`table(name)`: one row whose run was asked everything; data of that name, its validation faces in the cache."""

    def make(name="synthetic"):
        record = run_factory("demo_a", 0)
        record["data"]["name"] = name
        run = tmp_path / "demo_a" / "seed0"
        (run / "record.json").write_text(json.dumps(record))
        split = made_up_split(70, brightness=np.arange(70.0))
        for suite in (Robustness(["noise", "turn"], workers=1), Subgroups(), TestTimeAugmentation()):
            trial = make_trial(made_up_model("model.safetensors", by_light), split=split)
            trial.run.record["key"] = record["key"]
            object.__setattr__(trial, "folder", run / "evaluation" / suite.name)
            save_results(trial, suite, suite(trial))
        error = {"sample_id": "face-0", "true": "fear", "predicted": "sad", "confidence": 0.9,
                 "map_predicted": [[0.0, 1.0]], "map_true": [[1.0, 0.0]]}  # fmt: skip
        result = {"file": "model.safetensors", "data": {"faces": "f"}, "run_key": record["key"], "errors": [error]}
        (run / "evaluation" / "explain").mkdir()
        (run / "evaluation" / "explain" / "model.safetensors.json").write_text(json.dumps(result))
        folder = tmp_path / "cache" / "faces-0123"
        folder.mkdir(parents=True)
        pq.write_table(pa.table({"sample_id": ["face-0"]}), folder / "validation.parquet")
        split.images[:1].tofile(folder / "validation.u8")
        meta = {"hash": record["data"]["hash"], "size": 24, "channels": 1}
        (folder / "meta.json").write_text(json.dumps(meta))
        return gather(["demo_a"], [0])

    return make


def test_the_likeliest_mistakes_by_hand():
    """Clean fear is taken for sad, noisy fear for surprise; nobody mistakes surprise, and there is no sad face."""
    clean, noisy = [[6, 3, 1], [0, 0, 0], [0, 0, 4]], [[2, 3, 5], [0, 0, 0], [2, 2, 0]]
    levels = [{"confusion": clean}] * 4 + [{"confusion": noisy}]
    result = {
        "class_names": ["fear", "sad", "surprise"],
        "clean": {"confusion": clean},
        "scenarios": {"low_light": {"severities": levels}},
    }
    assert likeliest_mistakes(result) == {
        "as they are": [("sad", 0.3, False), None, None],
        "low light": [("surprise", 0.5, True), None, ("fear", 0.5, False)],
    }
    assert mistake_rows(result)[1] == {
        "scenario": "low light",
        "fear": "surprise 50 %*",
        "sad": None,
        "surprise": "fear 50 %",
    }


def page_of(results, tmp_path: Path, examples=None) -> str:
    return write_report(results, tmp_path / "report.html", tmp_path / "cache", examples).read_text()


def test_sections_of_what_was_asked(table, tmp_path):
    page = page_of(table(), tmp_path)
    for anchor in ("robustness", "subgroups", "looks", "explained"):
        assert f'<section id="{anchor}">' in page
        assert f'href="#{anchor}"' in page
    assert '<section id="elsewhere">' not in page
    assert "Faces turned to the side are taken for neutral" in page
    assert "Radytia and Darusalam 2026" in page
    assert page.count('aria-label="Where mistakes go"') == 1
    assert "TTA, 10 views: test macro" in page
    assert "100.0%" in page  # the baseline's own corruption error
    assert "not run" in page  # faces were not backlit


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("name", "wanted", "tiles"), [("synthetic", None, 1), ("folder", None, 0), ("folder", True, 1)]
)
def test_faces_of_people_only_on_request(table, tmp_path, name, wanted, tiles):
    page = page_of(table(name), tmp_path, wanted)
    assert page.count('alt="fear, taken for sad"') == tiles


@pytest.mark.usefixtures("undrawn")
def test_results_of_an_earlier_run_of_the_folder_are_left_out(table, tmp_path):
    results = table()
    for path in (tmp_path / "demo_a" / "seed0" / "evaluation").glob("*/*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"run_key": "another"}))
    page = page_of(results, tmp_path)
    assert '<section id="robustness">' not in page
    assert '<section id="looks">' not in page


def test_a_tile_is_the_face_and_two_maps():
    face = cv2.resize(np.arange(16, dtype=np.uint8).reshape(4, 4) * 16, (24, 24))[..., None]
    nowhere, everywhere = [[0.0, 0.0]], [[1.0, 1.0]]
    shown = tile(face, {"map_predicted": nowhere, "map_true": everywhere})
    assert shown.shape == (144, 3 * 144 + 2 * 6, 3)
    assert np.array_equal(shown[:, 150:294], shown[:, :144])  # nothing spoke for it: the face as it is
    assert not np.array_equal(shown[:, 300:], shown[:, :144])
    assert np.ptp(overlay(shown[:, :144], everywhere).astype(int), axis=2).max() > 50  # in colour


def test_the_heat_map_shows_points_lost():
    level = {"accuracy": 0.5}
    result = {"clean": {"accuracy": 0.75}, "scenarios": {"noise": {"severities": [level] * 5}}}
    texts = {text.get_text() for text in drop_figure(result).axes[0].texts}
    assert texts == {"25.0"}


def test_smoothing_over_time(tmp_path, run_factory, gather, make_trial):  # noqa: F811
    record = run_factory("demo_a", 0)
    folder, split = tmp_path / "demo_a" / "seed0", made_up_split(70)
    logits = np.eye(len(EMOTIONS), dtype=np.float32)[split.labels]
    trial = make_trial(made_up_model("model.safetensors", lambda faces: logits[: len(faces)]), split=split)
    trial.run.record["key"], trial.run.folder, trial.run.class_names = record["key"], tmp_path, EMOTIONS
    object.__setattr__(trial, "folder", folder / "evaluation" / "temporal")
    save_predictions(tmp_path / VALIDATION, split, logits, EMOTIONS)
    script = Script(seed=0, sequences=2, seconds=10, fps=10, segment_s=[2, 4], hold_frames=3)
    suite = Temporal([0.3], [1], [], script, {name: k for k, name in enumerate(EMOTIONS)}, videos=0, video_s=1)
    save_results(trial, suite, suite(trial))
    page = page_of(gather(["demo_a"], [0]), tmp_path)
    assert '<section id="temporal">' in page
    assert 'href="#temporal"' in page
    assert "EMA α=0.3" in page
