"""Everything that a run writes, behind one object: the sink's files, the store's rows, and what was switched on."""

from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from omegaconf import DictConfig

from fer_lab.deploy.runtimes import Classifier
from fer_lab.extras import optional
from fer_lab.live import summary
from fer_lab.live.capture import Source
from fer_lab.live.embeddings import Embedder
from fer_lab.live.extras import BlurredVideo, Embeddings, Extra, Tracks
from fer_lab.live.pipeline import Moment
from fer_lab.live.privacy import declaration, described
from fer_lab.live.segments import Segment, SegmentMeans, read_segments
from fer_lab.live.sink import PRIVACY, SEGMENTS, SUMMARY, Sink
from fer_lab.live.summary import Second

if TYPE_CHECKING:  # SQLAlchemy is loaded only for a run that has a store
    from fer_lab.live.store import Store

_MEANS = "means over all faces of a second; no row where they were few"
_OF_SEGMENTS = "means over the stored seconds of a part of the lesson"


class Keeper:
    """Opened before the first frame is worked on, closed whatever happens.

    Raises:
        FerLabError: the sink holds a run already, the store cannot be opened, or what it needs is not installed, or the
            segments cannot be read.
    """

    def __init__(self, cfg: DictConfig, source: Source, classifier: Classifier) -> None:
        self.scale = cfg.live.lsi_scale
        self.store: Store | None = None
        self.lesson: int | None = None
        self.sink: Sink | None = None
        self.extras: list[Extra] = []
        self.segments: list[tuple[Segment, Second]] = []
        self.parts = SegmentMeans(read_segments(cfg.live.segments) if cfg.live.segments else [], self._segment)
        embedder = Embedder(cfg.model, cfg.live.threads) if cfg.privacy.embeddings else None
        if cfg.live.store:
            optional("sqlalchemy", "live")
            from fer_lab.live.store import open_store

            self.store = open_store(cfg.live.store, patient=True)
        if cfg.sink:
            columns = summary.columns(classifier.class_names, self.scale)
            files = {SUMMARY: columns}
            if cfg.live.segments:
                files[SEGMENTS] = ["start_s", "end_s", "title", "seconds", *columns[1:]]
            self.sink = Sink(Path(cfg.sink), files)
            self.extras = list(_extras(cfg, source, classifier, embedder))
        self._declare(cfg, source, classifier)

    def _declare(self, cfg: DictConfig, source: Source, classifier: Classifier) -> None:
        metadata, started = classifier.metadata, datetime.now(UTC)
        model = {"experiment": metadata.experiment, "run_key": metadata.run_key}
        if self.sink:
            columns = summary.columns(classifier.class_names, self.scale)
            stored = {SUMMARY: described(columns, _MEANS)}
            if cfg.live.segments:
                stored[SEGMENTS] = described(["start_s", "end_s", "title", "seconds", *columns[1:]], _OF_SEGMENTS)
            stored |= {extra.file: {"what": extra.what} for extra in self.extras}
            stored[PRIVACY] = {"what": "this file"}
            self.sink.declare(declaration(cfg, source.kind, model, stored, started))
        if self.store:
            tables = {"lessons": {"what": "one row"}, "seconds": {"what": _MEANS}, "segments": {"what": _OF_SEGMENTS}}
            own = cfg.live.lesson
            self.lesson = self.store.start_lesson(
                title=own.title, class_name=own.class_name, teacher=own.teacher, purpose=cfg.live.purpose,
                model_key=metadata.run_key, class_names=classifier.class_names,
                weights={name: float(cfg.live.weights[name]) for name in classifier.class_names},
                min_group=cfg.privacy.min_group, privacy=declaration(cfg, source.kind, model, tables, started),
                started=started,
            )  # fmt: skip

    def second(self, second: Second) -> None:
        """Keep a finished second; on disk when this returns."""
        if self.sink:
            self.sink.write(SUMMARY, summary.row(second, self.scale))
        if self.store and self.lesson is not None:
            self.store.add_second(self.lesson, second.second, second.faces, second.fewest, *_stored(second))
        self.parts.add(second)

    def moment(self, moment: Moment, labels: np.ndarray, lsi: float) -> None:
        """Hand a moment that is a group to what was switched on."""
        for extra in self.extras:
            extra.add(moment, labels, lsi)

    def _segment(self, segment: Segment, mean: Second) -> None:
        self.segments.append((segment, mean))
        if self.sink:
            times = [f"{segment.start_s:g}", f"{segment.end_s:g}", segment.title, f"{mean.second}"]
            self.sink.write(SEGMENTS, [*times, *summary.values(mean, self.scale)])
        if self.store and self.lesson is not None:
            self.store.add_segment(
                self.lesson, segment.start_s, segment.end_s, segment.title, mean.faces, *_stored(mean)
            )

    def close(self) -> None:
        """Finish the segments, then every file and the lesson."""
        with ExitStack() as whatever_fails:  # last in, first out
            if self.store and self.lesson is not None:
                whatever_fails.callback(self.store.close)
                whatever_fails.callback(self.store.end_lesson, self.lesson)
            if self.sink:
                whatever_fails.callback(self.sink.close)
            for extra in self.extras:
                whatever_fails.callback(extra.close)
            self.parts.close()


def _stored(second: Second) -> tuple[list[float], float, float, float]:
    return second.probabilities.tolist(), second.lsi, second.low, second.high


def _extras(cfg: DictConfig, source: Source, classifier: Classifier, embedder: Embedder | None) -> list[Extra]:
    extras: list[Extra] = []
    if cfg.privacy.per_track:
        extras.append(Tracks(Path(cfg.sink), classifier.class_names))
    if embedder:
        extras.append(Embeddings(Path(cfg.sink), embedder, cfg.privacy.embedding_key_s))
    if cfg.privacy.video:
        extras.append(BlurredVideo(Path(cfg.sink), source.fps))
    return extras
