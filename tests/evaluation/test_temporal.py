"""Smoothing over time: numbers worked by hand on ten frames, the whole grid, and nothing chosen on the test split."""

import csv
import io
import json

import numpy as np
import pytest

from fer_lab.errors import FerLabError
from fer_lab.evaluation import temporal
from fer_lab.evaluation.calibration import Calibration, fit_temperature
from fer_lab.evaluation.calibration import no_calibration as fit_none
from fer_lab.evaluation.decision import cross_fitted
from fer_lab.evaluation.predict import load_predictions, save_predictions
from fer_lab.evaluation.sequences import Script, Sequences, lags, make_sequences, score_sequences
from fer_lab.evaluation.suites import save_results
from fer_lab.evaluation.temporal import Temporal
from fer_lab.evaluation.temporal_scores import count_segments, difference, draw_segments, interval, measure, vote
from fer_lab.evaluation.timelines import drawn
from fer_lab.labels import EMOTIONS
from fer_lab.live.lsi import Lsi
from fer_lab.live.smoothing import Window, smooth_sequences
from fer_lab.results.suite_files import read_results
from fer_lab.schema import CONF_DIR, build, compose
from tests.evaluation.conftest import made_up_model, made_up_split

SCRIPT = Script(seed=0, sequences=3, seconds=12, fps=10, segment_s=[2, 4], hold_frames=3)
WEIGHTS = {"happy": 1, "surprise": 0.5, "neutral": 0, "sad": -0.5, "fear": -0.5, "angry": -1, "disgust": -1}
HAND_LSI = Lsi({"a": 1, "b": -1, "c": 0}, ("a", "b", "c"))
# ten frames at two a second: a for four, then b for six
HAND_LABELS = np.array([[0, 0, 0, 0, 1, 1, 1, 1, 1, 1]])
HAND_SHOWN = np.array([[0, 2, 0, 0, 0, 0, 1, 1, 2, 1]])


def make(**changes) -> Temporal:
    settings = {"alphas": [0.2, 0.5], "windows": [1, 2], "calibrations": ["none", "temperature", "vector"]}
    given = settings | {"script": SCRIPT, "weights": WEIGHTS, "videos": 0, "video_s": 4}
    return Temporal(**(given | changes))


def test_ten_frames_by_hand() -> None:
    counts = count_segments(np.eye(3)[HAND_SHOWN], HAND_LABELS, HAND_LSI)
    assert counts.frames.tolist() == [4, 6]
    assert counts.correct.tolist() == [3, 3]
    assert counts.flips.tolist() == [2, 3]  # to c and back; to b, c and back
    assert counts.change.tolist() == [0, 1]
    assert counts.wait[1] == 2
    assert counts.error.tolist() == [1, 2 + 2 + 1]
    # a c a a is 1 0 1 1 around 3/4; a a b b c b is 1 1 -1 -1 0 -1 around -1/6
    np.testing.assert_allclose(counts.spread, [3 / 4, 5 - 6 / 36])
    assert counts.late.tolist() == [2, 3]
    np.testing.assert_allclose(counts.late_spread, [0, 2 / 3])  # b c b: -1 0 -1
    found = {name: values[0] for name, values in measure(counts, np.ones((1, 2)), fps=2).items()}
    assert found == pytest.approx(
        {
            "flips_per_minute": 5 / (5 / 60),
            "lag_ms": 1000,
            "mean_lag_ms": 1000,
            "never_reached": 0,
            "accuracy": 0.6,
            "lsi_error": (1 + 4 + 4 + 1) ** 0.5 / 10**0.5,
            "lsi_mae": 0.6,
            "lsi_variance": (3 / 4 + 5 - 6 / 36) / 10,
            "lsi_variance_late": (2 / 3) / 5,
        }
    )


def test_an_emotion_that_is_never_reached() -> None:
    shown = np.eye(3)[np.array([[0, 0, 0, 0, 0, 0, 2, 2]])]
    labels = np.array([[0, 0, 1, 1, 1, 0, 2, 2]])
    counts = count_segments(shown, labels, HAND_LSI)
    assert counts.wait.tolist() == [0, np.inf, 0, 0]
    found = measure(counts, np.ones((1, 4)), fps=10)
    assert found["lag_ms"][0] == 0  # of 0, 0 and infinite
    assert found["mean_lag_ms"][0] == pytest.approx(100)  # it counts with its three frames
    assert found["never_reached"][0] == pytest.approx(1 / 3)
    assert interval(measure(counts, np.array([[0, 1, 0, 0]]), fps=10)["lag_ms"])[0] is None


def test_votes_by_hand() -> None:
    labels = np.array([[0, 0, 1, 1, 2, 1, 0, 0]])
    # of three frames; where all differ, or two are tied, the label seen last wins
    assert vote(labels, 3, 3).argmax(2).tolist() == [[0, 0, 0, 1, 1, 1, 0, 0]]
    assert vote(labels, 3, 1).argmax(2).tolist() == labels.tolist()
    assert vote(labels, 3, 100).argmax(2).tolist() == [[0, 0, 0, 1, 1, 1, 0, 0]]


