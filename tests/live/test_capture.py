"""Sources: what they yield, when, and how they refuse."""

import csv
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_lab.errors import FerLabError
from fer_lab.live.__main__ import live
from fer_lab.live.capture import Source, open_source, paced


def opened(source: object) -> Source:
    return open_source(str(source), folder_fps=4, faces=2, seconds=0.2)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for index, name in enumerate(("b.png", "a.png", "c.PNG")):
        cv2.imwrite(str(tmp_path / name), np.full((32, 32, 3), (10 * index, 1, 2), np.uint8))
    (tmp_path / "notes.txt").touch()
    return tmp_path


def test_a_video_ends_cleanly_and_keeps_its_own_clock(video):
    source = opened(video)
    frames = list(source.frames)
    assert (source.kind, source.expected, len(frames)) == ("video", 25, 25)
    np.testing.assert_allclose([seconds for seconds, _ in frames], np.arange(25) / 10, atol=1e-6)
    assert {(image.shape, image.dtype.name) for _, image in frames} == {((320, 480, 3), "uint8")}


def test_a_folder_is_read_by_name_at_its_rate(pictures):
    source = opened(pictures)
    assert (source.kind, source.expected) == ("folder", 3)
    seen = [(seconds, *image[0, 0].tolist()) for seconds, image in source.frames]
    assert seen == [(0.0, 10, 1, 2), (0.25, 0, 1, 2), (0.5, 20, 1, 2)]  # BGR


def test_a_broken_picture_is_named(pictures):
    (pictures / "b.png").write_bytes(b"no picture")
    with pytest.raises(FerLabError, match=r"b\.png is no picture that OpenCV can read: remove it"):
        list(opened(pictures).frames)


class Camera:
    """Gives some frames, then none; stands in for hardware."""

    def __init__(self, frames: int) -> None:
        self.left, self.released = frames, False

    def read(self):
        self.left -= 1
        return self.left >= 0, np.zeros((8, 8, 3), np.uint8)

    def release(self):
        self.released = True


def test_a_camera_that_is_unplugged_ends_the_run(monkeypatch):
    camera = Camera(3)
    monkeypatch.setattr(cv2, "VideoCapture", lambda index: camera if index == 0 else None)
    source = opened("0")
    times = [seconds for seconds, _ in source.frames]
    assert (source.kind, source.expected, len(times)) == ("camera", None, 3)
    assert times == sorted(times)
    assert times[0] >= 0
    assert camera.released


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """Time that passes only while somebody waits; the pauses."""
    pauses: list[float] = []
    monkeypatch.setattr("fer_lab.live.capture.time.monotonic", lambda: sum(pauses))
    return pauses


def test_a_lost_camera_is_asked_for_again_less_and_less_often(monkeypatch, clock):
    cameras = [Camera(2), Camera(0), Camera(0), Camera(1), *(Camera(0) for _ in range(20))]
    waiting = iter(cameras)
    monkeypatch.setattr(cv2, "VideoCapture", lambda index: next(waiting))
    source = open_source("0", 25, 6, 1, reconnect_s=10, wait=clock.append)
    assert [seconds for seconds, _ in source.frames] == [0, 0, 0.5 + 1 + 2]
    assert clock == [0.5, 1, 2, 0.5, 1, 2, 4, 2.5]  # 10 seconds without a frame, then it gives up
    assert sum(camera.released for camera in cameras) == 9


def test_what_the_decoder_kept_back_is_not_taken_for_now(monkeypatch, clock):
    class Silent(Camera):
        def read(self):
            if self.left == 2:
                clock.append(5)  # until OpenCV's limit has passed; then it hands out its last two frames
            return super().read()

    waiting = iter([Silent(4), Camera(1), *(Camera(0) for _ in range(20))])
    monkeypatch.setattr(cv2, "VideoCapture", lambda *arguments: next(waiting))
    source = open_source("rtsp://host/x", 25, 6, 1, reconnect_s=7, wait=clock.append)
    assert [seconds for seconds, _ in source.frames] == [0, 0, 5 + 0.5]
    assert clock == [5, 0.5, 0.5, 1, 2, 3.5]


