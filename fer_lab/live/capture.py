"""Frames and their times from a video file, a stream, a camera, a folder of pictures, or drawn faces."""

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fer_lab.errors import FerLabError
from fer_lab.live.synthetic import FPS, classroom

_TIMEOUT_MS = 5000  # that a stream may take to open or to give a frame before it counts as broken
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 15.0  # between attempts at a lost camera or stream, doubled from one to the next
_KINDS = "video file, camera index, rtsp address, folder of pictures, or synthetic"
_PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"}  # OpenCV's; data sources read with Pillow
Frames = Iterator[tuple[float, np.ndarray]]


@dataclass(frozen=True)
class Source:
    """An opened source.

    kind: video, stream, camera, folder or synthetic. expected: number of frames where known. fps: of a recording.
    frames: yields seconds since the start (never decreasing) and a BGR picture (uint8 H×W×3); may raise FerLabError.
    """

    kind: str
    expected: int | None
    frames: Frames
    fps: float = FPS


def open_source(
    source: str | None,
    folder_fps: float,
    faces: int,
    seconds: float,
    reconnect_s: float = 0.0,
    wait: Callable[[float], object] = time.sleep,
) -> Source:
    """Open what `source` names and read its first frame.

    Args:
        source: a video file, a camera's index, an address with "://", a folder of pictures, or "synthetic".
        folder_fps: pictures per second of a folder, in the order of their names.
        faces, seconds: size and length of the synthetic class.
        reconnect_s: how long a lost camera or stream is asked for again; a file, a folder or a drawn class just ends.
        wait: spends seconds; true when nobody needs frames any more (threading.Event.wait).

    Raises:
        FerLabError: there is nothing of that name, or OpenCV cannot read it.
    """
    if not source:
        raise FerLabError(f"No source to watch: say source=<{_KINDS}>.")
    if source == "synthetic":
        return Source("synthetic", round(seconds * FPS), classroom(faces, seconds))
    if source.isdigit():
        return _opened("camera", source, _clocked(lambda: cv2.VideoCapture(int(source)), reconnect_s, wait))
    if "://" in source:
        return _opened("stream", source, _clocked(lambda: _stream(source), reconnect_s, wait))
    path = Path(source)
    if path.is_dir():
        pictures = sorted(file for file in path.iterdir() if file.suffix.lower() in _PICTURES)
        if not pictures:
            raise FerLabError(f"source={path} holds no pictures ({', '.join(sorted(_PICTURES))}): name another folder.")
        return Source("folder", len(pictures), _pictures(pictures, folder_fps), folder_fps)
    if not path.is_file():
        raise FerLabError(f"source={source} does not exist: name a {_KINDS}.")
    video = cv2.VideoCapture(source, cv2.CAP_FFMPEG)
    expected = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    return _opened("video", source, _recorded(video), expected or None, video.get(cv2.CAP_PROP_FPS) or FPS)


def paced(frames: Frames, wait: Callable[[float], object]) -> Frames:
    """Frames no earlier than at their times, as a camera would give them."""
    start = time.monotonic()
    for seconds, image in frames:
        ahead = seconds - (time.monotonic() - start)
        if ahead > 0 and wait(ahead):
            return
        yield seconds, image


def _opened(kind: str, source: str, frames: Frames, expected: int | None = None, fps: float = FPS) -> Source:
    """A source that has proved to give a frame; many a broken file or busy camera opens and then gives none."""
    first = next(frames, None)
    if first is None:
        if kind == "stream":  # its address may hold a user and a password, in front of an @ or behind a ?
            scheme, _, rest = source.partition("://")
            source = f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"
        raise FerLabError(f"source={source}: OpenCV gets no frame from this {kind}; give another {_KINDS}.")
    return Source(kind, expected, itertools.chain([first], frames), fps)


def _stream(address: str) -> cv2.VideoCapture:
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _TIMEOUT_MS]
    return cv2.VideoCapture(address, cv2.CAP_FFMPEG, limits)


def _recorded(video: cv2.VideoCapture) -> Frames:
    """Frames at the times that the file gives them."""
    seconds = 0.0
    try:
        while (read := video.read())[0]:
            seconds = max(seconds, video.get(cv2.CAP_PROP_POS_MSEC) / 1000)
            yield seconds, read[1]
    finally:
        video.release()


def _clocked(connect: Callable[[], cv2.VideoCapture], reconnect_s: float, wait: Callable[[float], object]) -> Frames:
    """Frames at the times they arrive. An unplugged camera or a broken stream is asked for again, less and less often,
    until `reconnect_s` have passed without a frame; one that never gave a frame is not. What a stream gives after a
    silence that long that it counts as broken is old: the decoder had kept it back."""
    start = seen = time.monotonic()
    any_frame, pause = False, _FIRST_WAIT_S
    while True:
        capture = connect()
        try:
            asked = time.monotonic()
            while (read := capture.read())[0]:
                now = time.monotonic()
                if any_frame and now - asked >= _TIMEOUT_MS / 1000:
                    break
                seen, any_frame, pause = now, True, _FIRST_WAIT_S
                yield seen - start, read[1]
                asked = time.monotonic()
        finally:
            capture.release()
        left = reconnect_s - (time.monotonic() - seen)
        if not any_frame or left <= 0 or wait(min(pause, left)):
            return
        pause = min(2 * pause, _LONGEST_WAIT_S)


def _pictures(files: list[Path], fps: float) -> Frames:
    for index, file in enumerate(files):
        image = cv2.imread(str(file), cv2.IMREAD_COLOR)
        if image is None:
            raise FerLabError(f"{file} is no picture that OpenCV can read: remove it from the folder.")
        yield index / fps, image
