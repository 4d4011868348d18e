"""The one door to the test split (DESIGN.md, rule 9): it opens for what can no longer change.

Checkpoint choice, calibration, thresholds and quantisation see training and validation only. Whoever wants to score the
test split names the hashes of the files it will score and the temperature it will use; the door checks them against the
files as they are and notes the opening in the run's record.
"""

import hashlib
from collections.abc import Mapping, MutableSequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fer_lab.data.dataset import FaceData, FaceSplit
from fer_lab.errors import FerLabError


@dataclass(frozen=True)
class Frozen:
    """What is going to be scored.

    Attributes:
        files: path -> sha256 as it was when everything was decided; temperature: fitted on validation.
    """

    files: Mapping[Path, str]
    temperature: float


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
                "temperature": frozen.temperature,
                **{path.name: digest for path, digest in frozen.files.items()},
            },
        }
    )
    return data._read("test")
