"""What may be kept of a run: the switches, checked, and what privacy.json says of them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from omegaconf import DictConfig

from fer_lab.errors import FerLabError

NEVER = (
    "frames",
    "face crops",
    "embeddings",
    "numbers of tracked faces",
    "values of single faces",
    "name of the source",
)
#: Which of NEVER a switch takes back.
_TAKEN_BACK = {
    "per_track": ("numbers of tracked faces", "values of single faces"),
    "embeddings": ("embeddings",),
    "video": ("frames",),
}


def check_privacy(privacy: DictConfig, sink: str | None) -> None:
    """Refuse settings that no privacy.json could describe.

    Raises:
        FerLabError: a value is outside its range, or something is to be written and there is no sink.
    """
    if privacy.min_group < 1:
        raise FerLabError(f"privacy.min_group={privacy.min_group} must be at least 1; the default is 5.")
    if privacy.retention_days is None or privacy.retention_days <= 0:
        raise FerLabError(
            f"privacy.retention_days={privacy.retention_days} must be above 0: nothing may be kept for ever."
        )
    if privacy.video not in (None, "blurred"):
        raise FerLabError(f"privacy.video={privacy.video} is unknown: say blurred, or null for no video.")
    for switch in ("per_track", "embeddings"):
        if not isinstance(privacy[switch], bool):
            raise FerLabError(f"privacy.{switch}={privacy[switch]} must be true or false.")
    if (asked := [switch for switch in _TAKEN_BACK if privacy[switch]]) and not sink:
        raise FerLabError(f"privacy.{asked[0]}={privacy[asked[0]]} needs a folder to write to: say sink=<folder>.")


def declaration(
    cfg: DictConfig, kind: str, model: Mapping[str, str], stored: Mapping[str, Any], started: datetime
) -> dict[str, Any]:
    """What privacy.json says of a run: kinds and switches, no names of files beyond its own.

    Args:
        kind: of the source; model: experiment and run key; stored: what each file or table holds.
    """
    asked = [switch for switch in _TAKEN_BACK if cfg.privacy[switch]]
    taken_back = {what for switch in asked for what in _TAKEN_BACK[switch]}
    return {
        "stored": dict(stored),
        "beyond_group_means": asked,
        "never_stored": [what for what in NEVER if what not in taken_back],
        "started": started.astimezone(UTC).isoformat(timespec="seconds"),
        "purpose": cfg.live.purpose,
        "consent": cfg.live.consent,
        "switches": dict(cfg.privacy),
        "source": kind,
        "model": dict(model),
    }


def described(columns: Sequence[str], what: str) -> dict[str, Any]:
    """One file's entry in privacy.json."""
    return {"columns": list(columns), "what": what}
