"""Which face of this frame is which face of the last ones, so that each is smoothed by itself."""

import numpy as np
from scipy.optimize import linear_sum_assignment

_PATIENCE = 1.0  # seconds that a face may be missed before it is somebody new
_MIN_IOU = 0.3


class Tracker:
    """Assigns boxes to faces by the largest total overlap.

    Its numbers live as long as the process and are never written. Attribute ids: the faces that are still expected.
    """

    def __init__(self) -> None:
        self.ids = np.empty(0, np.int64)
        self.boxes = np.empty((0, 4))
        self.seen = np.empty(0)
        self.next_id = 0

    def update(self, boxes: np.ndarray, seconds: float) -> np.ndarray:
        """Numbers (int64 N) of the faces at `boxes` (float N×4: x, y, width, height) at the moment `seconds`."""
        fresh = seconds - self.seen <= _PATIENCE
        self.ids, self.boxes, self.seen = self.ids[fresh], self.boxes[fresh], self.seen[fresh]
        overlap = iou(self.boxes, boxes)
        known, found = linear_sum_assignment(overlap, maximize=True)
        close = overlap[known, found] >= _MIN_IOU
        known, found = known[close], found[close]

        ids = np.full(len(boxes), -1, np.int64)
        ids[found] = self.ids[known]
        self.boxes[known], self.seen[known] = boxes[found], seconds
        new = ids < 0
        ids[new] = self.next_id + np.arange(new.sum())
        self.next_id += int(new.sum())
        self.ids = np.concatenate([self.ids, ids[new]])
        self.boxes = np.concatenate([self.boxes, boxes[new]])
        self.seen = np.concatenate([self.seen, np.full(new.sum(), seconds)])
        return ids


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes, float M×4 and N×4 of x, y, width, height: float M×N in [0, 1]."""
    start = np.maximum(a[:, None, :2], b[None, :, :2])
    end = np.minimum(a[:, None, :2] + a[:, None, 2:], b[None, :, :2] + b[None, :, 2:])
    shared = np.maximum(end - start, 0).prod(axis=2)
    return shared / (a[:, 2:].prod(axis=1)[:, None] + b[:, 2:].prod(axis=1)[None] - shared)
