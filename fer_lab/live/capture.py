"""Frames and their times from a video file, a stream, a camera, a folder of pictures, or drawn faces."""

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fer_lab.errors import FerLabError
from fer_lab.live.synthetic import FPS, classroom

_KINDS = "video file, camera index, rtsp address, folder of pictures, or synthetic"
_PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"}
Frames = Iterator[tuple[float, np.ndarray]]


@dataclass(frozen=True)
class Source:
    """An opened source.

    kind: video, stream, camera, folder or synthetic. expected: number of frames where known.
    frames: yields seconds since the start (never decreasing) and a BGR picture (uint8 H×W×3); may raise FerLabError.
    """

    kind: str
    expected: int | None
    frames: Frames


def open_source(source: str | None, folder_fps: float, faces: int, seconds: float) -> Source:
    """Open what `source` names and read its first frame.

    Args:
        source: a video file, a camera's index, an address with "://", a folder of pictures, or "synthetic".
        folder_fps: pictures per second of a folder, in the order of their names.
        faces, seconds: size and length of the synthetic class.

    Raises:
        FerLabError: there is nothing of that name, or OpenCV cannot read it.
    """
    if not source:
        raise FerLabError(f"No source to watch: say source=<{_KINDS}>.")
    if source == "synthetic":
        return Source("synthetic", round(seconds * FPS), classroom(faces, seconds))
    if source.isdigit():
        return _opened("camera", source, cv2.VideoCapture(int(source)))
    if "://" in source:
        return _opened("stream", source, cv2.VideoCapture(source, cv2.CAP_FFMPEG))
    path = Path(source)
    if path.is_dir():
        pictures = sorted(file for file in path.iterdir() if file.suffix.lower() in _PICTURES)
        if not pictures:
            raise FerLabError(f"source={path} holds no pictures ({', '.join(sorted(_PICTURES))}): name another folder.")
        return Source("folder", len(pictures), _pictures(pictures, folder_fps))
    if not path.is_file():
        raise FerLabError(f"source={source} does not exist: name a {_KINDS}.")
    return _opened("video", source, cv2.VideoCapture(source, cv2.CAP_FFMPEG))


def _opened(kind: str, source: str, capture: cv2.VideoCapture) -> Source:
    """A source that has proved to give a frame; many a broken file or busy camera opens and then gives none."""
    frames = _recorded(capture) if kind == "video" else _clocked(capture)
    first = next(frames, None)
    if first is None:
        raise FerLabError(f"source={source}: OpenCV gets no frame from this {kind}; give another {_KINDS}.")
    expected = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if kind == "video" else 0
    return Source(kind, expected or None, itertools.chain([first], frames))


def _recorded(video: cv2.VideoCapture) -> Frames:
    """Frames at the times that the file gives them."""
    seconds = 0.0
    try:
        while (read := video.read())[0]:
            seconds = max(seconds, video.get(cv2.CAP_PROP_POS_MSEC) / 1000)
            yield seconds, read[1]
    finally:
        video.release()


def _clocked(capture: cv2.VideoCapture) -> Frames:
    """Frames at the times they arrive; ends when the camera is unplugged or the stream breaks."""
    start = time.monotonic()
    try:
        while (read := capture.read())[0]:
            yield time.monotonic() - start, read[1]
    finally:
        capture.release()


def _pictures(files: list[Path], fps: float) -> Frames:
    for index, file in enumerate(files):
        image = cv2.imread(str(file), cv2.IMREAD_COLOR)
        if image is None:
            raise FerLabError(f"{file} is no picture that OpenCV can read: remove it from the folder.")
        yield index / fps, image
