"""What a source of faces is: an iterator of decoded, labelled, split faces, and their fingerprint."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fer_lab.errors import FerLabError
from fer_lab.labels import EMOTIONS

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Face:
    """One decoded face.

    Attributes:
        sample_id: unique and stable: the same image has the same id in every process and on every machine.
        image: uint8, H×W×C with C 1 (grey) or 3 (RGB).
        emotion: a name of the vocabulary (`fer_lab.labels`).
        split: train, validation or test.
        where: file and row, for messages.
        votes: float32 K, the share of raters for each of the source's class_names, adding up to 1; None without raters.
        columns: what else is known of it, by name (subject, source, agreement, any column of a manifest): scores can be
            given for each value, and whole subjects stay on one side of a split.
    """

    sample_id: str
    image: np.ndarray
    emotion: str
    split: str
    where: str
    votes: np.ndarray | None = None
    columns: Mapping[str, str | float] = field(default_factory=dict)


class Source(ABC):
    """Base of all sources; a subclass says where it is (`files`) and how to read it (`read`).

    Attributes:
        name: as the record shows it.
        licence: what may be done with the images, printed by the audit and kept in the record.
        class_names: order of the labels and logits.
        size: native side length in pixels; channels: 1 grey, 3 RGB.
        crop_margin: share of a detected face box that the faces show around it, for live crops to match.
    """

    name: str
    licence: str
    class_names: tuple[str, ...] = EMOTIONS
    size: int = 48
    channels: int = 1
    crop_margin: float = 0.0
    on_corrupt: str = "stop"

    @abstractmethod
    def read(self) -> Iterator[Face | FerLabError]:
        """Decode face by face; an unreadable one is yielded as its error, so that the caller decides what to do."""

    @abstractmethod
    def expected(self) -> int | None:
        """Number of faces `read` will yield, for the progress bar; None when unknown."""

    def files(self) -> Sequence[Path]:
        """The files the source reads; empty for generated faces."""
        return ()

    def settings(self) -> dict:
        """What besides the files' content decides what `read` yields (split fractions, seeds)."""
        return {}

    def stat_key(self) -> str:
        """Cheap fingerprint: names, sizes and modification times; equal means equal content."""
        stats = [(str(path), (s := path.stat()).st_size, s.st_mtime_ns) for path in self.files()]
        return _digest([type(self).__name__, self.settings(), self.on_corrupt, stats])

    def content_key(self) -> str:
        """Fingerprint of the bytes behind the source and of its settings; where the files lie does not matter."""
        files = self.files()
        root = Path(files[0]).parent if len(files) == 1 else Path(_common_root(files)) if files else Path()
        digests = []
        for path in files:
            with path.open("rb") as handle:
                digests.append((str(path.relative_to(root)), hashlib.file_digest(handle, "blake2b").hexdigest()))
        return _digest([type(self).__name__, self.settings(), self.on_corrupt, sorted(digests)])


@dataclass
class Skipped:
    """Counts what `on_corrupt=skip` left out, with the first few sentences."""

    count: int = 0
    sentences: list[str] = field(default_factory=list)

    def add(self, error: FerLabError) -> None:
        self.count += 1
        if len(self.sentences) < 20:
            self.sentences.append(str(error))


def _digest(parts: list) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _common_root(files: Sequence[Path]) -> str:
    import os.path

    return os.path.commonpath([str(path.parent) for path in files])
