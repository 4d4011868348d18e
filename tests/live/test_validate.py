"""Correlations of moments in classes: by hand, against the analysis of covariance, and on simulated classes."""

import json
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fer_lab.errors import FerLabError
from fer_lab.live.correlation import cluster_interval, leave_one_out, pearson, spearman, within_classes
from fer_lab.live.validate import validate
from fer_lab.schema import compose


def simulated(seed: int, classes: int, segments: int, within: float, between: float = 0.0) -> pd.DataFrame:
    """Classes whose index and quiz correlate by `within` inside each class and by `between` from class to class."""
    rng = np.random.default_rng(seed)

    def pair(rho: float, size: int) -> np.ndarray:
        return rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], size)

    levels, moments = pair(between, classes), pair(within, classes * segments).reshape(classes, segments, 2)
    values = (levels[:, None] + moments).reshape(-1, 2)
    name = np.repeat([f"class {i:02}" for i in range(classes)], segments)
    segment = np.tile([f"part {i}" for i in range(segments)], classes)
    return pd.DataFrame({"class": name, "segment": segment, "lsi": 0.2 * values[:, 0], "quiz": 60 + 10 * values[:, 1]})


def test_within_classes_against_the_analysis_of_covariance():
    data = simulated(0, classes=5, segments=6, within=0.6, between=-0.9)
    x, y, classes = (data[name].to_numpy() for name in ("lsi", "quiz", "class"))
    found = within_classes(x, y, classes)
    # by its definition: error of the model with an intercept a class, without and with the common slope
    dummies = (classes[:, None] == np.unique(classes)).astype(float)
    errors = []
    for design in (dummies, np.column_stack([dummies, x])):
        fit = np.linalg.lstsq(design, y, rcond=None)[0]
        errors.append(((y - design @ fit) ** 2).sum())
    measure, error = errors[0] - errors[1], errors[1]
    assert found["r"] == pytest.approx(np.sqrt(measure / (measure + error)))
    assert found["dof"] == 30 - 5 - 1
    f = measure / (error / found["dof"])
    assert found["p"] == pytest.approx(stats.f.sf(f, 1, found["dof"]))


def test_one_class_is_the_plain_correlation():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 12))
    found = within_classes(x, y, np.zeros(12))
    plain = stats.pearsonr(x, y)
    assert (found["r"], found["p"]) == (pytest.approx(plain.statistic), pytest.approx(plain.pvalue))
    low, high = plain.confidence_interval()
    assert (found["low"], found["high"]) == (
        pytest.approx(low, abs=1e-4),
        pytest.approx(high, abs=1e-4),
    )


def test_a_known_relation_is_inside_its_interval_as_often_as_it_says():
    inside = pooled = 0
    for seed in range(60):
        data = simulated(seed, classes=40, segments=6, within=0.5)
        x, y, classes = (data[name].to_numpy() for name in ("lsi", "quiz", "class"))
        found = within_classes(x, y, classes)
        inside += found["low"] <= 0.5 <= found["high"]
        low, high = cluster_interval(pearson, x, y, classes, draws=200)
        pooled += low <= 0.25 <= high  # half of each variance lies between classes, where nothing goes together
    assert inside >= 54
    assert pooled >= 51


def test_moments_drawn_one_by_one_would_promise_too_much():
    data = simulated(1, classes=15, segments=40, within=0.0, between=0.0)
    x, y, classes = (data[name].to_numpy() for name in ("lsi", "quiz", "class"))
    low, high = cluster_interval(pearson, x, y, classes, draws=300)
    alone_low, alone_high = cluster_interval(pearson, x, y, np.arange(len(x)), draws=300)
    assert high - low > 2 * (alone_high - alone_low)


