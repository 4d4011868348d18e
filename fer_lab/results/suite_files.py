"""Results of a suite, read from a run's evaluation folder."""

import json
from pathlib import Path
from typing import Any

from fer_lab.errors import FerLabError


def read_results(folder: Path, faces: str | None = None) -> dict[str, dict[str, Any]]:
    """Results of a suite's folder by file, the network first; with `faces` (a hash), only those of these faces."""
    found = [_read(path) for path in sorted(folder.glob("*.json"))]
    kept = [result for result in found if faces is None or result["data"]["faces"] == faces]
    return {result["file"]: result for result in sorted(kept, key=lambda one: "safetensors" not in one["file"])}


def _read(path: Path) -> dict[str, Any]:
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        result["file"], result["data"]["faces"]
    except (ValueError, KeyError, TypeError) as error:
        raise FerLabError(f"{path} is no suite's result ({error}); remove it, and evaluate its file again.") from error
    return result
