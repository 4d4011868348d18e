"""What a run leaves in the store, by segments and under each switch."""

import csv
import json
import sys
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_lab.errors import FerLabError
from fer_lab.faces.detect import Detector
from fer_lab.labels import EMOTIONS
from fer_lab.live import __main__ as command
from fer_lab.live.__main__ import live
from fer_lab.live.extras import blur_faces, rotation
from fer_lab.live.lsi import Z
from fer_lab.schema import compose


class Cells(Detector):
    """Finds the drawn faces of `class_picture` at their places, in no time."""

    def find(self, image: np.ndarray, min_face: int) -> np.ndarray:
        corners = [(x, y) for y in (0, 160) for x in (0, 160, 320) if np.ptp(image[y : y + 160, x : x + 160]) > 60]
        return np.array([(x + 30, y + 30, 100, 100) for x, y in corners], np.float32).reshape(-1, 4)

    def find_eyes(self, view: np.ndarray) -> np.ndarray:
        return np.full((2, 2), np.nan)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(command, "build_detector", lambda file, max_width, min_face: Cells(max_width, min_face))


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_lesson_in_the_store(live_cfg, video, tmp_path):
    store_module = pytest.importorskip("fer_lab.live.store", reason="the live extra is not installed")
    (tmp_path / "plan.csv").write_text("start,end,title\n0:00,0:02,Greeting\n2,9,Work\n")
    result = live(
        live_cfg(
            f"source={video}", "sink=null", f"live.store={tmp_path / 'l.sqlite'}", "live.lesson.title=Fractions",
            "live.lesson.class_name=4b", "live.lesson.teacher=ada", f"live.segments={tmp_path / 'plan.csv'}",
        )
    )  # fmt: skip
    store = store_module.open_store(tmp_path / "l.sqlite")
    (lesson,) = store.lessons()
    assert (lesson.id, lesson.title, lesson.class_name, lesson.teacher) == (result["lesson"], "Fractions", "4b", "ada")
    assert (lesson.purpose, lesson.min_group, lesson.class_names) == ("demonstration", 5, list(EMOTIONS))
    assert lesson.privacy["beyond_group_means"] == []
    assert lesson.privacy["switches"]["retention_days"] == 30
    assert lesson.ended
    kept = store.seconds(lesson.id)
    assert [(row.second, row.faces, row.fewest) for row in kept] == [(0, 6.0, 6), (2, 6.0, 6)]
    for row, second in zip(kept, result["seconds"], strict=True):
        np.testing.assert_allclose(row.probabilities, second.probabilities)
        assert row.lsi_low == pytest.approx(row.lsi - Z * second.deviation)
        assert row.lsi_low < row.lsi < row.lsi_high
    parts = store.segments(lesson.id)
    assert [(part.title, part.start_s, part.end_s, part.lsi) for part in parts] == [
        ("Greeting", 0, 2, kept[0].lsi),
        ("Work", 2, 9, kept[1].lsi),
    ]


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("sqlalchemy", []),
        ("argon2", ["dashboard=true"]),
        ("uvicorn", ["dashboard=true"]),
        ("starlette", ["dashboard=true"]),
    ],
)
def test_a_missing_extra_is_one_sentence_and_leaves_nothing(missing, words, live_cfg, video, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(FerLabError, match=rf"^{missing} is not installed: pip install 'fer_lab\[live\]'"):
        live(live_cfg(f"source={video}", f"live.store={tmp_path / 'l.sqlite'}", *words))
    assert not list(tmp_path.glob("sink/*"))
    assert not (tmp_path / "l.sqlite").exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [("purge", ["store={}"]), ("summarise", ["store={}"]), ("validate", ["lsi={}", "indicators={}.csv"])],
)
def test_the_store_s_commands_name_the_extra_too(name, words, tmp_path, monkeypatch):
    path = tmp_path / "l.sqlite"
    path.touch()
    path.with_name("l.sqlite.csv").write_text("class,segment,quiz\na,b,1\n")
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    run = getattr(import_module(f"fer_lab.live.{name}"), name)
    with pytest.raises(FerLabError, match=r"^sqlalchemy is not installed: pip install 'fer_lab\[live\]'"):
        run(compose(name, [word.format(path) for word in words]))


def test_no_lesson_is_left_where_the_pages_do_not_start(live_cfg, video, tmp_path, monkeypatch):
    def refused(cfg):
        raise FerLabError("The dashboard cannot listen")

    monkeypatch.setattr(command, "_pages", refused)
    with pytest.raises(FerLabError, match="cannot listen"):
        live(live_cfg(f"source={video}", f"live.store={tmp_path / 'l.sqlite'}", "dashboard=true"))
    assert not list(tmp_path.glob("sink/*"))
    assert not (tmp_path / "l.sqlite").exists()


