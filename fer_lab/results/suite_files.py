"""Results of a suite, read from a run's evaluation folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fer_lab.errors import FerLabError


def read_results(folder: Path, faces: str | None = None) -> dict[str, dict[str, Any]]:
    """Results of a suite's folder by file, the network first; with `faces` (a hash), only those of these faces."""
    found = [_read(path) for path in sorted(folder.glob("*.json"))]
    kept = [result for result in found if faces is None or result["data"]["faces"] == faces]
    return {result["file"]: result for result in sorted(kept, key=lambda one: "safetensors" not in one["file"])}


def is_stale(run: Path, result: Mapping[str, Any]) -> bool:
    """Whether a result is of an earlier run of a folder, or of a file that has been trained or exported again since.

    Files that the run does not describe (from elsewhere, their hash is in their name) are never stale.
    """
    record = _json(run / "record.json")
    if not record:
        return False
    trained = [opening["frozen"] for opening in record.get("test_openings", []) if opening["by"] == "train"]
    export = _json(run / "export" / "export.json")
    now = {"model.safetensors": trained[-1].get("model.safetensors") if trained else None}
    if export.get("run_key") == record["key"]:
        now |= {entry["file"]: entry.get("sha256") for entry in export["files"].values()}
    digest = now.get(result["file"])
    return result["run_key"] != record["key"] or (digest is not None and digest != result["sha256"])


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _read(path: Path) -> dict[str, Any]:
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        result["file"], result["data"]["faces"]
    except (ValueError, KeyError, TypeError) as error:
        raise FerLabError(f"{path} is no suite's result ({error}); remove it, and evaluate its file again.") from error
    return result
