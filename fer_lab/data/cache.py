"""Decode once: a uint8 array for each split on disk, memory-mapped, found again by the source's content.

`<cache>/<source>-<content key>/` holds
`<split>.u8` (raw N×H×W×C), `<split>.parquet` (sample_id, label, group: equal pixels have equal groups) and `meta.json`.
It is built in a folder of its own and renamed, so a killed build leaves nothing that could be taken for a whole one.
Each split is a file of its own, so that reading training faces never opens the test faces.
"""

import hashlib
import json
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import IO

import pandas as pd
from filelock import FileLock
from rich.progress import track

from fer_lab.data.source import SPLITS, Skipped, Source
from fer_lab.errors import FerLabError
from fer_lab.labels import index_of

_VERSION = 2


def open_cache(source: Source, cache_dir: Path) -> tuple[Path, dict]:
    """Folder and meta of the decoded source; built first where it is absent, truncated or stale.

    Raises:
        FerLabError: a face is unreadable (and `on_corrupt` is stop), an id stands twice, or a class is empty in train.
    """
    cache_dir.mkdir(parents=True, exist_ok=True)
    remembered = cache_dir / "known" / source.stat_key()
    if remembered.exists() and (meta := _valid(cache_dir / remembered.read_text())):
        return cache_dir / remembered.read_text(), meta
    folder = cache_dir / f"{source.name}-{source.content_key()}"
    with FileLock(f"{folder}.lock"):
        meta = _valid(folder) or _build(source, folder)
    remembered.parent.mkdir(exist_ok=True)
    remembered.write_text(folder.name)
    return folder, meta


def _valid(folder: Path) -> dict | None:
    """Meta of a whole cache; None where a file is missing or has another size than its meta says."""
    try:
        meta = json.loads((folder / "meta.json").read_text())
        sizes = {split: (folder / f"{split}.u8").stat().st_size for split in SPLITS}
        readable = all((folder / f"{split}.parquet").stat().st_size == meta["table_bytes"][split] for split in SPLITS)
    except (OSError, ValueError, KeyError):
        return None
    face = meta["size"] ** 2 * meta["channels"]
    whole = all(sizes[split] == meta["faces"][split] * face for split in SPLITS)
    return meta if whole and readable and meta["version"] == _VERSION else None


def _build(source: Source, folder: Path) -> dict:
    shutil.rmtree(folder, ignore_errors=True)
    building = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        meta = _write(source, building)
        building.rename(folder)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return meta


def _write(source: Source, folder: Path) -> dict:
    rows: dict[str, list[tuple[str, int, str]]] = {split: [] for split in SPLITS}
    skipped = Skipped()
    shape = (source.size, source.size, source.channels)
    handles: dict[str, IO[bytes]] = {split: (folder / f"{split}.u8").open("wb") for split in SPLITS}
    try:
        for face in track(source.read(), f"Decoding {source.name}", total=source.expected(), transient=True):
            if isinstance(face, FerLabError):
                if source.on_corrupt == "stop":
                    raise face
                skipped.add(face)
                continue
            if face.image.shape != shape:
                raise FerLabError(f"{face.where}: the face is {face.image.shape}, {source.name} has {shape}.")
            pixels = face.image.tobytes()
            handles[face.split].write(pixels)
            group = hashlib.blake2b(pixels, digest_size=8).hexdigest()
            rows[face.split].append((face.sample_id, index_of(face.emotion, source.class_names), group))
    finally:
        for handle in handles.values():
            handle.close()
    if skipped.count:
        listed = "; ".join(skipped.sentences[:3])
        warnings.warn(f"{source.name}: {skipped.count} unreadable faces skipped: {listed}", stacklevel=2)
    meta = _describe(source, folder, rows, skipped)
    (folder / "meta.json").write_text(json.dumps(meta, indent=1))
    return meta


def _describe(source: Source, folder: Path, rows: dict[str, list[tuple[str, int, str]]], skipped: Skipped) -> dict:
    """Write the label tables, check that no class is empty, and hash all of it into the data manifest's hash."""
    digest = hashlib.sha256(json.dumps([source.class_names, source.size, source.channels]).encode())
    counts: dict[str, dict[str, int]] = {}
    table_bytes = {}
    for split in SPLITS:
        table = pd.DataFrame(rows[split], columns=["sample_id", "label", "group"])
        table = table.astype({"sample_id": "str", "label": "int64", "group": "str"})
        if table["sample_id"].duplicated().any():
            twice = table["sample_id"][table["sample_id"].duplicated()].iloc[0]
            raise FerLabError(f"{source.name}: the sample '{twice}' stands twice in {split}; ids must be unique.")
        numbers = table["label"].value_counts()
        counts[split] = {name: int(numbers.get(k, 0)) for k, name in enumerate(source.class_names)}
        empty = [name for name, count in counts[split].items() if not count]
        if empty and split == "train":
            raise FerLabError(
                f"{source.name}: the class '{empty[0]}' has no training face; add some, or drop the class."
            )
        if empty:
            warnings.warn(
                f"{source.name}: no face of class {', '.join(empty)} in {split}: left out of its macro means",
                stacklevel=4,
            )
        table.to_parquet(folder / f"{split}.parquet", index=False)
        table_bytes[split] = (folder / f"{split}.parquet").stat().st_size
        digest.update("\n".join(f"{i} {k}" for i, k, _ in rows[split]).encode())
        with (folder / f"{split}.u8").open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return {
        "version": _VERSION,
        "name": source.name,
        "licence": source.licence,
        "hash": digest.hexdigest()[:16],
        "class_names": list(source.class_names),
        "size": source.size,
        "channels": source.channels,
        "crop_margin": source.crop_margin,
        "faces": {split: len(rows[split]) for split in SPLITS},
        "counts": counts,
        "table_bytes": table_bytes,
        "skipped": {"count": skipped.count, "first": skipped.sentences},
    }
