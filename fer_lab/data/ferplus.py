"""FER+: FER2013's faces with the votes of ten raters, by the rules its authors published."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from fer_lab.data.fer2013 import Fer2013Source
from fer_lab.data.source import Face
from fer_lab.data.splits import file_digest
from fer_lab.errors import FerLabError, LeftOut
from fer_lab.labels import LABEL_MAPS, VOCABULARY, class_order

Rule = Literal["majority", "plurality"]
#: FER+'s columns, in its order: eight emotions, then what is no emotion.
RATED = (*LABEL_MAPS["ferplus"], "unknown", "NF")
_EMOTIONS = tuple(LABEL_MAPS["ferplus"].values())
_UNKNOWN, _NOT_A_FACE = 8, 9


def label_of(votes: np.ndarray, rule: Rule, drop_not_face: bool) -> str:
    """What the raters see in an image.

    The released rule of Barsoum et al. 2016 (FERPlus, `majority` mode) on votes without single ones: the class with
    more than half of all votes. `plurality` wants only more votes than any other class. Unknown and not-a-face are
    classes like the others here.

    Args:
        votes: float or int 10, in the order of RATED, as they count (single votes already removed if they are to be).
        drop_not_face: False takes the votes for not-a-face away first, so that the others decide.

    Returns:
        An emotion; or the reason why there is none: not-a-face, unknown or disputed.
    """
    votes = np.array(votes, float)
    if not drop_not_face:
        votes[_NOT_A_FACE] = 0
    top = int(votes.argmax())
    if votes[_NOT_A_FACE] == votes[top] > 0:
        return "not-a-face"
    if votes[_UNKNOWN] == votes[top]:
        return "unknown"
    enough = votes[top] > votes.sum() / 2 if rule == "majority" else (votes == votes[top]).sum() == 1
    return _EMOTIONS[top] if enough else "disputed"


@dataclass
class FerPlusSource(Fer2013Source):
    """FER2013 relabelled by ten raters (Barsoum et al. 2016), with contempt as an eighth class.

    Faces without a label are left out and counted under their reason: not-a-face, unknown, disputed (no majority, or
    below `min_agreement`), or other-class (contempt, where it is not wanted). Each face carries its votes as shares
    over the classes, and the columns agreement (share of all ten raters that chose the label) and fer2013_label.

    Attributes:
        path: a parquet with ferplus_<class> columns; or fer2013.csv, with `votes`.
        votes: fer2013new.csv as Microsoft publishes it (its rows are those of fer2013.csv, in its order).
        labels: majority (more than half of the votes) or plurality (more than any other class).
        single_votes: False disregards classes that one rater chose, as the published rule does, in label and shares.
        min_agreement: share of the ten raters, 0 to 1, that a label needs.
        drop_not_face: leave out what the raters call not a face; False lets their other votes decide.
        contempt: keep the eighth class.

    Raises:
        FerLabError: no votes, or votes that do not belong to these faces.
    """

    name = "ferplus"
    licence = "FER2013: research use, the images may not be redistributed; FER+ votes: MIT (Microsoft)"

    votes: str | None = None
    labels: Rule = "majority"
    single_votes: bool = False
    min_agreement: float = 0.0
    drop_not_face: bool = True
    contempt: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.labels not in get_args(Rule):
            raise FerLabError(f"data.labels={self.labels} is unknown; use {' or '.join(get_args(Rule))}.")
        if not 0 <= self.min_agreement <= 1:
            raise FerLabError(f"data.min_agreement={self.min_agreement} must be a share of the raters, 0 to 1.")
        self.class_names = class_order(name for name in VOCABULARY if self.contempt or name != "contempt")
        if self.path.is_dir():
            raise FerLabError(
                f"data.path={self.path} is FER2013's folder form, whose files do not tell their rows in FER+; give "
                "fer2013.csv with data.votes=fer2013new.csv, or a parquet with ferplus_ columns."
            )
        if self.votes is not None and not Path(self.votes).expanduser().is_file():
            raise FerLabError(f"data.votes={self.votes} does not exist; give Microsoft's fer2013new.csv.")
        if self.votes is None and self.path.suffix == ".csv":
            raise FerLabError(f"{self.path} holds no votes; give Microsoft's fer2013new.csv as data.votes.")

    def settings(self) -> dict[str, Any]:
        own = {key: value for key, value in super().settings().items() if key != "votes"}
        return {**own, "votes": self.votes and file_digest(Path(self.votes).expanduser())}

    def read(self) -> Iterator[Face | FerLabError]:
        rated = self._rated()
        row = -1
        for row, face in enumerate(super().read()):
            if row >= len(rated):
                break
            yield face if isinstance(face, FerLabError) else self._labelled(face, rated[row])
        if row + 1 != len(rated):
            raise FerLabError(
                f"{self.votes or self.path} has votes for {len(rated)} faces, {self.path} "
                f"{'has more' if row >= len(rated) else f'only {row + 1}'}; give the two files of the same release."
            )

    def _labelled(self, face: Face, votes: np.ndarray) -> Face | FerLabError:
        """The face with the raters' label, or why it has none."""
        counted = votes if self.single_votes else np.where(votes > 1, votes, 0)
        label = label_of(counted, self.labels, self.drop_not_face)
        if label not in VOCABULARY:
            return LeftOut(label, f"{face.where}: left out, the raters' votes ({_in_words(votes)}) make it {label}.")
        if label not in self.class_names:
            return LeftOut("other-class", f"{face.where}: left out, it shows {label} (data.contempt=false).")
        shares = np.array([counted[_EMOTIONS.index(name)] for name in self.class_names], np.float32)
        agreement = float(votes[_EMOTIONS.index(label)] / votes.sum())
        if agreement < self.min_agreement - 1e-9:
            return LeftOut("disputed", f"{face.where}: left out, {agreement:.0%} of the raters chose {label}.")
        columns = {**face.columns, "agreement": agreement, "fer2013_label": face.emotion}
        return replace(face, emotion=label, votes=shares / shares.sum(), columns=columns)

    def _rated(self) -> np.ndarray:
        """Votes of all faces, int N×10 in the order of RATED."""
        if self.votes is None:
            wanted = [f"ferplus_{name}" for name in RATED]
            if missing := set(wanted) - set(pq.read_schema(self.path).names):
                raise FerLabError(
                    f"{self.path}: column '{min(missing)}' is missing; give a parquet with FER+ votes, or data.votes."
                )
            votes = pq.read_table(self.path, columns=wanted).to_pandas().to_numpy(float)
            if bad := np.flatnonzero(~(votes >= 0).all(axis=1)).tolist():
                raise FerLabError(f"{self.path}, row {bad[0]}: votes are missing or negative; correct them.")
            return votes.astype(np.int64)
        return _read_votes(Path(self.votes).expanduser(), self._usages())

    def _usages(self) -> Sequence[str]:
        if self.path.suffix == ".csv":
            return pd.read_csv(self.path, usecols=lambda name: name.strip() == "Usage").iloc[:, 0].str.strip().tolist()
        return pq.read_table(self.path, columns=["usage"])["usage"].to_pylist()


def _read_votes(path: Path, usages: Sequence[str]) -> np.ndarray:
    try:
        table = pd.read_csv(path, skipinitialspace=True)
        table.columns = table.columns.str.strip()
        votes = table[list(RATED)].to_numpy(np.int64)
    except (OSError, ValueError, KeyError) as error:
        raise FerLabError(
            f"{path} is not fer2013new.csv ({error}); its columns are Usage, Image name, {', '.join(RATED)}."
        ) from error
    if votes.min(initial=0) < 0 or (votes.sum(axis=1) == 0).any():
        raise FerLabError(f"{path}: a row has no votes, or negative ones; get fer2013new.csv again.")
    if "Usage" in table and len(table) == len(usages):
        differ = np.flatnonzero(table["Usage"].str.strip().to_numpy() != np.asarray(usages))
        if len(differ):
            raise FerLabError(
                f"{path}, line {differ[0] + 2}: {table['Usage'].iloc[differ[0]]}, but the face is in "
                f"{usages[differ[0]]}; the rows must be in the order of fer2013.csv."
            )
    return votes


def _in_words(votes: np.ndarray) -> str:
    return ", ".join(f"{int(count)} {name}" for name, count in zip(RATED, votes, strict=True) if count)