@pytest.fixture
def served(class_picture) -> Iterator[Callable[..., str]]:
    """`served(10, 5)`: address of an MJPEG camera that sends ten pictures, hangs up, then five; then it is gone."""
    picture = cv2.imencode(".jpg", class_picture(6))[1].tobytes()
    part = b"--next\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (len(picture), picture)
    servers: list[socket.socket] = []

    def send(server: socket.socket, numbers: tuple[int, ...]) -> None:
        for number in numbers:
            connection = server.accept()[0]
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=next\r\n\r\n")
                for _ in range(number):
                    connection.sendall(part)
                    time.sleep(0.02)
        server.close()

    def serve(*numbers: int) -> str:
        servers.append(server := socket.create_server(("127.0.0.1", 0)))
        threading.Thread(target=send, args=(server, numbers), daemon=True).start()
        return f"http://127.0.0.1:{server.getsockname()[1]}/video?password=secret"

    yield serve
    for server in servers:
        server.close()


def test_a_stream_that_is_lost_is_opened_again_and_ends(served):
    source = open_source(served(10, 5), 25, 6, 1, reconnect_s=1.5)
    frames = list(source.frames)
    times = [seconds for seconds, _ in frames]
    assert (source.kind, source.expected, len(frames)) == ("stream", None, 15)
    assert {image.shape for _, image in frames} == {(320, 480, 3)}
    assert times == sorted(times)
    assert times[10] - times[9] > 0.4  # the first pause


def test_a_run_on_a_stream_that_is_lost_has_a_complete_summary(served, live_cfg, tmp_path):
    address = served(30, 30)
    result = live(live_cfg(f"source='{address}'", "live.reconnect_s=1.5"))
    assert (result["ended"], result["frames"] + sum(result["dropped"].values())) == ("end of source", 60)
    with (tmp_path / "sink" / "summary.csv").open() as file:
        kept = [int(row["second"]) for row in csv.DictReader(file)]
    assert kept == [second.second for second in result["seconds"]]
    assert kept
    privacy = (tmp_path / "sink" / "privacy.json").read_text()
    assert json.loads(privacy)["source"] == "stream"
    assert "127.0.0.1" not in privacy


@pytest.mark.parametrize("address", ["rtsp://me:secret@127.0.0.1:1/x", "http://127.0.0.1:1/x?password=secret"])
def test_a_stream_s_password_is_in_no_message(address):
    with pytest.raises(FerLabError, match=r"source=\w+://127\.0\.0\.1:1/x: OpenCV gets no frame") as error:
        opened(address)
    assert "secret" not in str(error.value)


def test_a_stopped_run_does_not_wait_for_its_camera(monkeypatch, clock):
    monkeypatch.setattr(cv2, "VideoCapture", lambda index: Camera(1))
    source = open_source("0", 25, 6, 1, reconnect_s=1e9, wait=lambda pause: clock.append(pause) or len(clock) == 3)
    assert len(list(source.frames)) == 3


def test_a_camera_that_never_gave_a_frame_is_refused_at_once(monkeypatch, clock):
    monkeypatch.setattr(cv2, "VideoCapture", lambda index: Camera(0))
    with pytest.raises(FerLabError, match="source=0: OpenCV gets no frame from this camera"):
        open_source("0", 25, 6, 1, reconnect_s=10, wait=clock.append)
    assert clock == []


def test_paced_frames_come_at_their_times(clock):
    image = np.zeros((1, 1, 3), np.uint8)
    frames = paced(iter([(0.0, image), (0.5, image), (2.0, image)]), clock.append)
    assert [sum(clock) for _ in frames] == [0, 0.5, 2]
    assert len(list(paced(iter([(0.0, image), (0.5, image)]), lambda pause: True))) == 1


def test_drawn_faces():
    source = opened("synthetic")
    frames = list(source.frames)
    assert (source.kind, source.expected) == ("synthetic", len(frames))
    assert frames[-1][1].ndim == 3


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("", r"No source to watch: say source=<video file, camera index, .*>\."),
        ("nowhere.mp4", r"source=nowhere\.mp4 does not exist: name a video file, camera index, "),
        ("97", r"source=97: OpenCV gets no frame from this camera"),
        ("empty", r"source=empty holds no pictures \(\.bmp, .*\): name another folder"),
        ("text.mp4", r"source=text\.mp4: OpenCV gets no frame from this video; give another"),
        ("rtsp://127.0.0.1:1/x", r"source=rtsp://127\.0\.0\.1:1/x: OpenCV gets no frame from this stream"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_sentence(source, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("text.mp4").write_text("no video")
    with pytest.raises(FerLabError, match=sentence):
        opened(source)


def test_no_source_at_all():
    with pytest.raises(FerLabError, match="No source to watch"):
        open_source(None, 25, 6, 1)
