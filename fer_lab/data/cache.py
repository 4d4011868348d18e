"""Decode once: a uint8 array for each split on disk, memory-mapped, found again by the source's content.

`<cache>/<source>-<content key>/` holds, of the faces that the source's selection leaves,

- `<split>.u8`: raw pixels, N×H×W×C;
- `<split>.parquet`: sample_id, label, group (uint64, equal for equal pixels), brightness (float32, mean pixel),
  copy_in_train (bool), the source's columns, and votes_<class> (float32) where it has raters;
- `split.parquet`: sample_id and split of all, and `meta.json`.

Neither a build nor a run holds the faces in memory: they are decoded into one file, the table alone is arranged, and
each split is copied out of that file in chunks (so a build needs the space twice). It is built in a folder of its own
and renamed, so a killed build leaves nothing that could be taken for a whole one. Each split is a file of its own, so
that reading training faces never opens the test faces.
"""

import hashlib
import json
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from filelock import FileLock
from rich.progress import track

from fer_lab.data.near_duplicates import clusters, perceptual_hash
from fer_lab.data.source import SPLITS, Face, Skipped, Source
from fer_lab.errors import FerLabError, LeftOut
from fer_lab.labels import index_of

SPLIT_FILE = "split.parquet"
VOTES = "votes_"
_VERSION = 5
_ROWS = 10_000  # in memory at a time
_TYPES = {
    "sample_id": pa.string(),
    "label": pa.int64(),
    "group": pa.uint64(),
    "split": pa.string(),
    "brightness": pa.float32(),
}
_GROUPS = {"group": "faces with copies", "subject": "subjects"}


def open_cache(source: Source, cache_dir: Path) -> tuple[Path, dict]:
    """Folder and meta of the decoded source; built first where it is absent, truncated or stale.

    Raises:
        FerLabError: a face is unreadable (and `on_corrupt` is stop), an id stands twice, a class is empty in train, or
            the source's selection cannot be made.
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
        face = meta["size"] ** 2 * meta["channels"]
        whole = all(sizes[split] == meta["faces"][split] * face for split in SPLITS) and (folder / SPLIT_FILE).is_file()
        return meta if whole and readable and meta["version"] == _VERSION else None
    except (OSError, ValueError, KeyError, TypeError):  # absent, or not what was written there
        return None


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
    """Decode everything into one file and one table, arrange the table, and copy each split's faces to its own file."""
    skipped = Skipped()
    decoded = folder / "decoded.u8"
    table = _decode(source, decoded, skipped)
    if skipped.count:
        listed = "; ".join(skipped.sentences[:3])
        warnings.warn(f"{source.name}: {skipped.in_words()}: {listed}", stacklevel=2)
    if not len(table):
        raise FerLabError(f"{source.name}: there is no face; correct data.path.")
    twice = table["sample_id"].duplicated()
    if twice.any():
        raise FerLabError(
            f"{source.name}: the sample '{table['sample_id'][twice].iloc[0]}' stands twice; ids must be unique."
        )
    shape = (len(table), source.size, source.size, source.channels)
    faces = np.memmap(decoded, np.uint8, "r", shape=shape)
    table, arranged = source.arrange(table, source.class_names, lambda: _near_duplicates(faces))
    if arranged["method"].startswith("official") and any(arranged["divided_groups"].values()):
        divided = " and ".join(f"{n} {_GROUPS[name]}" for name, n in arranged["divided_groups"].items() if n)
        remedy = "data.dedup acts on copies, data.fractions makes another split"
        warnings.warn(f"{source.name}: {divided} on two sides of its own split; {remedy}", stacklevel=2)
    meta = _describe(source, folder, table, faces, skipped) | {"split": arranged}
    table[["sample_id", "split"]].to_parquet(folder / SPLIT_FILE, index=False)
    decoded.unlink()
    (folder / "meta.json").write_text(json.dumps(meta, indent=1))
    return meta


def _decode(source: Source, path: Path, skipped: Skipped) -> pd.DataFrame:
    """Write the pixels of every face to a file, in the source's order, and return what else is known of them.

    Returns:
        A row a face: sample_id, label, group, split, brightness, the source's columns, votes_<class> with votes.
    """
    shape = (source.size, source.size, source.channels)
    parts: list[pa.Table] = []
    rows: list[dict[str, Any]] = []
    with path.open("wb") as handle:
        for face in track(source.read(), f"Decoding {source.name}", total=source.expected(), transient=True):
            if isinstance(face, FerLabError):
                if source.on_corrupt == "stop" and not isinstance(face, LeftOut):
                    raise face
                skipped.add(face)
                continue
            if face.image.shape != shape:
                raise FerLabError(f"{face.where}: the face is {face.image.shape}, {source.name} has {shape}.")
            pixels = face.image.tobytes()
            handle.write(pixels)
            rows.append(_row(face, pixels, source.class_names))
            if len(rows) == _ROWS:  # Arrow's columns take a tenth of the memory of these dictionaries
                parts.append(_columns(source, rows))
                rows = []
    parts.append(_columns(source, rows))
    try:
        table = pa.concat_tables(parts, promote_options="permissive").to_pandas()
    except pa.ArrowException as error:
        raise FerLabError(f"{source.name}: a column has text in some faces and numbers in others ({error}).") from error
    if table.filter(regex=f"^{VOTES}").isna().any(axis=None):
        raise FerLabError(f"{source.name}: some of its faces have votes and some have none; give all of them votes.")
    return table


