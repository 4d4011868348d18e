"""The two files that a live run leaves: summary.csv, and privacy.json that says what is in it and why it may be."""

import csv
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fer_lab.errors import FerLabError

SUMMARY, PRIVACY = "summary.csv", "privacy.json"
_NEVER = [
    "frames",
    "face crops",
    "embeddings",
    "numbers of tracked faces",
    "values of single faces",
    "name of the source",
]


class Sink:
    """Writes a sink folder; every row is on disk as soon as its second has ended.

    Args:
        folder: created where missing.
        columns: of summary.csv.
        declared: what privacy.json says of this run (purpose, consent, switches, model).

    Raises:
        FerLabError: the folder already holds a run.
    """

    def __init__(self, folder: Path, columns: Sequence[str], declared: Mapping[str, Any]) -> None:
        if (folder / SUMMARY).exists():
            raise FerLabError(f"sink={folder} already holds a {SUMMARY}: name another folder, or move that one away.")
        folder.mkdir(parents=True, exist_ok=True)
        privacy = {
            "stored": {
                SUMMARY: {
                    "columns": list(columns),
                    "what": "means over all faces of a second; no row where they were few",
                },
                PRIVACY: {"what": "this file"},
            },
            "never_stored": _NEVER,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            **declared,
        }
        (folder / PRIVACY).write_text(json.dumps(privacy, indent=1) + "\n", encoding="utf-8")
        self.file = (folder / SUMMARY).open("x", newline="", encoding="utf-8")
        self.write(columns)

    def write(self, row: Sequence[str]) -> None:
        """Append one row and hand it to the operating system."""
        csv.writer(self.file).writerow(row)
        self.file.flush()

    def close(self) -> None:
        self.file.close()
