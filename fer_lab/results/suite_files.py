"""Results of a suite, read from a run's evaluation folder."""

import json
from pathlib import Path
from typing import Any


def read_results(folder: Path, faces: str | None = None) -> dict[str, dict[str, Any]]:
    """Results of a suite's folder by file, the network first; with `faces` (a hash), only those of these faces."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    kept = [result for result in found if faces is None or result["data"]["faces"] == faces]
    return {result["file"]: result for result in sorted(kept, key=lambda one: "safetensors" not in one["file"])}
