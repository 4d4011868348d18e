"""The one door to the test split (DESIGN.md, rule 9): it opens for what can no longer change.

Checkpoint choice, calibration, thresholds and quantisation see training and validation only. Whoever wants to score the
test split names the hashes of the files it will score and the calibration it will use; the door checks them against the
files as they are and notes the opening in the run's record. A row that is scored on another's logits comes through the
same door: its parent's test logits are read only when everything it chooses is frozen.
"""

import hashlib
from collections.abc import Mapping, MutableSequence, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from fer_lab.data.cache import VOTES
from fer_lab.data.dataset import FaceData, FaceSplit
from fer_lab.errors import FerLabError
from fer_lab.evaluation.calibration import Calibration, as_calibration
from fer_lab.evaluation.predict import load_predictions


@dataclass(frozen=True)
class Frozen:
    """What is going to be scored.

    Attributes:
        files: path -> sha256 as it was when everything was decided.
        calibration: fitted on validation; a temperature alone will do.
        chosen: what else was chosen on validation, by name, for example {"alpha": 0.3}.
    """

    files: Mapping[Path, str]
    calibration: Calibration | float
    chosen: Mapping[str, float | None] = field(default_factory=dict)


def file_hash(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def open_test_split(data: FaceData, frozen: Frozen, by: str, openings: MutableSequence[dict]) -> FaceSplit:
    """Open the test split and count the opening.

    Args:
        data: the decoded source; frozen: what is scored; by: the command; openings: the record's `test_openings`,
            appended to.

    Raises:
        FerLabError: no file is named, or one has changed since it was frozen.
    """
    _open(frozen, by, openings)
    return data._read("test")


def columns_of_test(data: FaceData) -> list[str]:
    """Names of the test faces' columns, and `votes` where raters voted. No face is read: this is no opening."""
    names = pq.read_schema(data.folder / "test.parquet").names
    columns = [name for name in names if name not in ("sample_id", "label", "group") and not name.startswith(VOTES)]
    return [*columns, *(["votes"] if data.meta["votes"] else [])]


def open_test_logits(
    path: Path, class_names: Sequence[str], frozen: Frozen, by: str, openings: MutableSequence[dict]
) -> tuple[np.ndarray, np.ndarray]:
    """Open a run's test logits for a row that is derived from it, and count the opening in that row's record.

    Args:
        path: the run's test_predictions.parquet; class_names: order of the logits; the rest as in `open_test_split`.

    Returns:
        float32 N×K logits and int64 N labels.

    Raises:
        FerLabError: no file is named, or one has changed since it was frozen, or there are no test logits.
    """
    if not path.exists():
        raise FerLabError(f"{path} does not exist; train {path.parent.parent.name} again with rerun=always.")
    _open(frozen, by, openings)
    return load_predictions(path, class_names)


def _open(frozen: Frozen, by: str, openings: MutableSequence[dict]) -> None:
    if not frozen.files:
        raise FerLabError("The test split opens only for frozen files: name the checkpoint or exported file to score.")
    for path, expected in frozen.files.items():
        if file_hash(path) != expected:
            raise FerLabError(
                f"{path} has changed since it was frozen; train or export again before scoring the test split."
            )
    openings.append(
        {
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "by": by,
            "frozen": {
                **as_calibration(frozen.calibration).frozen(),
                **frozen.chosen,
                **{path.name: digest for path, digest in frozen.files.items()},
            },
        }
    )
