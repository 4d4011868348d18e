"""Which face of this frame is which face of the last ones, so that each is smoothed by itself.

A small tracker in the manner of SORT (Bewley et al. 2016) and DeepSORT's gate (Wojke et al. 2017): a constant-velocity
Kalman filter predicts where a face is, and overlap with what was found decides. Written here, because the kept
libraries do not install beside this project's pinned set.
"""

from collections.abc import Callable

import numpy as np
from scipy.optimize import linear_sum_assignment

PATIENCE = 1.0  # seconds that a face may be missed before it is somebody new
_MIN_IOU = 0.3
_GATE = 13.28  # 99 % quantile of chi-square with 4 degrees of freedom: x, y, width and height
# standard deviations in sides of the box: of a found box's place and size, of a new face's speed (a second), of what
# speed changes by (a second squared), and of what the size drifts by (a square root of a second). A size has no speed:
# a face that is being hidden shrinks, and would be expected back as a dot. Chosen on scripted walks and a street scene,
# where a woman passes close to the camera at 7 sides a second. That must lie within a new face's speed: where she is
# looked for in every second frame and it does not (1.5), she gets a new number each time, and the old ones take others.
_FOUND, _SPEED, _CHANGE, _DRIFT = 0.06, 2.5, 6.0, 0.5
_SURE = 3.0  # standard deviations within which a face is looked for by whoever must not miss it


