"""The command, from a filmed class to its two files."""

import csv
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import pytest

from fer_lab.errors import FerLabError
from fer_lab.labels import EMOTIONS
from fer_lab.live.__main__ import live
from fer_lab.live.pipeline import Pipeline
from fer_lab.live.summary import Summary

ROOT = Path(__file__).resolve().parents[2]
MEDIA = ROOT.parent / "shared" / "media" / "video"
YUNET = ROOT.parent / "shared" / "detectors" / "face_detection_yunet_2026may.onnx"
COLUMNS = ["second", "faces", *EMOTIONS, "lsi", "lsi_low", "lsi_high"]


def rows(sink: Path) -> list[dict[str, str]]:
    with (sink / "summary.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_filmed_class_becomes_seconds_and_a_small_group_is_withheld(live_cfg, video, tmp_path, capsys):
    result = live(live_cfg(f"source={video}"))
    assert (result["frames"], result["withheld"], result["ended"]) == (25, 1, "end of source")
    stored = rows(tmp_path / "sink")
    assert list(stored[0]) == COLUMNS
    assert [(row["second"], row["faces"]) for row in stored] == [("0", "6.0"), ("2", "6.0")]
    for row in stored:
        p = {name: float(row[name]) for name in EMOTIONS}
        assert sum(p.values()) == pytest.approx(1, abs=1e-3)
        # default weights run from -1 to 1, so the index is w·p; five of the seven classes share what happy leaves
        others = (1 - p["happy"]) / 6
        assert float(row["lsi"]) == pytest.approx(p["happy"] + (0.5 + 0.25 - 0.5 - 0.75 - 1 - 1) * others, abs=1e-3)
    printed = capsys.readouterr().out
    assert "Article 5(1)(f)" in printed
    assert "1 with fewer than 5 faces withheld" in " ".join(printed.split())
    assert "FPS" in printed
    assert re.search(rf"numbers given to faces\W+{result['descriptors']['faces']}\W", printed)


def test_the_model_sees_the_faces(live_cfg, class_picture, tmp_path):
    # the same class, filmed darker: the stand-in model's happy follows the grey level of the crops
    happy = {}
    for name, light in (("bright", 1.0), ("dark", 0.6)):
        folder = tmp_path / name
        folder.mkdir()
        cv2.imwrite(str(folder / "0.png"), cv2.convertScaleAbs(class_picture(6), alpha=light))
        (second,) = live(live_cfg(f"source={folder}", "sink=null"))["seconds"]
        happy[name] = second.probabilities[EMOTIONS.index("happy")]
    assert happy["bright"] > 1.5 * happy["dark"]


def test_min_group_is_a_switch_that_privacy_json_names(live_cfg, video, tmp_path):
    result = live(live_cfg(f"source={video}", "privacy.min_group=4", "live.purpose=research"))
    assert result["withheld"] == 0
    assert [row["faces"] for row in rows(tmp_path / "sink")] == ["6.0", "4.0", "6.0"]
    privacy = json.loads((tmp_path / "sink" / "privacy.json").read_text())
    assert (privacy["purpose"], privacy["consent"]) == ("research", "acknowledged")
    assert (privacy["switches"]["min_group"], privacy["beyond_group_means"]) == (4, [])
    assert privacy["stored"]["summary.csv"]["columns"] == COLUMNS
    assert video.name not in json.dumps(privacy)


def test_a_drawn_class_passes_the_default_group_size(live_cfg):
    result = live(live_cfg("source=synthetic", "sink=null", "live.synthetic.seconds=1"))
    assert result["sink"] is None
    (second,) = result["seconds"]
    assert second.faces > 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_a_complete_summary(number, live_cfg, video, tmp_path, monkeypatch):
    add, seen = Summary.add, []

    def interrupted(self, seconds, probabilities):
        seen.append(seconds)
        if len(seen) == 7:
            signal.raise_signal(number)
        return add(self, seconds, probabilities)

    monkeypatch.setattr(Summary, "add", interrupted)
    before = signal.getsignal(number)
    result = live(live_cfg(f"source={video}"))
    assert (result["ended"], result["frames"], len(seen)) == ("interruption", 7, 7)
    assert [(row["second"], row["faces"]) for row in rows(tmp_path / "sink")] == [("0", "6.0")]
    assert signal.getsignal(number) == before


def test_a_failure_in_the_middle_keeps_what_was_seen(live_cfg, video, tmp_path, monkeypatch):
    classify = Pipeline.classify

    def failing(self, sighting):
        if sighting.frame.seconds > 0.55:
            raise FerLabError("broken")
        return classify(self, sighting)

    monkeypatch.setattr(Pipeline, "classify", failing)
    with pytest.raises(FerLabError, match="broken"):
        live(live_cfg(f"source={video}"))
    assert [row["second"] for row in rows(tmp_path / "sink")] == ["0"]
    assert not [thread for thread in threading.enumerate() if thread.name == "stage"]


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("live.purpose=null", r"live\.purpose=None is no purpose .*<research \| safety \| medical \| demonstration>"),
        ("live.purpose=teaching", r"live\.purpose=teaching .*Article 5\(1\)\(f\)"),
        ("live.consent=null", r"live\.consent=None: say live\.consent=acknowledged once everyone in view"),
        ("live.consent=true", r"live\.consent=True: say live\.consent=acknowledged"),
        ("privacy.min_group=0", r"privacy\.min_group=0 must be at least 1"),
        ("model=null", r"No model to ask: say model="),
        ("source=nowhere.mp4", r"source=nowhere\.mp4 does not exist"),
        ("live.smoothing.alpha=2", r"live\.smoothing\.alpha=2 must be"),
    ],
)
def test_refusals_leave_nothing_behind(override, sentence, live_cfg, video, tmp_path):
    with pytest.raises(FerLabError, match=sentence):
        live(live_cfg(f"source={video}", override))
    assert not (tmp_path / "sink").exists()


