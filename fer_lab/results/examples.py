"""Faces of the most confused pairs, as data URIs for the report: validation faces, from the decoded data's cache.

Drawn faces are shown by default; photographs of people only on request (`table.examples=true`), and only in the report
below the outputs folder. The test split stays shut: its examples would be a look at it.
"""

import base64
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from fer_lab.results.rows import Row, Run

#: Faces shown a pair.
MOST = 6

Pair = tuple[str, str]


def shown(run: Run, wanted: bool | None) -> bool:
    """Whether a run's faces may be shown: as asked, and drawn ones where nothing was."""
    return wanted if wanted is not None else drawn(run.record["data"])


def drawn(data: Mapping[str, Any]) -> bool:
    """Whether data, as a record describes them, are drawn; a name alone can be given to a folder of photographs."""
    from fer_lab.data.sources import SyntheticSource  # pandas, which a table does without

    return (data["name"], data.get("licence")) == (SyntheticSource.name, SyntheticSource.licence)


def confused_faces(row: Row, pairs: list[Pair], cache: Path) -> dict[Pair, list[str]]:
    """PNG data URIs of validation faces that the row's first completed run got wrong, most confident first.

    Args:
        row: with a completed run; pairs: (true, predicted) class names.
        cache: the folder of decoded data; without the run's data in it, or without predictions, nothing is returned.
    """
    run = row.completed[0]
    faces, predictions = validation_faces(run, cache), run.path / "validation_predictions.parquet"
    if not faces or not predictions.is_file():
        return {}
    table = pq.read_table(predictions)
    names = [name.removeprefix("logit_") for name in table.column_names if name.startswith("logit_")]
    logits = np.stack([table[f"logit_{name}"].to_numpy().astype(np.float64) for name in names], axis=1)
    confidence = 1 / np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)
    calibrated = "predicted" in table.column_names
    answers = np.array(table["predicted"].to_pylist()) if calibrated else np.array(names)[logits.argmax(1)]
    labels, samples = np.array(table["label"].to_pylist()), table["sample_id"].to_pylist()
    found: dict[Pair, list[str]] = {}
    for true, predicted in pairs:
        wrong = np.flatnonzero((labels == true) & (answers == predicted))
        first = wrong[np.argsort(-confidence[wrong], kind="stable")][:MOST]
        known = [faces[samples[i]] for i in first if samples[i] in faces]
        if known:
            found[true, predicted] = [data_uri(face) for face in known]
    return found


def validation_faces(run: Run, cache: Path) -> dict[str, np.ndarray]:
    """The run's validation faces (uint8 H×W×C, on disk) by sample id; none where the cache does not hold them."""
    folder = _decoded(run.record["data"]["hash"], cache)
    if folder is None:
        return {}
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    ids = pq.read_table(folder / "validation.parquet")["sample_id"].to_pylist()
    shape = (len(ids), meta["size"], meta["size"], meta["channels"])
    if (folder / "validation.u8").stat().st_size != int(np.prod(shape)):
        return {}
    return dict(zip(ids, np.memmap(folder / "validation.u8", np.uint8, "r", shape=shape), strict=True))


def _decoded(data_hash: str, cache: Path) -> Path | None:
    """The cache's folder of this data manifest."""
    for path in sorted(cache.glob("*/meta.json")):
        if json.loads(path.read_text(encoding="utf-8")).get("hash") == data_hash:
            complete = all((path.parent / name).is_file() for name in ("validation.parquet", "validation.u8"))
            return path.parent if complete else None
    return None


def data_uri(face: np.ndarray) -> str:
    """uint8 H×W×C as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(face[..., 0] if face.shape[-1] == 1 else face).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
