"""Cross-dataset scores: another source's faces as a model takes them, of the classes that both know, and nothing else.

A model trained on one source is asked about another one's faces. Faces whose class the model does not know are left
out; answers for classes that the other source does not have are left out of the model's probabilities, which then add
up to 1 over the shared classes. So nobody is marked wrong for a class that only one side has. Faces that the model was
trained or tuned on are left out: the same collection split in another way is another source, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fer_lab.data.cache import pixel_group
from fer_lab.data.dataset import FaceData, FaceSplit
from fer_lab.data.images import fit
from fer_lab.errors import FerLabError


@dataclass(frozen=True)
class SharedFaces:
    """What :func:`shared_faces` gives.

    Attributes:
        split: the faces of shared classes. `images` are uint8 N×size×size×channels as the model takes them (an array,
            or a :class:`FittedFaces` that converts what is sliced out of it); `labels` are indices into `class_names`;
            `votes` are over `class_names`, faces without a vote for any of them keep zeros.
        class_names: the shared classes in the model's order.
        columns: int64, which of the model's logits they are: `logits[:, columns]`.
        sentence: what was left out and how faces were converted, for tables and reports.
    """

    split: FaceSplit
    class_names: tuple[str, ...]
    columns: np.ndarray
    sentence: str

    def logits(self, probabilities: np.ndarray) -> np.ndarray:
        """Log-probabilities over the shared classes, float64 N×S, of the model's calibrated ones, float N×K.

        Their softmax adds up to 1 over the shared classes; give them to `compute_metrics` with `class_names` and a
        temperature of 1. (Calibration comes first, since it is fitted on all K logits.)
        """
        chosen = np.log(np.maximum(np.asarray(probabilities, np.float64)[:, self.columns], 1e-12))
        return chosen - np.log(np.exp(chosen).sum(axis=1, keepdims=True))


def shared_classes(data: FaceData, class_names: Sequence[str]) -> tuple[str, ...]:
    """The classes of a model that another source has too, in the model's order; no face is read.

    Raises:
        FerLabError: there are fewer than two.
    """
    shared = tuple(name for name in class_names if name in data.class_names)
    if len(shared) < 2:
        raise FerLabError(
            f"The model's classes ({', '.join(class_names)}) and those of {data.meta['name']} "
            f"({', '.join(data.class_names)}) share {len(shared)}; at least two are needed for a score."
        )
    return shared


def shared_faces(
    split: FaceSplit,
    data: FaceData,
    class_names: Sequence[str],
    native_size: int,
    channels: int,
    crop_margin: float,
    seen: np.ndarray | None,
) -> SharedFaces:
    """Reduce a split of another source to what a model can be scored on.

    Args:
        split: of `data`; the test split comes from `fer_lab.evaluation.test_split.open_test_split` as ever.
        data: the other source.
        class_names, native_size, channels (1 or 3), crop_margin: the model's.
        seen: uint64, the groups (equal for equal pixels) of the faces it was trained and tuned on; None if unknown.

    Raises:
        FerLabError: fewer than two classes are shared, or the split has no face of them that the model has not seen.
    """
    shared, name = shared_classes(data, class_names), data.meta["name"]
    new_label = np.array([shared.index(known) if known in shared else -1 for known in data.class_names])
    kept = np.flatnonzero(new_label[split.labels] >= 0)
    if not len(kept):
        raise FerLabError(f"{name} has no face of the shared classes ({', '.join(shared)}) in this split.")
    foreign, images = len(split) - len(kept), _converted(split.images, kept, native_size, channels)
    if seen is not None:
        pixels = (np.ascontiguousarray(images[i]).tobytes() for i in range(len(kept)))
        known = np.isin(np.fromiter(map(pixel_group, pixels), np.uint64, len(kept)), seen)
        if known.all():
            raise FerLabError(f"{name}: the model was trained or tuned on every face of this split; give other faces.")
        if known.any():
            kept = kept[~known]
            images = _converted(split.images, kept, native_size, channels)
    reduced = FaceSplit(
        images=images,  # type: ignore[arg-type]
        labels=new_label[split.labels[kept]],
        ids=split.ids[kept],
        groups=split.groups[kept],
        votes=_shared_votes(split, data, shared, kept),
        columns={key: values[kept] for key, values in split.columns.items()},
    )
    columns = np.array([list(class_names).index(known) for known in shared])
    left_out = None if seen is None else len(split) - foreign - len(kept)
    sentence = _sentence(data, class_names, shared, foreign, left_out, native_size, channels, crop_margin)
    return SharedFaces(reduced, shared, columns, sentence)


class FittedFaces:
    """Faces of one source in another's size and channels, converted when sliced, so that a memory map stays one.

    Args:
        images: uint8 M×H×W×C; index: int64 N, which of them; size, channels: of the results.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, images: np.ndarray, index: np.ndarray, size: int, channels: int) -> None:
        self.images, self.index, self.size, self.channels = images, index, size, channels
        self.shape = (len(index), size, size, channels)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, key: int | slice | np.ndarray) -> np.ndarray:
        chosen = self.index[key]
        if np.ndim(chosen) == 0:
            return fit(np.asarray(self.images[chosen]), self.size, self.channels)
        faces = np.empty((len(chosen), *self.shape[1:]), np.uint8)
        for face, i in zip(faces, chosen, strict=True):
            face[...] = fit(np.asarray(self.images[i]), self.size, self.channels)
        return faces

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)


def _converted(images: np.ndarray, kept: np.ndarray, size: int, channels: int) -> np.ndarray | FittedFaces:
    if images.shape[1:] == (size, size, channels) and len(kept) == len(images):
        return images
    return FittedFaces(images, kept, size, channels)


def _shared_votes(split: FaceSplit, data: FaceData, shared: Sequence[str], kept: np.ndarray) -> np.ndarray | None:
    if split.votes is None:
        return None
    votes = split.votes[kept][:, [data.class_names.index(name) for name in shared]]
    total = votes.sum(axis=1, keepdims=True)
    return np.divide(votes, total, out=np.zeros_like(votes), where=total > 0)


def _sentence(
    data: FaceData,
    class_names: Sequence[str],
    shared: Sequence[str],
    dropped: int,
    seen: int | None,
    size: int,
    channels: int,
    margin: float,
) -> str:
    only_model = [name for name in class_names if name not in shared]
    only_data = [name for name in data.class_names if name not in shared]
    parts = [f"scored on the {len(shared)} classes shared with {data.meta['name']} ({', '.join(shared)})"]
    if only_data:
        parts.append(f"{dropped} faces of {', '.join(only_data)} left out, which the model does not know")
    if only_model:
        parts.append(f"the model's {', '.join(only_model)} left out, which {data.meta['name']} does not have")
    if seen is None:
        parts.append("whether the model was trained on some of these faces is unknown, its own data are not there")
    elif seen:
        parts.append(f"{seen} faces left out whose pixels the model was trained or tuned on")
    if (data.size, data.channels) != (size, channels):
        parts.append(
            f"faces converted from {data.size}×{data.size} {_mode(data.channels)} to {size}×{size} {_mode(channels)}"
        )
    if data.meta["crop_margin"] != margin:
        parts.append(f"crop margins differ ({data.meta['crop_margin']:g} here, {margin:g} in training)")
    sentence = "; ".join(parts) + "."
    return sentence[0].upper() + sentence[1:]


def _mode(channels: int) -> str:
    return "grey" if channels == 1 else "rgb"
