"""`python -m fer_lab.live`: video or camera in, a group's emotions and Learning Satisfaction Index per second out."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any

import cv2
from omegaconf import DictConfig
from rich.console import Console

from fer_lab.deploy.runtimes import Classifier
from fer_lab.errors import FerLabError
from fer_lab.faces.detect import build_detector
from fer_lab.live.capture import Source, open_source, paced
from fer_lab.live.fetch import detector_path
from fer_lab.live.interrupt import stop_requests
from fer_lab.live.keep import Keeper
from fer_lab.live.labels import Descriptors, Labeller
from fer_lab.live.legal import NOTICE, require_purpose
from fer_lab.live.lsi import Lsi
from fer_lab.live.pipeline import Frame, Pipeline
from fer_lab.live.privacy import check_privacy
from fer_lab.live.screen import closing_table, line, progress_line
from fer_lab.live.settings import check_settings
from fer_lab.live.smoothing import smoother_factory
from fer_lab.live.stages import Stages
from fer_lab.live.summary import Summary
from fer_lab.live.timing import Timings
from fer_lab.schema import command

_STAGES = ("detection", "classification", "summary")  # each with a queue before it


def live(cfg: DictConfig) -> dict[str, Any]:
    """Watch `source` with `model` until it ends or Ctrl-C, and summarise the group second by second.

    Returns:
        `seconds` (list of :class:`fer_lab.live.summary.Second` that were stored), `withheld` (seconds with too few
        faces), `segments` (list of Segment and its mean), `descriptors` (:meth:`Descriptors.result`), `sink` (folder or
        None), `lesson` (its id in the store, or None), `frames`, `dropped` (by the stage before which frames were
        dropped), `fps` (frames worked through a second of wall time), `frame_ms` and `frame_ms_p95` (median and 95 %
        quantile of the time from a frame's arrival to its smoothed output), `ended` ("end of source" or
        "interruption").

    Raises:
        FerLabError: purpose or consent is missing, or the model, the source or a setting does not fit.
    """
    require_purpose(cfg.live.purpose, cfg.live.consent)
    check_privacy(cfg.privacy, cfg.sink)
    check_settings(cfg.live)
    if cfg.dashboard and not cfg.live.store:
        raise FerLabError("dashboard=true shows the lessons of a store: say live.store=<file> too.")
    if not cfg.model:
        raise FerLabError(
            "No model to ask: say model=<run>/export/model.onnx, after `python -m fer_lab.export run=<run>`."
        )
    _keep_quiet()
    cv2.setNumThreads(cfg.live.threads)
    console = Console()
    console.print(NOTICE, style="yellow", highlight=False)

    classifier = Classifier.load(cfg.model, cfg.live.threads)
    lsi = Lsi(cfg.live.weights, classifier.class_names)
    file = detector_path(cfg.live.detector_file, cfg.live.detector_url, cfg.live.detector_sha256)
    detector = build_detector(file, cfg.live.detector_width, cfg.live.min_face)
    gone = threading.Event()
    source = open_source(cfg.source, cfg.live.folder_fps, **cfg.live.synthetic, reconnect_s=cfg.live.reconnect_s,
                         wait=gone.wait)  # fmt: skip
    realtime = source.kind in ("camera", "stream") if cfg.live.realtime is None else cfg.live.realtime
    # what is not looked for is not blurred, so a video is only made of frames that were searched
    every = 1 if cfg.privacy.video else cfg.live.detect_every or (2 if realtime else 1)
    pipeline = Pipeline(detector, classifier, smoother_factory(**cfg.live.smoothing), every)
    frames = _frames(source, realtime, gone)
    stages = Stages(frames, [pipeline.locate, pipeline.classify], cfg.live.queue, not realtime, gone)
    descriptors = Descriptors(len(classifier.class_names))

    with _pages(cfg), closing(Keeper(cfg, source, classifier)) as keeper:  # no lesson where the pages do not start
        seconds = Summary(cfg.privacy.min_group, lsi, keeper.second)
        result = _watch(cfg, stages, classifier, seconds, descriptors, keeper, console, source.expected)
    described = descriptors.result()
    console.print(
        closing_table(
            seconds.stored, keeper.segments, described, classifier.class_names, seconds.withheld, seconds.min_group,
            cfg.live.lsi_scale,
        )
    )  # fmt: skip
    dropped = ", ".join(f"{count} before {stage}" for stage, count in result["dropped"].items() if count)
    kept = " and ".join(filter(None, [cfg.sink, cfg.live.store and "the store"]))
    console.print(
        f"{result['frames']} frames until {result['ended']}, {dropped or 'none'} dropped, {result['fps']:.1f} FPS, "
        f"{result['frame_ms']:.1f} ms from frame to smoothed output (p95 {result['frame_ms_p95']:.1f}). "
        f"Kept on disk: {kept or 'nothing (no sink)'}",
        highlight=False,
    )
    found = {"seconds": seconds.stored, "segments": keeper.segments, "descriptors": described}
    sink = Path(cfg.sink) if cfg.sink else None
    return {**found, "withheld": seconds.withheld, "sink": sink, "lesson": keeper.lesson, **result}


def _keep_quiet() -> None:
    """No reports to the makers of ONNX Runtime (since 1.29), and no lines of OpenCV beside our one sentence."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when onnxruntime is imported, which loading a model does
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def _frames(source: Source, realtime: bool, gone: threading.Event) -> Iterator[Frame]:
    """Frames as they arrive; a recording played in real time keeps to its own clock, as a camera would."""
    played = realtime and source.kind not in ("camera", "stream")
    for seconds, image in paced(source.frames, gone.wait) if played else source.frames:
        yield Frame(seconds, image, time.perf_counter())