def _columns(source: Source, rows: list[dict[str, Any]]) -> pa.Table:
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {}
    for name in names:
        kind = pa.float32() if name.startswith(VOTES) else _TYPES.get(name)
        try:
            columns[name] = pa.array([row.get(name) for row in rows], kind)
        except pa.ArrowException as error:
            raise FerLabError(
                f"{source.name}: the column '{name}' has text and numbers; make it one ({error})."
            ) from error
    return pa.table(columns)


def _row(face: Face, pixels: bytes, class_names: Sequence[str]) -> dict[str, Any]:
    if face.split not in (*SPLITS, ""):
        raise FerLabError(f"{face.where}: the split '{face.split}' is unknown; it must be one of {', '.join(SPLITS)}.")
    if taken := sorted(name for name in face.columns if name in (*_TYPES, "copy_in_train") or name.startswith(VOTES)):
        raise FerLabError(f"{face.where}: the column '{taken[0]}' is the cache's own; give it another name.")
    row = {
        "sample_id": face.sample_id,
        "label": index_of(face.emotion, class_names),
        "group": pixel_group(pixels),
        "split": face.split,
        "brightness": np.float32(face.image.mean()),
        **face.columns,
    }
    if face.votes is not None:
        row |= {f"{VOTES}{name}": vote for name, vote in zip(class_names, face.votes, strict=True)}
    return row


def pixel_group(pixels: bytes) -> int:
    """A number of 64 bits that is equal for equal pixels."""
    return int.from_bytes(hashlib.blake2b(pixels, digest_size=8).digest())


def _near_duplicates(faces: np.ndarray) -> np.ndarray:
    """int64 N, equal for near-duplicates among faces uint8 N×H×W×C."""
    shown = track(faces, "Looking for near-duplicates", transient=True)
    return clusters(np.fromiter((perceptual_hash(face) for face in shown), np.uint64, len(faces)))


def _describe(source: Source, folder: Path, table: pd.DataFrame, faces: np.ndarray, skipped: Skipped) -> dict:
    """Write each split's faces and table, check that no class is empty, and hash all of it: the data manifest."""
    digest = hashlib.sha256(json.dumps([source.class_names, source.size, source.channels]).encode())
    votes = [name for name in table if name.startswith(VOTES)]
    counts: dict[str, dict[str, int]] = {}
    table_bytes = {}
    for split in SPLITS:
        part = table[table["split"] == split].drop(columns="split")
        numbers = part["label"].value_counts()
        counts[split] = {name: int(numbers.get(k, 0)) for k, name in enumerate(source.class_names)}
        _check_classes(source.name, split, counts[split])
        part.to_parquet(folder / f"{split}.parquet", index=False)
        table_bytes[split] = (folder / f"{split}.parquet").stat().st_size
        for first in range(0, len(part), _ROWS):
            some = part.iloc[first : first + _ROWS]
            lines = (f"{i} {k}" for i, k in zip(some["sample_id"], some["label"], strict=True))
            digest.update(("\n" * (first > 0) + "\n".join(lines)).encode())
        all_pixels = hashlib.sha256()
        with (folder / f"{split}.u8").open("wb") as handle:
            for first in range(0, len(part), _ROWS):
                pixels = faces[part.index[first : first + _ROWS]].tobytes()
                handle.write(pixels)
                all_pixels.update(pixels)
        digest.update(all_pixels.digest())
        if votes:
            digest.update(part[votes].to_numpy(np.float32).tobytes())
    return {
        "version": _VERSION,
        "name": source.name,
        "licence": source.licence,
        "hash": digest.hexdigest()[:16],
        "class_names": list(source.class_names),
        "size": source.size,
        "channels": source.channels,
        "crop_margin": source.crop_margin,
        "faces": {split: sum(counts[split].values()) for split in SPLITS},
        "counts": counts,
        "votes": bool(votes),
        "table_bytes": table_bytes,
        "skipped": {"count": skipped.count, "reasons": skipped.reasons, "first": skipped.sentences},
        "notes": source.notes(),
    }


def _check_classes(source: str, split: str, counts: dict[str, int]) -> None:
    if not any(counts.values()):  # none at all: faces to be tested on only
        return
    empty = [name for name, count in counts.items() if not count]
    if empty and split == "train":
        raise FerLabError(f"{source}: the class '{empty[0]}' has no training face; add some, or drop the class.")
    if empty:
        warnings.warn(
            f"{source}: no face of class {', '.join(empty)} in {split}: left out of its macro means", stacklevel=5
        )
