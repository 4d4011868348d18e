"""What a source of faces is: an iterator of decoded, labelled, split faces, and their fingerprint."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from fer_lab.data.selection import SPLITS as SPLITS
from fer_lab.data.selection import Selection
from fer_lab.data.splits import file_digest
from fer_lab.errors import FerLabError, LeftOut
from fer_lab.labels import EMOTIONS


@dataclass(frozen=True)
class Face:
    """One decoded face.

    Attributes:
        sample_id: unique and stable: the same image has the same id in every process and on every machine.
        image: uint8, H×W×C with C 1 (grey) or 3 (RGB).
        emotion: a name of the vocabulary (`fer_lab.labels`).
        split: train, validation or test, or "" where the source has no split of its own.
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


class Description:
    """What a source is, beside its options.

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


@dataclass(kw_only=True)
class Source(Selection, Description, ABC):
    """Base of all sources; a subclass says where it is (`files`) and how to read it (`read`).

    A subclass is a dataclass too, whose fields are its config's keys; an attribute of :class:`Description` becomes an
    option by being annotated again. Checks go into `__post_init__`, after that of this class.
    """

    @abstractmethod
    def read(self) -> Iterator[Face | FerLabError]:
        """Decode face by face, all of them: the selection follows. An unreadable one is yielded as its error, so that
        the caller decides what to do."""

    @abstractmethod
    def expected(self) -> int | None:
        """Number of faces `read` will yield, for the progress bar; None when unknown."""

    def files(self) -> Sequence[Path]:
        """The files the source reads; empty for generated faces."""
        return ()

    def notes(self) -> list[str]:
        """What is worth knowing of the faces that were read, in sentences, for the record and the audit."""
        return []

    def settings(self) -> dict[str, Any]:
        """What besides the files' content decides what `read` yields: a subclass's own options but for `path`."""
        shared = {option.name for option in fields(Source)}
        own = [option.name for option in fields(self) if option.name not in shared and option.init]
        return {name: getattr(self, name) for name in own if name != "path"}

    def stat_key(self) -> str:
        """Cheap fingerprint: names, sizes and modification times; equal means equal content."""
        stats = [(str(path), (s := path.stat()).st_size, s.st_mtime_ns) for path in self.files()]
        return _digest([type(self).__name__, self.name, self.settings(), self.selection_key(), stats])

    def content_key(self) -> str:
        """Fingerprint of the bytes behind the source, its settings and the selection; where the files lie does not
        matter."""
        files = self.files()
        root = Path(files[0]).parent if len(files) == 1 else Path(_common_root(files)) if files else Path()
        digests = [(str(path.relative_to(root)), file_digest(path)) for path in files]
        return _digest([type(self).__name__, self.settings(), self.selection_key(), sorted(digests)])


@dataclass
class Skipped:
    """Counts the faces that are left out while decoding, by reason, with the first sentences of each.

    Attributes:
        reasons: how many of each, unreadable unless the source says another (`LeftOut`); first: sentences of each, as
            many as `most`.
    """

    reasons: dict[str, int] = field(default_factory=dict)
    first: dict[str, list[str]] = field(default_factory=dict)
    most: float = 20

    def add(self, error: FerLabError) -> None:
        reason = error.reason if isinstance(error, LeftOut) else "unreadable"
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        if self.reasons[reason] <= self.most:
            self.first.setdefault(reason, []).append(str(error))

    @property
    def count(self) -> int:
        """Of all reasons."""
        return sum(self.reasons.values())

    @property
    def sentences(self) -> list[str]:
        """The first of all reasons."""
        return [sentence for some in self.first.values() for sentence in some]

    def in_words(self) -> str:
        """For example "3 unreadable, 2 undetected faces skipped"."""
        return ", ".join(f"{count} {reason}" for reason, count in self.reasons.items()) + " faces skipped"


def _digest(parts: list) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _common_root(files: Sequence[Path]) -> str:
    import os.path

    return os.path.commonpath([str(path.parent) for path in files])
