"""The folder that a live run leaves: csv files, and privacy.json that says what is in it and why it may be."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fer_lab.errors import FerLabError

SUMMARY, SEGMENTS, PRIVACY = "summary.csv", "segments.csv", "privacy.json"
TRACKS, EMBEDDINGS, VIDEO = "tracks.csv", "embeddings.csv", "blurred.avi"  # fer_lab.live.extras writes these
_OF_A_RUN = (SUMMARY, SEGMENTS, PRIVACY, TRACKS, EMBEDDINGS, VIDEO)


class Sink:
    """Writes a sink folder; every row is on disk as soon as its second has ended.

    Args:
        folder: created where missing.
        files: columns of each csv.

    Raises:
        FerLabError: the folder already holds a file of a run, also of one with other switches: the new privacy.json
            would not list it, and nobody would delete it.
    """

    def __init__(self, folder: Path, files: Mapping[str, Sequence[str]]) -> None:
        for name in _OF_A_RUN:
            if (folder / name).exists():
                raise FerLabError(f"sink={folder} already holds a {name}: name another folder, or move that one away.")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.files = {name: (folder / name).open("x", newline="", encoding="utf-8") for name in files}
        for name, columns in files.items():
            self.write(name, columns)

    def declare(self, declared: Mapping[str, Any]) -> None:
        """Write privacy.json."""
        (self.folder / PRIVACY).write_text(json.dumps(declared, indent=1) + "\n", encoding="utf-8")

    def write(self, name: str, row: Sequence[str]) -> None:
        """Append one row to a file and hand it to the operating system."""
        csv.writer(self.files[name]).writerow(row)
        self.files[name].flush()

    def close(self) -> None:
        for file in self.files.values():
            file.close()