def test_the_same_flips_lags_and_accuracy_as_rows_are_scored_with() -> None:
    rng = np.random.default_rng(1)
    labels = np.arange(60) % 7
    made = make_sequences(SCRIPT, labels)
    shown = smooth_sequences(lambda: Window(1.0), rng.dirichlet(np.ones(7), 60)[made.faces], 10)
    counts = count_segments(shown, made.labels, Lsi(WEIGHTS, EMOTIONS))
    found = {name: values[0] for name, values in measure(counts, np.ones((1, len(counts.frames))), 10).items()}
    known = score_sequences(shown, Sequences(made.labels, made.faces, 10))
    np.testing.assert_array_equal(counts.wait[counts.change > 0], lags(shown.argmax(2), made.labels))
    for name in ("accuracy", "flips_per_minute", "never_reached"):
        assert found[name] == pytest.approx(known[name])
    assert found["lag_ms"] == pytest.approx(1000 * (known["lag_s"] or np.inf))


def test_the_median_of_resampled_segments_is_that_of_their_list() -> None:
    rng = np.random.default_rng(0)
    counts = count_segments(np.eye(3)[rng.integers(0, 3, (4, 90))], np.arange(90)[None].repeat(4, 0) // 7 % 3, HAND_LSI)
    weights = draw_segments(len(counts.frames), 0, replicates=50)
    found = measure(counts, weights, fps=10)["lag_ms"]
    for row, value in zip(weights, found, strict=True):
        waits = np.repeat(counts.wait, (row * counts.change).astype(int))
        assert value == 100 * np.quantile(waits, 0.5, method="higher")


def test_intervals_hold_their_value_and_differences_are_paired() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(400)[None] // 10 % 3
    one = count_segments(np.eye(3)[rng.integers(0, 3, (1, 400))], labels, HAND_LSI)
    weights = draw_segments(len(one.frames), 0)
    measured = measure(one, weights, 10)
    value, low, high = interval(measured["flips_per_minute"])
    assert low < value < high
    assert difference(measured, measured)["flips_per_minute"] == [0, 0, 0]


def by_light(faces: np.ndarray) -> np.ndarray:
    """Float32 N×7 logits that are right for two of three made-up faces, by their number in the split's light."""
    rng = np.random.default_rng(3)
    labels = np.arange(len(faces)) % 7
    return (rng.normal(size=(len(faces), 7)) + 2 * np.eye(7)[labels]).astype(np.float32)


@pytest.fixture
def trial(make_trial, tmp_path):
    """The made-up split, and a run with validation logits; the first file is the run's own network."""
    split = made_up_split(70)
    trial = make_trial(made_up_model("model.safetensors", by_light), made_up_model("model.onnx", by_light), split=split)
    validation = made_up_split(60)
    folder = tmp_path / "run"
    folder.mkdir()
    save_predictions(folder / "validation_predictions.parquet", validation, by_light(validation.images), EMOTIONS)
    trial.run.folder, trial.run.class_names = folder, EMOTIONS
    return trial


def test_the_grid_is_complete_and_every_method_has_one_chosen_value(trial) -> None:
    suite = make()
    found = suite(trial)
    (timeline,) = found["model.safetensors"]["timelines"]
    names = [(one["calibration"], one["method"], one["value"]) for one in timeline["settings"]]
    grid = [("none", None), ("ema", 0.5), ("ema", 0.2), *((m, s) for m in ("window", "vote") for s in (1, 2))]
    assert names == [(c, *setting) for c in ("none", "temperature", "vector") for setting in grid]
    for calibration in ("none", "temperature", "vector"):
        chosen = [one["method"] for one in timeline["settings"] if one["chosen"] and one["calibration"] == calibration]
        assert chosen == ["ema", "window", "vote"]
    exported = found["model.onnx"]["timelines"][0]["settings"]
    assert {one["calibration"] for one in exported} == {"none", "temperature"}  # validation logits are the network's
    against = [(one["calibration"], one["against"]) for one in timeline["compared"]]
    assert against == [
        ("none", "vote"),
        *((c, a) for c in ("temperature", "vector") for a in ("vote", "no calibration")),
    ]


def test_table_csv_answer_and_figure_come_from_the_kept_json(trial) -> None:
    suite = make(calibrations=[])
    together = save_results(trial, suite, suite(trial))
    rows = list(csv.DictReader(io.StringIO((trial.folder / "temporal.csv").read_text())))
    assert len(rows) == 2 * 2 * 7
    assert float(rows[0]["flips_per_minute_low"]) <= float(rows[0]["flips_per_minute"])
    text = (trial.folder / "temporal.md").read_text()
    assert "RQ2" in text
    assert "EMA α=0.5" in text
    assert (trial.folder / "temporal.png").stat().st_size > 10_000
    before = {path.name: path.read_bytes() for path in trial.folder.glob("temporal.*[dv]")}
    suite.write(trial.folder, json.loads(json.dumps(together)))
    assert before == {path.name: path.read_bytes() for path in trial.folder.glob("temporal.*[dv]")}


def test_nothing_is_chosen_on_the_test_split(trial, monkeypatch) -> None:
    """Other test labels and answers, the same choice; and it is made before any face is asked about."""
    asked, order = make(), []
    choose = Temporal.choose
    monkeypatch.setattr(Temporal, "choose", lambda self, *given: order.append("choose") or choose(self, *given))

    def chosen(model, split):
        object.__setattr__(trial, "split", split)
        object.__setattr__(trial, "models", [model])
        settings = asked(trial)["model.safetensors"]["timelines"][0]["settings"]
        return [(one["calibration"], one["method"], one["value"]) for one in settings if one["chosen"]]

    def told(logits):
        return made_up_model("model.safetensors", lambda faces: order.append("ask") or logits(faces))

    first = chosen(told(by_light), made_up_split(70))
    assert order.index("ask") > max(place for place, what in enumerate(order) if what == "choose")
    assert first == chosen(told(lambda faces: -3 * by_light(faces)), made_up_split(63))


def test_each_validation_face_is_calibrated_without_having_been_fitted_on(trial, monkeypatch) -> None:
    fitted, chosen_on = [], []
    fit = temporal._FITS["vector"]
    choose = Temporal.choose
    monkeypatch.setitem(temporal._FITS, "vector", lambda *given: fitted.append(given) or fit(*given))
    monkeypatch.setattr(Temporal, "choose", lambda *given: chosen_on.append(given[1]) or choose(*given))
    make(calibrations=["vector"])(trial)
    logits, labels = load_predictions(trial.run.folder / "validation_predictions.parquet", EMOTIONS)
    assert [len(one[0]) for one in fitted].count(60) == 1  # of what is scored on test
    expected = {
        "none": fit_none(logits, labels).log_probabilities(logits),
        "vector": cross_fitted(fit, logits, labels, made_up_split(60).groups)[0],
        "temperature": cross_fitted(fit_temperature, logits, labels, made_up_split(60).groups)[0],
    }
    for answers, (name, wanted) in zip(chosen_on, expected.items(), strict=True):
        np.testing.assert_array_equal(answers, wanted, name)
    assert len(np.unique(made_up_split(60).groups)) < 60  # no pair of equal pixels is divided
    in_sample = fit(logits, labels).log_probabilities(logits)
    nll = [-answers[np.arange(60), labels].mean() for answers in (in_sample, chosen_on[1])]
    assert nll[0] < nll[1]  # the flattery that is left out


def test_drawn_people_are_filmed_found_and_cropped(trial) -> None:
    trial.run.cfg = compose("train")
    trial.run.channels, trial.run.crop_margin = "grey", 0.1
    script = Script(seed=1, sequences=1, seconds=4, fps=10, segment_s=[2, 2], hold_frames=3)
    timeline = drawn(script, EMOTIONS, trial.run)
    assert timeline.labels.shape == timeline.faces.shape == (1, 40)
    assert np.count_nonzero(np.diff(timeline.labels)) == 1
    assert timeline.split.images.shape[1:] == (24, 24, 1)
    assert timeline.found > 0.9
    assert timeline.split.images.std() > 10
    again = drawn(script, EMOTIONS, trial.run)
    np.testing.assert_array_equal(timeline.split.images, again.split.images)


def test_what_is_refused(trial) -> None:
    with pytest.raises(FerLabError, match=r"suite.calibrations: 'platt' is unknown"):
        make(calibrations=["platt"])
    with pytest.raises(FerLabError, match="alpha=2"):
        make(alphas=[2])
    with pytest.raises(FerLabError, match=r"add suite.weights.angry="):
        make(weights={"sad": 1.0})(trial)
    trial.run.calibration = Calibration("platt", {"temperature": 1.0})
    with pytest.raises(FerLabError, match="calibration=platt is unknown to suite=temporal"):
        make().check(trial.run, None, "temporal")
    (trial.run.folder / "validation_predictions.parquet").unlink()
    with pytest.raises(FerLabError, match="values are chosen on it"):
        make()(trial)


def test_the_grid_of_the_config_is_the_paper_s() -> None:
    cfg = compose("evaluate", ["suite=temporal"])
    suite: Temporal = build(cfg.suite)
    assert min(suite.by_method["ema"]) == 0.2
    assert max(suite.by_method["ema"]) == 0.5
    assert (suite.by_method["vote"][0], suite.by_method["vote"][-1]) == (2, 5)
    assert suite.weights == dict(compose("live").live.weights)


@pytest.mark.parametrize("name", ["temporal.csv", "temporal.md"])
def test_the_kept_table_comes_from_the_kept_results(name, tmp_path) -> None:
    kept = CONF_DIR.parent / "experiments" / "rq2"
    make().write(tmp_path, read_results(kept))
    assert (tmp_path / name).read_bytes() == (kept / name).read_bytes()
