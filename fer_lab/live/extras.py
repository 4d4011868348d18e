"""What is written beyond a group's means: each where its own switch says so, and of moments that are a group."""

import csv
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from fer_lab.errors import FerLabError
from fer_lab.live.embeddings import Embedder
from fer_lab.live.labels import ABSTAINED
from fer_lab.live.pipeline import Moment
from fer_lab.live.sink import EMBEDDINGS, TRACKS, VIDEO

_BLOCKS = 6  # a blurred face is at most so many pixels wide: fewer than any published recognition needs
_AROUND = 0.3  # of the box's side, blurred on each side of it


class Extra(Protocol):
    """Writes one file. file: its name; what: a sentence for privacy.json."""

    file: str
    what: str

    def add(self, moment: Moment, labels: np.ndarray, lsi: float) -> None:
        """Take in a moment with its labels (int64 N) and its index."""
        ...

    def close(self) -> None: ...


class Tracks:
    """Each followed face's mean probabilities of every second."""

    file = TRACKS
    what = "per second and followed face: its number in this run, mean smoothed probabilities, last label"

    def __init__(self, folder: Path, class_names: Sequence[str]) -> None:
        self.class_names = [*class_names, ""]  # the last one is what an abstention, -1, finds
        self.out = (folder / TRACKS).open("x", newline="", encoding="utf-8")
        self.writer = csv.writer(self.out)
        self.writer.writerow(["second", "track", *class_names, "label"])
        self.second, self.faces = -1, dict[int, list[Any]]()

    def add(self, moment: Moment, labels: np.ndarray, lsi: float) -> None:
        if int(moment.seconds) != self.second:
            self._write()
            self.second = int(moment.seconds)
        for face, p, label in zip(moment.sighting.ids.tolist(), moment.probabilities, labels.tolist(), strict=True):
            known = self.faces.setdefault(face, [0, 0.0, ABSTAINED])
            self.faces[face] = [known[0] + 1, known[1] + p, label]

    def _write(self) -> None:
        for face, (count, total, label) in sorted(self.faces.items()):
            mean = [f"{p:.4f}" for p in total / count]
            self.writer.writerow([self.second, face, *mean, self.class_names[label]])
        self.out.flush()
        self.faces = {}

    def close(self) -> None:
        self._write()
        self.out.close()


class Embeddings:
    """What the model makes of each face before its last layer, once a second, turned by a secret random rotation.

    The rotation is drawn from the system's randomness, kept in memory only and replaced every `key_s` seconds, and a
    second's faces are shuffled. Within one key, distances are kept, so the same person's rows can be recognised as
    alike: this is a pseudonym for `key_s` seconds, no anonymity.
    """

    file = EMBEDDINGS
    what = "per second and face, in random order: the model's features, turned by a random key that is never stored"

    def __init__(self, folder: Path, embedder: Embedder, key_s: float) -> None:
        if key_s <= 0:
            raise FerLabError(f"privacy.embedding_key_s={key_s} must be above 0.")
        self.embedder, self.key_s = embedder, key_s
        self.out = (folder / EMBEDDINGS).open("x", newline="", encoding="utf-8")
        self.writer = csv.writer(self.out)
        self.writer.writerow(["second", "key", *(f"e{i}" for i in range(embedder.size))])
        self.second, self.key = -1, -1
        self.rotation = np.empty(0)
        self.rng = np.random.default_rng(secrets.randbits(128))

    def add(self, moment: Moment, labels: np.ndarray, lsi: float) -> None:
        second = int(moment.seconds)
        if second == self.second:
            return
        self.second = second
        if (key := int(second // self.key_s)) != self.key:
            self.key, self.rotation = key, rotation(self.embedder.size, self.rng)
        turned = self.embedder(moment.crops) @ self.rotation
        for values in turned[self.rng.permutation(len(turned))]:
            self.writer.writerow([second, key, *(f"{value:.4f}" for value in values)])
        self.out.flush()

    def close(self) -> None:
        self.out.close()


def rotation(size: int, rng: np.random.Generator) -> np.ndarray:
    """A random orthogonal matrix float size×size, uniformly (Mezzadri 2007: QR of a Gaussian one, signs corrected)."""
    q, r = np.linalg.qr(rng.normal(size=(size, size)))
    return q * np.sign(np.diag(r))


class BlurredVideo:
    """The picture with every known face made unrecognisable, also wherever one may be that was lost within a second.

    What may hide a lost face grows with time, up to most of the picture. A face that the detector has not found yet, or
    not for longer than a second, is not blurred: privacy.json says so.
    """

    file = VIDEO
    what = "pictures with found faces blurred; a face that the detector missed is NOT blurred, so look before you share"

    def __init__(self, folder: Path, fps: float) -> None:
        self.path, self.fps = folder / VIDEO, fps
        self.writer: cv2.VideoWriter | None = None
        self.size = (0, 0)

    def add(self, moment: Moment, labels: np.ndarray, lsi: float) -> None:
        sighting = moment.sighting
        picture = blur_faces(sighting.frame.image, np.concatenate([sighting.boxes, sighting.areas]))
        text = f"{len(labels)} faces, LSI {lsi:+.2f}"
        for colour, width in (((0, 0, 0), 4), ((255, 255, 255), 1)):
            cv2.putText(picture, text, (10, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.8, colour, width, cv2.LINE_AA)
        if self.writer is None:
            self.size = (picture.shape[1], picture.shape[0])
            self.writer = cv2.VideoWriter(str(self.path), cv2.VideoWriter_fourcc(*"MJPG"), self.fps, self.size)
        self.writer.write(picture if picture.shape[1::-1] == self.size else cv2.resize(picture, self.size))

    def close(self) -> None:
        if self.writer is not None:
            self.writer.release()


def blur_faces(image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """A copy of a picture (uint8 H×W×3) in which boxes (float N×4), and what is around them, are a few flat blocks."""
    picture = image.copy()
    for x, y, width, height in boxes:
        around = _AROUND * max(width, height)
        left, top = max(0, round(x - around)), max(0, round(y - around))
        right, bottom = round(x + width + around), round(y + height + around)
        part = picture[top : max(top, bottom), left : max(left, right)]
        if part.size:
            coarse = cv2.resize(part, (_BLOCKS, _BLOCKS), interpolation=cv2.INTER_AREA)
            part[...] = cv2.resize(coarse, part.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return picture
