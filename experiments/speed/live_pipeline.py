"""The live pipeline on one core, at 640x480: frames a second, time from frame to smoothed output, memory over time.

    python experiments/speed/live_pipeline.py --model <run>/export/model_int8.onnx --detector <YuNet .onnx>
        [--minutes 30] [--video <file>] [--detect-every 1 3] [--store <folder>] [--width 640] [--core 0]

Without --video, five drawn faces. For each value of --detect-every (looking for faces in every frame, and in every
third), two runs of the stages that `python -m fer_lab.live` uses, bound to one core with one thread of OpenCV and of
the model. Decoding, labels and descriptors are included, and with --store a transaction a second in a SQLite file of
that folder, deleted afterwards (in memory a transaction costs nothing, so name a folder on a disk):

- throughput: every frame, as fast as they come; frames a second, and processor time, which other programs disturb less:
  of a frame in all, and its p95 from detection to smoothed output, the delay on an idle core;
- camera: frames at --fps, dropped where a stage is late; time from a frame's arrival to its smoothed output, and
  resident memory over --minutes.

The weights do not matter for speed, so an untrained network will do; the record says which file it was.
"""

import argparse
import itertools
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil

from fer_lab.deploy.runtimes import Classifier
from fer_lab.faces.detect import build_detector
from fer_lab.live.capture import Source, paced
from fer_lab.live.keep import Keeper
from fer_lab.live.labels import Descriptors, Labeller
from fer_lab.live.lsi import Lsi
from fer_lab.live.pipeline import Frame, Pipeline
from fer_lab.live.smoothing import smoother_factory
from fer_lab.live.stages import Stages
from fer_lab.live.summary import Second, Summary
from fer_lab.live.synthetic import classroom
from fer_lab.live.timing import Timings
from fer_lab.schema import compose

SIZE, FACES = (640, 480), 5
DRAWN_S = 8


def main(words: Sequence[str] | None = None) -> dict[str, Any]:
    """Run all; words: of the command line. Returns what is printed last: the two runs by --detect-every."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--detector", help="a YuNet .onnx; without it, the Haar cascade")
    parser.add_argument("--video", help="shrunk to 640x480 first")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seconds", type=float, default=20.0, help="of the throughput run")
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--detect-every", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--store", metavar="FOLDER", help="write each second to a SQLite file in this folder")
    parser.add_argument("--width", type=int, default=640, help="live.detector_width")
    parser.add_argument("--core", type=int, default=0)
    options = parser.parse_args(words)
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {options.core})
    cv2.setNumThreads(1)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder) / "film.avi"
        write_film(film, options.video)
        for every in options.detect_every:
            throughput = run(film, options, every, realtime=False, seconds=options.seconds)
            camera = run(film, options, every, realtime=True, seconds=60 * options.minutes)
            report(options, every, throughput, camera)
            memory = camera["rss_mb"]
            found[every] = {"throughput": throughput, "camera": camera | {"rss_mb": memory[:: len(memory) // 30 or 1]}}
    os.sched_setaffinity(0, cores)
    print(json.dumps(found))
    return found


def report(options: argparse.Namespace, every: int, throughput: dict[str, Any], camera: dict[str, Any]) -> None:
    """Print two runs."""
    print(f"{Path(options.model).name} ({Path(options.model).stat().st_size / 1e6:.2f} MB), faces looked for in every "
          f"{every} frames at {options.width} px, {throughput['faces']:.1f} faces a frame, load of the machine "
          f"{os.getloadavg()[0]:.1f}, seconds stored {throughput['stored']} and {camera['stored']}")  # fmt: skip
    print(f"throughput: {throughput['fps']:.1f} FPS; processor time {throughput['cpu_ms']:.1f} ms a frame "
          f"({1e3 / throughput['cpu_ms']:.0f} FPS on an idle core), p95 {throughput['work_ms_p95']:.1f} ms from "
          "detection to smoothed output")  # fmt: skip
    print(f"camera at {options.fps:g} FPS for {options.minutes:g} min: {camera['frames']} frames, {camera['dropped']} "
          f"dropped, p50 {camera['p50']:.1f} ms, p95 {camera['p95']:.1f} ms, p99 {camera['p99']:.1f} ms")  # fmt: skip
    memory = camera["rss_mb"]
    print(f"memory: {memory[0]:.1f} MB after 10 s, {memory[-1]:.1f} MB at the end, at most {max(memory):.1f} MB; "
          f"growth {camera['mb_a_minute']:+.2f} MB a minute", flush=True)  # fmt: skip


def write_film(path: Path, video: str | None) -> None:
    """An MJPG film of 640x480: the video's frames, or drawn faces on a grey wall."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, SIZE)
    if video:
        capture = cv2.VideoCapture(video)
        while (read := capture.read())[0]:
            writer.write(cv2.resize(read[1], SIZE, interpolation=cv2.INTER_AREA))
    else:
        for _, drawn in classroom(FACES, DRAWN_S):
            picture = np.full((SIZE[1], SIZE[0], 3), 128, np.uint8)
            picture[80 : 80 + drawn.shape[0], 80 : 80 + drawn.shape[1]] = drawn
            writer.write(picture)
    writer.release()


