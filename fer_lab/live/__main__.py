"""`python -m fer_lab.live`: video or camera in, a group's emotions and Learning Satisfaction Index per second out."""

import os
import time
from pathlib import Path
from typing import Any

import cv2
from omegaconf import DictConfig
from rich.console import Console

from fer_lab.deploy.runtimes import Classifier
from fer_lab.errors import FerLabError
from fer_lab.evaluation.smoothing import smoother_factory
from fer_lab.faces.detect import build_detector
from fer_lab.live import summary
from fer_lab.live.capture import Source, open_source
from fer_lab.live.interrupt import stop_requests
from fer_lab.live.legal import NOTICE, require_purpose
from fer_lab.live.lsi import Lsi
from fer_lab.live.pipeline import Pipeline
from fer_lab.live.screen import closing_table, line, progress_line
from fer_lab.live.sink import Sink
from fer_lab.schema import command


def live(cfg: DictConfig) -> dict:
    """Watch `source` with `model` until it ends or Ctrl-C, and summarise the group second by second.

    Returns:
        `seconds` (list of :class:`summary.Second` that were stored), `withheld` (seconds with too few faces), `frames`,
        `fps` (frames worked through a second of wall time), `frame_ms` (mean time from frame to smoothed output),
        `ended` ("end of source" or "interruption"), `sink` (folder or None).

    Raises:
        FerLabError: purpose or consent is missing, or the model, the source or a setting does not fit.
    """
    require_purpose(cfg.live.purpose, cfg.live.consent)
    if cfg.privacy.min_group < 1:
        raise FerLabError(f"privacy.min_group={cfg.privacy.min_group} must be at least 1; the default is 5.")
    if not cfg.model:
        raise FerLabError(
            "No model to ask: say model=<run>/export/model.onnx, after `python -m fer_lab.export run=<run>`."
        )
    _keep_quiet()
    console = Console()
    console.print(NOTICE, style="yellow", highlight=False)

    classifier = Classifier.load(cfg.model, cfg.live.threads)
    detector = build_detector(cfg.live.detector_file, cfg.live.detector_width, cfg.live.min_face)
    pipeline = Pipeline(detector, classifier, smoother_factory(**cfg.live.smoothing))
    lsi = Lsi(cfg.live.weights, classifier.class_names)
    source = open_source(cfg.source, cfg.live.folder_fps, **cfg.live.synthetic)
    columns = summary.columns(classifier.class_names)
    sink = Sink(Path(cfg.sink), columns, _declared(cfg, source, classifier)) if cfg.sink else None
    seconds = summary.Summary(
        cfg.privacy.min_group, lsi, lambda second: sink.write(summary.row(second)) if sink else None
    )

    try:
        result = _watch(source, pipeline, seconds, console)
    finally:
        if sink:
            sink.close()
    console.print(closing_table(seconds.stored, classifier.class_names, seconds.withheld, seconds.min_group))
    console.print(
        f"{result['frames']} frames until {result['ended']}, {result['fps']:.1f} FPS, "
        f"{result['frame_ms']:.1f} ms from frame to smoothed output. Kept on disk: {cfg.sink or 'nothing (no sink)'}",
        highlight=False,
    )
    return {"seconds": seconds.stored, "withheld": seconds.withheld, "sink": sink and Path(cfg.sink), **result}


def _keep_quiet() -> None:
    """No reports to the makers of ONNX Runtime (since 1.29), and no lines of OpenCV beside our one sentence."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when onnxruntime is imported, which loading a model does
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def _watch(source: Source, pipeline: Pipeline, seconds: summary.Summary, console: Console) -> dict[str, Any]:
    """Work through the frames; whatever stops it, the last second is finished."""
    frames, busy, start = 0, 0.0, time.perf_counter()
    with stop_requests() as stop, progress_line(console, source.expected) as progress:
        try:
            for moment, image in source.frames:
                arrived = time.perf_counter()
                probabilities = pipeline.step(image, moment)
                busy += time.perf_counter() - arrived
                frames += 1
                index = seconds.add(moment, probabilities)
                progress.update(
                    progress.task_ids[0], advance=1, description=line(len(probabilities), index, seconds.min_group)
                )
                if stop:
                    break
        finally:
            seconds.close()
    return {
        "frames": frames,
        "fps": frames / (time.perf_counter() - start),
        "frame_ms": 1e3 * busy / frames,
        "ended": "interruption" if stop else "end of source",
    }


def _declared(cfg: DictConfig, source: Source, classifier: Classifier) -> dict[str, Any]:
    """What privacy.json says of this run: kinds and switches, no names of files."""
    model = classifier.metadata
    return {
        "purpose": cfg.live.purpose,
        "consent": cfg.live.consent,
        "switches": dict(cfg.privacy),
        "source": source.kind,
        "model": {"experiment": model.experiment, "run_key": model.run_key},
    }


main = command("live")(live)
if __name__ == "__main__":
    main()