def test_leave_one_out_finds_the_class_that_makes_the_relation():
    x = np.array([0.0, 0.1, 0.0, 0.1, 0.0, 0.1, 5.0, 5.1])
    y = np.array([0.0, 0.1, 0.1, 0.0, 0.0, 0.0, 9.0, 9.1])
    classes = np.repeat(["a", "b", "c", "d"], 2)
    found = leave_one_out(x, y, classes)
    assert found["high"] > 0.99
    assert found["r"]["d"] == found["low"] == pytest.approx(pearson(x[:6], y[:6]))
    assert abs(found["low"]) < 0.5


def test_a_line_that_predicts_beats_the_mean():
    data = simulated(0, classes=10, segments=5, within=0.95, between=0.95)
    found = leave_one_out(*(data[name].to_numpy() for name in ("lsi", "quiz", "class")))
    assert found["error"] < 0.5 * found["error_of_mean"]


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5), st.integers(0, 3)), min_size=2, max_size=30))
def test_whatever_the_numbers_the_correlations_are_correlations(rows):
    x, y, classes = np.array(rows, float).T
    for value in (pearson(x, y), spearman(x, y)):
        assert np.isnan(value) or -1.0001 <= value <= 1.0001
    found = within_classes(x, y, classes)
    if found:
        assert -1 <= found["low"] <= found["r"] + 1e-9
        assert found["r"] - 1e-9 <= found["high"] <= 1
        assert 0 <= found["p"] <= 1


@pytest.fixture
def files(tmp_path):
    data = simulated(3, classes=12, segments=6, within=0.7)
    data["on_task"] = np.random.default_rng(0).uniform(size=len(data))
    data.loc[::5, "on_task"] = np.nan
    data[["class", "segment", "lsi"]].to_csv(tmp_path / "lsi.csv", index=False)
    data.drop(columns="lsi").sample(frac=1, random_state=0).to_csv(tmp_path / "indicators.csv", index=False)
    return tmp_path


def test_the_command_from_two_files(files, capsys):
    words = [f"lsi={files / 'lsi.csv'}", f"indicators={files / 'indicators.csv'}", f"sink={files / 'out'}"]
    found = validate(compose("validate", words))["indicators"]
    assert (found["quiz"]["n"], found["quiz"]["classes"], found["on_task"]["n"]) == (72, 12, 57)
    assert found["quiz"]["within"]["low"] <= 0.7 <= found["quiz"]["within"]["high"]
    assert found["quiz"]["pearson"]["low"] <= 0.35 <= found["quiz"]["pearson"]["high"]
    assert found["on_task"]["within"]["low"] < 0 < found["on_task"]["within"]["high"]
    assert json.loads((files / "out" / "validation.json").read_text()) == found
    assert pd.read_csv(files / "out" / "validation.csv")["indicator"].tolist() == ["quiz", "on_task"]
    assert "no proof that it measures it" in capsys.readouterr().out


def test_the_command_from_a_store(files, tmp_path):
    open_store = pytest.importorskip("fer_lab.live.store", reason="the live extra is not installed").open_store
    store = open_store(tmp_path / "l.sqlite")
    for name, part in pd.read_csv(files / "lsi.csv").groupby("class"):
        lesson = store.start_lesson(
            title="t", class_name=name, teacher="", purpose="research", model_key="", class_names=["happy", "sad"],
            weights={}, min_group=5,
        )  # fmt: skip
        for start, row in enumerate(part.itertuples()):
            store.add_segment(lesson, start, start + 1, row.segment, 6.0, [0.5, 0.5], row.lsi, -1, 1)
    both = [
        validate(compose("validate", [f"lsi={lsi}", f"indicators={files / 'indicators.csv'}"]))
        for lsi in (tmp_path / "l.sqlite", files / "lsi.csv")
    ]
    assert both[0]["indicators"]["quiz"]["within"] == pytest.approx(both[1]["indicators"]["quiz"]["within"])