def test_segments_in_the_sink_and_an_index_of_0_to_100(live_cfg, video, tmp_path, capsys):
    (tmp_path / "plan.csv").write_text("start,end,title\n0,3,All\n3,9,Nothing\n")
    result = live(live_cfg(f"source={video}", f"live.segments={tmp_path / 'plan.csv'}", "live.lsi_scale=percent"))
    (part,) = lines(tmp_path / "sink" / "segments.csv")  # none where no second was stored
    (segment, mean), both = result["segments"][0], result["seconds"]
    assert (part["title"], part["seconds"], segment.end_s) == ("All", "2", 3)
    assert float(part["lsi_100"]) == pytest.approx(50 * (1 + (both[0].lsi + both[1].lsi) / 2), abs=0.01)
    assert mean.lsi == pytest.approx((both[0].lsi + both[1].lsi) / 2)
    assert "LSI of 'All', 2 s" in capsys.readouterr().out
    stored = json.loads((tmp_path / "sink" / "privacy.json").read_text())["stored"]
    assert set(stored) == {path.name for path in (tmp_path / "sink").iterdir()}


def test_each_switch_writes_its_file_and_is_declared(live_cfg, video, tmp_path):
    live(
        live_cfg(
            f"source={video}", "privacy.per_track=true", "privacy.embeddings=true",
            "privacy.video=blurred",
        )
    )  # fmt: skip
    sink = tmp_path / "sink"
    declared = json.loads((sink / "privacy.json").read_text())
    assert declared["beyond_group_means"] == ["per_track", "embeddings", "video"]
    assert set(declared["stored"]) == {path.name for path in sink.iterdir()}
    assert declared["never_stored"] == ["face crops", "name of the source"]
    # of the second with four faces nothing is in any file
    tracks = lines(sink / "tracks.csv")
    assert {row["second"] for row in tracks} == {"0", "2"}
    assert len(tracks) == 12
    assert {row["label"] for row in tracks} <= {*EMOTIONS, ""}
    embeddings = lines(sink / "embeddings.csv")
    assert [row["second"] for row in embeddings] == ["0"] * 6 + ["2"] * 6
    film = cv2.VideoCapture(str(sink / "blurred.avi"))
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == 15
    assert film.get(cv2.CAP_PROP_FPS) == 10


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("privacy.per_track=true", r"privacy\.per_track=True needs a folder to write to: say sink="),
        ("privacy.video=plain", r"privacy\.video=plain is unknown: say blurred"),
        ("privacy.embeddings=yes please", r"privacy\.embeddings=yes please must be true or false"),
        ("privacy.retention_days=0", r"privacy\.retention_days=0 must be above 0: nothing may be kept for ever"),
        ("live.detect_every=0", r"live\.detect_every=0 must be null or at least 1"),
        ("live.queue=0", r"live\.queue=0 must be at least 1"),
        ("live.realtime=maybe", r"live\.realtime=maybe must be true, false or null"),
        ("live.abstain_below=1.5", r"live\.abstain_below=1\.5 must be null or in \[0, 1\]"),
        ("live.abstain_from=both", r"live\.abstain_from=both must be labels or group"),
        ("live.hysteresis=-1", r"live\.hysteresis=-1 must be"),
        ("live.lsi_scale=stars", r"live\.lsi_scale=stars must be unit or percent"),
        ("live.segments=nowhere.csv", r"live\.segments=nowhere\.csv cannot be read"),
    ],
)
def test_refusals(override, sentence, live_cfg, video):
    with pytest.raises(FerLabError, match=sentence):
        live(live_cfg(f"source={video}", "sink=null", override))


def test_unsure_faces_leave_the_group_where_that_is_asked_for(live_cfg, video):
    sure, unsure = (
        live(live_cfg(f"source={video}", "sink=null", "live.abstain_below=0.99", f"live.abstain_from={what}"))
        for what in ("labels", "group")
    )
    assert len(sure["seconds"]) == 2
    assert (sure["descriptors"]["abstained"], sure["descriptors"]["dominance_s"]) == (1, 0)
    assert (unsure["seconds"], unsure["withheld"], unsure["descriptors"]) == ([], 3, None)


def test_a_slow_model_drops_frames_of_a_film_in_real_time_only(live_cfg, video, monkeypatch):
    import time

    from fer_lab.live.pipeline import Pipeline

    classify = Pipeline.classify
    monkeypatch.setattr(Pipeline, "classify", lambda self, sighting: time.sleep(0.25) or classify(self, sighting))
    result = live(live_cfg(f"source={video}", "sink=null", "live.realtime=true"))
    dropped = sum(result["dropped"].values())
    assert dropped > 0
    assert result["frames"] + dropped == 25
    assert result["ended"] == "end of source"


def test_blurred_faces_are_a_few_flat_blocks_and_the_rest_is_untouched():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (120, 160, 3), np.uint8)
    before = image.copy()
    picture = blur_faces(image, np.array([[40, 40, 40, 40], [150, 100, 40, 40]], float))
    np.testing.assert_array_equal(image, before)
    assert len(np.unique(picture[28:92, 28:92].reshape(-1, 3), axis=0)) <= 36
    np.testing.assert_array_equal(picture[:28], image[:28])
    assert not np.array_equal(picture[110:, 150:], image[110:, 150:])


def test_a_rotation_keeps_distances_and_hides_directions():
    rng = np.random.default_rng(0)
    a, b = rotation(16, rng), rotation(16, rng)
    np.testing.assert_allclose(a @ a.T, np.eye(16), atol=1e-12)
    faces = rng.normal(size=(5, 16))
    np.testing.assert_allclose(np.linalg.norm(faces @ a, axis=1), np.linalg.norm(faces, axis=1))
    assert not np.allclose(faces @ a, faces @ b)
