"""One emotion for each face where the model is confident, and how calm a group's emotions are (paper A)."""

from dataclasses import dataclass, field

import numpy as np

from fer_lab.live.track import PATIENCE

ABSTAINED = -1


class Labeller:
    """Labels of single faces. They are counted, never written.

    Args:
        abstain_below: least confidence, the largest smoothed probability, of a label; 0 labels every face.
        hysteresis: a face keeps its label until another class is more probable by this much. A kept label needs no
            probability of its own: the model is as confident as its most probable class says.
    """

    def __init__(self, abstain_below: float, hysteresis: float) -> None:
        self.abstain_below, self.hysteresis = abstain_below, hysteresis
        self.last: dict[int, int] = {}

    def __call__(self, ids: np.ndarray, probabilities: np.ndarray, expected: frozenset[int]) -> np.ndarray:
        """Classes (int64 N, ABSTAINED where the model is not confident) of faces with probabilities float N×K."""
        self.last = {face: label for face, label in self.last.items() if face in expected}
        labels = np.full(len(ids), ABSTAINED, np.int64)
        for row, (face, p) in enumerate(zip(ids.tolist(), probabilities, strict=True)):
            best = int(p.argmax())
            if p[best] < self.abstain_below:
                continue
            before = self.last.get(face, best)
            self.last[face] = labels[row] = before if p[best] - p[before] <= self.hysteresis else best
        return labels


@dataclass
class _Past:
    """Of one face: what it last showed and when, and its last label."""

    seconds: float
    probabilities: np.ndarray
    label: int


@dataclass
class Descriptors:
    """Sums over all faces of a group, by time and not by frames; feed it only moments that are a group.

    faces: tracks seen. face_seconds: time between two sightings of a face, gaps beyond the tracker's patience left out.
    class_seconds: K, of it with that label. series: stretches with one label. transitions: changes from one label to
    another, an abstention in between or not.
    """

    classes: int
    faces: int = 0
    sightings: int = 0
    abstained: int = 0
    pairs: int = 0
    transitions: int = 0
    series: int = 0
    change: float = 0.0
    face_seconds: float = 0.0
    class_seconds: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.class_seconds = np.zeros(self.classes)
        self.past: dict[int, _Past] = {}

    def add(
        self, seconds: float, ids: np.ndarray, probabilities: np.ndarray, labels: np.ndarray, expected: frozenset[int]
    ) -> None:
        """Take in the faces of one frame: numbers int64 N, smoothed probabilities float N×K, labels int64 N.

        expected: numbers of all faces that may come again, those of this frame among them; no other ever does.
        """
        self.past = {face: past for face, past in self.past.items() if face in expected}
        self.sightings += len(ids)
        self.abstained += int((labels == ABSTAINED).sum())
        for face, p, label in zip(ids.tolist(), probabilities, labels.tolist(), strict=True):
            past = self.past.get(face)
            self.faces += past is None  # whoever was counted stays in `past` for as long as the number lives
            before = ABSTAINED if past is None else past.label
            if past is not None and (gap := seconds - past.seconds) <= PATIENCE:
                self.pairs += 1
                self.change += float(np.abs(p - past.probabilities).sum())
                self.face_seconds += gap
                if label != ABSTAINED:
                    self.class_seconds[label] += gap
            if label != ABSTAINED and label != before:
                self.series += 1
                self.transitions += before != ABSTAINED
            self.past[face] = _Past(seconds, p, before if label == ABSTAINED else label)

    def result(self) -> dict[str, float | list[float]] | None:
        """None where no face was seen twice, else

        dominance_s: mean time that a face keeps an emotion. dominance: K shares of the labelled time. transitions: a
        face, mean. flips_per_minute: transitions in a minute of one face. change_l1: mean ||p̂_t - p̂_{t-1}||_1 from one
        frame to the next, as in paper A, and change_l1_per_s, which does not depend on the frame rate. abstained: share
        of sightings without a label.
        """
        if not self.face_seconds:
            return None
        labelled = float(self.class_seconds.sum())
        return {
            "faces": self.faces,
            "dominance_s": labelled / self.series if self.series else 0.0,
            "dominance": (self.class_seconds / labelled if labelled else self.class_seconds).tolist(),
            "transitions": self.transitions / self.faces,
            "flips_per_minute": 60 * self.transitions / self.face_seconds,
            "change_l1": self.change / self.pairs,
            "change_l1_per_s": self.change / self.face_seconds,
            "abstained": self.abstained / self.sightings,
        }