def test_lessons_of_one_title_in_a_store_are_told_apart_by_their_start(tmp_path):
    open_store = pytest.importorskip("fer_lab.live.store", reason="the live extra is not installed").open_store
    path, quiz = tmp_path / "l.sqlite", tmp_path / "quiz.csv"
    store = open_store(path)
    for name in "cab":
        for day in (1, 2):
            lesson = store.start_lesson(
                title="lesson" if name != "c" else f"lesson {day}", class_name=name, teacher="", purpose="research",
                model_key="", class_names=["happy", "sad"], weights={}, min_group=5,
                started=datetime(2026, 1, day, 9, 15, tzinfo=UTC),
            )  # fmt: skip
            for start, (title, lsi) in enumerate((("part 0", 0.1 * day), ("part 1", 0.5), ("part 1", 0.3 * day))):
                store.add_segment(lesson, start, start + 1, title, 6.0, [0.5, 0.5], lsi, -1, 1)
    words = [f"lsi={path}", f"indicators={quiz}"]
    quiz.write_text("class,segment,quiz\n" + "".join(f"{name},part 0,5\n" for name in "abc"))
    with pytest.raises(
        FerLabError, match=r"twice: add a lesson column to the other file too, .*'lesson 2026-01-0\d 09:15'"
    ):
        validate(compose("validate", words))
    quiz.write_text("class,lesson,segment,quiz\n" + "".join(f"{name},lesson,part 0,5\n" for name in "abc"))
    with pytest.raises(FerLabError, match=r"for example \['\w', 'lesson 2026-01-0\d 09:15', 'part \d'\]"):
        validate(compose("validate", words))
    rows = [("a", "lesson 2026-01-01 09:15", 0, 0.1), ("a", "lesson 2026-01-01 09:15", 1, 0.4),
            ("b", "lesson 2026-01-02 09:15", 0, 0.2), ("c", "lesson 2", 1, 0.55)]  # fmt: skip
    quiz.write_text("class,lesson,segment,quiz\n" + "".join(f"{a},{b},part {c},{d}\n" for a, b, c, d in rows))
    found = validate(compose("validate", words))["indicators"]["quiz"]
    assert found["n"] == 4
    assert found["pearson"]["value"] == pytest.approx(1)  # the quiz repeats the index, of part 1 its mean


def test_an_indicator_that_does_not_vary_has_no_correlation(files, capsys):
    table = pd.read_csv(files / "indicators.csv")[["class", "segment"]].assign(report=7.0)
    table.to_csv(files / "same.csv", index=False)
    words = [f"lsi={files / 'lsi.csv'}", f"indicators={files / 'same.csv'}", f"sink={files / 'out'}"]
    found = validate(compose("validate", words))["indicators"]["report"]
    assert found["pearson"] == found["spearman"] == {"value": None, "low": None, "high": None}
    assert (found["leave_one_out"]["low"], found["leave_one_out"]["r"]["class 00"]) == (None, None)
    assert "nan" not in capsys.readouterr().out
    assert "NaN" not in (files / "out" / "validation.json").read_text()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("class,part,quiz\na,1,2\n", "has no column 'segment'"),
        ("class,segment,quiz\na,1,good\n", "column 'quiz' holds something that is no number"),
        ("class,segment,quiz\nclass 00,part 0,1\nclass 00,part 0,2\n", "twice: add a lesson column"),
        ("class,segment,quiz\nelsewhere,part 0,1\n", "0 segments of lsi=.* are in indicators=.*compare the names"),
    ],
)
def test_files_that_do_not_fit(text, sentence, files):
    (files / "bad.csv").write_text(text)
    with pytest.raises(FerLabError, match=sentence):
        validate(compose("validate", [f"lsi={files / 'lsi.csv'}", f"indicators={files / 'bad.csv'}"]))


def test_nothing_to_compare(files):
    with pytest.raises(FerLabError, match="say lsi=<store or csv>"):
        validate(compose("validate"))
    with pytest.raises(FerLabError, match=r"nowhere\.csv is no csv that can be read"):
        validate(compose("validate", ["lsi=nowhere.csv", "indicators=x.csv"]))
    with pytest.raises(FerLabError, match=r"lsi=nowhere\.sqlite does not exist"):
        validate(compose("validate", ["lsi=nowhere.sqlite", "indicators=x.csv"]))