class Tracker:
    """Numbers faces from frame to frame. The numbers live as long as the process.

    Attributes:
        ids: int64 M, the faces that are still expected; seen: float M, when each was found last; found: int64 M, how
        often. state: float M×4×2, centre x, centre y, width and height, each with its change a second.
    """

    def __init__(self) -> None:
        self.ids = np.empty(0, np.int64)
        self.found = np.empty(0, np.int64)
        self.seen = np.empty(0)
        self.state = np.empty((0, 4, 2))
        self.spread = np.empty((0, 4, 2, 2))  # covariance of each value and its change
        self.seconds = self.detected = 0.0
        self.next_id = 0

    def update(self, boxes: np.ndarray, seconds: float) -> np.ndarray:
        """Numbers (int64 N) of the faces at `boxes` (float N×4: x, y, width, height) at the moment `seconds`."""
        self._advance(seconds)
        self.detected = seconds
        boxes = np.asarray(boxes, float).reshape(-1, 4)
        ids = np.full(len(boxes), -1, np.int64)
        known, found = _assign(iou(self._boxes(), boxes), lambda overlap: overlap >= _MIN_IOU)
        # a face that turned or walked unseen no longer overlaps: whatever lies within the filter's own doubt is it
        left, new = np.setdiff1d(np.arange(len(self.ids)), known), np.setdiff1d(np.arange(len(boxes)), found)
        late, there = _assign(-self._surprise(left, boxes[new]), lambda closeness: closeness >= -_GATE)
        known, found = np.concatenate([known, left[late]]), np.concatenate([found, new[there]])

        ids[found] = self.ids[known]
        self._correct(known, boxes[found], seconds)
        self._begin(boxes[ids < 0], seconds)
        ids[ids < 0] = self.ids[len(self.ids) - int((ids < 0).sum()) :]
        return ids

    def predict(self, seconds: float) -> tuple[np.ndarray, np.ndarray]:
        """Numbers (int64 N) and boxes (float N×4) at a moment without detection, of the faces it last found."""
        self._advance(seconds)
        here = self.seen == self.detected
        return self.ids[here], self._boxes()[here]

    def areas(self) -> np.ndarray:
        """Boxes (float M×4) around wherever each face of `ids` may be at this moment, found or not.

        They grow with the filter's doubt: a face that was missed for a second may be far away.
        """
        deviation = np.sqrt(self.spread[:, :, 0, 0])
        half = self._boxes()[:, 2:] / 2 + _SURE * (deviation[:, :2] + deviation[:, 2:] / 2)
        return np.concatenate([self.state[:, :2, 0] - half, 2 * half], axis=1)

    def _boxes(self) -> np.ndarray:
        centre, size = self.state[:, :2, 0], np.maximum(self.state[:, 2:, 0], 1.0)
        return np.concatenate([centre - size / 2, size], axis=1)

    def _scale(self) -> np.ndarray:
        """Longer side of each box, float M×1: what all deviations are measured in."""
        return np.maximum(self.state[:, 2:, 0].max(axis=1, initial=1.0), 1.0)[:, None]

    def _advance(self, seconds: float) -> None:
        """Move every face on to a moment, and forget those missed for too long."""
        fresh = seconds - self.seen <= PATIENCE
        self.ids, self.found, self.seen = self.ids[fresh], self.found[fresh], self.seen[fresh]
        self.state, self.spread = self.state[fresh], self.spread[fresh]
        gap = max(0.0, seconds - self.seconds)
        self.seconds = seconds
        move = np.array([[1, gap], [0, 1]])
        self.state = self.state @ move.T
        shake = np.empty((4, 2, 2))
        shake[:2] = _CHANGE**2 * np.array([[gap**4 / 4, gap**3 / 2], [gap**3 / 2, gap**2]])
        shake[2:] = _DRIFT**2 * np.array([[gap, 0], [0, 0]])
        self.spread = move @ self.spread @ move.T + (self._scale() ** 2)[:, :, None, None] * shake

    def _surprise(self, tracks: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Squared Mahalanobis distance of found boxes from predicted ones, float T×N."""
        doubt = self.spread[tracks][:, :, 0, 0] + (_FOUND * self._scale()[tracks]) ** 2
        gap = _centred(boxes)[None] - self.state[tracks][:, None, :, 0]
        return (gap**2 / doubt[:, None]).sum(axis=2)

    def _correct(self, tracks: np.ndarray, boxes: np.ndarray, seconds: float) -> None:
        """The Kalman update, each value by itself."""
        spread = self.spread[tracks]
        gain = spread[..., 0] / (spread[..., 0, 0] + (_FOUND * self._scale()[tracks]) ** 2)[..., None]
        self.state[tracks] += gain * (_centred(boxes) - self.state[tracks][..., 0])[..., None]
        self.spread[tracks] = spread - gain[..., None] * spread[..., :1, :]
        self.seen[tracks] = seconds
        self.found[tracks] += 1

    def _begin(self, boxes: np.ndarray, seconds: float) -> None:
        """Start a track for each box that is nobody's."""
        n = len(boxes)
        side = np.maximum(boxes[:, 2:].max(axis=1, initial=1.0), 1.0)[:, None]
        spread = np.zeros((n, 4, 2, 2))
        spread[..., 0, 0], spread[:, :2, 1, 1] = (_FOUND * side) ** 2, (_SPEED * side) ** 2
        self.ids = np.concatenate([self.ids, self.next_id + np.arange(n)])
        self.next_id += n
        self.found = np.concatenate([self.found, np.ones(n, np.int64)])
        self.seen = np.concatenate([self.seen, np.full(n, seconds)])
        self.state = np.concatenate([self.state, np.stack([_centred(boxes), np.zeros((n, 4))], axis=2)])
        self.spread = np.concatenate([self.spread, spread])


def _assign(score: np.ndarray, close: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pairs with the largest total score (Kuhn 1955), those that are close enough."""
    rows, columns = linear_sum_assignment(score, maximize=True)
    fits = close(score[rows, columns])
    return rows[fits], columns[fits]


def _centred(boxes: np.ndarray) -> np.ndarray:
    """Boxes x, y, width, height as centre x, centre y, width, height."""
    return np.concatenate([boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:]], axis=1)


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes, float M×4 and N×4 of x, y, width, height: float M×N in [0, 1]."""
    start = np.maximum(a[:, None, :2], b[None, :, :2])
    end = np.minimum(a[:, None, :2] + a[:, None, 2:], b[None, :, :2] + b[None, :, 2:])
    shared = np.maximum(end - start, 0).prod(axis=2)
    return shared / (a[:, 2:].prod(axis=1)[:, None] + b[:, 2:].prod(axis=1)[None] - shared)
