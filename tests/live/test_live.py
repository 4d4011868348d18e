"""The command, from a filmed class to its two files."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from fer_lab.errors import FerLabError
from fer_lab.labels import EMOTIONS
from fer_lab.live.__main__ import live
from fer_lab.live.pipeline import Pipeline

ROOT = Path(__file__).resolve().parents[2]
MEDIA = ROOT.parent / "shared" / "media" / "video"
YUNET = ROOT.parent / "shared" / "detectors" / "face_detection_yunet_2026may.onnx"


def rows(sink: Path) -> list[dict[str, str]]:
    with (sink / "summary.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_filmed_class_becomes_seconds_and_a_small_group_is_withheld(live_cfg, video, tmp_path, capsys):
    result = live(live_cfg(f"source={video}"))
    assert (result["frames"], result["withheld"], result["ended"]) == (25, 1, "end of source")
    stored = rows(tmp_path / "sink")
    assert list(stored[0]) == ["second", "faces", *EMOTIONS, "lsi"]
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
    assert (privacy["switches"], privacy["purpose"], privacy["consent"]) == (
        {"min_group": 4},
        "research",
        "acknowledged",
    )
    assert privacy["stored"]["summary.csv"]["columns"] == ["second", "faces", *EMOTIONS, "lsi"]
    assert video.name not in json.dumps(privacy)


def test_a_drawn_class_passes_the_default_group_size(live_cfg):
    result = live(live_cfg("source=synthetic", "sink=null", "live.synthetic.seconds=1"))
    assert result["sink"] is None
    (second,) = result["seconds"]
    assert second.faces > 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_a_complete_summary(number, live_cfg, video, tmp_path, monkeypatch):
    step, seen = Pipeline.step, []

    def interrupted(self, image, seconds):
        seen.append(seconds)
        if len(seen) == 7:
            signal.raise_signal(number)
        return step(self, image, seconds)

    monkeypatch.setattr(Pipeline, "step", interrupted)
    before = signal.getsignal(number)
    result = live(live_cfg(f"source={video}"))
    assert (result["ended"], result["frames"], len(seen)) == ("interruption", 7, 7)
    assert [(row["second"], row["faces"]) for row in rows(tmp_path / "sink")] == [("0", "6.0")]
    assert signal.getsignal(number) == before


def test_a_failure_in_the_middle_keeps_what_was_seen(live_cfg, video, tmp_path, monkeypatch):
    step = Pipeline.step

    def failing(self, image, seconds):
        if seconds > 0.55:
            raise FerLabError("broken")
        return step(self, image, seconds)

    monkeypatch.setattr(Pipeline, "step", failing)
    with pytest.raises(FerLabError, match="broken"):
        live(live_cfg(f"source={video}"))
    assert [row["second"] for row in rows(tmp_path / "sink")] == ["0"]


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


def test_a_lesson_is_never_overwritten(live_cfg, video, tmp_path):
    (tmp_path / "sink").mkdir()
    (tmp_path / "sink" / "summary.csv").write_text("an earlier lesson")
    with pytest.raises(FerLabError, match=r"sink=.* already holds a summary\.csv: name another folder"):
        live(live_cfg(f"source={video}"))
    assert [file.name for file in (tmp_path / "sink").iterdir()] == ["summary.csv"]
    assert (tmp_path / "sink" / "summary.csv").read_text() == "an earlier lesson"


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
    elif event.startswith(("socket.", "subprocess.", "os.mkdir", "os.rename", "os.link", "os.symlink", "sqlite3.")):
        touched.append(f"{event} {args[0]}")
sys.addaudithook(watch)
runpy.run_module("fer_lab.live", run_name="__main__", alter_sys=True)
print("TOUCHED", *sorted(set(touched)), sep="\\n")
print("SOCKETS", psutil.Process().net_connections())
print("HEAVY", sorted({"torch", "lightning", "pandas", "wandb"} & set(sys.modules)))
"""


def test_with_every_default_only_the_two_files_are_written_and_no_socket_is_opened(model, video, tmp_path):
    words = [
        f"source={video}",
        f"model={model}",
        "live.purpose=demonstration",
        "live.consent=acknowledged",
        "sink=kept",
    ]
    done = subprocess.run(
        [sys.executable, "-B", "-c", AUDITED, *words],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    touched = done.stdout.partition("TOUCHED\n")[2].partition("SOCKETS")[0].splitlines()
    files = [line for line in touched if " " not in line and line != os.path.relpath(os.devnull, tmp_path)]
    assert files == ["kept/privacy.json", "kept/summary.csv"]
    # Hydra makes its run folder, which stays empty
    assert {line for line in touched if " " in line} <= {
        "os.mkdir kept",
        "os.mkdir outputs",
        f"os.mkdir {tmp_path}/outputs",
    }
    # and what native code may have written without an audit event, as ONNX Runtime's telemetry did
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == files
    assert done.stdout.endswith("\nSOCKETS []\nHEAVY []\n")


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