def endless(film: Path, fps: float, seconds: float) -> Iterator[tuple[float, np.ndarray]]:
    """The film over and over, decoded each time, at `fps` until `seconds`."""
    number = itertools.count()
    while True:
        capture = cv2.VideoCapture(str(film), cv2.CAP_FFMPEG)
        while (read := capture.read())[0]:
            if (at := next(number) / fps) >= seconds:
                return
            yield at, read[1]
        capture.release()


@contextmanager
def kept(folder: str | None, classifier: Classifier) -> Iterator[Callable[[Second], None]]:
    """What takes finished seconds: a real store in this folder, through the same object as in a real run, or nobody."""
    if folder is None:
        yield lambda second: None
        return
    with tempfile.TemporaryDirectory(dir=folder) as own:
        cfg = compose("live", [f"live.store={own}/lessons.sqlite", "live.purpose=research", "privacy.min_group=1"])
        keeper = Keeper(cfg, Source("video", None, iter(())), classifier)
        try:
            yield keeper.second
        finally:
            keeper.close()


def run(film: Path, options: argparse.Namespace, every: int, realtime: bool, seconds: float) -> dict[str, Any]:
    """One run of the live stages, with the default smoothing, labels and summary; the first seconds warm up."""
    classifier = Classifier.load(options.model, 1)
    with kept(options.store, classifier) as keep:
        return timed_run(film, options, classifier, every, keep, realtime, seconds)


def timed_run(
    film: Path,
    options: argparse.Namespace,
    classifier: Classifier,
    every: int,
    keep: Callable[[Second], None],
    realtime: bool,
    seconds: float,
) -> dict[str, Any]:
    cfg = compose("live").live
    detector = build_detector(options.detector, options.width, cfg.min_face)
    pipeline = Pipeline(detector, classifier, smoother_factory(**cfg.smoothing), every)
    summary = Summary(1, Lsi(cfg.weights, classifier.class_names), keep)
    label = Labeller(classifier.metadata.abstain_below or 0.0, cfg.hysteresis)
    descriptors = Descriptors(len(classifier.class_names))
    gone = threading.Event()
    frames = endless(film, options.fps, seconds if realtime else float("inf"))
    timed = (Frame(at, image, time.perf_counter()) for at, image in (paced(frames, gone.wait) if realtime else frames))
    work: list[list[float]] = [[], []]  # processor seconds of each frame in each stage

    def costed(stage: int, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def run(item: Any) -> Any:
            before = time.thread_time()
            result = function(item)
            work[stage].append(time.thread_time() - before)
            return result

        return run if not realtime else function

    steps = [costed(0, pipeline.locate), costed(1, pipeline.classify)]
    stages = Stages(timed, steps, cfg.queue, lossless=not realtime)
    warm, process = min(10.0, seconds / 4), psutil.Process()
    memory: list[float] = []
    timings, start = Timings(), time.perf_counter()
    counted = faces = 0
    since = cpu = 0.0
    for moment in stages.run(lambda: not realtime and time.perf_counter() - start > seconds):
        now = time.perf_counter()
        ids, known = moment.sighting.ids, moment.sighting.expected
        labels = label(ids, moment.probabilities, known)
        if summary.add(moment.seconds, moment.probabilities) is not None:
            descriptors.add(moment.seconds, ids, moment.probabilities, labels, known)
        if now - start < warm:
            continue
        if not counted:
            since, cpu = now, time.process_time()
        counted += 1
        faces += len(moment.probabilities)
        timings.add(now - moment.sighting.frame.arrived)
        if not memory or now - start > warm + 2 * len(memory):
            memory.append(process.memory_info().rss / 2**20)
    gone.set()
    summary.close()
    wall, cpu = time.perf_counter() - since, time.process_time() - cpu
    slope = np.polyfit(np.arange(len(memory)) * 2 / 60, memory, 1)[0] if len(memory) > 2 else 0.0
    return {
        "frames": counted,
        "faces": faces / counted,
        "stored": len(summary.stored) if options.store else 0,
        "fps": counted / wall,
        "cpu_ms": 1e3 * cpu / counted,
        "work_ms_p95": 1e3 * float(np.quantile([sum(x) for x in zip(*work, strict=False)] or [0.0], 0.95)),
        "dropped": sum(stages.dropped),
        "p50": timings.quantile_ms(0.5),
        "p95": timings.quantile_ms(0.95),
        "p99": timings.quantile_ms(0.99),
        "rss_mb": memory,
        "mb_a_minute": float(slope),
    }


if __name__ == "__main__":
    main()
