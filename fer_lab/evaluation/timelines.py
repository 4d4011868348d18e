"""Faces along a script of emotions: spliced from held-out faces, or filmed, found and cropped as live ones are."""

import tempfile
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from fer_lab.data.dataset import FaceSplit
from fer_lab.data.synthetic import ACTION_UNITS, render_video
from fer_lab.errors import FerLabError
from fer_lab.evaluation.run import LoadedRun
from fer_lab.evaluation.sequences import Script, make_sequences
from fer_lab.faces.detect import build_detector
from fer_lab.live.capture import open_source
from fer_lab.live.pipeline import Frame, Pipeline
from fer_lab.live.smoothing import unsmoothed

SURROGATE, DRAWN = "surrogate", "drawn"
_SIZE, _FACE, _MIN_FACE = (320, 240), 160, 60  # of drawn videos, in pixels


@dataclass(frozen=True)
class Timeline:
    """S sequences of T frames.

    Attributes:
        name: SURROGATE or DRAWN; labels: int64 S×T, the script, indices into the trial's classes.
        split: the faces that are shown; faces: int64 S×T, which of them at each frame.
        fps: frames per second; found: share of frames in which the live pipeline found a face; None without one.
    """

    name: str
    labels: np.ndarray
    split: FaceSplit
    faces: np.ndarray
    fps: float
    found: float | None = None


def surrogate(script: Script, split: FaceSplit) -> Timeline:
    """Held-out faces spliced along the script (`fer_lab.evaluation.sequences`): real faces where the data are."""
    made = make_sequences(script, split.labels)
    return Timeline(SURROGATE, made.labels, split, made.faces, made.fps)


def drawn(script: Script, class_names: tuple[str, ...], run: LoadedRun) -> Timeline:
    """Drawn people filmed along the script, one a video, and their faces as the live pipeline crops them.

    Each video is written, read, searched with the Haar cascade, tracked and cropped by the code of `fer_lab.live`. A
    frame without a found face shows the one before, as a screen would.

    Raises:
        FerLabError: fewer than two of the classes can be drawn, or no face was found in a video.
    """
    known = np.array([k for k, name in enumerate(class_names) if name in ACTION_UNITS])
    if len(known) < 2:
        raise FerLabError(f"Fewer than two of {', '.join(class_names)} can be drawn: say suite.videos=0.")
    labels = known[make_sequences(replace(script, hold_frames=1), np.arange(len(known))).labels]
    crops, shown, found, count = [], [], 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for number, row in enumerate(labels):
            path = Path(folder) / f"{number}.avi"
            timeline = [(len(list(part)) / script.fps, class_names[k]) for k, part in groupby(row.tolist())]
            render_video(path, timeline, script.seed + number, round(script.fps), _SIZE, _FACE)
            own, places = _watch(path, run)
            crops.append(own)
            shown.append(count + places)
            count, found = count + len(own), found + len(own)
    images = np.concatenate(crops)
    numbers = np.arange(len(images))
    faces = np.stack(shown)
    owners = np.zeros(len(images), np.int64)
    owners[faces.ravel()] = labels.ravel()
    split = FaceSplit(images, owners, np.array([f"drawn-{i}" for i in numbers]), numbers, None, {})
    return Timeline(DRAWN, labels, split, faces, script.fps, found / labels.size)


def _watch(path: Path, run: LoadedRun) -> tuple[np.ndarray, np.ndarray]:
    """Crops of a video's one face, uint8 N×H×W×C, and which of them is shown at each frame, int64 T."""
    cropped_as = SimpleNamespace(
        aligned=run.cfg.data.get("crop") == "detect" and bool(run.cfg.data.get("align")),
        crop_margin=run.crop_margin, native_size=run.native_size, channels=run.channels,
    )  # fmt: skip
    stand_in: Any = SimpleNamespace(
        metadata=cropped_as, class_names=("any",), probabilities=lambda crops: np.ones((len(crops), 1))
    )
    pipeline = Pipeline(build_detector(None, _SIZE[0], _MIN_FACE), stand_in, lambda: unsmoothed)
    crops, places = [], []
    for seconds, image in open_source(str(path), 1, 1, 1).frames:
        moment = pipeline.classify(pipeline.locate(Frame(seconds, image, 0.0)))
        if len(moment.crops):
            crops.append(moment.crops[moment.sighting.boxes[:, 2].argmax()])
        places.append(len(crops) - 1)
    if not crops:
        raise FerLabError("The live pipeline found no face in a drawn video: say suite.videos=0 to do without.")
    return np.stack(crops), np.maximum(places, 0)
