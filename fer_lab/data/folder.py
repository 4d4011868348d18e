"""Any collection of face images: a folder a class, or a csv that says what each image shows."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np

from fer_lab.data.images import CHANNELS, Fit, fit, read_image
from fer_lab.data.source import Face, Source
from fer_lab.data.splits import file_digest
from fer_lab.data.tree import Entry, entries_of_folders, entries_of_manifest, with_subjects
from fer_lab.errors import FerLabError, LeftOut
from fer_lab.faces.align import crop_aligned
from fer_lab.faces.crop import Channels, crop_faces
from fer_lab.faces.detect import Detector, build_detector
from fer_lab.labels import LabelMap, class_order

Crop = Literal["none", "detect"]
MissingFace = Literal["skip", "stop", "keep"]


@dataclass(kw_only=True)
class FolderSource(Source):
    """Images in a folder a class, at any depth, of any size, grey or colour: one's own, CK+48, RAF-DB, AffectNet.

    Class and split are the names of folders (`train/happy/…`, `happy/S010/…`), or stand in a manifest. Without a split
    of its own, the faces are split as the selection says (70/15/15). The sample id is the path below `path`; columns
    `width` and `height` are the picture's own, in pixels.

    Attributes:
        path: the folder.
        name: of the data, as records and tables show it; licence: what may be done with the images, as its owner says.
        label_map: a release (`any` knows the usual spellings; raf_db, affectnet, ferplus ... see `fer_lab.labels`), or
            {class: emotion, or None to leave its images out} beside the usual spellings.
        classes: emotions to keep, the others are left out and counted; None: all that are there.
        manifest: csv (path, label, subject, split, others), absolute or below `path`; see
            :func:`fer_lab.data.tree.entries_of_manifest`. manifest_columns: its own names for these columns.
        split_names: other meanings of split folders, for example {val: test} where a release has no test labels.
        subject_pattern: regular expression that finds the subject in a path, such as `S\\d+` for CK+.
        size: of the faces in pixels; channels: grey or rgb (or 1, 3).
        fit: how pictures become squares: crop (the longer side, on both ends) or pad (the shorter, with mid-grey).
        crop: none, or detect: the largest face is found, turned until its eyes are level (`align`) and cut out.
        detector_file: a YuNet .onnx; None: OpenCV's Haar cascade. detector_width, min_face: see
            :class:`fer_lab.faces.detect.Detector`. crop_margin: share of the box's side shown around it on each side.
        on_missing_face: skip (counted), stop, or keep the whole picture (counted, `crop` column: whole).
    """

    path: str
    name: str = "folder"
    licence: str = "unknown: state it with data.licence="
    label_map: LabelMap = "any"
    classes: Sequence[str] | None = None
    manifest: str | None = None
    manifest_columns: Mapping[str, str] = field(default_factory=dict)
    split_names: Mapping[str, str] = field(default_factory=dict)
    subject_pattern: str | None = None
    size: int = 128
    channels: int = 3
    fit: Fit = "crop"
    crop: Crop = "none"
    align: bool = True
    detector_file: str | None = None
    detector_width: int = 960
    min_face: int = 40
    crop_margin: float = 0.0
    on_missing_face: MissingFace = "skip"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.channels = CHANNELS.get(self.channels, self.channels)  # type: ignore[call-overload]
        self.name = str(self.name)
        self.classes = [self.classes] if isinstance(self.classes, str) else self.classes
        self._check()
        self.root = Path(self.path).expanduser()
        if not self.root.is_dir():
            raise FerLabError(f"data.path={self.path} is no folder; give the one whose sub-folders are the classes.")
        self.entries = self._entries()
        found = {entry.emotion for entry in self.entries if entry.emotion}
        if self.classes and (absent := set(self.classes) - found):
            raise FerLabError(
                f"data.classes asks for {min(absent)}, but {self.path} shows {', '.join(class_order(found))}."
            )
        self.class_names = class_order(self.classes or found)
        if len(self.class_names) < 2:
            raise FerLabError(f"{self.path} shows only {', '.join(self.class_names)}; at least two classes are needed.")
        self._faces: Counter[str] = Counter()

    def files(self) -> Sequence[Path]:
        """The images that may be read; of the others nothing can be known."""
        paths = (self.root / entry.name for entry in self.entries)
        return [path for path in paths if path.is_file() and os.access(path, os.R_OK)]

    def settings(self) -> dict[str, Any]:
        detects = ("align", "detector_file", "detector_width", "min_face", "on_missing_face")
        unused = detects if self.crop == "none" else ()
        own = {key: value for key, value in super().settings().items() if key not in (*unused, "manifest", "name")}
        if self.crop == "detect" and self.detector_file:
            own["detector_file"] = file_digest(Path(self.detector_file).expanduser())
        first = self.entries[0].name  # ids are paths, so it matters at which height of the tree they begin
        return {**own, "manifest": self.manifest and file_digest(self._manifest_path()), "first": first}

    def expected(self) -> int:
        return len(self.entries)

    def read(self) -> Iterator[Face | FerLabError]:
        self._faces.clear()
        detector = self._detector()
        for entry in self.entries:
            try:
                yield self._face(entry, detector)
            except FerLabError as error:
                yield error

    def notes(self) -> list[str]:
        """What was done to find the faces, after `read`."""
        if self.crop == "none":
            return []
        found, done = self._faces, {"skip": "left out", "stop": "an error", "keep": "kept whole"}[self.on_missing_face]
        by = "YuNet" if self.detector_file else "the Haar cascade"
        levelled = f", {found['levelled']} of them turned level" if self.align else ""
        return [
            f"{found['found']} images whose face {by} found{levelled}; {found['several']} showed several, the largest "
            f"was taken; {found['missing']} showed none: {done}."
        ]

    def _face(self, entry: Entry, detector: Detector | None) -> Face:
        where = f"{self.name}/{entry.name}"
        if entry.emotion not in self.class_names:
            why = "data.label_map leaves its class out" if entry.emotion is None else f"it shows {entry.emotion}"
            raise LeftOut("other-class", f"{where}: left out, {why}.")
        if not _is_utf8(entry.name):
            raise FerLabError(f"{where!a}: the name is not UTF-8; rename it, or use data.on_corrupt=skip.")
        image = read_image(self.root / entry.name, where)
        columns = {"width": image.shape[1], "height": image.shape[0], **entry.columns}
        if detector is None:
            face = fit(image, self.size, self.channels, self.fit)
        else:
            face, columns["crop"] = self._cropped(image, detector, where)
        return Face(entry.name, face, str(entry.emotion), entry.split, where, columns=columns)

    def _cropped(self, image: np.ndarray, detector: Detector, where: str) -> tuple[np.ndarray, str]:
        """The largest face of a picture, uint8 size×size×channels, and how it was made: face, level face or whole."""
        bgr = (
            np.ascontiguousarray(image[..., ::-1]) if image.shape[-1] == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        )
        boxes = detector(bgr)
        if not len(boxes):
            self._faces["missing"] += 1
            if self.on_missing_face == "keep":
                return fit(image, self.size, self.channels, self.fit), "whole"
            sentence = f"{where}: no face was found; data.on_missing_face=keep takes the whole picture."
            raise LeftOut("undetected", sentence) if self.on_missing_face == "skip" else FerLabError(sentence)
        self._faces["found"] += 1
        self._faces["several"] += len(boxes) > 1
        largest = boxes[boxes[:, 2:].prod(axis=1).argmax()][None]
        mode: Channels = "grey" if self.channels == 1 else "rgb"
        if not self.align:
            return crop_faces(bgr, largest, self.crop_margin, self.size, mode)[0], "face"
        eyes = detector.eyes(bgr, largest)
        level = bool(np.isfinite(eyes).all())
        self._faces["levelled"] += level
        face = crop_aligned(bgr, largest, eyes, self.crop_margin, self.size, mode)[0]
        return face, "level face" if level else "face"

    def _entries(self) -> list[Entry]:
        if self.manifest is None:
            entries = entries_of_folders(self.root, self.label_map, self.split_names)
        else:
            entries = entries_of_manifest(
                self.root, self._manifest_path(), self.label_map, self.split_names, self.manifest_columns
            )
        if any(entry.split for entry in entries) and not all(entry.split for entry in entries):
            odd = next(entry.name for entry in entries if not entry.split)
            raise FerLabError(f"{self.path}: some images have a split, but '{odd}' has none; give all one, or none.")
        return with_subjects(entries, self.subject_pattern) if self.subject_pattern else entries

    def _manifest_path(self) -> Path:
        given = Path(str(self.manifest)).expanduser()
        return self.root / given if (self.root / given).is_file() else given

    def _detector(self) -> Detector | None:
        if self.crop == "none":
            return None
        return build_detector(self.detector_file, self.detector_width, self.min_face, "data.detector_file")

    def _check(self) -> None:
        words = {"fit": Fit, "crop": Crop, "on_missing_face": MissingFace}
        for key, known in words.items():
            if getattr(self, key) not in get_args(known):
                raise FerLabError(f"data.{key}={getattr(self, key)} is unknown; use {', '.join(get_args(known))}.")
        if self.channels not in (1, 3):
            raise FerLabError(f"data.channels={self.channels} is unknown; use grey or rgb.")
        if self.size < 8:
            raise FerLabError(f"data.size={self.size} is too small for a face; use 8 pixels or more.")
        for key, least in (("detector_width", 1), ("min_face", 1), ("crop_margin", -0.45)):
            if not getattr(self, key) >= least:
                raise FerLabError(f"data.{key}={getattr(self, key)} must be at least {least}.")
        if not re.fullmatch(r"[\w.+-]+", self.name):
            raise FerLabError(f"data.name={self.name} names a folder; use letters, digits, '.', '+', '-' and '_' only.")
        self._detector()  # a detector's file that is none is refused before anything is read


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes of another encoding
        return False
    return True