def _pages(cfg: DictConfig) -> AbstractContextManager[None]:
    """The store's lessons as web pages, from a process beside this one, where dashboard=true asks for them."""
    if not cfg.dashboard:
        return nullcontext()
    from fer_lab.dashboard import require_extra

    require_extra()
    from fer_lab.dashboard.serve import dashboard_beside  # a web server is loaded only here

    return dashboard_beside(str(cfg.live.store), None if cfg.dashboard is True else cfg.dashboard)


def _watch(
    cfg: DictConfig,
    stages: Stages,
    classifier: Classifier,
    seconds: Summary,
    descriptors: Descriptors,
    keeper: Keeper,
    console: Console,
    expected: int | None,
) -> dict[str, Any]:
    """Work through the frames; whatever stops it, the last second is finished."""
    least = cfg.live.abstain_below
    if least is None:
        least = classifier.metadata.abstain_below or 0.0
    label = Labeller(least, cfg.live.hysteresis)
    timings, start = Timings(), time.perf_counter()
    with (
        stop_requests() as stop,
        progress_line(console, expected) as progress,
        closing(stages.run(lambda: bool(stop))) as moments,
    ):
        try:
            for moment in moments:
                timings.add(time.perf_counter() - moment.sighting.frame.arrived)
                ids, known = moment.sighting.ids, moment.sighting.expected
                labels = label(ids, moment.probabilities, known)
                counted = labels >= 0 if cfg.live.abstain_from == "group" else slice(None)
                index = seconds.add(moment.seconds, moment.probabilities[counted])
                if index is not None:
                    descriptors.add(moment.seconds, ids, moment.probabilities, labels, known)
                    keeper.moment(moment, labels, index)
                shown = line(len(ids), index, seconds.min_group, cfg.live.lsi_scale)
                progress.update(progress.task_ids[0], advance=1, description=shown)
        finally:
            seconds.close()
    frames = int(timings.counts.sum())
    return {
        "frames": frames,
        "dropped": dict(zip(_STAGES, stages.dropped, strict=True)),
        "fps": frames / (time.perf_counter() - start),
        "frame_ms": timings.quantile_ms(0.5),
        "frame_ms_p95": timings.quantile_ms(0.95),
        "ended": "interruption" if stop else "end of source",
    }


main = command("live")(live)
if __name__ == "__main__":
    main()