@pytest.mark.parametrize("name", ["summary.csv", "segments.csv", "privacy.json", "tracks.csv", "blurred.avi"])
def test_a_lesson_is_never_overwritten(name, live_cfg, video, tmp_path):
    (tmp_path / "plan.csv").write_text("start,end,title\n0,3,All\n")
    (tmp_path / "sink").mkdir()
    (tmp_path / "sink" / name).write_text("an earlier lesson")
    with pytest.raises(FerLabError, match=rf"sink=.* already holds a {name}: name another folder"):
        live(live_cfg(f"source={video}", f"live.segments={tmp_path / 'plan.csv'}"))
    assert [file.name for file in (tmp_path / "sink").iterdir()] == [name]
    assert (tmp_path / "sink" / name).read_text() == "an earlier lesson"


#: Runs the real command and reports every file it opens for writing, folder it makes or renames, and socket it opens.
AUDITED = """
import os, runpy, sys
import psutil
touched = []
def watch(event, args):
    if event == "open":
        writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        if isinstance(args[0], (str, bytes)) and (args[2] or 0) & writes:
            touched.append(os.path.relpath(os.fsdecode(args[0])))
    elif event == "sqlite3.connect" or event.startswith(
        ("socket.", "subprocess.", "os.mkdir", "os.rename", "os.link", "os.symlink")
    ):
        touched.append(f"{event} {args[0]}")
sys.addaudithook(watch)
runpy.run_module("fer_lab.live", run_name="__main__", alter_sys=True)
print("TOUCHED", *sorted(set(touched)), sep="\\n")
print("SOCKETS", psutil.Process().net_connections())
print("HEAVY", sorted({"torch", "lightning", "pandas", "wandb"} & set(sys.modules)))
"""


def _watched(model: Path, video: Path, folder: Path, *words: str) -> tuple[list[str], set[str], str]:
    """Files that the real command wrote, folders and databases that it touched, and the rest of what it said."""
    said = [f"source={video}", f"model={model}", "live.purpose=demonstration", "live.consent=acknowledged"]
    done = subprocess.run(
        [sys.executable, "-B", "-c", AUDITED, *said, *words],
        cwd=folder, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder), "HOME": str(folder)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    touched, _, rest = done.stdout.partition("TOUCHED\n")[2].partition("SOCKETS")
    lines = [line for line in touched.splitlines() if line != os.path.relpath(os.devnull, folder)]
    return [line for line in lines if " " not in line], {line for line in lines if " " in line}, rest


SINK, STORE = "sink=kept", "live.store=kept/lessons.sqlite"


@pytest.fixture(scope="module")
def watched(model, video, tmp_path_factory) -> Callable[[str], tuple[Any, ...]]:
    """`watched(SINK)`: the command's folder and what :func:`_watched` says of it; both commands start at once."""
    folders = {word: tmp_path_factory.mktemp("watched") for word in (SINK, STORE)}
    with ThreadPoolExecutor() as pool:
        ends = {word: pool.submit(_watched, model, video, folder, word) for word, folder in folders.items()}
    return lambda word: (folders[word], *ends[word].result())


#: Hydra makes its run folder, which stays empty.
def _hydra(folder: Path) -> set[str]:
    return {"os.mkdir outputs", f"os.mkdir {folder}/outputs"}


def _left(folder: Path) -> list[str]:
    """What is there afterwards, native code's files included, which make no audit event (ONNX Runtime's telemetry)."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_with_every_default_only_the_two_files_are_written_and_no_socket_is_opened(watched):
    folder, files, others, rest = watched(SINK)
    assert files == ["kept/privacy.json", "kept/summary.csv"] == _left(folder)
    assert others <= {"os.mkdir kept", *_hydra(folder)}
    assert rest == " []\nHEAVY []\n"
    assert [list(row) for row in rows(folder / "kept")] == [COLUMNS] * 2


def test_with_a_store_only_its_file_is_written_and_only_group_values_are_in_it(watched, video):
    pytest.importorskip("sqlalchemy", reason="the live extra is not installed")
    folder, files, others, rest = watched(STORE)
    assert files == ["kept/lessons.sqlite"]
    assert others <= {"os.mkdir kept", f"sqlite3.connect {folder}/kept/lessons.sqlite", *_hydra(folder)}
    assert rest == " []\nHEAVY []\n"
    # the log and its index belong to SQLite, which removes them when the last one closes the store
    own = [f"kept/lessons.sqlite{end}" for end in ("", "-wal", "-shm")]
    assert set(own[:1]) <= set(_left(folder)) <= set(own)
    with sqlite3.connect(folder / "kept" / "lessons.sqlite") as plain:
        counts = {
            table: plain.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for (table,) in plain.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        }
        dump = "\n".join(plain.iterdump())
    assert counts == {"lessons": 1, "seconds": 2, "segments": 0, "users": 0, "sessions": 0, "access_log": 0}
    assert video.name not in dump
    assert str(video.parent) not in dump


def test_a_refusal_on_the_command_line_is_one_sentence(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "fer_lab.live", "source=x.mp4"], cwd=tmp_path, capture_output=True, text=True,
        timeout=120, stdin=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("fer-lab live: live.purpose=None")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(not (MEDIA.exists() and YUNET.exists()), reason="no videos in shared/media")
def test_a_street_with_five_to_nine_faces(live_cfg, tmp_path):
    result = live(
        live_cfg(
            f"source={MEDIA / 'street_5_to_9_faces.mp4'}", f"live.detector_file={YUNET}", "live.detector_width=640"
        )
    )
    assert (result["frames"], result["withheld"], len(result["seconds"])) == (105, 0, 5)
    assert all(5 <= second.faces <= 9 for second in result["seconds"])
